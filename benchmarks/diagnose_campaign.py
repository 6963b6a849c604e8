"""Does diagnose find what was planted, and stay silent where nothing was? Resumable.

    THALWEG_DATA=... OMP_NUM_THREADS=1 python benchmarks/diagnose_campaign.py            all cases
    ...  --sample 40                                                     so many, evenly chosen
    ...  --report                                                        the tables of what is known

Cases come from ``diagnose_bases.py`` and ``diagnose_faults.py``. A fault counts only where it does
harm: the faulty recipe must end below 95 % of its healthy twin's skill (0: a constant answer, 1:
perfect; balanced accuracy or explained variance on held-out data), or not run at all. Each case
is one line of ``results/diagnose_cases.jsonl``; those that are there are not run again.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
import warnings
import zlib
from collections import Counter
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from diagnose_bases import BASES
from diagnose_faults import FAULTS, Fault
from race_plain import keep

import thalweg as tw
from thalweg.diagnose.trial import changed
from thalweg.task import Task

RESULTS = Path(__file__).parent / "results" / "diagnose_cases.jsonl"
HEALTHY = 10  # healthy cases of every base; of those that take long
FEW = 2
LONG = ("mnist-conv", "mnist-relu", "cifar-conv", "letters-lstm", "letters-mlp")
SECONDS = 10.0  # of one processor, whatever else the machine does ...
PATIENT = 20.0  # ... and for those that take long
ENOUGH = 0.95  # of the healthy twin's skill


def cases() -> list[tuple[str, str, Fault | None, int]]:
    """Name, base, fault and seed of every case, in an order that mixes all kinds."""
    found: list[tuple[str, str, Fault | None, int]] = []
    for base in BASES:
        times = FEW if base in LONG else HEALTHY
        found += [(f"healthy | {base} | {k}", base, None, k) for k in range(times)]
    for fault in FAULTS:
        for k in range(-(-8 // len(fault.bases))):
            found += [
                (f"{fault.name} | {base} | {k}", base, fault, 50 + k)
                for base in fault.bases
                if base not in LONG or len(fault.bases) < 3 or (k == 0 and _third(fault, base))
            ]
    return sorted(found, key=lambda case: zlib.crc32(case[0].encode()))


def _third(fault: Fault, base: str) -> bool:
    return zlib.crc32(f"{fault.name} {base}".encode()) % 3 == 0


@lru_cache(maxsize=256)
def twin(base: str, seed: int) -> float | None:
    """What the healthy task of a base reaches."""
    return skill(BASES[base](seed), seed)


def skill(task: Task, seed: int) -> float | None:
    """Of the recipe trained to its end, on all held-out data; None where it cannot be."""
    try:
        run = tw.train(task, seed=seed, device="cpu")
    except (ValueError, TypeError, RuntimeError):
        return None
    if run.status == "diverged":
        return None
    model, (x, y) = run.model().eval(), task.held_out
    with torch.no_grad():
        output = model(x)
    if y.is_floating_point():
        y = y.reshape(output.shape).double()
        value = 1 - float((output.double() - y).square().mean() / y.var(unbiased=False))
        return max(0.0, value) if math.isfinite(value) else None
    guess, kinds = output.argmax(1), y.unique()
    recall = [float((guess[y == k] == k).double().mean()) for k in kinds]
    return max(0.0, (sum(recall) / len(recall) - 1 / len(kinds)) / (1 - 1 / len(kinds)))


def run(name: str, base: str, fault: Fault | None, seed: int) -> dict[str, Any]:
    """One case: the twin's skill, the faulty one's, the diagnosis, and the cured one's."""
    healthy = BASES[base](seed)
    task = healthy if fault is None else fault.plant(healthy, seed)
    task = replace(task, name=base)  # the name must give nothing away
    row: dict[str, Any] = {"name": name, "base": base, "fault": fault and fault.name}
    row["right"] = list(fault.right) if fault else []
    row["twin"] = twin(base, seed)
    row["faulty"] = row["twin"] if fault is None else skill(task, seed)
    begun, seconds = time.monotonic(), PATIENT if base in LONG else SECONDS
    try:
        found = tw.diagnose(task, seed=seed, seconds=seconds, cure=True, device="cpu")
    except Exception as error:
        row |= {"error": f"{type(error).__name__}: {error}"[:300], "seconds": 0.0}
        return row
    raised = [f for f in found.findings if f.severity != "info"]
    row["codes"] = [f.code for f in raised]
    row["infos"] = [f.code for f in found.findings if f.severity == "info"]
    row["seconds"] = round(time.monotonic() - begun, 1)
    row["skill"] = round(found.numbers.get("skill", 0.0), 4)
    row["titles"] = [f.title for f in raised]
    row["steps"] = [s.cure for s in found.cured.steps] if found.cured else []
    if fault is not None and found.cured:
        try:
            row["cured"] = skill(changed(task, found.cured.steps), seed)
        except Exception as error:
            row["cure error"] = f"{type(error).__name__}: {error}"[:300]
    return row


def known() -> dict[str, dict[str, Any]]:
    """Cases that were run, by name; a torn last line is left out."""
    if not RESULTS.exists():
        return {}
    rows = {}
    for line in RESULTS.read_text().splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        rows[row["name"]] = row
    return rows


def harmful(row: dict[str, Any]) -> bool:
    """Whether the fault does what a fault does."""
    fault = next(f for f in FAULTS if f.name == row["fault"])
    return fault.always or row["faulty"] is None or row["faulty"] < ENOUGH * (row["twin"] or 0)


def interval(hits: int, of: int) -> str:
    """Share in per cent with Wilson's 95 % interval."""
    if not of:
        return "none"
    p, z = hits / of, 1.96
    middle = (p + z * z / (2 * of)) / (1 + z * z / of)
    half = z / (1 + z * z / of) * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    return f"{100 * p:.1f} % ({100 * (middle - half):.1f} to {100 * (middle + half):.1f})"


def report(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Print the rates and the confusion table; the figures for the results file."""
    faulty = [r for r in rows if r["fault"] and harmful(r)]
    harmless = [r for r in rows if r["fault"] and not harmful(r)]
    healthy = [r for r in rows if not r["fault"]]
    found = [r for r in faulty if r.get("codes")]
    right = [r for r in faulty if set(r.get("codes", [])[:2]) & set(r["right"])]
    alarms = [r for r in healthy if r.get("codes")]
    hopeless = {f.name for f in FAULTS if not f.curable}
    curable = [r for r in faulty if r["twin"] and r["fault"] not in hopeless]
    cured = [r for r in curable if (r.get("cured") or 0) >= ENOUGH * r["twin"]]
    figures = {
        "faulty cases": len(faulty),
        "planted without harm": len(harmless),
        "healthy cases": len(healthy),
        "detected": interval(len(found), len(faulty)),
        "right code first or second": interval(len(right), len(faulty)),
        "false alarms": interval(len(alarms), len(healthy)),
        "of faults that a change of the task can cure": len(curable),
        f"cured to {ENOUGH:.0%} of the twin": interval(len(cured), len(curable)),
        "errors": sum("error" in r for r in rows),
        "median seconds": sorted(r["seconds"] for r in rows)[len(rows) // 2] if rows else 0,
    }
    for key, value in figures.items():
        print(f"{key:28s} {value}")
    print("\nplanted, with what came first (times)")
    for fault in FAULTS:
        mine = [r for r in faulty if r["fault"] == fault.name]
        if mine:
            first = Counter((r.get("codes") or ["-"])[0] for r in mine).most_common()
            good = sum(r in right for r in mine)
            healed = sum(r in cured for r in mine)
            said = ", ".join(f"{code} {n}" for code, n in first)
            print(f"  {fault.name:38s} right {good}/{len(mine)}, cured {healed}  {said}")
    for r in alarms:
        print(f"  false alarm: {r['name']}: {', '.join(r['codes'])}")
    for r in rows:
        if "error" in r or "cure error" in r:
            print(f"  error: {r['name']}: {r.get('error') or r.get('cure error')}")
    return figures


def confusion(rows: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """How often each code came first, by what was planted; ``healthy`` for nothing."""
    found: dict[str, Counter[str]] = {}
    for row in rows:
        if not row["fault"] or harmful(row):
            first = (row.get("codes") or ["nothing"])[0]
            found.setdefault(row.get("fault") or "healthy", Counter())[first] += 1
    return {name: dict(counts.most_common()) for name, counts in sorted(found.items())}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sample", type=int, default=None, help="so many cases, evenly chosen")
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--again", action="store_true", help="run what is known once more")
    parser.add_argument("--report", action="store_true", help="run nothing")
    parser.add_argument("--part", default="1/1", help="k/n: the k-th of n shares, to run at once")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    time.monotonic = time.process_time  # other work on the machine must not shorten the runs
    warnings.simplefilter("ignore")
    wanted = [case for case in cases() if asked.only in case[0]]
    if asked.sample is not None:
        wanted = wanted[:: max(1, len(wanted) // asked.sample)][: asked.sample]
    rows = {} if asked.again else known()
    RESULTS.parent.mkdir(exist_ok=True)
    part, parts = map(int, asked.part.split("/"))
    for case in wanted[part - 1 :: parts] if not asked.report else []:
        if case[0] in rows:
            continue
        row = run(*case)
        rows[case[0]] = row
        with RESULTS.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(
            f"{row['seconds']:5.1f} s  {row['name']}: {row.get('codes', row.get('error'))}",
            flush=True,
        )
    chosen = [rows[case[0]] for case in wanted if case[0] in rows]
    figures = report(chosen)
    if asked.sample is None and not asked.only and parts == 1:
        figures |= {"planned cases": len(wanted)}
        keep("diagnose", campaign=figures, confusion=confusion(chosen))
    return 0


if __name__ == "__main__":
    sys.exit(main())
