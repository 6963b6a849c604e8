r"""How do atoms move? Block coordinate descent on the quadratic that past codes define.

With ``A = Σ z zᵀ (m, m)`` and ``B = Σ z xᵀ (m, n)`` the best dictionary minimises
``½ tr(Dᵀ D A) − tr(D B)`` over unit-norm atoms. One sweep sets each atom in turn to

.. math:: u_j = \frac{B_j - \sum_i A_{ji} d_i}{A_{jj}} + d_j, \qquad d_j = u_j / \|u_j\|.

Mairal, Bach, Ponce and Sapiro, "Online learning for matrix factorization and sparse coding", 2010.
"""

from __future__ import annotations

import numba
import numpy as np
import torch
from torch import Tensor

BLOCK = 32


def sweep(atoms: Tensor, A: Tensor, B: Tensor, floor: float = 0.0) -> None:
    """One sweep over all atoms ``(m, n)`` (rows), in place; those with ``A_jj <= floor`` stay.

    Between blocks of 32 atoms the gradient comes from a matrix product; inside a block it is
    corrected atom by atom, compiled on a CPU.
    """
    inside = _inside_compiled if atoms.device.type == "cpu" else _inside
    for start in range(0, len(atoms), BLOCK):
        block = slice(start, min(start + BLOCK, len(atoms)))
        pull = torch.addmm(B[block], A[block], atoms, alpha=-1)  # B_j − Σ_i A_ji d_i
        inside(atoms[block], A[block, block], pull, floor)


def _inside(atoms: Tensor, A: Tensor, pull: Tensor, floor: float) -> None:
    """The sweep inside one block in plain tensor operations: any device, the reference."""
    for j in range(len(atoms)):
        curvature = A[j, j]
        u = pull[j] / curvature.clamp_min(1e-300) + atoms[j]
        size = u.norm()
        moves = (curvature > floor) & (size > 0)
        new = torch.where(moves, u / size.clamp_min(1e-300), atoms[j])
        pull -= torch.outer(A[:, j], new - atoms[j])
        atoms[j] = new


def _inside_compiled(atoms: Tensor, A: Tensor, pull: Tensor, floor: float) -> None:
    _kernel(atoms.numpy(), A.numpy(), pull.numpy(), floor)


@numba.njit(cache=True)
def _kernel(  # pragma: no cover - compiled
    atoms: np.ndarray, A: np.ndarray, pull: np.ndarray, floor: float
) -> None:
    m, n = atoms.shape
    for j in range(m):
        curvature = A[j, j]
        if curvature <= floor:
            continue
        square = 0.0
        for i in range(n):
            pull[j, i] = pull[j, i] / curvature + atoms[j, i]  # now u
            square += pull[j, i] * pull[j, i]
        if square == 0.0:
            continue
        inverse = 1.0 / np.sqrt(square)
        for i in range(n):
            change = pull[j, i] * inverse - atoms[j, i]
            atoms[j, i] += change
            pull[j, i] = change
        for k in range(j + 1, m):
            a = A[k, j]
            if a != 0.0:
                for i in range(n):
                    pull[k, i] -= a * pull[j, i]


def remember(A: Tensor, B: Tensor, z: Tensor, X: Tensor, scale: float) -> None:
    """``A += scale · zᵀz`` and ``B += scale · zᵀX`` in place, for codes ``z (b, m)``.

    On a CPU only the products of non-zero entries are formed: k² a sample instead of m².
    """
    if z.device.type == "cpu":
        _accumulate(A.numpy(), B.numpy(), z.numpy(), X.numpy(), scale)
    else:
        _remember(A, B, z, X, scale)


def _remember(A: Tensor, B: Tensor, z: Tensor, X: Tensor, scale: float) -> None:
    """The same in plain tensor operations: any device, the reference."""
    A.addmm_(z.T, z, alpha=scale)
    B.addmm_(z.T, X, alpha=scale)


@numba.njit(cache=True)
def _accumulate(  # pragma: no cover - compiled
    A: np.ndarray, B: np.ndarray, z: np.ndarray, X: np.ndarray, scale: float
) -> None:
    m, n = B.shape
    on = np.empty(m, dtype=np.int64)
    for s in range(len(z)):
        k = 0
        for j in range(m):
            if z[s, j] != 0.0:
                on[k] = j
                k += 1
        for p in range(k):
            j = on[p]
            value = scale * z[s, j]
            for q in range(k):
                A[j, on[q]] += value * z[s, on[q]]
            for i in range(n):
                B[j, i] += value * X[s, i]


def from_data(X: Tensor, m: int, rng: np.random.Generator) -> Tensor:
    """``m`` unit atoms ``(m, n)``: distinct signals, and random directions where they run out."""
    atoms = torch.from_numpy(rng.standard_normal((m, X.shape[1]))).to(X)
    usable = (X.square().sum(1) > 0).nonzero()[:, 0].cpu().numpy()
    chosen = rng.permutation(usable)[:m]
    picked = X[torch.from_numpy(chosen).to(X.device)]
    picked = picked / picked.norm(dim=1, keepdim=True)
    # twins share a code between them without end; keep the first of each
    twin = (picked @ picked.T).abs().tril(-1).gt(1 - 1e-9).any(1)
    atoms[: len(picked)] = torch.where(twin[:, None], atoms[: len(picked)], picked)
    return atoms / atoms.norm(dim=1, keepdim=True)
