"""How fast is orthogonal matching pursuit? Ours beside SPAMS and scikit-learn.

    THALWEG_DATA=... OMP_NUM_THREADS=1 python benchmarks/sparse_omp.py [ATOMS/K ...]

Patches and dictionaries as in sparse_inference.py, k atoms a patch. One thread, process CPU time
per sample in rounds that take turns, medians; compilation is timed apart. SPAMS takes the atom that
lowers the refitted residual most (order-recursive pursuit) and judges nothing; ours takes the one
of largest correlation and adds a certificate. So both mean residuals are printed, and codes are
compared where the atoms agree.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
import warnings
from typing import Any

import numpy as np
import spams
import torch
from places import results
from sklearn.linear_model import orthogonal_mp_gram
from sparse_inference import dictionary, patches

from thalweg.rundir.machine import machine
from thalweg.sparse import encode

WORK = ((100, 5), (100, 10), (400, 10), (400, 25), (1024, 10), (1024, 25))  # atoms, k
SAMPLES, FEW, ROUNDS = 4000, 200, 7
RESULTS = results("sparse_omp")


def timed(call: Any, count: int) -> tuple[float, np.ndarray]:
    began = time.process_time()
    codes = call()
    return 1e6 * (time.process_time() - began) / count, codes


def work(m: int, k: int) -> dict[str, Any]:
    X, D = patches(SAMPLES, 2), dictionary(m)
    Xf, Df = np.asfortranarray(X.T), np.asfortranarray(D)
    gram, products = D.T @ D, D.T @ X[:FEW].T
    squares = np.square(X[:FEW]).sum(1)

    def by_sklearn() -> np.ndarray:
        made = orthogonal_mp_gram(gram, products, n_nonzero_coefs=k, norms_squared=squares)
        return np.asarray(made).T

    calls = {
        "thalweg": (lambda: encode(X, D, k, "k-sparse", threads=1).z, SAMPLES),
        "SPAMS omp": (
            lambda: spams.omp(Xf, Df, L=k, eps=0.0, numThreads=1).toarray().T,
            SAMPLES,
        ),
        "sklearn orthogonal_mp_gram": (by_sklearn, FEW),
    }
    first, _ = timed(calls["thalweg"][0], 1)
    times: dict[str, list[float]] = {name: [] for name in calls}
    codes = {}
    for _ in range(ROUNDS):
        for name, (call, count) in calls.items():
            spent, codes[name] = timed(call, count)
            times[name].append(spent)
    ours, theirs = codes["thalweg"], codes["SPAMS omp"]
    same = ((ours != 0) == (theirs != 0)).all(1)
    ratio = [b / a for a, b in zip(times["thalweg"], times["SPAMS omp"], strict=True)]
    found = {
        "atoms": m,
        "k": k,
        "first call, s": first / 1e6,
        "microseconds": {name: statistics.median(spent) for name, spent in times.items()},
        "SPAMS over thalweg": statistics.median(ratio),
        "same atoms, share": float(same.mean()),
        "largest difference there": float(np.abs(ours - theirs)[same].max()),
        "mean residual": [float(np.square(X - z @ D.T).sum(1).mean()) for z in (ours, theirs)],
    }
    print(json.dumps(found), flush=True)
    return found


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    wanted = [tuple(map(int, word.split("/"))) for word in sys.argv[1:]] or WORK
    known = json.loads(RESULTS.read_text())["work"] if RESULTS.exists() else []
    rows = {(row["atoms"], row["k"]): row for row in known}
    for m, k in wanted:
        rows[m, k] = work(m, k)
        results = {"machine": machine(), "threads": 1, "rounds": ROUNDS}
        results["work"] = [rows[key] for key in WORK if key in rows]
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
