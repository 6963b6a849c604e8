"""How is shrinkage undone? Keep the atoms that a code uses, and fit their amplitudes anew."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from thalweg.sparse.inputs import match, read, read_start

_BYTES = 64 * 2**20  # of gathered atoms held at once
_SINGULAR = 1e-7  # smallest pivot, for atoms of norm 1: below it least squares is not unique


def refit(X: Any, D: Any, Z: Any, *, non_negative: bool = False) -> Any:
    r"""Least squares on the support of each code.

    .. math:: \arg\min_u \tfrac12\|x - D u\|^2 \quad\text{with } u_i = 0 \text{ where } z_i = 0

    The L1 penalty picks atoms and pulls every amplitude towards zero by about its weight; this
    keeps the choice and drops the pull. Where the atoms of a support depend on each other, the
    smallest such code is taken.

    >>> import numpy as np
    >>> refit(np.array([[3.0, -0.5]]), np.eye(2), np.array([[2.0, 0.0]]))
    array([[3., 0.]])

    Args:
        X: Signals ``(b, n)``; numpy or torch.
        D: Dictionary ``(n, m)``, atoms are columns; same kind and device as ``X``.
        Z: Codes ``(b, m)``, of which only the support is read.
        non_negative: Least squares under ``u >= 0``; entries that would be negative become zero.

    Returns:
        Codes ``(b, m)`` of the kind and dtype of ``Z``.

    Raises:
        TypeError: For arrays that are not real numbers, or numpy mixed with torch.
        ValueError: For shapes that do not fit, or values that are not finite.

    References:
        Belloni and Chernozhukov, "Least squares after model selection in high-dimensional sparse
        models", 2013.
    """
    signals, dictionary = read(X, "X", "(samples, inputs)"), read(D, "D", "(inputs, atoms)")
    match(signals, dictionary)
    codes = read_start(Z, signals, dictionary.shape[1])
    if codes is None:
        raise TypeError("Z must be codes (samples, atoms), got None")
    atoms = dictionary.rows(0, dictionary.shape[0]).mT.contiguous()
    found = torch.empty(codes.shape, dtype=codes.dtype, device=codes.device)
    for begin in range(0, signals.shape[0], 4096):
        end = min(begin + 4096, signals.shape[0])
        z = codes.rows(begin, end)
        found[begin:end] = refitted(signals.rows(begin, end), atoms, z, non_negative)
    return codes.give(found)


def refitted(x: Tensor, atoms: Tensor, z: Tensor, non_negative: bool = False) -> Tensor:
    """The same for float64 tensors, ``atoms = Dᵀ (m, n)``; samples go by size of support."""
    norms = torch.linalg.vector_norm(atoms, dim=1)
    inverse = torch.where(norms > 0, 1.0 / norms, 0.0)
    unit = atoms * inverse[:, None]
    sizes = ((z != 0) & (norms > 0)).sum(1)
    order, u = sizes.argsort(), torch.zeros_like(z)
    begin = int((sizes == 0).sum())
    while begin < len(order):
        # the largest of a group is its last: as many as fit at that size
        end = begin + 1
        most = int(sizes[order[min(begin + 4095, len(order) - 1)]])
        end = min(len(order), begin + max(1, min(4096, _BYTES // (8 * most * x.shape[1]))))
        rows = order[begin:end]
        u[rows] = _group(x[rows], unit, z[rows], int(sizes[rows[-1]]))
        begin = end
    u *= inverse
    if non_negative and bool((u < 0).any()):
        _clear_negative(x, atoms, u)
    return u


def _group(x: Tensor, unit: Tensor, z: Tensor, k: int) -> Tensor:
    """Codes over atoms of norm 1 for samples with at most ``k`` of them each."""
    used = ((z != 0) & (unit.abs().amax(1) > 0)).to(torch.int8)
    on, places = used.topk(k, dim=1)
    on = on.bool()
    taken = torch.where(on[..., None], unit[places], 0.0)  # (b, k, n)
    gram = taken @ taken.mT
    eye = torch.diag_embed((~on).to(gram.dtype))
    factor, broken = torch.linalg.cholesky_ex(gram + eye)
    pivots = factor.diagonal(dim1=1, dim2=2).amin(1)
    right = taken @ x[..., None]
    value = torch.cholesky_solve(right, factor)
    # one step of refinement: a Gram matrix has the square of its atoms' condition number
    rest = taken @ (x[..., None] - taken.mT @ value)
    value = (value + torch.cholesky_solve(rest, factor))[..., 0]
    bad = (broken > 0) | (pivots < _SINGULAR)
    if bool(bad.any()):
        value[bad] = (torch.linalg.pinv(taken[bad].mT, rtol=1e-10) @ x[bad][..., None])[..., 0]
    return torch.zeros_like(z).scatter_(1, places, torch.where(on, value, 0.0))


def _clear_negative(x: Tensor, atoms: Tensor, u: Tensor) -> None:
    """Solve again under ``u >= 0`` where an entry is negative; few are, one at a time."""
    from scipy.optimize import nnls

    for row in (u < 0).any(1).nonzero()[:, 0].tolist():
        on = u[row] != 0
        columns, signal = atoms[on].mT.cpu().numpy(), x[row].cpu().numpy()
        u[row, on] = torch.from_numpy(nnls(columns, signal)[0]).to(u)
