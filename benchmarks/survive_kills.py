"""kill -9 at random instants: races end with the same table, rows and states stay whole."""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from survive_child import CANNOT, Server

from thalweg.rundir import RunDir
from thalweg.rundir.journal import Journal, Row

OWN_TASKS = Path(__file__).with_name("survive_tasks.py")
RACES: dict[str, dict[str, Any]] = {
    "digits-mlp, auto, culled": {
        "task": "digits-mlp", "optimizers": ["sgd", "adam"], "evaluations": 24, "seeds": 2,
    },
    "wine, auto with widening, momentum": {
        "task": "wine", "optimizers": ["momentum"], "evaluations": 60, "seeds": 2,
    },
    "wine, five optimisers, all raced to the end": {
        "task": "wine", "optimizers": ["nesterov", "adagrad", "rmsprop", "adamw", "amsgrad"],
        "lrs": [0.001, 0.03], "epochs": 3, "seeds": 2, "cull": False,
    },
    "diabetes, auto, three seeds": {
        "task": "diabetes", "optimizers": ["sgd", "rmsprop"], "evaluations": 30, "seeds": 3,
    },
    "diabetes, schedules and clipping": {
        "task": "diabetes", "optimizers": ["momentum"], "lrs": [0.001, 0.01, 0.1],
        "space": {"schedule": ["constant", "linear", "cosine"], "clip": [None, 0.5]},
        "epochs": 2, "seeds": 2,
    },
    "breast-cancer, batch sizes and weight decay": {
        "task": "breast-cancer", "optimizers": ["sgd", "adamw"], "lrs": [0.003, 0.03],
        "space": {"batch_size": [16, 64], "weight_decay": [0.0, 0.01]}, "epochs": 2, "seeds": 2,
    },
    "digits-batchnorm, culled": {
        "task": "digits-batchnorm", "optimizers": ["momentum", "adam"],
        "lrs": [0.0003, 0.003, 0.03, 0.3], "evaluations": 24, "seeds": 2,
    },
    "dropout from a file": {
        "task": f"{OWN_TASKS}:dropout", "optimizers": ["sgd", "adadelta", "delta-bar-delta"],
        "lrs": [0.01, 0.1, 1.0], "evaluations": 32, "seeds": 2,
    },
    "batch norm and dropout from a file, float64": {
        "task": f"{OWN_TASKS}:normed", "optimizers": ["adam"], "evaluations": 24, "seeds": 3,
        "dtype": "float64",
    },
    "LSTM from a file, one seed": {
        "task": f"{OWN_TASKS}:lstm", "optimizers": ["rmsprop", "adam"], "lrs": [0.001, 0.01],
        "epochs": 2, "seeds": 1,
    },
    "quadratic, rates that diverge": {
        "task": "quadratic", "optimizers": ["sgd", "momentum"], "lrs": [0.01, 0.1, 1.0, 10.0, 1e3],
        "evaluations": 32, "seeds": 2,
    },
    "wine, rows flushed late, states saved seldom": {
        "task": "wine", "optimizers": ["sgd", "adam"], "lrs": [0.001, 0.01, 0.1, 1.0],
        "evaluations": 80, "seeds": 3, "flush_every": 0.3, "save_every": 0.2,
    },
}  # fmt: skip


def answer(folder: Path) -> dict[str, Any]:
    """The final table and all that goes with it, but what a clock or the folder's name decides."""
    record = json.loads((folder / "race.json").read_text())
    for key in ("seconds", "machine", "run", "command"):
        record.pop(key)
    record["plan"].pop("seconds_per_evaluation", None)
    for choice in record["plan"].get("engines", {}).values():
        choice.pop("gradients_per_second", None)
    return record


def rows(folder: Path) -> dict[tuple[str, int], str]:
    """The journal by key; a digest would do, but a text tells what differs."""
    return {
        (row.member, row.segment): _text(row) for row in Journal.read(folder / "journal.sqlite")
    }


def _text(row: Row) -> str:
    arrays = {k: (str(a.dtype), a.shape, a.tobytes()) for k, a in sorted(row.arrays.items())}
    return repr((row.payload, arrays))


def _acknowledged(path: Path) -> list[tuple[str, int]]:
    if not path.exists():
        return []
    return [tuple(json.loads(line)) for line in path.read_text().splitlines()]


def kill_race(
    server: Server, base: Path, asked: dict[str, Any], kills: int, rng: random.Random
) -> dict[str, Any]:
    """Run one race undisturbed, then again and again under kills; every difference in words."""
    calm, acks = base / "calm", base / "acks"
    begun = time.perf_counter()
    code = server.run("race", acks, run=str(calm), threads=1, **asked)
    takes = time.perf_counter() - begun
    if code == CANNOT:
        return {"skipped": "this engine cannot run this task", "failures": []}
    if code:
        return {"kills": 0, "races": 0, "failures": [f"the undisturbed race ended with {code}"]}
    wanted, known = answer(calm), rows(calm)
    done = races = acknowledged = 0
    failures: list[str] = []
    while done < kills:
        folder = base / f"run-{races}"
        acks.unlink(missing_ok=True)
        races += 1
        if asked.get("engine", "looped") != "looped":
            _planned(folder, calm)
        while True:
            after = rng.expovariate(4 / takes) if done < kills else None
            code = server.run("race", acks, after, run=str(folder), threads=1, **asked)
            done += code == -9
            if code != -9:
                break
            failures += _lost(folder, acks)
        if code:
            failures.append(f"race {races}: ended with {code}")
            break
        acknowledged += len(_acknowledged(acks))
        failures += [f"race {races}: {text}" for text in _compare(folder, acks, wanted, known)]
        shutil.rmtree(folder)
    return {
        "kills": done,
        "races": races,
        "acknowledged": acknowledged,
        "seconds": round(takes, 2),
        "entries": len(wanted["table"]),
        "failures": failures,
    }


def _planned(folder: Path, calm: Path) -> None:
    """A run with the undisturbed one's plan: how it is cut into pieces may have been timed."""
    kept = json.loads((calm / "run.json").read_text())
    with RunDir.open(folder, kept["configuration"]) as run:
        run.set_plan(kept["plan"])


def _lost(folder: Path, acks: Path) -> Iterable[str]:
    """After a kill: is every acknowledged row there, for a reader too?"""
    told = _acknowledged(acks)
    if not told:
        return
    missing = set(told) - rows(folder).keys()
    if missing:
        yield f"{len(missing)} acknowledged rows are gone"


def _compare(
    folder: Path, acks: Path, wanted: dict[str, Any], known: dict[tuple[str, int], str]
) -> Iterable[str]:
    found, told = rows(folder), Counter(_acknowledged(acks))
    if answer(folder) != wanted:
        keys = [key for key in wanted if answer(folder).get(key) != wanted[key]]
        yield f"another table: {keys}"
    if found != known:
        yield f"other rows: {[key for key in known if found.get(key) != known[key]][:3]}"
    twice = [key for key, times in told.items() if times > 1]
    if twice:
        yield f"{len(twice)} rows were acknowledged twice, such as {twice[0]}"
    if set(told) - found.keys():
        yield "acknowledged rows are gone"
    left = [p.name for p in folder.rglob("*") if p.suffix in (".part", ".safetensors")]
    if left:
        yield f"left behind: {left[:3]}"


def kill_appends(server: Server, base: Path, kills: int, rng: random.Random) -> dict[str, Any]:
    """Kill a process that appends rows and saves states; each time all of both must be whole."""
    folder, acks = base / "run", base / "acks"
    failures: list[str] = []
    for kill in range(kills):
        code = server.run("append", acks, rng.expovariate(4.0), run=str(folder))
        if code != -9:
            failures.append(f"kill {kill}: ended by itself with {code}")
            break
        if folder.exists():
            failures += [f"kill {kill}: {text}" for text in _appended(folder, acks)]
    told = _acknowledged(acks)
    return {"kills": kills, "rows": len({k for what, k in told if what == "row"}),
            "states": sum(what == "state" for what, _ in told), "failures": failures}  # fmt: skip


def _appended(folder: Path, acks: Path) -> Iterable[str]:
    told = _acknowledged(acks)
    safe = [k for what, k in told if what == "row"]
    saved = max((k for what, k in told if what == "state"), default=-1)
    if safe:
        read = {row.segment for row in Journal.read(folder / "journal.sqlite")}
        if set(safe) - read:
            yield f"a reader misses {len(set(safe) - read)} acknowledged rows"
    with RunDir.open(folder, {"job": "append"}) as run:
        found = run.journal.rows()
        if set(safe) - {row.segment for row in found}:
            yield "acknowledged rows are gone"
        if [row.segment for row in found] != list(range(len(found))):
            yield "a row is missing or there twice"
        if any((row.arrays["a"] != row.segment).any() for row in found):
            yield "a row holds another's numbers"
        state = run.checkpoints.load("state")
        if state is None:
            if saved >= 0:
                yield "no state is left"
            return
        tensors, meta = state
        if not torch.equal(tensors["w"], torch.full((20_000,), float(meta["k"]))):
            yield "a state is torn"
        if not saved <= meta["k"] <= len(found) - 1:
            yield f"the state is number {meta['k']}; {saved} was acknowledged, {len(found)} rows"
    parts = [p.name for p in folder.rglob("*.part")]
    if parts:
        yield f"temporaries stay: {parts}"


def engines() -> list[str]:
    """The engines that a race can be told to use."""
    return ["looped", "stacked", "vmap"]


def folders() -> list[Path]:
    """Where the campaign writes: the temporary folder, and another file system if there is one."""
    here = Path(tempfile.gettempdir())
    others = [Path("/dev/shm"), Path.home(), Path.cwd()]
    usable = (p for p in others if p.is_dir() and os.access(p, os.W_OK))
    return [here, *[p for p in usable if p.stat().st_dev != here.stat().st_dev][:1]]
