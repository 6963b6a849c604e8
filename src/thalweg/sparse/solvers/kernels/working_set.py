"""The working-set solver for samples one after the other, with a Gram matrix."""

from __future__ import annotations

import numpy as np

from thalweg.sparse.solvers.kernels import compiled
from thalweg.sparse.solvers.kernels.active import (
    Active,
    admit,
    gap,
    largest_norm,
    listed,
    rebuild,
    settle,
    slack,
)
from thalweg.sparse.solvers.kernels.inverse import padded
from thalweg.sparse.solvers.kernels.pricing import AT_ONCE, BLOCK, block_maxima, violators


@compiled
def _correlations(q: np.ndarray, q0: np.ndarray, gram: np.ndarray, s: Active, k: int) -> None:
    """``q = Dᵀx - G u``, eight atoms a pass so that ``q`` is read and written seldom."""
    m, i = q.shape[0], 0
    for j in range(m):
        q[j] = q0[j]
    while i + 8 <= k:
        r0, r1, r2, r3 = (
            gram[s.atoms[i]],
            gram[s.atoms[i + 1]],
            gram[s.atoms[i + 2]],
            gram[s.atoms[i + 3]],
        )
        r4, r5, r6, r7 = (
            gram[s.atoms[i + 4]],
            gram[s.atoms[i + 5]],
            gram[s.atoms[i + 6]],
            gram[s.atoms[i + 7]],
        )
        u0, u1, u2, u3 = s.u[i], s.u[i + 1], s.u[i + 2], s.u[i + 3]
        u4, u5, u6, u7 = s.u[i + 4], s.u[i + 5], s.u[i + 6], s.u[i + 7]
        for j in range(m):
            q[j] -= (u0 * r0[j] + u1 * r1[j] + u2 * r2[j] + u3 * r3[j]) + (
                u4 * r4[j] + u5 * r5[j] + u6 * r6[j] + u7 * r7[j]
            )
        i += 8
    while i < k:
        r0, u0 = gram[s.atoms[i]], s.u[i]
        for j in range(m):
            q[j] -= u0 * r0[j]
        i += 1


@compiled
def solve_gram(
    gram: np.ndarray,
    atoms: np.ndarray,
    norms: np.ndarray,
    x: np.ndarray,
    products: np.ndarray,
    squares: np.ndarray,
    starts: np.ndarray,
    sided: bool,
    tol: float,
    limit: int,
    capacity: int,
    s: Active,
    scale: np.ndarray,
    codes: np.ndarray,
    rounds: np.ndarray,
) -> None:
    """Codes of each sample of ``x (b, n)``, every weight being one.

    ``atoms = Dᵀ (m, n)``, ``gram (m, m)`` with diagonal ``norms``, ``products = x D (b, m)``,
    ``squares = ‖x‖² (b,)``.
    ``s`` has room for ``capacity`` atoms and is left empty. ``starts`` is ``(b, m)`` or has no
    rows; ``scale (m,)`` takes ``u`` to codes. Writes ``codes (b, m)`` and ``rounds (b,)``.
    """
    b, m = products.shape
    q = np.empty(m)
    worst, size = np.empty(m, np.int64), np.empty(m)
    maxima, top = np.empty(m // BLOCK + 1), largest_norm(norms)
    for sample in range(b):
        q0, xx, k, used = products[sample], squares[sample], 0, 0
        if starts.shape[0] > 0 and xx > 0.0:
            k = listed(s, starts[sample], sided)
            k = used = rebuild(s, k, gram, atoms, norms, x[sample])
        _correlations(q, q0, gram, s, k)
        done, repairs, before, over = 0, 0, np.inf, slack(xx, top)
        while xx > 0.0:
            largest = block_maxima(q, sided, maxima)
            found, drift = gap(s, k, q, xx, largest)
            if drift > 10.0 * over and repairs < 20 + done:
                # a start, or an inverse worn by updates: the true gradient is at hand, use it
                repairs += 1
                if drift > 0.1 * before:
                    k = rebuild(s, k, gram, atoms, norms, x[sample])
                    before = np.inf
                else:
                    k = settle(s, k)
                    before = drift
                _correlations(q, q0, gram, s, k)
                continue
            if found <= tol * 0.5 * xx or done >= limit or largest <= 1.0 + over:
                break
            done, before = done + 1, np.inf
            wanted = max(AT_ONCE, k // 2)
            count = violators(q, maxima, 1.0 + over, wanted, sided, worst, size)
            for c in range(count):
                j = worst[c]
                row = gram[j]
                for i in range(k):
                    s.a[i] = row[s.atoms[i]]
                k = admit(s, k, capacity, j, row[j], q0[j], sided, over)
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
