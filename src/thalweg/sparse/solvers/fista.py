"""Accelerated proximal gradient in plain torch: the path for CUDA and for every convex penalty."""

from __future__ import annotations

import torch
from torch import Tensor

from thalweg.sparse.energy import Energy, relative
from thalweg.sparse.solvers.base import Options, Solve, Solver

_CHECK = 10  # iterations between certificates


def prepare(energy: Energy, options: Options) -> Solve:
    """Compute the step size once; solve batches by FISTA with a restart per sample.

    References:
        Beck and Teboulle, "A fast iterative shrinkage-thresholding algorithm", 2009;
        O'Donoghue and Candès, "Adaptive restart for accelerated gradient schemes", 2015.
    """
    step = 1.0 / max(energy.datafit.lipschitz(), 1e-300)
    limit = options.max_iterations or 20_000

    def solve(x: Tensor, start: Tensor | None) -> tuple[Tensor, Tensor]:
        atoms = energy.datafit.dictionary.shape[1]
        codes = x.new_zeros(len(x), atoms) if start is None else start.clone()
        iterations = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        codes[x.square().sum(-1) == 0] = 0.0
        left = torch.arange(len(x), device=x.device)
        z = y = codes.clone()
        t = x.new_ones(len(x), 1)
        for k in range(limit + 1):
            if k % _CHECK == 0 or k == limit:
                gap = energy.certificate(x, z).gap
                if gap is None:
                    raise ValueError("fista needs a penalty with a duality gap")
                codes[left], iterations[left] = z, k
                open_ = relative(gap, x) > options.tol
                left, x, y, z, t = left[open_], x[open_], y[open_], z[open_], t[open_]
                if not len(left) or k == limit:
                    break
            new = energy.penalty.prox(y - step * energy.grad(x, y), step)
            # the momentum points uphill: start it again, for this sample alone
            uphill = ((y - new) * (new - z)).sum(-1, keepdim=True) > 0
            t = torch.where(uphill, 1.0, t)
            ahead = (1 + (1 + 4 * t.square()).sqrt()) / 2
            y = new + torch.where(uphill, 0.0, (t - 1) / ahead) * (new - z)
            z, t = new, ahead
        return codes, iterations

    return solve


SOLVER = Solver(
    name="fista",
    penalties=("l1", "weighted-l1", "non-negative", "elastic-net", "group"),
    devices=("cpu", "cuda"),
    prepare=prepare,
)
