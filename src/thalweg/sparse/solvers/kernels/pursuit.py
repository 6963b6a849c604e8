"""Orthogonal matching pursuit for samples one after the other, with a Gram matrix."""

from __future__ import annotations

import numpy as np

from thalweg.sparse.solvers.kernels import compiled

_BLOCK = 16  # correlations looked at together
_SINGULAR = 1e-13  # share of an atom of norm 1 outside the span of those taken: it adds nothing


@compiled
def _largest(q: np.ndarray) -> int:
    """Where ``|q|`` is largest: the best block first, then inside it."""
    m = q.shape[0]
    whole = m // _BLOCK
    top, best = -1.0, 0
    for b in range(whole):
        high, begin = 0.0, b * _BLOCK
        for t in range(_BLOCK):
            high = max(high, abs(q[begin + t]))
        if high > top:
            top, best = high, b
    place, value = best * _BLOCK, -1.0
    for j in range(best * _BLOCK, min(best * _BLOCK + _BLOCK, m)):
        if abs(q[j]) > value:
            place, value = j, abs(q[j])
    for j in range(whole * _BLOCK, m):
        if abs(q[j]) > value:
            place, value = j, abs(q[j])
    return place


@compiled
def _correlations(
    q: np.ndarray, q0: np.ndarray, gram: np.ndarray, atoms: np.ndarray, u: np.ndarray, k: int
) -> None:
    """``q = q0 - G u``, eight atoms a pass so that ``q`` is read and written seldom."""
    m, i = q.shape[0], 0
    for j in range(m):
        q[j] = q0[j]
    while i + 8 <= k:
        r0, r1, r2, r3 = gram[atoms[i]], gram[atoms[i + 1]], gram[atoms[i + 2]], gram[atoms[i + 3]]
        r4, r5 = gram[atoms[i + 4]], gram[atoms[i + 5]]
        r6, r7 = gram[atoms[i + 6]], gram[atoms[i + 7]]
        u0, u1, u2, u3 = u[i], u[i + 1], u[i + 2], u[i + 3]
        u4, u5, u6, u7 = u[i + 4], u[i + 5], u[i + 6], u[i + 7]
        for j in range(m):
            q[j] -= (u0 * r0[j] + u1 * r1[j] + u2 * r2[j] + u3 * r3[j]) + (
                u4 * r4[j] + u5 * r5[j] + u6 * r6[j] + u7 * r7[j]
            )
        i += 8
    while i + 2 <= k:
        r0, r1, u0, u1 = gram[atoms[i]], gram[atoms[i + 1]], u[i], u[i + 1]
        for j in range(m):
            q[j] -= u0 * r0[j] + u1 * r1[j]
        i += 2
    if i < k:
        r0, u0 = gram[atoms[i]], u[i]
        for j in range(m):
            q[j] -= u0 * r0[j]


@compiled
def pursue(
    gram: np.ndarray,
    products: np.ndarray,
    floors: np.ndarray,
    lengths: np.ndarray,
    k: int,
    codes: np.ndarray,
    steps: np.ndarray,
) -> None:
    """Up to ``k`` atoms of norm 1 for each sample, all refitted after each choice.

    ``gram (m, m)``, ``products = Dᵀx (b, m)``; choosing ends where every correlation is at most
    ``floors (b,)``, or where the best atom lies in the span of those taken. Writes ``codes (b, m)``
    (zero on entry), each entry times its ``lengths (m,)``, and ``steps (b,)``. The Cholesky factor
    of the atoms taken grows by one row a choice.
    """
    b, m = products.shape
    q, factor = np.empty(m), np.zeros((k, k))
    atoms, front, u = np.empty(k, np.int64), np.empty(k), np.empty(k)
    for s in range(b):
        q0 = products[s]
        for j in range(m):
            q[j] = q0[j]
        taken = 0
        while taken < k:
            best = _largest(q)
            if abs(q[best]) <= floors[s]:
                break
            row, column = factor[taken], gram[best]
            rest, ahead = column[best], q0[best]
            for i in range(taken):
                left, known = column[atoms[i]], factor[i]
                for t in range(i):
                    left -= known[t] * row[t]
                row[i] = left / known[i]
                rest -= row[i] * row[i]
                ahead -= row[i] * front[i]
            if rest <= _SINGULAR:
                break
            row[taken] = np.sqrt(rest)
            front[taken] = ahead / row[taken]
            atoms[taken] = best
            taken += 1
            for i in range(taken - 1, -1, -1):
                u[i] = front[i]
            for i in range(taken - 1, -1, -1):  # by rows, which lie together
                u[i] /= factor[i, i]
                known = factor[i]
                for t in range(i):
                    u[t] -= known[t] * u[i]
            if taken < k:
                _correlations(q, q0, gram, atoms, u, taken)
                for i in range(taken):
                    q[atoms[i]] = 0.0
        for i in range(taken):
            codes[s, atoms[i]] = u[i] * lengths[atoms[i]]
        steps[s] = taken
