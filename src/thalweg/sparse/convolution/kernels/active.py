"""Which coefficients are in use, and the sparse Gram matrix of these alone.

The coefficients of a place are neighbours in the list, and places follow each other row by row, so
what overlaps an atom is one stretch of the list for each place near it.
"""

from __future__ import annotations

import numpy as np

from thalweg.sparse.solvers.kernels import compiled


@compiled
def list_active(
    q: np.ndarray,
    z: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    slack: float,
    start: np.ndarray,
    which: np.ndarray,
) -> int:
    """Coefficients that are not zero, or whose correlation leaves ``slack · [low, high]``.

    Args:
        q: Correlations with the residual ``(h, w, K)``.
        z: Codes ``(h, w, K)``.
        low: Lower ends of the intervals in which a zero stays zero, ``(K,)``.
        high: Upper ends.
        slack: Factor on the intervals, at least 1.
        start: Gets the place in the list of each pixel's first coefficient, ``(h · w + 1,)``.
        which: Gets their filters, as far as it reaches.

    Returns:
        How many there are.
    """
    h, w, K = q.shape
    found = 0
    for i in range(h):
        for j in range(w):
            start[i * w + j] = found
            for k in range(K):
                value = q[i, j, k]
                if z[i, j, k] != 0.0 or value > slack * high[k] or value < slack * low[k]:
                    if found < which.size:
                        which[found] = k
                    found += 1
    start[h * w] = found
    return found


@compiled
def gram(
    start: np.ndarray,
    which: np.ndarray,
    h: int,
    w: int,
    table: np.ndarray,
    wrap: bool,
    rows: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
) -> int:
    """The Gram matrix in compressed rows; with empty ``columns`` the entries are only counted.

    Returns:
        The number of entries.
    """
    a, b = table.shape[1] // 2, table.shape[2] // 2
    write = columns.size > 0
    total = 0
    for i in range(h):
        for j in range(w):
            for p in range(start[i * w + j], start[i * w + j + 1]):
                rows[p] = total
                k = which[p]
                for dy in range(-a, a + 1):
                    y = i + dy
                    if wrap:
                        y %= h
                    elif y < 0 or y >= h:
                        continue
                    if not write and not wrap:
                        first, last = y * w + max(j - b, 0), y * w + min(j + b, w - 1)
                        total += start[last + 1] - start[first]
                        continue
                    for dx in range(-b, b + 1):
                        x = j + dx
                        if wrap:
                            x %= w
                        elif x < 0 or x >= w:
                            continue
                        place = y * w + x
                        if write:
                            for o in range(start[place], start[place + 1]):
                                columns[total] = o
                                values[total] = table[k, dy + a, dx + b, which[o]]
                                total += 1
                        else:
                            total += start[place + 1] - start[place]
    rows[start[h * w]] = total
    return total


@compiled
def gather(z: np.ndarray, start: np.ndarray, which: np.ndarray, u: np.ndarray) -> None:
    """Entries of ``z (h, w, K)`` that are in the list."""
    h, w = z.shape[:2]
    for i in range(h):
        for j in range(w):
            for p in range(start[i * w + j], start[i * w + j + 1]):
                u[p] = z[i, j, which[p]]


@compiled
def scatter(u: np.ndarray, start: np.ndarray, which: np.ndarray, z: np.ndarray) -> None:
    """The reverse: entries of the list written into ``z (h, w, K)``."""
    h, w = z.shape[:2]
    for i in range(h):
        for j in range(w):
            for p in range(start[i * w + j], start[i * w + j + 1]):
                z[i, j, which[p]] = u[p]
