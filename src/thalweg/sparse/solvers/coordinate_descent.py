"""Greedy coordinate descent: always the coordinate that would move most."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from thalweg.sparse.energy import Energy
from thalweg.sparse.penalties.base import soft_threshold
from thalweg.sparse.solvers.base import LASSO_LIKE, SIDED, Open, Options, Solve, Solver

_CHECK = 50  # steps between certificates


def prepare(energy: Energy, options: Options) -> Solve:
    r"""With unit atoms, :math:`S = I - D^\top D` and :math:`B = D^\top x` repeat per sample.

    .. math:: \bar z = h_\alpha(B), \quad k = \arg\max_j |\bar z_j - z_j|, \quad
        B \leftarrow B + S_{:k}(\bar z_k - z_k), \quad z_k \leftarrow \bar z_k.

    O(m) a step after the Gram matrix. Atoms of other norms are handled in units where they have
    norm one, which divides their weights by their norms.

    References:
        Li and Osher, "Coordinate descent optimization for l1 minimization", 2009;
        Gregor and LeCun, "Learning fast approximations of sparse coding", 2010, algorithm 2.
    """
    penalty: Any = energy.penalty
    matrix = energy.datafit.matrix
    norm = torch.linalg.vector_norm(matrix, dim=0)
    norm = torch.where(norm > 0, norm, 1.0)
    weight = torch.as_tensor(penalty.l1, dtype=torch.float64).to(matrix.device) / norm
    ridge = 1.0 + penalty.curvature / norm.square()
    unit = matrix / norm
    mix = torch.eye(len(norm), dtype=unit.dtype, device=unit.device) - unit.mT @ unit
    limit = options.max_iterations or 1_000_000

    def shrink(b: Tensor) -> Tensor:
        kept = (b - weight).clamp(min=0.0) if penalty.name in SIDED else soft_threshold(b, weight)
        return kept / ridge

    def solve(x: Tensor, start: Tensor | None) -> tuple[Tensor, Tensor]:
        state = Open(energy, options, x, start)
        z = state.codes * norm
        b = x.new_zeros(0, len(norm))
        for k in range(limit + 1):
            if k % _CHECK == 0 or k == limit:
                (_, z) = state.close(k, z / norm, z)
                if not len(z) or k == limit:
                    break
                b = (state.x - z @ unit.mT) @ unit + z  # afresh: the recurrence drifts
            change = shrink(b) - z
            most = change.abs().argmax(-1, keepdim=True)
            moved = change.gather(-1, most)
            b = b + mix[most.squeeze(-1)] * moved
            z = z.scatter_add(-1, most, moved)
        return state.codes, state.iterations

    return solve


SOLVER = Solver(
    name="coordinate-descent", penalties=LASSO_LIKE, devices=("cpu", "cuda"), prepare=prepare
)
