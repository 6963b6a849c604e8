"""How long do convolutional sparse codes take? Ours beside SPORCO's ADMM, to equal objective.

    OMP_NUM_THREADS=1 python benchmarks/sparse_convolution.py [--l1 2 0.5] [--rounds 5]

A 256 x 256 piece of one of scikit-learn's photographs (local contrast normalised), 32 filters of
8 x 8 pixels learned from both, circular boundary (SPORCO knows no other), one thread. The goal is
an objective within 1e-4, relatively, of the least; the least is that of our codes at a relative
duality gap of 1e-8. Every method's codes are judged by the same float64 energy, and each runs just
as long as it needs: the fewest iterations (rounds of ours) after which the goal is met, found
beforehand. SPORCO is `admm.cbpdn.ConvBPDN` in float32 with over-relaxation 1.8 and its fast mode
(no statistics), with the best of automatic and fixed penalty parameters. Ours is timed twice: just
as long as it needs, as the others, and until its own certificate vouches for the goal. Times are
process CPU time, in rounds that take turns, medians. The locally greedy method is made for sparse
codes and runs only where fewer than 1 % are active. ``--plan`` only finds filters and iterations,
``--again`` takes them from the results and only times.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from places import results

from thalweg.rundir.machine import machine
from thalweg.sparse.convolution import Filters, encode_images, learn_filters
from thalweg.sparse.convolution.inference import certify_images
from thalweg.sparse.convolution.preparation import Preparation
from thalweg.sparse.reading import builtin

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import sporco
    import sporco.fft
    from sporco.admm import cbpdn

FILTERS, SIZE, SIDE, GOAL = 32, 8, 256, 1e-4
SPARSE = 0.01  # active share below which greedy descent takes part
RHOS = (None, 1.0, 3.0, 10.0, 30.0)  # None: automatic; else times the weight
MOST = 512  # iterations that are tried
CACHE = Path(tempfile.gettempdir()) / "thalweg-benchmarks" / "filters.safetensors"
RESULTS = results("sparse_convolution")


def problem(again: bool) -> tuple[np.ndarray, np.ndarray]:
    """An image ``(256, 256)`` and filters ``(32, 8, 8)``."""
    images = [Preparation("contrast").apply(image) for image in builtin("photographs").images]
    if not (again and CACHE.exists()):
        CACHE.parent.mkdir(exist_ok=True)
        learn_filters(images, FILTERS, SIZE, 1.0, steps=60, crop=48, seed=0).save(CACHE)
    return images[0][80 : 80 + SIDE, 200 : 200 + SIDE].copy(), Filters.load(CACHE).W[:, 0]


def energy(image: np.ndarray, W: np.ndarray, z: np.ndarray, l1: float) -> float:
    """In float64, by the same function for all."""
    codes = np.asarray(z, dtype=np.float64)[None]
    return float(certify_images(image, W, codes, l1, boundary="circular").energy[0])


def ours(image: np.ndarray, W: np.ndarray, l1: float, **settings: Any) -> Callable[[], np.ndarray]:
    return lambda: encode_images(image, W, l1, boundary="circular", threads=1, **settings).z[0]


def fewest(image: np.ndarray, W: np.ndarray, l1: float, solver: str, tol: float, target: float):
    """The fewest iterations of a solver of ours that reach the target: doubling, then halving."""

    def reached(count: int) -> bool:
        z = ours(image, W, l1, solver=solver, tol=tol, max_iterations=count)()
        return energy(image, W, z, l1) <= target

    high = 1
    while not reached(high):
        high *= 2
        if high > MOST:
            raise RuntimeError(f"{solver} does not reach the goal at l1 = {l1}")
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def theirs(
    image: np.ndarray,
    W: np.ndarray,
    l1: float,
    rho: float | None,
    count: int,
    target: float | None = None,
):
    """SPORCO's solver for ``count`` iterations; with a target it keeps statistics, stops there."""
    options = cbpdn.ConvBPDN.Options(
        {
            "Verbose": False,
            "FastSolve": target is None,
            "Callback": None if target is None else lambda s: s.itstat[-1].ObjFun <= target,
            "MaxMainIter": count,
            "RelStopTol": 1e-9,
            "AuxVarObj": True,
            "RelaxParam": 1.8,
            "AutoRho": {"Enabled": rho is None},
            **({} if rho is None else {"rho": rho * l1}),
        }
    )
    atoms = W.transpose(1, 2, 0).astype(np.float32)
    return cbpdn.ConvBPDN(atoms, image.astype(np.float32), l1, options)


def best_of_theirs(image: np.ndarray, W: np.ndarray, l1: float, target: float):
    """Penalty parameter and fewest iterations that reach the target."""
    found = []
    for rho in RHOS:
        most = min([MOST, *(count for count, _ in found)])
        solver = theirs(image, W, l1, rho, most, target)
        solver.solve()
        if solver.itstat[-1].ObjFun <= target:
            found.append((len(solver.itstat), rho))
    if not found:
        raise RuntimeError(f"SPORCO does not reach the goal in {MOST} iterations at l1 = {l1}")
    return min(found, key=lambda pair: pair[0])


def run_theirs(image: np.ndarray, W: np.ndarray, l1: float, rho: float | None, count: int):
    def call() -> np.ndarray:
        maps = theirs(image, W, l1, rho, count).solve()
        return np.squeeze(maps).transpose(2, 0, 1)

    return call


def plan(image: np.ndarray, W: np.ndarray, l1: float) -> dict[str, Any]:
    """The least energy, and how many iterations each method needs to come near it."""
    best = ours(image, W, l1, solver="auto", tol=1e-8)()
    least = energy(image, W, best, l1)
    target = least * (1 + GOAL)
    count, rho = best_of_theirs(image, W, l1, target)
    sparse = bool((best != 0).mean() < SPARSE)
    greedy = {"greedy": fewest(image, W, l1, "greedy", 1e-7, target)} if sparse else {}
    return {
        "l1": l1,
        "active": float((best != 0).mean()),
        "least_energy": least,
        "sporco_rho": "automatic" if rho is None else rho * l1,
        "iterations": {
            **greedy,
            "admm": fewest(image, W, l1, "admm", 2e-5, target),
            "sporco": count,
        },
    }


def measure(image: np.ndarray, W: np.ndarray, found: dict[str, Any], rounds: int) -> dict[str, Any]:
    """One weight: who needs how long?"""
    l1, least = found["l1"], found["least_energy"]
    rho = None if found["sporco_rho"] == "automatic" else found["sporco_rho"] / l1
    limits = found["iterations"]
    cycles, count = limits["admm"], limits["sporco"]
    certified = GOAL * least / (0.5 * float(np.square(image).sum())) / (1 + GOAL)
    methods = {}
    if "greedy" in limits:
        methods["thalweg greedy"] = ours(
            image, W, l1, solver="greedy", tol=1e-7, max_iterations=limits["greedy"]
        )
    methods |= {
        "thalweg admm": ours(image, W, l1, solver="admm", tol=2e-5, max_iterations=cycles),
        "thalweg auto, certified": ours(image, W, l1, solver="auto", tol=certified),
        "sporco ConvBPDN": run_theirs(image, W, l1, rho, count),
    }
    times: dict[str, list[float]] = {name: [] for name in methods}
    away = {}
    for turn in range(rounds + 1):  # the first warms up
        for name, call in methods.items():
            begin = time.process_time()
            z = call()
            taken = time.process_time() - begin
            if turn:
                times[name].append(taken)
            else:
                away[name] = energy(image, W, z, l1) / least - 1
    median = {name: statistics.median(values) for name, values in times.items()}
    peer = times["sporco ConvBPDN"]
    return found | {
        "relative_objective": {name: float(f"{value:.3g}") for name, value in away.items()},
        "cpu_seconds": {name: round(value, 3) for name, value in median.items()},
        "range": {name: [round(min(v), 3), round(max(v), 3)] for name, v in times.items()},
        "sporco_over_ours": {
            name: round(statistics.median(p / v for p, v in zip(peer, values, strict=True)), 2)
            for name, values in times.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--l1", type=float, nargs="+", default=[2.0, 0.5])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--again", action="store_true", help="only time what was found before")
    parser.add_argument("--plan", action="store_true", help="find iterations, time nothing")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    sporco.fft.pyfftw_threads = 1
    image, W = problem(asked.again)
    before = json.loads(RESULTS.read_text())["results"] if RESULTS.exists() else []
    kept = {row["l1"]: row for row in before} if asked.again else {}
    for l1 in asked.l1:
        found = kept.get(l1) or plan(image, W, l1)
        kept[l1] = found if asked.plan else measure(image, W, found, asked.rounds)
        print(json.dumps(kept[l1], indent=1), flush=True)
        keep(list(kept.values()))


def keep(found: list[dict[str, Any]]) -> None:
    record = {
        "machine": machine() | {"sporco": sporco.__version__, "threads": "1"},
        "problem": f"{SIDE} x {SIDE}, {FILTERS} filters {SIZE} x {SIZE}, goal {GOAL:g}",
        "results": found,
    }
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
