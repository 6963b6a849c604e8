"""How long does an amortisation gap at a language model's size take, in how much memory?

    OMP_NUM_THREADS=2 python benchmarks/sparse_gap.py [--samples 1000] [--problem k l1]

1 000 activations of length 768 and 16 384 units, k = 32, non-negative. The weights are planted, not
a released autoencoder's (none is at hand): atoms share a low-dimensional part, so that they are
coherent; activations are 32 of them with exponential amplitudes, a bias and 5 % noise; the encoder
is the tied top-k one. So the gap's *size* here says nothing of real autoencoders; time and memory
depend on shapes, k and the number of exchanges only. Each problem runs in a process of its own;
the peak is that of the whole process, PyTorch included. The second run is timed: the first one
compiles.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

import torch
from places import results

from thalweg.rundir.machine import machine
from thalweg.sparse.amortisation import amortisation_gap

N, M, K, L1 = 768, 16_384, 32, 0.3
RESULTS = results("sparse_gap")


def planted(samples: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    shared = torch.randn(64, N, generator=g)
    D = 0.6 * torch.randn(M, 64, generator=g) @ shared / 8 + torch.randn(M, N, generator=g)
    D /= D.norm(dim=1, keepdim=True)
    bias = 0.1 * torch.randn(N, generator=g)
    X = torch.empty(samples, N)
    for i in range(samples):
        chosen = torch.randperm(M, generator=g)[:K]
        X[i] = torch.empty(K).exponential_(generator=g) @ D[chosen]
    X += 0.05 * X.norm(dim=1, keepdim=True) * torch.randn(X.shape, generator=g) / N**0.5
    return D, bias, X + bias


def measure(problem: str, samples: int) -> dict[str, Any]:
    D, bias, X = planted(samples)

    def encode(x: torch.Tensor) -> torch.Tensor:
        a = torch.relu((x - bias) @ D.T)
        top = a.topk(K)
        return torch.zeros_like(a).scatter_(-1, top.indices, top.values)

    asked: dict[str, Any] = {"k": K} if problem == "k" else {"l1": L1}
    amortisation_gap(encode, D, bias, X[:8], **asked)  # compiles
    wall, cpu = time.perf_counter(), time.process_time()
    gap = amortisation_gap(encode, D, bias, X, **asked)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    kinds = ("encoder", "refit", "optimal", "optimal_refit")
    return {
        "problem": problem,
        **asked,
        "samples": samples,
        "inputs": N,
        "atoms": M,
        "threads": torch.get_num_threads(),
        "seconds": round(wall, 1),
        "cpu_seconds": round(cpu, 1),
        "peak_GB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2),
        "fvu": {kind: round(gap.total_fvu(kind), 5) for kind in kinds},
        "l0": {kind: round(float(getattr(gap, kind).l0.mean()), 1) for kind in kinds},
        "excess_over_optimal": round(float(gap.excess.sum() / gap.optimal.energy.sum()), 4),
        "wrong_supports": round(float(gap.wrong.mean()), 3),
        "missed_atoms": round(float(gap.missed.mean()), 3),
        "worst_gap": None if gap.certificate is None else float(gap.certificate.max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--problem", nargs="+", default=["k", "l1"], choices=["k", "l1"])
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measure(asked.one, asked.samples)))
        return
    found = []
    for problem in asked.problem:
        words = [sys.executable, __file__, "--one", problem, "--samples", str(asked.samples)]
        out = subprocess.run(words, check=True, capture_output=True, text=True).stdout
        found.append(json.loads(out))
        print(json.dumps(found[-1], indent=1))
    RESULTS.write_text(json.dumps({"machine": machine(), "results": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
