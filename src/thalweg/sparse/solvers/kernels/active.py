"""One sample's active set: atoms with their signs, coefficients and inverse Gram matrix.

All of it is in scaled units where the penalty is ``‖u‖₁`` with weight one: atoms are divided by
their weights. On the support S the minimiser is ``u = G_SS⁻¹ (b_S - sign)`` while no sign flips.
"""

from __future__ import annotations

from collections import namedtuple

import numpy as np

from thalweg.sparse.solvers.kernels import compiled
from thalweg.sparse.solvers.kernels.inverse import border, drop, multiply

# atoms, sign, u, products Dᵀx on the support, inverse (rows padded), three scratch vectors
Active = namedtuple("Active", "atoms sign u product inverse a d e")

DEPENDENT = 1e-10  # Schur complement over the squared norm: below, an atom is a mix of the others
SLACK = 1e-10  # an atom enters when its correlation exceeds its weight by this share


def empty(capacity: int) -> Active:
    """Room for ``capacity`` atoms."""
    room = (capacity + 8) // 8 * 8
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
def remove(s: Active, k: int, r: int) -> int:
    """Drop the r-th atom of k, the last one takes its place; returns k - 1."""
    drop(s.inverse, k, r)
    k -= 1
    s.atoms[r], s.sign[r], s.u[r], s.product[r] = s.atoms[k], s.sign[k], s.u[k], s.product[k]
    return k


@compiled
def append(s: Active, k: int, atom: int, sign: float, u: float, product: float) -> int:
    """Write down the atom whose inverse row was just bordered; returns k + 1."""
    s.atoms[k], s.sign[k], s.u[k], s.product[k] = atom, sign, u, product
    return k + 1


@compiled
def _cut(s: Active, k: int, direction: np.ndarray, scale: float, keep: int) -> tuple:
    """Go along ``scale · direction`` up to the first sign flip: its atom (or -1) and the step."""
    step, first = 1.0, -1
    for i in range(k):
        change = scale * direction[i]
        if (s.u[i] + change) * s.sign[i] < 0.0 and i != keep:
            t = -s.u[i] / change
            if t < step:
                step, first = t, i
    for i in range(k):
        s.u[i] += step * scale * direction[i]
    return first, step


@compiled
def settle_new(s: Active, k: int, new: int, rest: float) -> int:
    """Minimise over the support when only atom ``new`` has a gradient, ``rest``; returns k."""
    while True:
        first, step = _cut(s, k, s.inverse[new], rest, new)
        if first < 0:
            return k
        k = remove(s, k, first)
        if new == k:
            new = first
        rest *= 1.0 - step


@compiled
def settle(s: Active, k: int) -> int:
    """Minimise over the support from any point; ``s.e`` holds the gradient there. Returns k."""
    while k > 0:
        multiply(s.inverse, s.e, k, s.d)
        first, step = _cut(s, k, s.d, 1.0, -1)
        if first < 0:
            break
        for i in range(k):
            s.e[i] *= 1.0 - step
        s.e[first] = s.e[k - 1]
        k = remove(s, k, first)
    return k


@compiled
def admit(s: Active, k: int, atom: int, norm: float, product: float, sided: bool) -> int:
    """Let one atom in if it still violates, and minimise over the support; returns k.

    ``s.a`` holds its products with the atoms of the support, ``norm`` its squared norm and
    ``product`` its product with the signal. ``sided``: codes must not be negative.
    """
    gradient = product
    for i in range(k):
        gradient -= s.a[i] * s.u[i]
    if abs(gradient) <= 1.0 + SLACK or (sided and gradient < 0.0):
        return k  # those let in before it have settled the matter
    sign = 1.0 if gradient > 0.0 else -1.0
    multiply(s.inverse, s.a, k, s.d)
    complement = norm
    for i in range(k):
        complement -= s.a[i] * s.d[i]
    start = 0.0
    if complement <= DEPENDENT * norm:
        # a mix of the support: the energy falls linearly until some atom is used up and leaves
        start, first = np.inf, -1
        for i in range(k):
            if sign * s.d[i] * s.sign[i] > 0.0:
                t = s.u[i] / (sign * s.d[i])
                if t < start:
                    start, first = t, i
        if first < 0:
            return k
        for i in range(k):
            s.u[i] -= start * sign * s.d[i]
        s.a[first] = s.a[k - 1]
        k = remove(s, k, first)
        multiply(s.inverse, s.a, k, s.d)
        complement = norm
        for i in range(k):
            complement -= s.a[i] * s.d[i]
        if complement <= 1e-14 * norm:
            return k
    border(s.inverse, k, s.d, complement)
    k = append(s, k, atom, sign, sign * start, product)
    return settle_new(s, k, k - 1, gradient - sign)
