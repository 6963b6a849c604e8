"""Peak memory of products with the Hessian, beside that of one gradient of all samples at once.

    OMP_NUM_THREADS=1 python benchmarks/surface_memory.py [lenet transformer resnet]

Each figure is a process of its own: peak resident set after two products (recording and what is
kept for all chunks included), less that before; what either takes at the first call anyhow (lazy
imports, a product on two samples) comes first. ``kept`` is what stays for the next product.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from typing import Any

from race_plain import keep

METHODS = ("gradient", "graph", "split", "recompute")


def peak() -> float:
    """MiB that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def one(name: str, method: str) -> tuple[float, float]:
    """MiB at the peak, and kept, in this process."""
    import torch
    from surface_problems import case, gradient, loss

    from thalweg.curvature import hessian

    torch.set_num_threads(1)
    problem = case(name)
    options: dict[str, Any] = {} if method == "gradient" else {"engine": method}
    few = tuple(t[:2] for t in problem.data)
    v = torch.randn(problem.p, generator=torch.Generator().manual_seed(0))
    gradient(problem, [few])
    hessian(problem.model, loss, few, **options) @ v
    before = peak()
    if method == "gradient":
        gradient(problem, problem.batches(len(problem.data[0])))
        return peak() - before, 0.0
    op = hessian(problem.model, loss, problem.data, **options)
    for _ in range(2):
        op @ v
    return peak() - before, getattr(op._engine, "bytes", 0) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=["lenet", "transformer", "resnet"])
    parser.add_argument("--one", metavar="METHOD", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(*one(given.names[0], given.one))
        return
    for name in given.names:
        found: dict[str, dict[str, float]] = {}
        for method in METHODS:
            words = [sys.executable, __file__, name, "--one", method]
            text = subprocess.run(words, check=True, capture_output=True, text=True).stdout
            taken, kept = map(float, text.split())
            found[method] = {"peak MiB": taken, "kept MiB": kept}
            share = taken / max(found["gradient"]["peak MiB"], 1e-9)
            print(f"{name:12} {method:10} peak {taken:7.1f} MiB, {share:5.2f} gradients, "
                  f"kept {kept:6.1f} MiB", flush=True)  # fmt: skip
        keep("surface_memory", **{name: found})


if __name__ == "__main__":
    main()
