"""Coordinate descent over a list of coefficients, sped up by extrapolation.

Sweeps alone crawl where atoms are alike (a filter and itself one pixel further). Every sixth sweep
the last iterates are combined as Anderson acceleration says, and the combination is kept if its
energy is lower: it costs no product, for correlations combine as codes do.
"""

from __future__ import annotations

import numpy as np

from thalweg.sparse.solvers.kernels import compiled

MEMORY = 5  # differences of iterates that are combined


@compiled
def value(b: np.ndarray, g: np.ndarray, u: np.ndarray, high: np.ndarray, low: np.ndarray) -> float:
    """Energy of the listed codes up to a constant, ``-½ uᵀ(b + g) + Σ high |u|``."""
    total = 0.0
    for p in range(u.size):
        total += high[p] * abs(u[p]) - 0.5 * u[p] * (b[p] + g[p])
    for p in range(u.size):
        if u[p] < 0.0 and low[p] < -1e300:
            return np.inf
    return total


@compiled
def weights(past: np.ndarray, c: np.ndarray) -> bool:
    """Weights that sum to one and make the combined difference of iterates least."""
    m = c.size
    A = np.empty((m, m))
    trace = 0.0
    for i in range(m):
        for j in range(i + 1):
            total = 0.0
            for p in range(past.shape[1]):
                total += (past[i + 1, p] - past[i, p]) * (past[j + 1, p] - past[j, p])
            A[i, j] = total
        trace += A[i, i]
    if not trace > 0.0:
        return False
    for i in range(m):
        A[i, i] += 1e-10 * trace
    for j in range(m):  # Cholesky, then two triangular solves of A c = 1
        for k in range(j):
            A[j, j] -= A[j, k] * A[j, k]
        if not A[j, j] > 0.0:
            return False
        A[j, j] = np.sqrt(A[j, j])
        for i in range(j + 1, m):
            for k in range(j):
                A[i, j] -= A[i, k] * A[j, k]
            A[i, j] /= A[j, j]
    for i in range(m):
        c[i] = 1.0
        for k in range(i):
            c[i] -= A[i, k] * c[k]
        c[i] /= A[i, i]
    total = 0.0
    for i in range(m - 1, -1, -1):
        for k in range(i + 1, m):
            c[i] -= A[k, i] * c[k]
        c[i] /= A[i, i]
        total += c[i]
    if total == 0.0 or not np.isfinite(total):
        return False
    for i in range(m):
        c[i] /= total
    return True


@compiled
def descend_active(
    g: np.ndarray,
    u: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
    least: float,
    limit: int,
) -> int:
    """Sweeps over codes ``u`` with correlations ``g`` until no move exceeds ``least``.

    All lists run over the active coefficients, the Gram matrix is in compressed rows.

    Returns:
        Sweeps made.
    """
    n, memory = u.size, MEMORY
    b = g.copy()  # correlations of the zero code
    for p in range(n):
        if u[p] != 0.0:
            for o in range(rows[p], rows[p + 1]):
                b[columns[o]] += u[p] * values[o]
    codes, slopes = np.empty((memory + 1, n)), np.empty((memory + 1, n))
    c = np.empty(memory)
    held = 0
    for sweep in range(limit):
        largest = 0.0
        for place in range(n):
            p = place if sweep % 2 == 0 else n - 1 - place
            free = g[p] + u[p]
            new = free - min(max(free, low[p]), high[p])  # exactly zero inside the interval
            step = new - u[p]
            size = abs(step)
            if size <= 0.05 * least:
                continue
            largest = max(largest, size)
            u[p] = new
            for o in range(rows[p], rows[p + 1]):
                g[columns[o]] -= step * values[o]
        if largest <= least:
            return sweep + 1
        codes[held], slopes[held] = u, g
        held += 1
        if held <= memory:
            continue
        held = 0
        if not weights(codes, c):
            continue
        best = value(b, g, u, high, low)
        codes[0] *= 0.0
        slopes[0] *= 0.0
        for i in range(memory):
            for p in range(n):
                codes[0, p] += c[i] * codes[i + 1, p]
                slopes[0, p] += c[i] * slopes[i + 1, p]
        if value(b, slopes[0], codes[0], high, low) < best:
            u[:], g[:] = codes[0], slopes[0]
    return limit
