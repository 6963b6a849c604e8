"""How long does an exact sparse code take? Ours beside SPAMS, scikit-learn and proximal gradients.

    THALWEG_DATA=... OMP_NUM_THREADS=1 python benchmarks/sparse_inference.py [time|memory|first ...]

Natural 10 x 10 patches (mean removed, norm 1, low contrast dropped; Kodak's photographs if
THALWEG_DATA names their folder, else scikit-learn's two), dictionaries learned by SPAMS and kept
outside the repository. One thread. Every method's codes are checked by an independent certificate:
duality gap over half the squared norm at most 1e-6 for every sample (or the shortfall is printed).
Times are process CPU time per sample, in rounds that take turns; the ratio is ours against the
other in the same round. Compilation is timed apart. ``--atoms`` and ``--rounds`` take less.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", os.environ["OMP_NUM_THREADS"])

import numpy as np
import spams
import torch
from places import results
from sklearn.decomposition import sparse_encode
from sklearn.linear_model import Lasso

from thalweg.rundir.machine import machine
from thalweg.sparse import encode

TOL, ROUNDS, SIZE = 1e-6, 7, 10
WORK = ((100, 0.18), (400, 0.08), (1024, 0.095), (1024, 0.037))  # atoms, weight
SAMPLES = {"thalweg": 2000, "thalweg, float32": 2000, "SPAMS lasso": 2000}
SAMPLES |= {"sklearn lasso_cd": 300, "sklearn Lasso, tol 5e-7": 300, "torch FISTA": 300}
ISTA_SAMPLES, ISTA_LIMIT = 40, 20_000
RESULTS = results("sparse_inference")
CACHE = Path(tempfile.gettempdir()) / "thalweg-benchmarks"


def photographs() -> list[np.ndarray]:
    folder = os.environ.get("THALWEG_DATA")
    if folder:
        with np.load(Path(folder) / "natural-images" / "kodak24_grey.npz") as archive:
            return [image for key in ("landscape", "portrait") for image in archive[key]]
    from sklearn.datasets import load_sample_images

    return [image.mean(-1) for image in load_sample_images().images]


def patches(count: int, seed: int) -> np.ndarray:
    rng, found, images = np.random.default_rng(seed), [], photographs()
    each = 2 * count // len(images) + 1
    for image in images:
        rows = rng.integers(0, image.shape[0] - SIZE, each)
        columns = rng.integers(0, image.shape[1] - SIZE, each)
        cut = [
            image[r : r + SIZE, c : c + SIZE].ravel() for r, c in zip(rows, columns, strict=True)
        ]
        found.append(np.array(cut, float))
    X = np.concatenate(found)
    X -= X.mean(1, keepdims=True)
    X = X[X.std(1) > np.quantile(X.std(1), 0.3)]
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    return X[rng.permutation(len(X))[:count]]


def dictionary(m: int) -> np.ndarray:
    CACHE.mkdir(exist_ok=True)
    source = "kodak" if os.environ.get("THALWEG_DATA") else "sklearn"
    path = CACHE / f"dictionary-{source}-{m}.npy"
    if not path.exists():
        X = np.asfortranarray(patches(60_000, 1).T)
        D = spams.trainDL(X, K=m, lambda1=0.05, iter=400, numThreads=1, verbose=False)
        np.save(path, D)
    return np.ascontiguousarray(np.load(path))


def gap(X: np.ndarray, D: np.ndarray, Z: np.ndarray, l1: float) -> np.ndarray:
    """The certificate, written once more."""
    X, Z = X.astype(float), Z.astype(float)
    R = X - Z @ D.T
    rr, xr = (R * R).sum(1), (X * R).sum(1)
    s = np.minimum(xr / rr, l1 / abs(R @ D).max(1))
    return (0.5 * rr + l1 * abs(Z).sum(1) - s * xr + 0.5 * s * s * rr) / (0.5 * (X * X).sum(1))


def methods(X: np.ndarray, D: np.ndarray, l1: float) -> dict[str, Callable[[int], np.ndarray]]:
    X32, Xt, Dt = X.astype(np.float32), torch.tensor(X), torch.tensor(D)
    Xf, Df, rows, gram = np.asfortranarray(X.T), np.asfortranarray(D), D.T.copy(), D.T @ D

    def lasso(count: int) -> np.ndarray:
        model = Lasso(l1 / D.shape[0], fit_intercept=False, precompute=gram, tol=5e-7)
        return model.set_params(max_iter=100_000).fit(D, X[:count].T, check_input=False).coef_

    def by_spams(count: int) -> np.ndarray:
        return spams.lasso(np.asfortranarray(Xf[:, :count]), Df, lambda1=l1, mode=2, numThreads=1)

    def lasso_cd(count: int) -> np.ndarray:
        settings: dict[str, Any] = {"algorithm": "lasso_cd", "alpha": l1, "max_iter": 100_000}
        return sparse_encode(X[:count], rows, n_jobs=1, **settings)

    return {
        "thalweg": lambda count: encode(X[:count], D, l1, tol=TOL, threads=1).z,
        "thalweg, float32": lambda count: encode(X32[:count], D, l1, tol=TOL, threads=1).z,
        "SPAMS lasso": by_spams,
        "sklearn lasso_cd": lasso_cd,
        "sklearn Lasso, tol 5e-7": lasso,
        "torch FISTA": lambda count: encode(Xt[:count], Dt, l1, solver="fista", tol=TOL).z.numpy(),
    }


def timed(call: Callable[[int], Any], count: int) -> tuple[float, Any]:
    began = time.process_time()
    codes = call(count)
    return 1e6 * (time.process_time() - began) / count, codes


def work(m: int, l1: float, rounds: int) -> dict[str, Any]:
    D, X = dictionary(m), patches(2000, 2)
    calls = methods(X, D, l1)
    found: dict[str, list[float]] = {name: [] for name in calls}
    gaps: dict[str, float] = {}
    for name, call in calls.items():
        Z = call(SAMPLES[name])
        Z = np.asarray(Z.todense()).T if name.startswith("SPAMS") else np.atleast_2d(Z)
        gaps[name] = float(gap(X[: len(Z)], D, Z, l1).max())
        if name == "thalweg":
            active = float((Z != 0).sum(1).mean())
    for _ in range(rounds):
        for name, call in calls.items():
            found[name].append(timed(call, SAMPLES[name])[0])
    rows = {}
    for name, times in found.items():
        low, middle, high = np.percentile(times, [25, 50, 75])
        ratio = float(np.median(np.array(times) / np.array(found["thalweg"])))
        rows[name] = {"us": middle, "us_quartiles": [low, high], "ratio": ratio, "gap": gaps[name]}
    ista = lambda count: encode(X[:count], D, l1, solver="ista", max_iterations=ISTA_LIMIT)  # noqa: E731
    us, codes = timed(ista, ISTA_SAMPLES)
    ratio = us / float(rows["thalweg"]["us"])
    rows["torch ISTA"] = {"us": us, "us_quartiles": [us, us], "ratio": ratio}
    rows["torch ISTA"] |= {"gap": float(codes.gap.max()), "open": int((~codes.converged).sum())}
    print(f"\nn = {D.shape[0]}, m = {m}, l1 = {l1}, {active:.1f} active on average, one thread")
    print(f"{'':26}{'us/sample':>10}{'quartiles':>20}{'x ours':>8}{'worst gap':>11}")
    for name, row in rows.items():
        low, high = row["us_quartiles"]
        late = f"  {row['open']} of {ISTA_SAMPLES} not done" if row.get("open") else ""
        print(
            f"{name:26}{row['us']:10.1f}{low:10.1f} -{high:8.1f}{row['ratio']:8.2f}"
            f"{row['gap']:11.1e}{late}",
            flush=True,
        )
    return {"n": D.shape[0], "m": m, "l1": l1, "active": active, "rows": rows}


MEMORY = """
import resource, sys, numpy as np
from thalweg.sparse import encode
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
D = np.load(sys.argv[1]); small = np.load(sys.argv[2])
encode(small[:300], D, 0.095)
X = np.resize(small, (100_000, small.shape[1])).astype(np.float32)
before = int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
codes = encode(X, D, 0.095)
extra = peak() - before - codes.z.nbytes
print(extra / 2**20, bool(codes.converged.all()))
"""

FIRST = """
import time, torch, numpy as np
X, D = np.random.default_rng(0).standard_normal((50, 10)), np.eye(10)
wall, cpu = time.perf_counter(), time.process_time()
from thalweg.sparse import encode
encode(X, D, 0.1)
print(time.perf_counter() - wall, time.process_time() - cpu)
"""


def memory() -> dict[str, Any]:
    dictionary(1024)
    source = "kodak" if os.environ.get("THALWEG_DATA") else "sklearn"
    path, some = CACHE / f"dictionary-{source}-1024.npy", CACHE / "some.npy"
    np.save(some, patches(5000, 3))
    command = [sys.executable, "-c", MEMORY, str(path), str(some)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    print(f"\npeak extra memory, 100 000 patches at m = 1024, beyond float32 codes: {out[0]} MiB")
    return {"extra_mib": float(out[0]), "converged": out[1] == "True"}


def first() -> dict[str, Any]:
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("cold", "cached"):
            environment = os.environ | {"NUMBA_CACHE_DIR": folder}
            command = [sys.executable, "-c", FIRST]
            done = subprocess.run(
                command, capture_output=True, text=True, check=True, env=environment
            )
            wall, cpu = (float(word) for word in done.stdout.split())
            found[name] = {"seconds": wall, "cpu_seconds": cpu}
            print(f"first call, {name}: {wall:.2f} s, {cpu:.2f} s of CPU time (torch imported)")
    return found


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = ("time", "memory", "first")
    parser.add_argument("parts", nargs="*", choices=parts, default=parts)
    parser.add_argument("--atoms", type=int, help="only dictionaries of this size")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    asked = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results |= {"machine": machine(), "threads": 1, "tol": TOL, "rounds": asked.rounds}
    if "time" in asked.parts:
        wanted = [(m, l1) for m, l1 in WORK if asked.atoms in (None, m)]
        results["work"] = [work(m, l1, asked.rounds) for m, l1 in wanted]
    if "memory" in asked.parts:
        results["memory"] = memory()
    if "first" in asked.parts:
        results["first_call"] = first()
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
