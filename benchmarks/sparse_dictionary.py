"""Dictionary learning: CPU seconds to an equal held-out objective, ours, SPAMS and scikit-learn.

    THALWEG_DATA=... OMP_NUM_THREADS=1 python benchmarks/sparse_dictionary.py [RUN ...]

79 000 patches of 10 x 10 pixels (mean removed, norm 1) of Kodak's landscape photographs, 256 atoms,
weight 0.1; held out: 4 000 patches of the portrait photographs. Every learner starts from the same
256 signals and works with one thread in float64; the objective is the mean energy of exact codes
over its atoms, scaled to norm 1. Each peer is run with several settings of its own knobs and its
fastest setting is the one compared. Finished runs are kept in the results file and not repeated;
words limit this call to the runs whose names contain one of them, and it ends once ``--seconds``
are over. Without THALWEG_DATA scikit-learn's two photographs serve, one to learn from and one
held out.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from places import results

from thalweg.rundir.machine import machine
from thalweg.sparse import encode, learn_dictionary
from thalweg.sparse.patches import Preprocessing, grey, sample_patches
from thalweg.sparse.reading import builtin

ATOMS, L1, SIZE, SAMPLES, HELD_OUT = 256, 0.1, 10, 79_000, 4_000
OURS = {  # name: (settings, passes of the runs)
    "default": ({}, (0.1, 0.25, 0.5, 1, 2, 4)),
    "forgetting 3": ({"forgetting": 3.0}, (0.5, 1, 2)),
}
SPAMS = {  # name: (settings, iterations of the runs)
    "parameter-free, 512": ({"modeParam": 0, "batchsize": 512}, (50, 150, 400)),
    "rho 0.9, 512": ({"modeParam": 2, "rho": 0.9, "batchsize": 512}, (50, 150, 400)),
    "rho 0.95, 512": ({"modeParam": 2, "rho": 0.95, "batchsize": 512}, (50, 150, 400)),
    "rho 0.97, 256": ({"modeParam": 2, "rho": 0.97, "batchsize": 256}, (100, 300, 800)),
    "rho 0.9, 1024": ({"modeParam": 2, "rho": 0.9, "batchsize": 1024}, (25, 75, 200)),
}
SKLEARN = {  # name: (settings, batches of the runs)
    "cd, 256": ({"fit_algorithm": "cd", "batch_size": 256}, (40, 150, 500)),
    "lars, 256": ({"fit_algorithm": "lars", "batch_size": 256}, (40, 150)),
    "cd, 1024": ({"fit_algorithm": "cd", "batch_size": 1024}, (15, 60)),
}
RESULTS = results("sparse_dictionary")


def data() -> tuple[np.ndarray, np.ndarray]:
    """Signals to learn from and held-out ones."""
    folder = os.environ.get("THALWEG_DATA")
    if folder:
        with np.load(Path(folder) / "natural-images" / "kodak24_grey.npz") as file:
            train = [grey(image) for image in file["landscape"]]
            test = [grey(image) for image in file["portrait"]]
    else:
        train, test = ([image] for image in builtin("photographs").images)
    prepare = Preprocessing((SIZE, SIZE), True, "unit").apply
    return (
        prepare(sample_patches(train, SIZE, SAMPLES, seed=0))[0],
        prepare(sample_patches(test, SIZE, HELD_OUT, seed=1))[0],
    )


def ours(X, init, settings, passes):
    start = time.process_time()
    D = learn_dictionary(X, ATOMS, L1, passes=passes, init=init, threads=1, **settings).D
    return D, time.process_time() - start


def spams_(X, init, settings, iterations):
    import spams

    signals, first = np.asfortranarray(X.T), np.asfortranarray(init.copy())
    start = time.process_time()
    D = spams.trainDL(
        signals,
        D=first,
        lambda1=L1,
        mode=2,
        iter=iterations,
        numThreads=1,
        verbose=False,
        **settings,
    )
    return D, time.process_time() - start


def sklearn_(X, init, settings, batches):
    from sklearn.decomposition import MiniBatchDictionaryLearning

    size = settings["batch_size"]
    learner = MiniBatchDictionaryLearning(
        ATOMS, alpha=L1, dict_init=init.T.copy(), n_jobs=1, random_state=0, **settings
    )
    order = np.random.default_rng(0).permutation(len(X))
    start = time.process_time()
    for i in range(batches):
        learner.partial_fit(X[order.take(range(i * size, (i + 1) * size), mode="wrap")])
    return learner.components_.T, time.process_time() - start


def objective(D: np.ndarray, X: np.ndarray) -> float:
    norms = np.linalg.norm(D, axis=0)
    D = np.ascontiguousarray(D[:, norms > 0] / norms[norms > 0])
    return float(encode(X, D, L1, tol=1e-6, threads=1).energy.mean())


def seconds_to(level: float, curve: list[list[float]]) -> float | None:
    """CPU seconds at which a curve of (seconds, objective) reaches a level, log-interpolated."""
    for (t0, f0), (t1, f1) in pairwise(curve):
        if f1 <= level <= f0:
            share = (f0 - level) / (f0 - f1)
            return float(np.exp(np.log(t0) + share * (np.log(t1) - np.log(t0))))
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="*", default=[""], help="parts of names; without: all")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    asked = parser.parse_args()
    begun = time.perf_counter()
    torch.set_num_threads(1)
    X, held_out = data()
    init = X[np.random.default_rng(5).permutation(len(X))[:ATOMS]].T.copy()
    learn_dictionary(X[:1000], ATOMS, L1, passes=1, threads=1)  # compile
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"runs": {}}
    setting = {
        "atoms": ATOMS,
        "l1": L1,
        "samples": SAMPLES,
        "held_out": HELD_OUT,
        "threads": 1,
        "images": "kodak" if os.environ.get("THALWEG_DATA") else "scikit-learn",
    }
    if found.get("setting", setting) != setting or found.get("machine", machine()) != machine():
        found = {"runs": {}}  # of other data or another machine
    found |= {"setting": setting, "machine": machine()}
    for who, run, table in (
        ("ours", ours, OURS),
        ("spams", spams_, SPAMS),
        ("scikit-learn", sklearn_, SKLEARN),
    ):
        for name, (settings, lengths) in table.items():
            for length in lengths:
                key = f"{who} / {name} / {length}"
                if not any(word in key for word in asked.runs):
                    continue
                if key not in found["runs"]:
                    if time.perf_counter() - begun > asked.seconds:
                        continue
                    D, seconds = run(X, init, settings, length)
                    found["runs"][key] = [seconds, objective(D, held_out)]
                    RESULTS.write_text(json.dumps(found, indent=1))
                print(key, found["runs"][key], flush=True)
    found["ratios"] = ratios(found["runs"])
    RESULTS.write_text(json.dumps(found, indent=1))
    print(json.dumps(found["ratios"], indent=1))


def ratios(runs: dict[str, list[float]]) -> list[dict[str, float]]:
    """At every objective a peer's run ended with: our CPU seconds (defaults) and the peer's.

    A peer's time to a level is that of its fastest setting, so only runs that no other setting of
    the same peer beats in both time and objective are listed.
    """
    if "ours / default / 4" not in runs:
        return []  # the measure of all others
    curves: dict[str, list[list[float]]] = {}
    for key, point in runs.items():
        curves.setdefault(key.rpartition(" / ")[0], []).append(point)
    own, rows = sorted(curves["ours / default"]), []
    for who in ("spams", "scikit-learn"):
        points = [(p, key) for key, p in runs.items() if key.startswith(who)]
        for (seconds, level), key in sorted(points):
            beaten = any(s < seconds and f <= level for (s, f), _ in points)
            mine = seconds_to(level, own)
            if not beaten and mine is not None:
                rows.append(
                    {"peer": key, "objective": level, "seconds": seconds, "ours": mine,
                     "ratio": seconds / mine}
                )  # fmt: skip
    return rows


if __name__ == "__main__":
    main()
