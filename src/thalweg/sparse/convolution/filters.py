r"""How do filters move? Projected gradient steps on the quadratic that past codes define.

With ``A_kl(δ) = Σ_p z_k(p) z_l(p + δ)`` and ``B_k(t) = Σ_p z_k(p) y(p + t)`` the datafit is

.. math:: \tfrac12 \sum_{kl} \langle W_k, A_{kl} * W_l\rangle - \sum_k \langle W_k, B_k\rangle,

and filter after filter moves to ``W_k + (B_k - Σ_l A_kl * W_l) / L_k``, scaled back to norm one;
``L_k`` is the largest eigenvalue of the Toeplitz matrix of ``A_kk``, so no step raises the energy.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d

STEPS = 3  # of the gradient, each time a filter has its turn
OFF = 0.25  # share of a side: less is no harm, and moving costs what was learned of the border


def sweep(filters: Tensor, A: Tensor, B: Tensor, floor: float = 0.0) -> None:
    """One turn for every filter, in place; those with ``A_kk(0) <= floor`` stay.

    Args:
        filters: ``(K, c, a, b)``, each of norm one.
        A: Correlations of codes ``(K, 2a - 1, 2b - 1, K)``.
        B: Correlations of codes with images ``(K, c, a, b)``.
        floor: Least use of a filter that is moved.
    """
    a, b = filters.shape[2:]
    use = A[:, a - 1, b - 1].diagonal()
    bounds = largest_eigenvalues(A, a, b)
    maps = A.permute(0, 3, 1, 2)  # (K, K, 2a - 1, 2b - 1)
    for k in (use > floor).nonzero()[:, 0].tolist():
        row = maps[k : k + 1].contiguous()
        for _ in range(STEPS):
            # a convolution, and conv2d correlates: the filters are turned round
            image = conv2d(row, filters.flip(2, 3).transpose(0, 1))[0]  # (c, a, b)
            moved = filters[k] + (B[k] - image) / bounds[k]
            norm = moved.norm()
            if float(norm) > 0:
                filters[k] = moved / norm


def largest_eigenvalues(A: Tensor, a: int, b: int) -> Tensor:
    """Of the Toeplitz matrix ``A_kk(t - u)`` over pixels t, u of a filter, ``(K,)``."""
    own = torch.diagonal(A, dim1=0, dim2=3).permute(2, 0, 1)  # (K, 2a - 1, 2b - 1)
    y, x = torch.meshgrid(
        torch.arange(a, device=A.device), torch.arange(b, device=A.device), indexing="ij"
    )
    y, x = y.flatten(), x.flatten()
    matrix = own[:, y[:, None] - y + a - 1, x[:, None] - x + b - 1]
    top = torch.linalg.eigvalsh(0.5 * (matrix + matrix.mT))[:, -1]
    return top.clamp_min(torch.finfo(A.dtype).tiny) * (1 + 1e-9)


def centre(filters: Tensor, A: Tensor, B: Tensor, which: Tensor) -> int:
    """Move filters whose energy lies far off the middle back to it, in place; how many moved.

    A filter that has begun beside its pattern is cut off at one border, and no small step ever
    brings it back: the codes would have to move too. Statistics move with their filter; what comes
    in from outside is unknown, zero, and soon learned anew.

    Args:
        filters: ``(K, c, a, b)``.
        A: Correlations of codes ``(K, 2a - 1, 2b - 1, K)``.
        B: Correlations of codes with images ``(K, c, a, b)``.
        which: Filters that may move ``(K,)``.
    """
    a, b = filters.shape[2:]
    power = filters.square().sum(1)
    power = power / power.sum((1, 2), keepdim=True)
    y = torch.arange(a, dtype=filters.dtype, device=filters.device) - (a - 1) / 2
    x = torch.arange(b, dtype=filters.dtype, device=filters.device) - (b - 1) / 2
    down, right = power.sum(2) @ y, power.sum(1) @ x
    far = which & ((down.abs() > a * OFF) | (right.abs() > b * OFF))
    moved = 0
    for k in far.nonzero()[:, 0].tolist():
        dy, dx = round(float(down[k])), round(float(right[k]))
        moved += 1
        shifted = _shift(filters[k], -dy, -dx)
        filters[k] = shifted / shifted.norm()
        B[k] = _shift(B[k], -dy, -dx)
        # codes move the other way: z_k(p) becomes z_k(p - d), A_kl(δ) becomes A_kl(δ - d)
        own = A[k, :, :, k].clone()
        A[k] = _shift(A[k].permute(2, 0, 1), -dy, -dx).permute(1, 2, 0)
        A[..., k] = _shift(A[..., k], dy, dx)
        A[k, :, :, k] = own
    return moved


def _shift(maps: Tensor, dy: int, dx: int) -> Tensor:
    """``maps (…, h, w)`` moved down by ``dy`` and right by ``dx``; zeros come in."""
    h, w = maps.shape[-2:]
    out = torch.zeros_like(maps)
    if abs(dy) < h and abs(dx) < w:
        out[..., max(dy, 0) : h + min(dy, 0), max(dx, 0) : w + min(dx, 0)] = maps[
            ..., max(-dy, 0) : h + min(-dy, 0), max(-dx, 0) : w + min(-dx, 0)
        ]
    return out


def objective(filters: Tensor, A: Tensor, B: Tensor) -> Tensor:
    """The quadratic itself, for tests and step checks."""
    image = conv2d(A.permute(0, 3, 1, 2).contiguous(), filters.flip(2, 3).transpose(0, 1))
    return 0.5 * (filters * image).sum() - (filters * B).sum()
