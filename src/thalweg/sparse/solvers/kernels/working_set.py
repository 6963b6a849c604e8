"""The loops over samples of the working-set solver, with a Gram matrix and without."""

from __future__ import annotations

import numpy as np

from thalweg.sparse.solvers.kernels import compiled
from thalweg.sparse.solvers.kernels.active import (
    DEPENDENT,
    SLACK,
    Active,
    admit,
    append,
    empty,
    settle,
)
from thalweg.sparse.solvers.kernels.inverse import border, multiply, padded
from thalweg.sparse.solvers.kernels.pricing import duality_gap, largest_first, violators

_empty = compiled(empty)
_AT_ONCE = 16  # violators let in per round at least; half the support if that is more


@compiled
def _correlations(q: np.ndarray, q0: np.ndarray, gram: np.ndarray, s: Active, k: int) -> None:
    """``q = Dᵀx - G u``, four atoms a pass."""
    m, i, source = q.shape[0], 0, q0
    while i + 4 <= k:
        r0, r1 = gram[s.atoms[i]], gram[s.atoms[i + 1]]
        r2, r3 = gram[s.atoms[i + 2]], gram[s.atoms[i + 3]]
        u0, u1, u2, u3 = s.u[i], s.u[i + 1], s.u[i + 2], s.u[i + 3]
        for j in range(m):
            q[j] = source[j] - (u0 * r0[j] + u1 * r1[j] + u2 * r2[j] + u3 * r3[j])
        source = q
        i += 4
    while i < k:
        r0, u0 = gram[s.atoms[i]], s.u[i]
        for j in range(m):
            q[j] = source[j] - u0 * r0[j]
        source = q
        i += 1
    if k == 0:
        for j in range(m):
            q[j] = q0[j]


@compiled
def _gap(s: Active, k: int, q: np.ndarray, xx: float, largest: float) -> tuple:
    """Duality gap, and the largest gradient left on the support."""
    norm1, product, rest, drift = 0.0, 0.0, 0.0, 0.0
    for i in range(k):
        qi = q[s.atoms[i]]
        norm1 += abs(s.u[i])
        product += s.product[i] * s.u[i]
        rest += qi * s.u[i]
        s.e[i] = qi - s.sign[i]
        drift = max(drift, abs(s.e[i]))
    return duality_gap(xx, norm1, product, rest, max(largest, 1.0 + drift)), drift


@compiled
def _begin(s: Active, start: np.ndarray, gram: np.ndarray, q0: np.ndarray, sided: bool) -> int:
    """Let in the support of a start; atoms that depend on others are left out."""
    k = 0
    for j in range(start.shape[0]):
        if start[j] == 0.0 or gram[j, j] <= 0.0 or (sided and start[j] < 0.0):
            continue
        if k + 1 >= s.u.shape[0]:
            break
        row = gram[j]
        for i in range(k):
            s.a[i] = row[s.atoms[i]]
        multiply(s.inverse, s.a, k, s.d)
        complement = row[j]
        for i in range(k):
            complement -= s.a[i] * s.d[i]
        if complement > DEPENDENT * row[j]:
            border(s.inverse, k, s.d, complement)
            k = append(s, k, j, 1.0 if start[j] > 0.0 else -1.0, start[j], q0[j])
    return k


@compiled
def solve_gram(
    gram: np.ndarray,
    products: np.ndarray,
    squares: np.ndarray,
    starts: np.ndarray,
    sided: bool,
    tol: float,
    limit: int,
    capacity: int,
    scale: np.ndarray,
    codes: np.ndarray,
    rounds: np.ndarray,
) -> None:
    """Codes of each sample from ``gram (m, m)``, ``products = XD (b, m)`` and ``squares = ‖x‖²``.

    ``starts`` is ``(b, m)`` or has no rows; ``scale (m,)`` takes ``u`` to codes.
    Writes ``codes (b, m)`` and ``rounds (b,)``.
    """
    b, m = products.shape
    s, q = _empty(capacity), np.empty(m)
    atoms, size = np.empty(m, np.int64), np.empty(m)
    for sample in range(b):
        q0, xx, k, used = products[sample], squares[sample], 0, 0
        if starts.shape[0] > 0 and xx > 0.0:
            k = _begin(s, starts[sample], gram, q0, sided)
        _correlations(q, q0, gram, s, k)
        done, repaired = 0, 0
        while xx > 0.0:
            count, largest = violators(q, 1.0 + SLACK, sided, atoms, size)
            gap, drift = _gap(s, k, q, xx, largest)
            if drift > 1e-9 and repaired < 4 * (done + 1):
                # a start, or rounding in the inverse: the true gradient is at hand, use it
                repaired += 1
                k = settle(s, k)
                _correlations(q, q0, gram, s, k)
                continue
            if gap <= tol * 0.5 * xx or done >= limit or count == 0:
                break
            done += 1
            count = largest_first(atoms, size, count, max(_AT_ONCE, k // 2))
            for c in range(count):
                j = atoms[c]
                row = gram[j]
                for i in range(k):
                    s.a[i] = row[s.atoms[i]]
                k = admit(s, k, j, row[j], q0[j], sided)
                used = max(used, k)
            _correlations(q, q0, gram, s, k)
        z = codes[sample]
        for j in range(m):
            z[j] = 0.0
        for i in range(k):
            z[s.atoms[i]] = s.u[i] * scale[s.atoms[i]]
        rounds[sample] = done
        used = padded(max(used, k))
        for i in range(used):
            for t in range(used):
                s.inverse[i, t] = 0.0
