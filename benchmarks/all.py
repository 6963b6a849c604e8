"""All benchmarks at sample sizes, one after another: `make bench`.

    OMP_NUM_THREADS=1 python benchmarks/all.py [NAME ...] [--list] [--again] [--into FOLDER]

Results go to runs/bench (or FOLDER), so the recorded ones in benchmarks/results stay as they are.
One that this machine has finished with these versions is not repeated, so a call that was cut off
goes on where it was; ``--again`` repeats. Each is a process of its own.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from thalweg.rundir import atomic_write
from thalweg.rundir.machine import machine

HERE = Path(__file__).parent
LEDGER = "all.json"  # what was finished, in the folder of the results


@dataclass(frozen=True, slots=True)
class Bench:
    """One line of the table.

    Attributes:
        name: What to call it by.
        words: Script and arguments.
        seconds: CPU seconds on a Xeon at 2.1 GHz, about: the time by the clock on a quiet machine,
            since all but the workers compute on one thread.
        question: What it answers.
        needs: Packages without which it cannot run.
        resumes: The results that it goes on from, which a repeat must not find.
    """

    name: str
    words: str
    seconds: int
    question: str
    needs: tuple[str, ...] = ()
    resumes: str = ""

    @property
    def command(self) -> list[str]:
        """As a process."""
        script, *arguments = shlex.split(self.words)
        return [sys.executable, str(HERE / script), *arguments]

    @property
    def missing(self) -> list[str]:
        """Packages that are not installed."""
        return [name for name in self.needs if importlib.util.find_spec(name) is None]


BENCHES = (
    Bench(
        "race-engines-mlp",
        "race_engines.py mlp-16 mlp-64 mlp-256 --pairs 5 --races 0",
        20,
        "32 perceptrons at once against plain loops",
    ),
    Bench(
        "race-engines-lenet",
        "race_engines.py lenet-16 --pairs 5 --races 0",
        12,
        "32 convolutional networks at once against plain loops",
    ),
    Bench(
        "race-engines-transformer",
        "race_engines.py transformer-16 --pairs 5 --races 0",
        11,
        "8 transformers at once against plain loops",
    ),
    Bench(
        "race-campaign",
        "race_campaign.py --repeats 1",
        30,
        "90 runs with culling against a plain loop over all of them",
    ),
    Bench(
        "race-small",
        "race_small.py digits-mlp wine linear-unit quadratic --seconds 4 --repeats 1",
        90,
        "does racing a task ever lose to a plain loop?",
    ),
    Bench("race-workers", "race_workers.py --repeats 1", 35, "two worker processes against one"),
    Bench("race-memory", "race_memory.py --members 32", 60, "peak memory by the number of members"),
    Bench(
        "race-peers",
        "race_peers.py",
        100,
        "the same search by Optuna and Ray Tune",
        ("optuna", "ray"),
    ),
    Bench(
        "sparse-inference",
        "sparse_inference.py time first --atoms 100 --rounds 3",
        23,
        "exact codes beside SPAMS, scikit-learn and proximal gradients",
        ("spams",),
    ),
    Bench(
        "sparse-omp",
        "sparse_omp.py 100/10",
        5,
        "orthogonal matching pursuit beside SPAMS and scikit-learn",
        ("spams",),
    ),
    Bench(
        "sparse-dictionary",
        "sparse_dictionary.py 'default / 0.25' 'default / 1' 'default / 4' "
        "'0.9, 512 / 150' 'cd, 256 / 40'",
        45,
        "dictionary learning to an equal held-out objective",
        ("spams",),
        "sparse_dictionary.json",
    ),
    Bench(
        "sparse-lista",
        "sparse_lista.py 'm100 T1' --steps 3000 --train 20000",
        25,
        "FISTA iterations that one pass of a briefly trained encoder is worth",
        resumes="sparse_lista.json",
    ),
    Bench(
        "sparse-convolution",
        "sparse_convolution.py --l1 2 --rounds 2",
        120,
        "convolutional codes beside SPORCO",
        ("sporco",),
    ),
    Bench(
        "sparse-gap",
        "sparse_gap.py --samples 200",
        20,
        "amortisation gap of 16 384 units: time and memory",
    ),
    Bench(
        "surface-products",
        "surface_products.py lenet --rounds 2 --samples 500",
        35,
        "one Hessian or Gauss-Newton product, in gradients",
    ),
    Bench(
        "surface-memory",
        "surface_memory.py lenet",
        30,
        "peak memory of Hessian products beside a gradient's",
    ),
    Bench(
        "surface-lanczos",
        "surface_lanczos.py lenet --rounds 1",
        200,
        "time to the largest eigenvalue, the top ten, a density",
    ),
    Bench(
        "training-cost",
        "training_cost.py --repeats 8",
        30,
        "what exchanges, checkpoints and inner steps cost beside a step",
    ),
    Bench(
        "parallel-periods",
        "parallel_periods.py --seeds 2",
        80,
        "accuracy of four workers over the period of their exchanges",
    ),
    Bench(
        "watch-cost", "watch_cost.py --seconds 8", 120, "what thalweg.watch adds to a training loop"
    ),
    Bench("rundir-cost", "rundir_cost.py", 14, "what an acknowledged row and a checkpoint cost"),
)


class Ledger:
    """What was finished in a folder, by which command, on which machine, with which versions."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LEDGER
        self._here = {key: str(value) for key, value in machine().items()}
        known = json.loads(self._path.read_text()) if self._path.exists() else {}
        self._done: dict[str, dict] = known

    def took(self, bench: Bench) -> float | None:
        """CPU seconds that this benchmark took here; None if it was not finished here."""
        entry = self._done.get(bench.name)
        if entry is None or (entry["words"], entry["machine"]) != (bench.words, self._here):
            return None
        return entry["cpu_seconds"]

    def finish(self, bench: Bench, cpu: float, wall: float) -> None:
        """Note it down."""
        entry = {"words": bench.words, "machine": self._here}
        entry |= {"cpu_seconds": round(cpu, 1), "wall_seconds": round(wall, 1)}
        self._done[bench.name] = entry
        self._path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(self._path, (json.dumps(self._done, indent=1) + "\n").encode())


def listing(benches: list[Bench], ledger: Ledger) -> None:
    """One line each: seconds, whether it is there, the command, the question."""
    for bench in benches:
        took = ledger.took(bench)
        state = f"done in {took:.0f} s" if took is not None else f"about {bench.seconds} s"
        if bench.missing:
            state = f"needs {', '.join(bench.missing)}"
        print(f"{bench.name:26} {state:16} {bench.question}\n{'':26} {bench.words}")
    print(f"about {sum(bench.seconds for bench in benches) / 60:.0f} minutes in all")


def children() -> float:
    """CPU seconds of the processes that ended so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def chosen(names: list[str]) -> list[Bench]:
    """The benchmarks of these names; all without any."""
    known = {bench.name: bench for bench in BENCHES}
    for name in names:
        if name not in known:
            raise SystemExit(f"no benchmark '{name}'. Known: {', '.join(known)}.")
    return [known[name] for name in names or known]


def main() -> int:
    """Run what is missing; 1 if any of it failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--list", action="store_true", help="show the table, run nothing")
    parser.add_argument("--again", action="store_true", help="repeat what is there already")
    parser.add_argument("--into", type=Path, default=HERE.parent / "runs" / "bench")
    asked = parser.parse_args()
    benches, ledger = chosen(asked.names), Ledger(asked.into)
    if asked.list:
        listing(benches, ledger)
        return 0
    failed = []
    for bench in benches:
        took = ledger.took(bench)
        if bench.missing:
            print(f"== {bench.name}: left out, pip install {' '.join(bench.missing)} for it")
        elif took is not None and not asked.again:
            print(f"== {bench.name}: done before, in {took:.0f} s")
        else:
            print(f"== {bench.name}: {bench.question} (about {bench.seconds} s)", flush=True)
            if asked.again and bench.resumes:
                (asked.into / bench.resumes).unlink(missing_ok=True)
            wall, cpu = time.monotonic(), children()
            place = {"OMP_NUM_THREADS": "1"} | os.environ
            place["THALWEG_RESULTS"] = str(asked.into.resolve())
            if subprocess.run(bench.command, env=place, check=False).returncode:
                failed.append(bench.name)
            else:
                ledger.finish(bench, children() - cpu, time.monotonic() - wall)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
