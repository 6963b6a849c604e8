"""Once the support is right, a code is the solution of a small linear system."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from thalweg.sparse.energy import Energy
from thalweg.sparse.solvers.base import LASSO_LIKE

Polish = Callable[[Tensor, Tensor], Tensor]
_BYTES = 64 * 2**20  # of gathered atoms held at once


def polisher(energy: Energy) -> Polish | None:
    """A function ``(x, z) -> z``, exact where the signs of ``z`` are right; None for pools.

    Solves ``(G_SS + β I) z_S = (Dᵀx)_S - α sign(z_S)`` by Cholesky, batched over samples; rows
    whose system is singular come back as they were.
    """
    if energy.penalty.name not in LASSO_LIKE:
        return None
    penalty: Any = energy.penalty
    atoms = energy.datafit.matrix.mT.contiguous()  # (m, n)
    weight = torch.as_tensor(penalty.l1, dtype=torch.float64).to(atoms.device).expand(len(atoms))

    def polish(x: Tensor, z: Tensor) -> Tensor:
        counts = (z != 0).sum(-1)
        out, widest = z.clone(), int(counts.max()) if len(z) else 0
        if widest == 0:
            return out
        some = max(1, _BYTES // (8 * widest * x.shape[1]))
        for begin in range(0, len(z), some):
            rows = slice(begin, begin + some)
            out[rows] = _on_support(x[rows], z[rows], atoms, weight, penalty.curvature)
        return out

    return polish


def _on_support(x: Tensor, z: Tensor, atoms: Tensor, weight: Tensor, beta: float) -> Tensor:
    width = max(1, int((z != 0).sum(-1).max()))
    value, index = z.abs().topk(width, dim=-1)
    used = value > 0
    sign = z.gather(-1, index).sign()
    chosen = atoms[index] * used.unsqueeze(-1)  # (b, width, n), rows of zeros where unused
    gram = chosen @ chosen.mT
    gram.diagonal(dim1=-2, dim2=-1).add_(torch.where(used, beta, 1.0))
    right = (chosen @ x.unsqueeze(-1)).squeeze(-1) - weight[index] * sign
    factor, failed = torch.linalg.cholesky_ex(gram)
    solution = torch.cholesky_solve(right.unsqueeze(-1), factor).squeeze(-1)
    good = (failed == 0) & torch.isfinite(solution).all(-1)
    solution = torch.where(used & (solution * sign > 0), solution, 0.0)
    return torch.where(good.unsqueeze(-1), torch.zeros_like(z).scatter(-1, index, solution), z)
