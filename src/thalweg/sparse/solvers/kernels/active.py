"""One sample's active set: atoms with their signs, coefficients and inverse Gram matrix.

All of it is in scaled units where the penalty is ``‖u‖₁`` with weight one: atoms are divided by
their weights. On the support S the minimiser is ``u = G_SS⁻¹ (b_S - sign)`` while no sign flips.
"""

from __future__ import annotations

from collections import namedtuple

import numpy as np

from thalweg.sparse.solvers.kernels import compiled, inlined
from thalweg.sparse.solvers.kernels.inverse import border, drop, multiply, padded
from thalweg.sparse.solvers.kernels.pricing import duality_gap

# atoms, sign, u, products Dᵀx on the support, inverse (rows padded), three scratch vectors
Active = namedtuple("Active", "atoms sign u product inverse a d e")

DEPENDENT = 1e-10  # Schur complement over the squared norm: below, an atom is a mix of the others


def empty(capacity: int) -> Active:
    """Room for ``capacity`` atoms."""
    room = (capacity + 16) // 16 * 16
    return Active(
        np.zeros(room, np.int64),
        np.zeros(room),
        np.zeros(room),
        np.zeros(room),
        np.zeros((room, room)),
        np.zeros(room),
        np.zeros(room),
        np.zeros(room),
    )


@compiled
def largest_norm(norms: np.ndarray) -> float:
    """The largest squared norm of an atom."""
    largest = 0.0
    for j in range(norms.shape[0]):
        largest = max(largest, norms[j])
    return largest


@compiled
def slack(xx: float, largest: float) -> float:
    """By how much a correlation must exceed its weight for an atom to enter: above rounding."""
    return 1e-10 + 1e-15 * np.sqrt(xx * largest)


@compiled
def remove(s: Active, k: int, r: int) -> int:
    """Drop the r-th atom of k, the last one takes its place; returns k - 1."""
    drop(s.inverse, k, r)
    k -= 1
    s.atoms[r], s.sign[r], s.u[r], s.product[r] = s.atoms[k], s.sign[k], s.u[k], s.product[k]
    return k


@inlined
def append(s: Active, k: int, atom: int, sign: float, u: float, product: float) -> int:
    """Write down the atom whose inverse row was just bordered; returns k + 1."""
    s.atoms[k], s.sign[k], s.u[k], s.product[k] = atom, sign, u, product
    return k + 1


@inlined
def _cut(s: Active, k: int, rate: float, longest: float) -> tuple:
    """Change ``u`` by ``step · rate · s.d``, ``step`` the longest unless a sign flips before.

    Returns the atom that would flip first (or -1) and the step.
    """
    step, first = longest, -1
    for i in range(k):
        change = rate * s.d[i]
        if change * s.sign[i] < 0.0:
            t = -s.u[i] / change
            if t < step:
                step, first = t, i
    if step < np.inf:
        for i in range(k):
            s.u[i] += step * rate * s.d[i]
    return first, step


@compiled
def settle(s: Active, k: int) -> int:
    """Minimise over the support from any point; ``s.e`` holds the gradient there. Returns k."""
    while k > 0:
        multiply(s.inverse, s.e, k, s.d)
        first, step = _cut(s, k, 1.0, 1.0)
        if first < 0:
            break
        for i in range(k):
            s.e[i] *= 1.0 - step
        s.e[first] = s.e[k - 1]
        k = remove(s, k, first)
    return k


@inlined
def admit(
    s: Active,
    k: int,
    most: int,
    atom: int,
    norm: float,
    product: float,
    sided: bool,
    slack: float,
) -> int:
    """Let one atom in if it still violates, and minimise over the support; returns k.

    ``s.a`` holds its products with the atoms of the support, ``norm`` its squared norm and
    ``product`` its product with the signal. No more than ``most`` atoms are independent.
    ``sided``: codes must not be negative.
    """
    gradient = product
    for i in range(k):
        gradient -= s.a[i] * s.u[i]
    if abs(gradient) <= 1.0 + slack or (sided and gradient < 0.0):
        return k  # those let in before it have settled the matter
    sign, excess, grown = 1.0 if gradient > 0.0 else -1.0, abs(gradient) - 1.0, 0.0
    while True:
        multiply(s.inverse, s.a, k, s.d)
        complement = norm
        for i in range(k):
            complement -= s.a[i] * s.d[i]
        # a mix of the support: the energy falls linearly until an atom of it is used up
        mixed = complement <= DEPENDENT * norm or k >= most
        first, step = _cut(s, k, -sign, np.inf if mixed else excess / complement)
        if first < 0:
            break
        # an atom leaves before the new one has all it wants; the new one keeps what it got
        grown += step
        excess -= step * max(complement, 0.0)
        s.a[first] = s.a[k - 1]
        k = remove(s, k, first)
    if not mixed:
        border(s.inverse, k, s.d, complement)
        k = append(s, k, atom, sign, sign * (grown + step), product)
    return k


@compiled
def products(
    s: Active, k: int, j: int, gram: np.ndarray, atoms: np.ndarray, x: np.ndarray
) -> float:
    """``s.a``: products of atom j with the support, by ``gram`` if it has rows; gives ``dⱼᵀx``."""
    atom = atoms[j]
    if gram.shape[0] > 0:
        row = gram[j]
        for i in range(k):
            s.a[i] = row[s.atoms[i]]
    else:
        for i in range(k):
            s.a[i] = _dot(atom, atoms[s.atoms[i]])
    return _dot(atom, x)


@compiled
def _dot(u: np.ndarray, v: np.ndarray) -> float:
    total = 0.0
    for i in range(u.shape[0]):
        total += u[i] * v[i]
    return total


@compiled
def rebuild(
    s: Active, k: int, gram: np.ndarray, atoms: np.ndarray, norms: np.ndarray, x: np.ndarray
) -> int:
    """Compute the inverse afresh for the k atoms listed; returns how many are independent.

    For a start, and where updates have worn the inverse out. Atoms that depend on those before them
    are dropped, so are those whose coefficient is zero.
    """
    kept, width = 0, padded(k)
    for i in range(k):
        for t in range(width):
            s.inverse[i, t] = 0.0
    for i in range(k):
        j, u = s.atoms[i], s.u[i]
        if u != 0.0:
            product = products(s, kept, j, gram, atoms, x)
            multiply(s.inverse, s.a, kept, s.d)
            complement = norms[j]
            for t in range(kept):
                complement -= s.a[t] * s.d[t]
            if complement > DEPENDENT * norms[j]:
                border(s.inverse, kept, s.d, complement)
                kept = append(s, kept, j, 1.0 if u > 0.0 else -1.0, u, product)
    return kept


@compiled
def listed(s: Active, start: np.ndarray, sided: bool) -> int:
    """Write down the support of a start, as much of it as there is room for; returns its size."""
    k = 0
    for j in range(start.shape[0]):
        v = start[j]
        if v != 0.0 and k + 1 < s.u.shape[0] and not (sided and v < 0.0):
            s.atoms[k], s.u[k] = j, v
            k += 1
    return k


@inlined
def gap(s: Active, k: int, q: np.ndarray, xx: float, largest: float) -> tuple:
    """Duality gap, and the largest gradient left on the support (all of them in ``s.e``)."""
    norm1, product, rest, drift = 0.0, 0.0, 0.0, 0.0
    for i in range(k):
        qi = q[s.atoms[i]]
        norm1 += abs(s.u[i])
        product += s.product[i] * s.u[i]
        rest += qi * s.u[i]
        s.e[i] = qi - s.sign[i]
        drift = max(drift, abs(s.e[i]))
    return duality_gap(xx, norm1, product, rest, max(largest, 1.0 + drift)), drift
