"""One round of the working-set solver for many samples, without a Gram matrix.

The caller computes all correlations of a round in one matrix product and keeps each sample's active
set between rounds: one row of every array of ``Sets``.
"""

from __future__ import annotations

from collections import namedtuple

import numpy as np

from thalweg.sparse.solvers.kernels import compiled
from thalweg.sparse.solvers.kernels.active import (
    Active,
    admit,
    gap,
    largest_norm,
    listed,
    products,
    rebuild,
    settle,
    slack,
)
from thalweg.sparse.solvers.kernels.pricing import AT_ONCE, BLOCK, block_maxima, violators

# atoms, sign, u, product (b, room), inverse (b, room, room); size, state and drift (b,)
Sets = namedtuple("Sets", "atoms sign u product inverse size state drift")
OPEN, DONE, FULL = 0, 1, 2


def room_for(count: int, room: int, old: Sets | None = None) -> Sets:
    """Active sets of ``count`` samples with ``room`` atoms each; keeps what ``old`` holds.

    ``room`` is rounded up to a multiple of 16: rows of inverses are read in whole registers.
    """
    room = (room + 16) // 16 * 16
    new = Sets(
        np.zeros((count, room), np.int64),
        np.zeros((count, room)),
        np.zeros((count, room)),
        np.zeros((count, room)),
        np.zeros((count, room, room)),
        np.zeros(count, np.int64),
        np.zeros(count, np.int64),
        np.full(count, np.inf),
    )
    if old is not None:
        held = old.u.shape[1]
        for target, source in zip(new[:4], old[:4], strict=True):
            target[:, :held] = source
        new.inverse[:, :held, :held] = old.inverse
        new.size[:], new.drift[:] = old.size, old.drift
        new.state[:] = np.where(old.state == FULL, OPEN, old.state)
    return new


@compiled
def _residual(s: Active, k: int, atoms: np.ndarray, x: np.ndarray, r: np.ndarray) -> None:
    for t in range(x.shape[0]):
        r[t] = x[t]
    for i in range(k):
        u, atom = s.u[i], atoms[s.atoms[i]]
        for t in range(x.shape[0]):
            r[t] -= u * atom[t]


@compiled
def _view(sets: Sets, sample: int, a: np.ndarray, d: np.ndarray, e: np.ndarray) -> Active:
    return Active(
        sets.atoms[sample],
        sets.sign[sample],
        sets.u[sample],
        sets.product[sample],
        sets.inverse[sample],
        a,
        d,
        e,
    )


@compiled
def start_sets(
    which: np.ndarray,
    sets: Sets,
    starts: np.ndarray,
    atoms: np.ndarray,
    norms: np.ndarray,
    x: np.ndarray,
    r: np.ndarray,
    sided: bool,
) -> None:
    """Let in the supports of ``starts (b, m)`` and write the residuals."""
    room = sets.u.shape[1]
    a, d, e = np.zeros(room), np.zeros(room), np.zeros(room)
    none = np.empty((0, 0))
    for sample in which:
        s = _view(sets, sample, a, d, e)
        k = rebuild(s, listed(s, starts[sample], sided), none, atoms, norms, x[sample])
        sets.size[sample] = k
        _residual(s, k, atoms, x[sample], r[sample])


@compiled
def round_free(
    which: np.ndarray,
    sets: Sets,
    most: int,
    q: np.ndarray,
    atoms: np.ndarray,
    norms: np.ndarray,
    ridge: np.ndarray,
    x: np.ndarray,
    r: np.ndarray,
    sided: bool,
    tol: float,
) -> None:
    """One round for the samples ``which``; row i of ``q`` belongs to ``which[i]``.

    ``norms`` includes ``ridge``. Updates ``sets`` and residuals ``r``; ``state`` becomes ``DONE``
    when the gap is small enough or no atom violates, ``FULL`` when there is no room for more.
    No more than ``most`` atoms of a support are independent.
    """
    m, room = q.shape[1], sets.u.shape[1]
    a, d, e = np.zeros(room), np.zeros(room), np.zeros(room)
    worst, size = np.empty(m, np.int64), np.empty(m)
    maxima, top = np.empty(m // BLOCK + 1), largest_norm(norms)
    none = np.empty((0, 0))
    for row in range(which.shape[0]):
        sample = which[row]
        s, k, correlation = _view(sets, sample, a, d, e), sets.size[sample], q[row]
        for i in range(k):
            correlation[s.atoms[i]] -= ridge[s.atoms[i]] * s.u[i]
        xx = 0.0
        for t in range(x.shape[1]):
            xx += x[sample, t] * x[sample, t]
        over = slack(xx, top)
        largest = block_maxima(correlation, sided, maxima)
        found, drift = gap(s, k, correlation, xx, largest)
        before, sets.drift[sample] = sets.drift[sample], np.inf
        if drift > 10.0 * over:
            if drift > 0.1 * before:
                k = rebuild(s, k, none, atoms, norms, x[sample])
            else:
                k = settle(s, k)
                sets.drift[sample] = drift
        elif found <= tol * 0.5 * xx or largest <= 1.0 + over:
            sets.state[sample] = DONE
            continue
        else:
            wanted = max(AT_ONCE, k // 2)
            count = violators(correlation, maxima, 1.0 + over, wanted, sided, worst, size)
            for c in range(count):
                if k + 1 >= room and k < most:
                    sets.state[sample] = FULL
                    break
                product = products(s, k, worst[c], none, atoms, x[sample])
                norm = norms[worst[c]]
                k = admit(s, k, most, worst[c], norm, product, sided, over)
        sets.size[sample] = k
        _residual(s, k, atoms, x[sample], r[sample])
