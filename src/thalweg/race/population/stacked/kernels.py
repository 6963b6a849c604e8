"""Cross-entropy of few classes on the CPU in two passes over the logits (numba).

torch's reductions along ten numbers cost more than the linear layers before them. The exponential
between the two passes is torch's, which runs on vectors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

_SETTINGS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}


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
