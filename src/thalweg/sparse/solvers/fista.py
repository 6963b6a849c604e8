"""Accelerated proximal gradient in plain torch: the path for CUDA and for every convex penalty."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from thalweg.sparse.energy import Energy
from thalweg.sparse.solvers.base import CONVEX, Open, Options, Solve, Solver
from thalweg.sparse.solvers.polish import Polish, polisher

_CHECK = 10  # steps between certificates
_LIMIT = 20_000
_COARSE = 1e-5  # relative gap down to which float32 steps are trusted


def prepare(energy: Energy, options: Options) -> Solve:
    r"""Proximal steps from an extrapolated point, with three additions that leave the answer alone.

    Momentum starts again for a sample whose step turns uphill; samples that are done leave the
    batch; where the signs of a code have settled, the least-squares problem on its support is
    solved directly and taken if its certificate is better. Without them the energy after k steps is
    within :math:`2L\|z^\star\|^2/(k+1)^2` of its minimum when started from zero. When float32 codes
    are asked for, steps run in float32 until a gap of 1e-5 and in float64 from there.

    References:
        Beck and Teboulle, "A fast iterative shrinkage-thresholding algorithm", 2009;
        O'Donoghue and Candès, "Adaptive restart for accelerated gradient schemes", 2015.
    """
    limit = options.max_iterations or _LIMIT
    polish = polisher(energy)

    def solve(x: Tensor, start: Tensor | None) -> tuple[Tensor, Tensor]:
        state = Open(energy, options, x, start)
        if options.dtype == torch.float32 and options.tol < _COARSE and limit > _CHECK:
            coarse = Open(energy, replace(options, tol=_COARSE), x, start)
            _descend(coarse, energy, polish, torch.float32, min(limit // 2, 2000))
            state.codes, before = coarse.codes, coarse.iterations
            _descend(state, energy, polish, torch.float64, limit - limit // 2)
            return state.codes, state.iterations + before
        _descend(state, energy, polish, torch.float64, limit)
        return state.codes, state.iterations

    return solve


def _descend(
    state: Open, energy: Energy, polish: Polish | None, dtype: torch.dtype, limit: int
) -> None:
    """FISTA on the open samples until every gap is small enough or ``limit`` steps are done."""
    step, datafit, penalty = energy.step(), energy.datafit.to(dtype), energy.penalty
    z = state.codes[state.index].to(dtype)
    x, y, t, signs = state.x.to(dtype), z, z.new_ones(len(z), 1), z.sign()
    for k in range(limit + 1):
        if k % _CHECK == 0 or k == limit:
            exact, gap = z.to(torch.float64), state.gap(z.to(torch.float64))
            if polish is not None:
                exact, gap = _try(state, polish, exact, gap, (z.sign() == signs).all(-1))
            signs = z.sign()
            exact, x, y, z, t, signs = state.close(k, exact, x, y, z, t, signs, gap=gap)
            if not len(z) or k == limit:
                return
        new = penalty.prox(y - step * datafit.grad(x, y), step)
        # the momentum points uphill: start it again, for this sample alone
        uphill = ((y - new) * (new - z)).sum(-1, keepdim=True) > 0
        t = torch.where(uphill, 1.0, t)
        ahead = (1 + (1 + 4 * t.square()).sqrt()) / 2
        y = new + torch.where(uphill, 0.0, (t - 1) / ahead) * (new - z)
        z, t = new, ahead


def _try(
    state: Open, polish: Polish, z: Tensor, gap: Tensor, settled: Tensor
) -> tuple[Tensor, Tensor]:
    """Polish the settled codes that are not good enough; keep what has the smaller gap."""
    rows = (settled & (gap > state.tol)).nonzero().squeeze(-1)
    if not len(rows):
        return z, gap
    better = polish(state.x[rows], z[rows])
    found = state.gap(better, rows)
    wins = found < gap[rows]
    z, gap = z.clone(), gap.clone()
    z[rows[wins]], gap[rows[wins]] = better[wins], found[wins]
    return z, gap


SOLVER = Solver(name="fista", penalties=CONVEX, devices=("cpu", "cuda"), prepare=prepare)
