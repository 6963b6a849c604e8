"""Greedy descent over pools: always the pool that would move most."""

from __future__ import annotations

import torch
from torch import Tensor

from thalweg.sparse.energy import Energy
from thalweg.sparse.penalties.base import weight_like
from thalweg.sparse.penalties.group import Group
from thalweg.sparse.solvers.base import Open, Options, Solve, Solver

_CHECK = 20  # steps between certificates


def prepare(energy: Energy, options: Options) -> Solve:
    r"""A proximal step on the pool g that would move most, with its own step size.

    .. math:: z_g \leftarrow \mathrm{prox}_{\alpha_g\|\cdot\|/L_g}
        \bigl(z_g + \tfrac{1}{L_g} D_g^\top(x - Dz)\bigr),\qquad L_g = \lambda_{\max}(D_g^\top D_g).

    Each step lowers the energy; for pools of orthonormal atoms it minimises over the pool.

    References:
        Tseng and Yun, "A coordinate gradient descent method for nonsmooth separable minimization",
        2009; Qin, Scheinberg and Goldfarb, "Efficient block-coordinate descent algorithms for the
        group lasso", 2013.
    """
    penalty = energy.penalty
    if not isinstance(penalty, Group):
        raise TypeError(f"block coordinate descent needs pools, got the {penalty.name} penalty")
    matrix = energy.datafit.matrix
    members = penalty.members(matrix.device)
    padded = torch.cat([matrix, matrix.new_zeros(len(matrix), 1)], 1)
    blocks = padded[:, members].permute(1, 2, 0)  # (pools, widest, n)
    bound = torch.linalg.matrix_norm(blocks, ord=2).square()
    bound = torch.where(bound > 0, bound, 1.0) * (1 + 1e-12)
    limit = options.max_iterations or 50_000

    def solve(x: Tensor, start: Tensor | None) -> tuple[Tensor, Tensor]:
        state = Open(energy, options, x, start)
        z, r = state.codes.clone(), x
        for k in range(limit + 1):
            if k % _CHECK == 0 or k == limit:
                (z,) = state.close(k, z)
                if not len(z) or k == limit:
                    break
                r = state.x - z @ matrix.mT  # afresh: the recurrence drifts
            change = _shrink(penalty, z + (r @ matrix) / penalty.spread(bound), bound) - z
            most = penalty.norms(change).argmax(-1)
            index = members[most]  # (left, widest)
            moved = torch.cat([change, change.new_zeros(len(z), 1)], 1).gather(-1, index)
            z = torch.cat([z, z.new_zeros(len(z), 1)], 1).scatter_add(-1, index, moved)[:, :-1]
            r = r - (moved.unsqueeze(-2) @ blocks[most]).squeeze(-2)
        return state.codes, state.iterations

    return solve


def _shrink(penalty: Group, v: Tensor, bound: Tensor) -> Tensor:
    norms = penalty.norms(v)
    keep = (1.0 - weight_like(penalty.l1, v) / (bound * norms)).clamp(min=0.0)
    return v * penalty.spread(torch.where(norms > 0, keep, 0.0))


SOLVER = Solver(
    name="block-coordinate-descent",
    penalties=("group",),
    devices=("cpu", "cuda"),
    prepare=prepare,
)
