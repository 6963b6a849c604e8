"""Compiled: the best amplitudes on a given support, exactly, by an active set over its Gram matrix.

Lawson and Hanson, "Solving least squares problems", 1974, chapter 23, on normal equations.
"""

from __future__ import annotations

import numba
import numpy as np

_DEPENDENT = 1e-11  # squared sine of the angle to the others below which an atom adds nothing


@numba.njit(cache=True, nogil=True)
def _append(L: np.ndarray, P: np.ndarray, p: int, G: np.ndarray, j: int) -> bool:
    """Grow the Cholesky factor of ``G[P, P]`` by atom j; False where it depends on the others."""
    rest = G[j, j]
    for a in range(p):
        total = G[j, P[a]]
        for b in range(a):
            total -= L[p, b] * L[a, b]
        L[p, a] = total / L[a, a]
        rest -= L[p, a] * L[p, a]
    if rest <= _DEPENDENT * G[j, j]:
        return False
    L[p, p] = np.sqrt(rest)
    P[p] = j
    return True


@numba.njit(cache=True, nogil=True)
def _solve(L: np.ndarray, P: np.ndarray, p: int, c: np.ndarray, w: np.ndarray) -> None:
    """``w[:p] = G[P, P]⁻¹ c[P]`` from the factor."""
    for a in range(p):
        total = c[P[a]]
        for b in range(a):
            total -= L[a, b] * w[b]
        w[a] = total / L[a, a]
    for a in range(p - 1, -1, -1):
        total = w[a]
        for b in range(a + 1, p):
            total -= L[b, a] * w[b]
        w[a] = total / L[a, a]


@numba.njit(cache=True, nogil=True)
def amplitudes(G: np.ndarray, c: np.ndarray, u: np.ndarray, free: bool) -> None:
    """Minimise ``½ uᵀ G u − cᵀ u`` in place, over ``u >= 0`` unless ``free``; u is the start.

    Atoms that depend on others of the support keep amplitude 0: the minimum is the same.
    """
    s = len(c)
    L, P, w = np.zeros((s, s)), np.zeros(s, np.int64), np.zeros(s)
    held, barred = np.zeros(s, np.bool_), np.zeros(s, np.bool_)
    p, scale = 0, 0.0
    for j in range(s):
        scale = max(scale, abs(c[j]) / np.sqrt(G[j, j])) if G[j, j] > 0 else scale
        if (free or u[j] > 0) and G[j, j] > 0 and _append(L, P, p, G, j):
            held[j] = True
            p += 1
        else:
            u[j] = 0.0
    for _ in range(20 * s + 20):
        while p > 0:
            _solve(L, P, p, c, w)
            step = 1.0
            if not free:
                for a in range(p):
                    if w[a] <= 0:
                        step = min(step, u[P[a]] / (u[P[a]] - w[a]) if u[P[a]] > 0 else 0.0)
            for a in range(p):
                u[P[a]] += step * (w[a] - u[P[a]])
            if step == 1.0:
                break
            kept = 0
            order = P[:p].copy()
            floor = 0.0
            for a in range(p):  # at least one is on its bound: the one nearest to it
                floor = max(floor, u[order[a]])
            floor *= 1e-14
            for a in range(p):
                j = order[a]
                if u[j] > floor and _append(L, P, kept, G, j):
                    kept += 1
                else:
                    u[j], held[j] = 0.0, False
            p = kept
        if free:
            return
        best, most = -1, 1e-12 * scale
        for j in range(s):
            if not held[j] and not barred[j] and G[j, j] > 0:
                slope = c[j]
                for a in range(p):
                    slope -= G[j, P[a]] * u[P[a]]
                slope /= np.sqrt(G[j, j])
                if slope > most:
                    best, most = j, slope
        if best < 0:
            return
        if not _append(L, P, p, G, best):
            barred[best] = True
            continue
        _solve(L, P, p + 1, c, w)
        if w[p] <= 0:  # rounding: it would leave at once
            barred[best] = True
            continue
        held[best] = True
        p += 1


@numba.njit(cache=True, nogil=True)
def on_support(
    rows: np.ndarray,
    signals: np.ndarray,
    starts: np.ndarray,
    atoms: np.ndarray,
    values: np.ndarray,
    weight: np.ndarray,
    signed: bool,
    out: np.ndarray,
) -> None:
    """The best amplitudes ``out`` on each sample's own support, with price ``weight (m,)``."""
    priced = weight.any()
    for i in range(len(signals)):
        low, high = starts[i], starts[i + 1]
        s = high - low
        if s == 0:
            continue
        A = np.empty((s, rows.shape[1]))
        for a in range(s):
            A[a] = rows[atoms[low + a]]
        G, b = np.dot(A, A.T), np.dot(A, signals[i])
        price = np.empty(s)
        for a in range(s):
            price[a] = weight[atoms[low + a]]
        if signed and priced:  # positive and negative parts; both never at once
            double, c = np.empty((2 * s, 2 * s)), np.empty(2 * s)
            double[:s, :s], double[s:, s:] = G, G
            double[:s, s:], double[s:, :s] = -G, -G
            c[:s], c[s:] = b - price, -b - price
            u = np.empty(2 * s)
            for a in range(s):
                u[a], u[s + a] = max(values[low + a], 0.0), max(-values[low + a], 0.0)
            amplitudes(double, c, u, False)
            out[low:high] = u[:s] - u[s:]
        else:
            u = values[low:high].copy()
            amplitudes(G, b - price, u, signed)
            out[low:high] = u


@numba.njit(cache=True, nogil=True)
def errors(
    rows: np.ndarray,
    signals: np.ndarray,
    starts: np.ndarray,
    atoms: np.ndarray,
    values: np.ndarray,
    out: np.ndarray,
) -> None:
    """``‖x − D z‖²`` per sample."""
    n = rows.shape[1]
    r = np.empty(n)
    for i in range(len(signals)):
        r[:] = signals[i]
        for a in range(starts[i], starts[i + 1]):
            value, row = values[a], rows[atoms[a]]
            for d in range(n):
                r[d] -= value * row[d]
        total = 0.0
        for d in range(n):
            total += r[d] * r[d]
        out[i] = total
