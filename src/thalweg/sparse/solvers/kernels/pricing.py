"""Which atoms violate most, and how large is the duality gap? One pass over the correlations."""

from __future__ import annotations

import numpy as np

from thalweg.sparse.solvers.kernels import compiled, inlined

BLOCK = 16  # entries of q looked at together
AT_ONCE = 16  # violators let in per round at least; half the support if that is more


@compiled
def block_maxima(q: np.ndarray, sided: bool, maxima: np.ndarray) -> float:
    """Largest ``|q|`` (``q`` if sided) per 16 entries; returns the largest of all, at least 1."""
    m, largest = q.shape[0], 1.0
    whole = m // BLOCK
    for b in range(whole):
        top, begin = 0.0, b * BLOCK
        if sided:
            for t in range(BLOCK):
                top = max(top, q[begin + t])
        else:
            for t in range(BLOCK):
                top = max(top, abs(q[begin + t]))
        maxima[b] = top
        largest = max(largest, top)
    if whole * BLOCK < m:
        top = 0.0
        for j in range(whole * BLOCK, m):
            top = max(top, q[j] if sided else abs(q[j]))
        maxima[whole] = top
        largest = max(largest, top)
    return largest


@inlined
def _keep(atoms: np.ndarray, size: np.ndarray, count: int, wanted: int, atom: int, v: float) -> int:
    """Insert into the list of the ``wanted`` largest, kept in falling order; returns its length."""
    if count == wanted:
        if v <= size[count - 1]:
            return count
        count -= 1
    i = count - 1
    while i >= 0 and size[i] < v:
        size[i + 1], atoms[i + 1] = size[i], atoms[i]
        i -= 1
    size[i + 1], atoms[i + 1] = v, atom
    return count + 1


@compiled
def violators(
    q: np.ndarray,
    maxima: np.ndarray,
    threshold: float,
    wanted: int,
    sided: bool,
    atoms: np.ndarray,
    size: np.ndarray,
) -> int:
    """The ``wanted`` atoms of largest ``|q| > threshold``, worst first; returns how many.

    Most atoms violate in the first round, so those that cannot be among the worst are passed over
    in blocks: the wanted-th largest block maximum is a bound from below on the wanted-th largest.
    """
    blocks, count = (q.shape[0] + BLOCK - 1) // BLOCK, 0
    for b in range(blocks):
        if maxima[b] > threshold:
            count = _keep(atoms, size, count, wanted, b, maxima[b])
    if count == wanted:
        threshold = max(threshold, size[count - 1] * (1.0 - 1e-12))
    count = 0
    for b in range(blocks):
        if maxima[b] > threshold:
            for j in range(b * BLOCK, min(b * BLOCK + BLOCK, q.shape[0])):
                v = q[j] if sided else abs(q[j])
                if v > threshold:
                    count = _keep(atoms, size, count, wanted, j, v)
    return count


@compiled
def duality_gap(xx: float, norm1: float, product: float, rest: float, largest: float) -> float:
    """The gap from sums over the support alone, no reconstruction.

    ``xx = ‖x‖²``, ``norm1 = ‖u‖₁``, ``product = (Dᵀx)ᵀu``, ``rest = qᵀu``, ``largest = max |q|``:
    the residual has ``xᵀr = xx - product`` and ``‖r‖² = xx - product - rest``.
    """
    along = xx - product
    squared = along - rest
    scale = along / squared if squared > 0.0 else 1.0
    if scale * largest > 1.0:
        scale = 1.0 / largest
    return 0.5 * squared + norm1 - scale * along + 0.5 * scale * scale * squared
