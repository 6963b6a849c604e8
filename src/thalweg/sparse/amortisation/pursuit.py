"""The best codes of k atoms that we can find: pursuit, then exchange of single atoms.

Finding the best support is NP-hard (Natarajan 1995), so the answer is an upper bound on the least
energy and carries no certificate. It is never worse than the support it is given to start from.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import torch
from torch import Tensor

from thalweg.sparse.amortisation.kernels import amplitudes
from thalweg.sparse.amortisation.rows import Rows, join, pack
from thalweg.sparse.solvers.working_set import in_threads

_STATE_BYTES = 2**27  # Gram matrices of supports held at once
_CANDIDATES = 8  # atoms tried for each place in an exchange
_SCORE_BYTES = 2**27  # correlations with all atoms held at once


class Supports(NamedTuple):
    """The supports of some samples while they grow; all arrays have one row a sample."""

    atoms: np.ndarray  # (b, room)
    u: np.ndarray  # (b, room)
    size: np.ndarray  # (b,)
    gram: np.ndarray  # (b, room, room)
    c: np.ndarray  # (b, room) products with the signal
    residual: np.ndarray  # (b, n)
    error: np.ndarray  # (b,) its square


@numba.njit(cache=True, nogil=True)
def _put(S: Supports, i: int, j: int, x: np.ndarray, rows: np.ndarray) -> None:
    """Append atom j to the support of sample i, with amplitude 0."""
    s = S.size[i]
    S.atoms[i, s], S.u[i, s] = j, 0.0
    S.c[i, s] = np.dot(rows[j], x)
    for a in range(s + 1):
        S.gram[i, s, a] = S.gram[i, a, s] = np.dot(rows[j], rows[S.atoms[i, a]])
    S.size[i] = s + 1


@numba.njit(cache=True, nogil=True)
def _drop(S: Supports, i: int, a: int) -> None:
    """Take the atom at place a out of the support of sample i."""
    last = S.size[i] - 1
    if a != last:
        S.atoms[i, a], S.u[i, a], S.c[i, a] = S.atoms[i, last], S.u[i, last], S.c[i, last]
        S.gram[i, a, :last] = S.gram[i, last, :last]
        S.gram[i, :last, a] = S.gram[i, last, :last]
        S.gram[i, a, a] = S.gram[i, last, last]
    S.size[i] = last


@numba.njit(cache=True, nogil=True)
def _settle(S: Supports, i: int, x: np.ndarray, rows: np.ndarray, free: bool) -> None:
    """Best amplitudes; atoms that got none leave; residual and error anew."""
    s = S.size[i]
    u = S.u[i, :s].copy()
    amplitudes(np.ascontiguousarray(S.gram[i, :s, :s]), S.c[i, :s].copy(), u, free)
    S.u[i, :s] = u
    for a in range(s - 1, -1, -1):
        if S.u[i, a] == 0.0:
            _drop(S, i, a)
    r = x.copy()
    for a in range(S.size[i]):
        value, row = S.u[i, a], rows[S.atoms[i, a]]
        for d in range(len(r)):
            r[d] -= value * row[d]
    S.residual[i] = r
    S.error[i] = np.dot(r, r)


@numba.njit(cache=True, nogil=True)
def _grow(
    S: Supports,
    which: np.ndarray,
    best: np.ndarray,
    X: np.ndarray,
    rows: np.ndarray,
    free: bool,
    done: np.ndarray,
) -> None:
    """Let the best correlated atom of each sample in; done where that explains no more."""
    for t in range(len(which)):
        i, j = which[t], best[t]
        before, done[i] = S.error[i], j < 0
        for a in range(S.size[i]):
            if S.atoms[i, a] == j:
                done[i] = True  # only rounding is left
        if not done[i]:
            _put(S, i, j, X[i], rows)
            _settle(S, i, X[i], rows, free)
            done[i] = S.error[i] >= before * (1 - 1e-12)


@numba.njit(cache=True, nogil=True)
def _without(
    S: Supports,
    which: np.ndarray,
    turn: np.ndarray,
    X: np.ndarray,
    rows: np.ndarray,
    free: bool,
    place: np.ndarray,
    residual: np.ndarray,
) -> None:
    """Residuals without one atom, the others refitted: the ``turn``-th least useful one.

    Without atom a the error rises by ``u_a² / (G⁻¹)_aa`` (amplitudes of any sign).
    """
    for t in range(len(which)):
        i = which[t]
        s = S.size[i]
        inverse = np.linalg.inv(np.ascontiguousarray(S.gram[i, :s, :s]))
        rise = np.empty(s)
        for a in range(s):
            rise[a] = S.u[i, a] ** 2 / max(inverse[a, a], 1e-300)
        out = np.argsort(rise)[turn[i]]
        rest = np.empty(s - 1, np.int64)
        for a in range(s - 1):
            rest[a] = a if a < out else a + 1
        gram = np.empty((s - 1, s - 1))
        c, u = np.empty(s - 1), np.empty(s - 1)
        for a in range(s - 1):
            c[a], u[a] = S.c[i, rest[a]], S.u[i, rest[a]]
            for b in range(s - 1):
                gram[a, b] = S.gram[i, rest[a], rest[b]]
        amplitudes(gram, c, u, free)
        r = X[i].copy()
        for a in range(s - 1):
            r -= u[a] * rows[S.atoms[i, rest[a]]]
        place[t], residual[t] = out, r


@numba.njit(cache=True, nogil=True)
def _swap(
    S: Supports,
    which: np.ndarray,
    place: np.ndarray,
    best: np.ndarray,
    X: np.ndarray,
    rows: np.ndarray,
    free: bool,
    turn: np.ndarray,
) -> None:
    """Put the best of some atoms where the old one was, if the error falls."""
    for t in range(len(which)):
        i = which[t]
        s, least, winner = S.size[i], S.error[i] * (1 - 1e-9), -1
        turn[i] += 1
        atoms, u = S.atoms[i, :s].copy(), S.u[i, :s].copy()
        gram, c = S.gram[i, :s, :s].copy(), S.c[i, :s].copy()
        for q in range(best.shape[1] + 1):  # at last the winner again, or the old atom
            j = best[t, q] if q < best.shape[1] else winner
            known = j < 0
            for a in range(s):
                known |= atoms[a] == j
            if known and q < best.shape[1]:
                continue
            S.atoms[i, :s], S.u[i, :s], S.size[i] = atoms, u, s
            S.gram[i, :s, :s], S.c[i, :s] = gram, c
            if j >= 0:
                _drop(S, i, place[t])
                _put(S, i, j, X[i], rows)
            _settle(S, i, X[i], rows, free)
            if q < best.shape[1] and S.error[i] < least:
                least, winner = S.error[i], j
        if winner >= 0:
            turn[i] = 0


class Pursuit:
    """Searches supports of at most ``budget`` atoms for many signals at once.

    Args:
        rows: Atoms ``(m, n)``, float64 on the CPU.
        device: Where correlations with all atoms are computed, in float32.
        signed: Whether amplitudes may be negative.
        threads: CPU threads.
    """

    def __init__(self, rows: np.ndarray, device: torch.device, signed: bool, threads: int) -> None:
        self.rows, self.signed, self.threads = rows, signed, threads
        norms = np.sqrt(np.einsum("mn,mn->m", rows, rows))
        inverse = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
        unit = torch.from_numpy((rows * inverse[:, None]).astype(np.float32))
        self.unit = unit.to(device).T  # (n, m)

    def solve(self, X: np.ndarray, budget: np.ndarray, start: Rows, swaps: int | None) -> Rows:
        """The better of pursuit from nothing and ``start`` refitted, improved by exchanges.

        Args:
            X: Signals ``(b, n)`` float64.
            budget: Atoms allowed for each ``(b,)``.
            start: Codes to start from; those with more atoms than the budget are not used.
            swaps: Most attempts at an exchange; None: three times the budget.
        """
        room = int(budget.max(initial=0)) + 1
        some = max(1, min(_STATE_BYTES // (8 * room * room), _SCORE_BYTES // (4 * len(self.rows))))
        parts = []
        for low in range(0, len(X), some):
            high = min(low + some, len(X))
            given = Rows(start.starts[low : high + 1], start.atoms, start.values)
            parts.append(self._some(X[low:high], budget[low:high], given, swaps))
        return join(parts)

    def _some(self, X: np.ndarray, budget: np.ndarray, start: Rows, swaps: int | None) -> Rows:
        found = self._empty(X, budget)
        self._grow(found, X, budget)
        given, usable = self._empty(X, budget), np.flatnonzero(start.l0 <= budget)
        codes = (start.starts, start.atoms, start.values)
        _begin(given, usable, *codes, X, self.rows, self.signed)
        worse = given.error < found.error
        for kept, other in zip(found, given, strict=True):
            kept[worse] = other[worse]
        self._grow(found, X, budget)  # a refit may have left room
        self._exchange(found, X, budget, swaps)
        return _packed(found)

    def _empty(self, X: np.ndarray, budget: np.ndarray) -> Supports:
        b, room = len(X), int(budget.max(initial=0)) + 1
        return Supports(
            np.zeros((b, room), np.int64),
            np.zeros((b, room)),
            np.zeros(b, np.int64),
            np.zeros((b, room, room)),
            np.zeros((b, room)),
            X.copy(),
            np.einsum("bn,bn->b", X, X),
        )

    def _grow(self, S: Supports, X: np.ndarray, budget: np.ndarray) -> None:
        """Add atoms until the budget is used up or nothing is left to explain."""
        done, floor = np.zeros(len(X), np.bool_), _floor(X)
        for _ in range(int(2 * budget.max(initial=0))):  # a refit may send atoms away again
            which = np.flatnonzero(~done & (S.error > floor) & (S.size < budget))
            if not len(which):
                return
            best = self._best(S.residual[which])[:, 0]

            def part(some: slice, which: np.ndarray = which, best: np.ndarray = best) -> None:
                _grow(S, which[some], best[some], X, self.rows, self.signed, done)

            in_threads(part, len(which), self.threads)

    def _exchange(self, S: Supports, X: np.ndarray, budget: np.ndarray, swaps: int | None) -> None:
        """Exchange atoms, the least useful first, until none of a support can be bettered."""
        turn, floor = np.zeros(len(X), np.int64), _floor(X)
        for attempt in range(3 * int(budget.max(initial=0)) if swaps is None else swaps):
            left = np.full(len(X), True) if swaps is not None else attempt < 3 * budget
            which = np.flatnonzero(left & (turn < S.size) & (S.error > floor))
            if not len(which):
                return
            place, residual = np.empty(len(which), np.int64), np.empty((len(which), X.shape[1]))

            def look(some: slice, which: np.ndarray = which) -> None:
                out = (place[some], residual[some])  # noqa: B023
                _without(S, which[some], turn, X, self.rows, self.signed, *out)

            in_threads(look, len(which), self.threads)
            best = self._best(residual, _CANDIDATES)

            def part(some: slice, which: np.ndarray = which) -> None:
                new = (place[some], best[some])  # noqa: B023
                _swap(S, which[some], *new, X, self.rows, self.signed, turn)

            in_threads(part, len(which), self.threads)

    def _best(self, residual: np.ndarray, count: int = 1) -> np.ndarray:
        """The atoms of largest correlation ``(b, count)``, -1 where none is positive."""
        scale = np.sqrt(np.einsum("bn,bn->b", residual, residual))[:, None]
        r = torch.from_numpy((residual / np.maximum(scale, 1e-300)).astype(np.float32))
        scores: Tensor = r.to(self.unit.device) @ self.unit
        scores = scores.abs_() if self.signed else scores
        if count == 1:
            value, index = scores.max(1, keepdim=True)
        else:
            value, index = scores.topk(min(count, scores.shape[1]), dim=1)
        return torch.where(value > 1e-6, index, -1).cpu().numpy()


@numba.njit(cache=True, nogil=True)
def _begin(
    S: Supports,
    which: np.ndarray,
    starts: np.ndarray,
    atoms: np.ndarray,
    values: np.ndarray,
    X: np.ndarray,
    rows: np.ndarray,
    free: bool,
) -> None:
    for i in which:
        for a in range(starts[i], starts[i + 1]):
            _put(S, i, atoms[a], X[i], rows)
            S.u[i, S.size[i] - 1] = values[a]
        _settle(S, i, X[i], rows, free)


def _floor(X: np.ndarray) -> np.ndarray:
    """Squared residuals below which there is only rounding."""
    return 1e-24 * np.einsum("bn,bn->b", X, X)


def _packed(S: Supports) -> Rows:
    held = np.arange(S.atoms.shape[1]) < S.size[:, None]
    order = np.argsort(np.where(held, S.atoms, np.iinfo(np.int64).max), axis=1)
    atoms, u = np.take_along_axis(S.atoms, order, 1), np.take_along_axis(S.u, order, 1)
    return pack(S.size, atoms[held], u[held])
