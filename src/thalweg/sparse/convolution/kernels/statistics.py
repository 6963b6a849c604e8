"""What a learner remembers of codes: their correlations, and theirs with the image."""

from __future__ import annotations

import numpy as np

from thalweg.sparse.solvers.kernels import compiled


@compiled
def remember_codes(
    start: np.ndarray,
    which: np.ndarray,
    u: np.ndarray,
    h: int,
    w: int,
    wrap: bool,
    scale: float,
    A: np.ndarray,
) -> None:
    """``A[k, a + dy, b + dx, l] += scale · Σ z_k(p) z_l(p + (dy, dx))`` over listed codes.

    Args:
        start: Place in the list of each pixel's first coefficient ``(h · w + 1,)``.
        which: Their filters.
        u: Their values.
        h: Rows of a code.
        w: Columns.
        wrap: The image is a torus.
        scale: Factor.
        A: Correlations ``(K, 2a + 1, 2b + 1, K)``.
    """
    a, b = A.shape[1] // 2, A.shape[2] // 2
    for i in range(h):
        for j in range(w):
            for p in range(start[i * w + j], start[i * w + j + 1]):
                k, value = which[p], scale * u[p]
                for dy in range(-a, a + 1):
                    y = i + dy
                    if wrap:
                        y %= h
                    elif y < 0 or y >= h:
                        continue
                    for dx in range(-b, b + 1):
                        x = j + dx
                        if wrap:
                            x %= w
                        elif x < 0 or x >= w:
                            continue
                        place = y * w + x
                        for o in range(start[place], start[place + 1]):
                            A[k, a + dy, b + dx, which[o]] += value * u[o]


@compiled
def remember_image(
    start: np.ndarray,
    which: np.ndarray,
    u: np.ndarray,
    w: int,
    scale: float,
    image: np.ndarray,
    B: np.ndarray,
) -> None:
    """``B[k, c, y, x] += scale · Σ z_k(p) image[c, p + (y, x)]``, past the edges from the others.

    Args:
        start: As in `remember_codes`.
        which: As there.
        u: As there.
        w: Columns of a code.
        scale: Factor.
        image: ``(c, H, W)``.
        B: ``(K, c, a, b)``.
    """
    channels, a, b = B.shape[1:]
    H, W = image.shape[1:]
    for place in range(start.size - 1):
        i, j = place // w, place % w
        for p in range(start[place], start[place + 1]):
            k, value = which[p], scale * u[p]
            for c in range(channels):
                for y in range(a):
                    for x in range(b):
                        B[k, c, y, x] += value * image[c, (i + y) % H, (j + x) % W]
