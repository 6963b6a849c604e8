"""Does everything survive? kill -9, damaged files, failing disks: one table, exit code 1 if not.

    python benchmarks/survive.py                       the whole campaign (about fifteen minutes)
    python benchmarks/survive.py --only races --kills 20 --engines looped

Results go to ``benchmarks/results/survive.json``.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import survive_faults
import survive_kills
import survive_mutations
import survive_training
from survive_child import Server

from thalweg.rundir import atomic_write
from thalweg.rundir.machine import machine

RESULTS = Path(__file__).parent / "results" / "survive.json"
PARTS = ("races", "states", "mutations", "faults", "trainings", "workers")
AT_ONCE = 2  # servers of killed processes
Job = tuple[str, Callable[[], dict[str, Any]]]


def _races(kills: int, engines: list[str], seed: int) -> Iterable[Job]:
    each = -(-kills // (len(survive_kills.RACES) * len(engines)))
    for engine in engines:
        for name, asked in survive_kills.RACES.items():

            def job(engine: str = engine, name: str = name, asked: dict = asked) -> dict[str, Any]:
                rng = random.Random(f"{seed} {engine} {name}")
                with Server() as server, tempfile.TemporaryDirectory() as place:
                    how = asked | {"engine": engine}
                    return survive_kills.kill_race(server, Path(place), how, each, rng)

            yield f"race | {engine} | {name}", job


def _states(kills: int, seed: int) -> Iterable[Job]:
    folders = survive_kills.folders()
    for where in folders:

        def job(where: Path = where) -> dict[str, Any]:
            rng = random.Random(f"{seed} {where}")
            with Server() as server, tempfile.TemporaryDirectory(dir=where) as place:
                each = -(-kills // len(folders))
                return survive_kills.kill_appends(server, Path(place), each, rng)

        yield f"rows and states | kill -9 while saving | {_system(where)}", job


def _trainings(kills: int, seed: int) -> Iterable[Job]:
    each = -(-kills // len(survive_training.TRAININGS))
    for name, asked in survive_training.TRAININGS.items():

        def job(name: str = name, asked: dict = asked) -> dict[str, Any]:
            rng = random.Random(f"{seed} {name}")
            with Server() as server, tempfile.TemporaryDirectory() as place:
                return survive_training.kill_training(server, Path(place), dict(asked), each, rng)

        yield f"training | kill -9 | {name}", job


def _workers(kills: int, seed: int) -> Iterable[Job]:
    def job() -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as place:
            rng = random.Random(f"{seed} workers")
            return survive_training.kill_workers(Path(place), kills, 5, rng)

    yield "workers | kill -9 | elastic averaging", job


def _mutations(trials: int, seed: int) -> Iterable[Job]:
    def job() -> dict[str, Any]:
        with tempfile.TemporaryDirectory(dir=survive_kills.folders()[-1]) as place:
            return survive_mutations.campaign(Path(place), trials, seed)

    yield "files | damaged at random | journal, run.json, states", job


def _faults() -> Iterable[Job]:
    def job() -> dict[str, Any]:
        if survive_faults.compiler() is None:
            return {"skipped": "no C compiler", "failures": []}
        with tempfile.TemporaryDirectory(dir=survive_kills.folders()[-1]) as place:
            found = survive_faults.suffer(Path(place))
        return {
            "faults": sum(found["faults"].values()),
            "by operation": found["faults"],
            "failures": found["broken"],
        }

    yield "write points | each failed in turn | no space, I/O error, cut short", job


def _system(folder: Path) -> str:
    """The kind of file system a folder is on."""
    best = ("", "?")
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, kind, *_ = line.split()
        if folder.resolve().is_relative_to(mount) and len(mount) >= len(best[0]):
            best = (mount, kind)
    return best[1]


def _run(job: Job) -> tuple[str, dict[str, Any]]:
    name, work = job
    begun = time.monotonic()
    try:
        found = work()
    except Exception as error:
        found = {"failures": [f"{type(error).__name__}: {error}"]}
    found["took"] = round(time.monotonic() - begun, 1)
    numbers = {k: v for k, v in found.items() if k not in ("failures", "by operation")}
    words = ", ".join(f"{key} {value}" for key, value in numbers.items())
    print(f"{'FAILED' if found['failures'] else 'ok    '} {name}: {words}", flush=True)
    for failure in found["failures"][:5]:
        print(f"         {failure}", flush=True)
    return name, found


def main(words: list[str]) -> int:
    """Run the campaign; 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=216, help="of races, over all engines")
    parser.add_argument("--states", type=int, default=500, help="kills while states are saved")
    parser.add_argument("--trainings", type=int, default=216, help="kills of trainings")
    parser.add_argument("--workers", type=int, default=48, help="kills of workers on a centre")
    parser.add_argument("--mutations", type=int, default=10_000, help="damaged copies of a run")
    parser.add_argument("--engines", nargs="*", default=None, help="default: all there are")
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=RESULTS)
    asked = parser.parse_args(words)
    engines = asked.engines or survive_kills.engines()
    parts: dict[str, Iterable[Job]] = {
        "faults": _faults(),
        "mutations": _mutations(asked.mutations, asked.seed),
        "states": _states(asked.states, asked.seed),
        "races": _races(asked.kills, engines, asked.seed),
        "trainings": _trainings(asked.trainings, asked.seed),
        "workers": _workers(asked.workers, asked.seed),
    }
    jobs = [job for part, of in parts.items() if asked.only in (None, part) for job in of]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = dict(pool.map(_run, jobs))
    if asked.only and asked.results.exists():  # the other parts stay as they were last time
        results = json.loads(asked.results.read_text())["results"] | results
    failures = sum(len(found["failures"]) for found in results.values())
    kills = {k: found["kills"] for k, found in results.items() if "kills" in found}
    races = sum(n for name, n in kills.items() if name.startswith("race"))
    trainings = [n for name, n in kills.items() if name.startswith("training")]
    summary = {
        "kills of races": races,
        "configurations": len({n.split(" | ")[2] for n in kills if n.startswith("race")}),
        "engines": sorted({n.split(" | ")[1] for n in kills if n.startswith("race")}),
        "acknowledged rows": sum(found.get("acknowledged", 0) for found in results.values()),
        "kills of trainings": sum(trainings),
        "trained configurations": len(trainings),
        "kills of workers": sum(found.get("worker kills", 0) for found in results.values()),
        "kills while saving": sum(kills.values()) - races - sum(trainings),
        "mutations": sum(found.get("trials", 0) for found in results.values()),
        "faults": sum(found.get("faults", 0) for found in results.values()),
        "failures": failures,
    }
    print(", ".join(f"{key}: {value}" for key, value in summary.items()))
    asked.results.parent.mkdir(parents=True, exist_ok=True)
    record = {"summary": summary, "machine": machine(), "seed": asked.seed, "results": results}
    atomic_write(asked.results, json.dumps(record, indent=1) + "\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
