"""What torch has no single pass for on the CPU (numba).

Cross-entropy of few classes: torch's reductions along ten numbers cost more than the linear layers
before them; the exponential between the two passes is torch's, which runs on vectors. Layer
normalisation with an affine map for every member: torch's kernels know one map for all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

_SETTINGS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}


# sums may be reordered into vectors; numbers that are not finite keep their meaning
_SUMS: dict[str, Any] = _SETTINGS | {"fastmath": {"reassoc", "contract", "nsz", "arcp"}}


@njit(**_SETTINGS)
def shift(logits, shifted):
    """``shifted = logits - max of the row``; both ``(rows, C)``."""
    for r in range(logits.shape[0]):
        top = logits[r, 0]
        for c in range(1, logits.shape[1]):
            if logits[r, c] > top:
                top = logits[r, c]
        for c in range(logits.shape[1]):
            shifted[r, c] = logits[r, c] - top


@njit(**_SETTINGS)
def finish(shifted, p, target, losses):
    """Mean losses of each member, and ``p`` from exponentials to gradients.

    ``shifted``, ``p``: ``(K n, C)``. ``target``: ``(K n,)``, or ``(n,)`` shared by all members.
    ``losses (K,)`` is written. A target that names no class makes its member's loss NaN.
    """
    k = losses.shape[0]
    n = shifted.shape[0] // k
    real = p.dtype.type
    for member in range(k):
        total = real(0)
        for i in range(n):
            r = member * n + i
            t = target[r % target.shape[0]]
            mass = real(0)
            for c in range(p.shape[1]):
                mass += p[r, c]
            scale = real(1) / (mass * real(n))
            for c in range(p.shape[1]):
                p[r, c] *= scale
            if 0 <= t < p.shape[1]:
                total += np.log(mass) - shifted[r, t]
                p[r, t] -= real(1) / real(n)
            else:
                total += real(np.nan)
        losses[member] = total / real(n)


@njit(**_SUMS)
def layer_norm(x, weight, shift, eps, y, scale):
    """``y = (x - mean) scale * weight + shift`` along the last axis.

    ``x``, ``y``: ``(K, r, n)``. ``weight``, ``shift``: ``(K, n)``. ``scale (K, r)`` is written:
    one over the standard deviation.
    """
    members, rows, n = x.shape
    real = y.dtype.type
    for k in range(members):
        w, c = weight[k], shift[k]
        for i in range(rows):
            row, out = x[k, i], y[k, i]
            total = real(0)
            for j in range(n):
                total += row[j]
            mean = total / real(n)
            spread = real(0)
            for j in range(n):
                off = row[j] - mean
                spread += off * off
            s = real(1) / np.sqrt(spread / real(n) + real(eps))
            scale[k, i] = s
            for j in range(n):
                out[j] = (row[j] - mean) * s * w[j] + c[j]


@njit(**_SUMS)
def layer_norm_backward(dy, x, scale, weight, dx, dw, db):
    """Gradients of :func:`layer_norm`; ``dw`` and ``db (K, n)`` come in as zeros."""
    members, rows, n = x.shape
    real = dx.dtype.type
    for k in range(members):
        w, gw, gb = weight[k], dw[k], db[k]
        for i in range(rows):
            row, d, out, s = x[k, i], dy[k, i], dx[k, i], scale[k, i]
            total = real(0)
            for j in range(n):
                total += row[j]
            mean = total / real(n)
            first, second = real(0), real(0)
            for j in range(n):
                h = (row[j] - mean) * s
                g = d[j] * w[j]
                first += g
                second += g * h
                gw[j] += d[j] * h
                gb[j] += d[j]
            first, second = first / real(n), second / real(n)
            for j in range(n):
                out[j] = s * (d[j] * w[j] - first - (row[j] - mean) * s * second)
