"""Damage a run's files at random and see what it says: right answers or ``DamagedRun``, no third.

A run is made twice: closed properly, and as ``kill -9`` leaves it (rows still in the write-ahead
file). Each trial copies one of them, damages it once, opens it and compares all that comes back.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from thalweg.rundir import DamagedRun, RunDir
from thalweg.rundir.journal import Journal

ASKED = {"task": "mutations", "lrs": [0.1, 0.2]}
PLAN = {"threads": 1, "evaluations": {"16": 100}}
NAMES = ("generation-0-batch-16", "generation-1-batch-16")
ROWS, EARLIER = 24, 15  # rows in all, and in the older copy of the journal
Damage = Callable[[Path, random.Random], str]


def row(k: int) -> tuple[str, int, dict[str, Any], dict[str, np.ndarray]]:
    """Row ``k``: numbers, a string, NaN, and arrays of two types."""
    values = np.random.default_rng(k).normal(size=40)
    payload = {"loss": k / 7, "status": "running", "held_out": float("nan") if k % 5 == 0 else 1.0}
    return f"sgd lr={k % 6}", k // 6, payload, {"f": values.astype(np.float32), "i": np.arange(k)}


def state(name: str, k: int) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """State ``k`` of one name."""
    draw = torch.Generator().manual_seed(k + len(name) * NAMES.index(name))
    return {"w": torch.randn(60, generator=draw), "n": torch.tensor(k)}, {"name": name, "k": k}


def make(base: Path) -> dict[str, Path]:
    """The two originals and the older copy that a mutation may bring back."""
    work = base / "work"
    with RunDir.open(work, ASKED) as run:
        run.set_plan(PLAN)
        for k in range(ROWS):
            run.journal.put([row(k)])
            if k in (3, 9, 20):
                for name in NAMES:
                    run.checkpoints.save(name, *state(name, k))
            if k == EARLIER:
                shutil.copytree(work, base / "earlier")
        shutil.copytree(work, base / "killed")
    shutil.copytree(work, base / "closed")
    return {name: base / name for name in ("closed", "killed", "earlier")}


# ---------------------------------------------------------------- damage


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "lock")


def _bytes(path: Path, rng: random.Random) -> str:
    """Change the bytes of one file."""
    data = bytearray(path.read_bytes())
    size = len(data)
    at, length = rng.randrange(size + 1), rng.choice((1, 2, 16, 512, 4096))
    end = min(size, at + length)
    kind = rng.choice(
        ("flip", "flip", "byte", "byte", "zero", "noise", "insert", "cut", "truncate", "append",
         "repeat", "shuffle")
    )  # fmt: skip
    if kind == "flip" and size:
        data[min(at, size - 1)] ^= 1 << rng.randrange(8)
    elif kind == "byte" and size:
        data[min(at, size - 1)] = rng.randrange(256)
    elif kind == "zero":
        data[at:end] = bytes(end - at)
    elif kind == "noise":
        data[at:end] = rng.randbytes(end - at)
    elif kind == "insert":
        data[at:at] = rng.randbytes(length)
    elif kind == "cut":
        del data[at:end]
    elif kind == "truncate":
        del data[at:]
    elif kind == "append":
        data += rng.randbytes(length)
    elif kind == "repeat":
        data[at:at] = data[at:end]
    elif kind == "shuffle":
        other = rng.randrange(size + 1)
        data[at:end], data[other : other + length] = data[other : other + length], data[at:end]
    path.write_bytes(data)
    return f"{kind} {path.name} at {at}, {length} bytes"


def _delete(folder: Path, rng: random.Random) -> str:
    path = rng.choice(_files(folder))
    path.unlink()
    return f"delete {path.name}"


def _swap(folder: Path, rng: random.Random) -> str:
    """Two files take each other's place, or one takes another's."""
    first, second = rng.sample(_files(folder), 2)
    if rng.random() < 0.6:
        states = sorted((folder / "checkpoints").glob(f"*{rng.choice(('json', 'safetensors'))}"))
        first, second = rng.sample(states, 2)
    one, two = first.read_bytes(), second.read_bytes()
    second.write_bytes(one)
    if rng.random() < 0.7:
        first.write_bytes(two)
    return f"swap {first.name} and {second.name}"


def _earlier(folder: Path, rng: random.Random) -> str:
    """A file as it was some time ago comes back."""
    old = folder.parent / "earlier"
    path = rng.choice(_files(old))
    shutil.copy(path, folder / path.relative_to(old))
    return f"older copy of {path.name}"


STATEMENTS = (
    "DELETE FROM rows WHERE place = {a}",
    "DELETE FROM rows WHERE place >= {a}",
    "DELETE FROM rows",
    "DELETE FROM head",
    "DROP TABLE rows",
    "DROP TABLE head",
    "UPDATE head SET count = {a}",
    "UPDATE head SET digest = (SELECT digest FROM rows WHERE place = {a})",
    "UPDATE rows SET payload = replace(payload, '1', '2') WHERE place = {a}",
    "UPDATE rows SET payload = '{{}}' WHERE place = {a}",
    "UPDATE rows SET payload = CAST(payload AS BLOB) WHERE place = {a}",
    "UPDATE rows SET payload = zeroblob(40) WHERE place = {a}",
    "UPDATE rows SET arrays = zeroblob(length(arrays)) WHERE place = {a}",
    "UPDATE rows SET arrays = CAST('text' AS TEXT) WHERE place = {a}",
    "UPDATE rows SET digest = '' WHERE place = {a}",
    "UPDATE rows SET segment = segment + 100 WHERE place = {a}",
    "UPDATE rows SET segment = segment + 0.5 WHERE place = {a}",
    "UPDATE rows SET member = member || ' ' WHERE place = {a}",
    "UPDATE rows SET place = place + 100 WHERE place >= {a}",
    "UPDATE rows SET place = -1 WHERE place = {a};"
    "UPDATE rows SET place = {a} WHERE place = {b}; UPDATE rows SET place = {b} WHERE place = -1",
    "UPDATE rows SET member = 'x' WHERE place = {a};"
    "UPDATE rows SET (member, segment) = (SELECT 'y', segment FROM rows WHERE place = {a})"
    " WHERE place = {b}",
    "UPDATE rows SET payload = (SELECT payload FROM rows WHERE place = {a}) WHERE place = {b}",
    "INSERT INTO rows SELECT member || '2', segment, place + 1000, payload, arrays, digest"
    " FROM rows WHERE place = {a}",
    "DELETE FROM rows WHERE place >= {a};"
    "UPDATE head SET count = {a}, digest = (SELECT digest FROM rows WHERE place = {a} - 1)",
    "CREATE TABLE other (x)",
    "CREATE TRIGGER t AFTER INSERT ON rows BEGIN DELETE FROM rows WHERE place = {a}; END",
)


def _sql(folder: Path, rng: random.Random) -> str:
    """Somebody edits the database with a proper tool."""
    a, b = rng.sample(range(1, ROWS), 2)
    statement = rng.choice(STATEMENTS).format(a=a, b=b)
    base = sqlite3.connect(folder / "journal.sqlite", isolation_level=None)
    with contextlib.closing(base):
        base.executescript(f"BEGIN; {statement}; COMMIT")
    return statement


def damage(folder: Path, rng: random.Random) -> str:
    """Damage a run once; says how."""
    kind = rng.random()
    if kind < 0.66:
        files = [path for path in _files(folder) if not path.name.endswith("-shm")]
        return _bytes(rng.choice(files), rng)
    if kind < 0.72:
        return _delete(folder, rng)
    if kind < 0.80:
        return _swap(folder, rng)
    if kind < 0.86:
        return _earlier(folder, rng)
    return _sql(folder, rng)


# ---------------------------------------------------------------- judgement


def judge(folder: Path) -> str:
    """``unharmed`` or ``refused``; ``older state`` where the state before the newest is used.

    Raises:
        AssertionError: Something came back that was never written, or too little of it.
        Exception: Anything but ``DamagedRun``, which is a failure too.
    """
    try:
        read = Journal.read(folder / "journal.sqlite")
    except DamagedRun:
        read = None
    try:
        with RunDir.open(folder, ASKED) as run:
            assert run.plan == PLAN, "another plan"
            rows = run.journal.rows()
            assert len(rows) == ROWS, f"{len(rows)} rows of {ROWS}"
            for k, found in enumerate(rows):
                assert _same(found, row(k)), f"row {k} is another"
            assert read is None or len(read) == ROWS, "a reader saw another number of rows"
            newest = [_newest(run.checkpoints, name) for name in NAMES]
            run.journal.put([row(ROWS)])
        with RunDir.open(folder, ASKED) as run:
            assert len(run.journal.rows()) == ROWS + 1, "the next row was lost"
    except DamagedRun:
        return "refused"
    return "unharmed" if newest == [20, 20] else "older state"


def _same(found: Any, wanted: tuple[str, int, dict[str, Any], dict[str, np.ndarray]]) -> bool:
    member, segment, payload, arrays = wanted
    return (
        (found.member, found.segment, repr(found.payload)) == (member, segment, _sorted(payload))
        and found.arrays.keys() == arrays.keys()
        and all(np.array_equal(found.arrays[k], v) for k, v in arrays.items())
        and all(found.arrays[k].dtype == v.dtype for k, v in arrays.items())
    )


def _sorted(payload: dict[str, Any]) -> str:
    return repr(dict(sorted(payload.items())))


def _newest(checkpoints: Any, name: str) -> int | None:
    found = checkpoints.load(name)
    if found is None:
        raise AssertionError(f"no state of {name}, and no word about it")
    tensors, meta = found
    wanted, about = state(name, meta["k"])
    assert meta == about, "another state's numbers"
    assert tensors.keys() == wanted.keys(), "other tensors"
    assert all(torch.equal(tensors[k], wanted[k]) for k in wanted), "another state's tensors"
    return meta["k"]


def campaign(base: Path, trials: int, seed: int = 0) -> dict[str, Any]:
    """Many damaged copies; counts of the verdicts and every failure in words."""
    originals, rng = make(base), random.Random(seed)
    verdicts: Counter[str] = Counter()
    failures: list[str] = []
    folder = base / "trial"
    for trial in range(trials):
        shutil.copytree(originals[rng.choice(("closed", "killed"))], folder)
        how = damage(folder, rng)
        try:
            verdicts[judge(folder)] += 1
        except Exception as error:
            verdicts["failed"] += 1
            failures.append(f"trial {trial}, {how}: {type(error).__name__}: {error}")
        shutil.rmtree(folder)
    return {"trials": trials, "verdicts": dict(verdicts), "failures": failures}


if __name__ == "__main__":
    import sys
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        print(campaign(Path(place), int(sys.argv[1])))
