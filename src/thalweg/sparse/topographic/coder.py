"""Which code explains a signal with few active pools? Majorisation, with falling energy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from thalweg.linalg.power import gram_bound
from thalweg.records import Codes
from thalweg.sparse.inputs import match, read, read_count, read_start, read_tol
from thalweg.sparse.penalties.pools import OverlappingGroup

_CHECK = 10  # steps between certificates
_BYTES = 2**26  # of the parts of codes that a certificate holds at once


class Problem(NamedTuple):
    """What the samples of one inference share."""

    D: Tensor  # (n, m)
    gram: Tensor  # (m, m)
    bound: float  # on its largest eigenvalue
    matrix: Tensor  # (pools, m)
    penalty: OverlappingGroup
    beta: float

    @classmethod
    def of(cls, D: Tensor, penalty: OverlappingGroup, beta: float = 0.0) -> Problem:
        """The problem over a dictionary ``(n, m)``."""
        return cls(D, D.T @ D, gram_bound(D), penalty.matrix(D), penalty, beta)


def solve(
    problem: Problem,
    x: Tensor,
    guess: Tensor | None,
    start: Tensor | None,
    steps: int,
    tol: float | None,
) -> tuple[Tensor, Tensor]:
    r"""Codes ``(b, m)`` of signals ``(b, n)`` and the steps each took ``(b,)``.

    A step minimises a separable quadratic above the energy that touches it at an extrapolated
    point; where that raises a sample's energy, the step is taken from its last code instead, from
    which it cannot rise. So energies fall monotonically.

    Args:
        problem: Dictionary and penalty.
        x: Signals.
        guess: The prediction that ``beta`` pulls to, None without.
        start: Codes to start from; zero by default.
        steps: Most steps.
        tol: Relative duality gap at which a sample leaves; None: all take all steps.
    """
    answer = x.new_zeros(len(x), problem.D.shape[1]) if start is None else start.clone()
    taken = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    index, z = torch.arange(len(x), device=x.device), answer.clone()
    product = x @ problem.D
    if guess is not None:
        product = product + problem.beta * guess
    y, t, g_z = z, z.new_ones(len(z), 1), z @ problem.gram
    g_y, energy = g_z, _energy(problem, product, z, g_z)
    for k in range(steps):
        if tol is not None and k % _CHECK == 0:
            gap = certificate(problem, x[index], None if guess is None else guess[index], z)[1]
            left = gap > tol
            answer[index], taken[index] = z, k
            index, z, y, t = index[left], z[left], y[left], t[left]
            g_z, g_y, energy, product = g_z[left], g_y[left], energy[left], product[left]
            if not len(index):
                return answer, taken
        new = _step(problem, product, y, g_y)
        g_new = new @ problem.gram
        found = _energy(problem, product, new, g_new)
        worse = found > energy
        if bool(worse.any()):
            new[worse] = _step(problem, product[worse], z[worse], g_z[worse])
            g_new[worse] = new[worse] @ problem.gram
            found = torch.where(worse, _energy(problem, product, new, g_new), found)
        ahead = (1 + (1 + 4 * t.square()).sqrt()) / 2
        push = torch.where(worse.unsqueeze(1), 0.0, (t - 1) / ahead)
        y, g_y = new + push * (new - z), g_new + push * (g_new - g_z)
        t = torch.where(worse.unsqueeze(1), 1.0, ahead)
        z, g_z, energy = new, g_new, found
    answer[index], taken[index] = z, steps
    return answer, taken


def _step(problem: Problem, product: Tensor, y: Tensor, g_y: Tensor) -> Tensor:
    """The minimum of the quadratic above the energy at y."""
    bend = problem.penalty.curvature(y, problem.matrix)
    return (problem.bound * y + product - g_y) / (problem.bound + problem.beta + bend)


def _energy(problem: Problem, product: Tensor, z: Tensor, g_z: Tensor) -> Tensor:
    """The energy per sample up to what does not depend on z."""
    smooth = ((0.5 * g_z - product) * z).sum(1) + 0.5 * problem.beta * z.square().sum(1)
    return smooth + problem.penalty.value(z, problem.matrix)


def certificate(
    problem: Problem, x: Tensor, guess: Tensor | None, z: Tensor
) -> tuple[Tensor, Tensor]:
    r"""Energy and relative duality gap of codes, per sample ``(b,)``.

    The residual, with that of the prediction, is scaled until its correlations are feasible for the
    smoothed penalty; the gap is over half the squared norm of the signal with its prediction.
    """
    pools, size = problem.penalty.pools.shape
    some = max(1, _BYTES // (8 * pools * size))
    pairs = [
        _certificate(problem, x[i : i + some], None if guess is None else guess[i : i + some], part)
        for i, part in zip(range(0, len(z), some), z.split(some), strict=True)
    ]
    if not pairs:
        return x.new_zeros(0), x.new_zeros(0)
    return torch.cat([p[0] for p in pairs]), torch.cat([p[1] for p in pairs])


def _certificate(
    problem: Problem, x: Tensor, guess: Tensor | None, z: Tensor
) -> tuple[Tensor, Tensor]:
    r = x - z @ problem.D.T
    c, fit, along, whole = r @ problem.D, r.square().sum(1), (x * r).sum(1), x.square().sum(1)
    if guess is not None and problem.beta:
        apart = guess - z
        c = c + problem.beta * apart
        fit = fit + problem.beta * apart.square().sum(1)
        along = along + problem.beta * (guess * apart).sum(1)
        whole = whole + problem.beta * guess.square().sum(1)
    energy = 0.5 * fit + problem.penalty.value(z, problem.matrix)
    largest, conjugate = problem.penalty.dual(z, c)
    s = largest.clamp(max=1.0)
    gap = energy - (s * along - 0.5 * s.square() * fit - conjugate(s))
    nothing = torch.where((z != 0).any(1), torch.inf, 0.0)  # for x = 0 the answer is zero
    return energy, torch.where(whole > 0, gap.clamp_min(0) / (0.5 * whole), nothing)


@dataclass(frozen=True, slots=True, eq=False)
class GroupSparseCoder:
    r"""Codes of least energy under overlapping pools, each with a certificate.

    .. math:: E(x, z) = \tfrac12\|x - Dz\|^2
        + \alpha\sum_p\sqrt{\textstyle\sum_{i\in p} w_i z_i^2 + \varepsilon}

    Args:
        D: Dictionary ``(n, m)``, atoms are columns; numpy or torch.
        penalty: The pools with their weight, as of ``TorusPools(...).penalty(l1)``.
    """

    D: Any
    penalty: OverlappingGroup

    def __post_init__(self) -> None:
        atoms = read(self.D, "D", "(inputs, atoms)").shape[1]
        if atoms != self.penalty.units:
            raise ValueError(f"D has {atoms} atoms but the pools hold {self.penalty.units} units")

    def encode(
        self, X: Any, tol: float = 1e-6, start: Any = None, max_iterations: int | None = None
    ) -> Codes:
        """Codes with a certificate, numpy or torch as ``X`` is.

        Args:
            X: Signals ``(b, n)``.
            tol: Duality gap of the smoothed energy over ``½‖x‖²`` at which a sample is done. For
                ``x = 0`` the answer is the zero code.
            start: Codes ``(b, m)`` to start from.
            max_iterations: Most steps, 10 000 by default.

        Returns:
            ``Codes``: float64 inside, rounded to the dtype of ``X`` at the end; energy and gap are
            those before rounding.
        """
        signals, dictionary = (
            read(X, "X", "(samples, inputs)"),
            read(self.D, "D", "(inputs, atoms)"),
        )
        match(signals, dictionary)
        if self.penalty.eps == 0:
            raise ValueError("inference needs a smoothed penalty: give it eps above 0, say 1e-6")
        D = dictionary.rows(0, dictionary.shape[0])
        warm = read_start(start, signals, D.shape[1])
        limit, tol = read_count(max_iterations, "max_iterations") or 10_000, read_tol(tol)
        x = signals.rows(0, signals.shape[0])
        problem = Problem.of(D, self.penalty)
        begin = None if warm is None else warm.rows(0, len(x))
        z, taken = solve(problem, x, None, begin, limit, tol)
        energy, gap = certificate(problem, x, None, z)
        done = gap <= tol
        missed = int((~done).sum())
        status = (
            f"all {len(x)} samples reached a relative gap of {tol:g}"
            if not missed
            else f"{missed} of {len(x)} samples did not reach a relative gap of {tol:g}; raise "
            "max_iterations, tol or eps"
        )
        give = signals.give
        return Codes(
            z=give(z.to(signals.dtype)),
            energy=give(energy),
            gap=give(gap),
            iterations=give(taken),
            converged=give(done),
            status=status,
        )

    def energy(self, X: Any, Z: Any) -> Any:
        """The smoothed energy of codes ``(b, m)`` per signal ``(b,)``, float64."""
        signals, x, D, z = self._read(X, Z)
        return signals.give(0.5 * (x - z @ D.T).square().sum(1) + self.penalty.value(z))

    def slope(self, X: Any, Z: Any) -> Any:
        """Largest entry of the energy's gradient per signal ``(b,)``: 0 at the minimum alone."""
        signals, x, D, z = self._read(X, Z)
        grad = (z @ D.T - x) @ D + self.penalty.curvature(z) * z
        return signals.give(grad.abs().amax(1))

    def _read(self, X: Any, Z: Any) -> tuple[Any, Tensor, Tensor, Tensor]:
        signals, dictionary = (
            read(X, "X", "(samples, inputs)"),
            read(self.D, "D", "(inputs, atoms)"),
        )
        match(signals, dictionary)
        D = dictionary.rows(0, dictionary.shape[0])
        codes = read_start(Z, signals, D.shape[1])
        if codes is None:
            raise TypeError("Z must be codes (samples, atoms), got None")
        return signals, signals.rows(0, signals.shape[0]), D, codes.rows(0, signals.shape[0])


def responses(z: Tensor, penalty: OverlappingGroup) -> Tensor:
    """What complex cells say, ``√(Σ w z²)``: codes ``(b, m)`` to pools ``(b, pools)``."""
    return (z.square() @ penalty.matrix(z).T).clamp_min(0).sqrt()


def smoothing_bias(penalty: OverlappingGroup) -> float:
    """How far the smoothed penalty is above the unsmoothed one, at most."""
    return penalty.l1 * len(penalty.pools) * math.sqrt(penalty.eps)
