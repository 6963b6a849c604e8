"""Who wins, and who is within noise of the winner? Paired seed x sample intervals.

Every configuration is scored on the same held-out units under the same seeds, so two of them are
compared by their paired differences ``d[s, u]``. Both seeds and units are samples of something
larger; the variance of a mean difference is that of a two-way layout,

    Var = V_seed + V_unit - V_rest,   V_seed = var_s(row means)/S,   V_unit = var_u(column means)/n,

with ``V_rest`` the part that both count (the plain bootstrap would count it three times: Owen 2007,
"The pigeonhole bootstrap"). Resampled units give the shape of their part; three seeds cannot be
resampled, so their part is a multiplier bootstrap. The scale is set to the variance above, each
part widened by its own Student's t (Graybill and Wang 1980): three seeds alone have two degrees of
freedom.

Two more things make "tied" mean what it says. The winner is the luckiest of many, so the bar is
the bootstrapped distribution of *the best against the rest among equals* (Tukey's range, not a
pairwise test). And among many comparisons some seed variance is small by luck, so all are shrunk
towards what the better half of the field has in common (Smyth 2004, "moderated t").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, ndtr, ndtri, polygamma, stdtrit

from thalweg.records import Interval

REPLICATES = 2000
MOST_UNITS = 2048  # more are grouped: the table of resampling weights stays at 32 MB
LEVEL = 0.95

Floats = NDArray[np.float64]


class Comparison:
    """Intervals and ties from held-out values; the same resamples serve every question.

    Args:
        weights: ``(u,)`` weights of the held-out units, summing to 1.
        seeds: Number of seeds ``S``.
        seed: Of the resampling.
    """

    def __init__(self, weights: Floats, seeds: int, seed: int = 0) -> None:
        self.seeds = seeds
        self._full = np.asarray(weights, dtype=np.float64)
        self._groups = np.arange(len(self._full)) % min(len(self._full), MOST_UNITS)
        self._weights: Floats = np.bincount(self._groups, self._full).astype(np.float64)
        random, n = np.random.default_rng(seed), len(self._weights)
        self._multipliers = random.standard_normal((REPLICATES, seeds))
        drawn = random.multinomial(n, np.full(n, 1 / n), REPLICATES) * self._weights
        self._by_unit = drawn / np.maximum(drawn.sum(1, keepdims=True), 1e-300)  # (B, n)

    def interval(self, values: Floats) -> Interval:
        """The mean of ``values (S, u)`` with its standard error and 95 % interval."""
        parts = self._parts([values])
        return _interval(parts, _Variance.of(parts), self._draws(parts)[:, 0])

    def stderr(self, values: Floats) -> float:
        """The standard error of the mean of ``values (S, u)``."""
        return float(_Variance.of(self._parts([values])).stderr[0])

    def field(self, values: Sequence[Floats]) -> Field:
        """Compare configurations with each other.

        Args:
            values: Criterion values ``(S, u)`` of each configuration, best first.
        """
        parts = self._parts(values)
        pairs = _Variance.of_pairs(parts).moderated(max(2, (len(values) + 1) // 2))
        draws = self._draws(parts)
        return Field(parts, pairs, draws, _range_bar(draws))

    # ------------------------------------------------------------------ inside

    def _parts(self, values: Sequence[Floats]) -> _Parts:
        stacked = np.asarray(values, dtype=np.float64)  # (C, S, u)
        if stacked.shape[2] != len(self._weights):
            mass = np.maximum(self._weights, 1e-300)
            flat = stacked.reshape(-1, stacked.shape[2])
            sums = [np.bincount(self._groups, row * self._full) for row in flat]
            stacked = (np.stack(sums) / mass).reshape(*stacked.shape[:2], -1)
        return _Parts.of(stacked, self._weights)

    def _draws(self, parts: _Parts) -> Floats:
        """Joint bootstrap deviations of the means, ``(B, C)``."""
        draws = parts.columns @ self._by_unit.T - parts.means[:, None]
        if self.seeds > 1:
            scale = np.sqrt(self.seeds * (self.seeds - 1))
            draws += (parts.rows - parts.means[:, None]) @ self._multipliers.T / scale
        return draws.T


@dataclass(frozen=True, slots=True)
class Field:
    """Configurations compared with each other, best first."""

    parts: _Parts
    pairs: _Variance
    draws: Floats  # (B, C)
    bar: float  # standard errors by which the luckiest of equals leads

    def behind(self, first: int, second: int) -> tuple[Interval, bool]:
        """How far ``second`` is behind ``first``, and whether that is within noise."""
        pair, apart = self.pairs.at(first, second), self.parts.minus(first, second)
        interval = _interval(apart, pair, self.draws[:, first] - self.draws[:, second])
        return interval, bool(apart.means[0] <= pair.widened(self.bar))


def _interval(parts: _Parts, variance: _Variance, draws: Floats) -> Interval:
    mean, stderr = float(parts.means[0]), float(variance.stderr.item())
    if stderr == 0.0:
        return Interval(mean, 0.0, mean, mean)
    tail = (1 + LEVEL) / 2
    spread = draws.std()
    shape = np.quantile(draws / spread, [1 - tail, tail]) if spread > 0 else np.zeros(2)
    low, high = mean + shape / ndtri(tail) * variance.widened(float(ndtri(tail)))
    return Interval(mean, stderr, float(low), float(high))


@dataclass(frozen=True, slots=True)
class _Parts:
    """Means of C quantities, split into what seeds, units and both together contribute."""

    means: Floats  # (C,)
    rows: Floats  # (C, S), means over units
    columns: Floats  # (C, n), means over seeds
    rest: Floats  # (C, S, n), what rows and columns do not explain
    weights: Floats  # (n,)

    @classmethod
    def of(cls, values: Floats, weights: Floats) -> _Parts:
        rows, columns = values @ weights, values.mean(1)
        means = rows.mean(1)
        rest = values - rows[..., None] - columns[:, None] + means[:, None, None]
        return cls(means, rows, columns, rest, weights)

    def minus(self, first: int, second: int) -> _Parts:
        """The paired difference of two of them."""
        one, two = np.s_[first : first + 1], np.s_[second : second + 1]
        return _Parts(
            self.means[one] - self.means[two],
            self.rows[one] - self.rows[two],
            self.columns[one] - self.columns[two],
            self.rest[one] - self.rest[two],
            self.weights,
        )


@dataclass(frozen=True, slots=True)
class _Variance:
    """Variances of means (arrays of one shape): by seed, by unit, and their degrees of freedom."""

    seed: Floats
    unit: Floats
    seed_degrees: float
    unit_degrees: float

    @classmethod
    def of(cls, parts: _Parts) -> _Variance:
        """Of each mean on its own, ``(C,)``."""
        centred, w = parts.columns - parts.means[:, None], parts.weights
        unit = (w**2 * centred**2).sum(1)
        rest = (w**2 * parts.rest**2).sum((1, 2))
        return cls._assemble(parts.rows.var(1), unit, rest, parts)

    @classmethod
    def of_pairs(cls, parts: _Parts) -> _Variance:
        """Of all paired differences, ``(C, C)``, from Gram matrices."""
        c, w = len(parts.means), parts.weights
        seeds = parts.rows - parts.means[:, None]
        units = (parts.columns - parts.means[:, None]) * w
        rest = (parts.rest * w).reshape(c, -1)
        return cls._assemble(_apart(seeds) / seeds.shape[1], _apart(units), _apart(rest), parts)

    @classmethod
    def _assemble(cls, seed: Floats, unit: Floats, rest: Floats, parts: _Parts) -> _Variance:
        s, w = parts.rows.shape[1], parts.weights
        left = max(1.0 - float(w @ w), 1e-12)
        unit = unit / left
        if s == 1:
            return cls(np.zeros_like(unit), unit, 1.0, max(len(w) - 1, 1))
        both, seed = rest / (s * (s - 1)) / left, seed / (s - 1)
        # each part is a difference of estimates; their sum is at least what both together add
        unit = np.maximum(np.maximum(unit - both, both - seed), 0)
        return cls(seed, unit, s - 1, max(len(w) - 1, 1))

    @property
    def stderr(self) -> Floats:
        """Standard errors."""
        return np.sqrt(self.seed + self.unit)

    def widened(self, bar: float) -> float:
        """``bar`` standard errors of a normal variable, widened for estimated variances."""
        share = ndtr(min(bar, 8.0))  # beyond that it is 1, and its quantile infinite
        by_seed = stdtrit(self.seed_degrees, share) ** 2 * self.seed.item()
        by_unit = stdtrit(self.unit_degrees, share) ** 2 * self.unit.item()
        return float(np.sqrt(by_seed + by_unit))

    def at(self, first: int, second: int) -> _Variance:
        """One pair's variance."""
        pick = np.s_[first : first + 1, second]
        return _Variance(self.seed[pick], self.unit[pick], self.seed_degrees, self.unit_degrees)

    def moderated(self, contenders: int) -> _Variance:
        """Seed variances of pairs, shrunk towards what the contenders have in common.

        The first ``contenders`` configurations are about equally good, and so about equally shaken
        by the seed: their pairs give the common variance and how far it can be relied on (Smyth
        2004, section 6.2).
        """
        d, contenders = self.seed_degrees, min(contenders, len(self.seed))
        known = self.seed[:contenders, :contenders][np.triu_indices(contenders, 1)]
        moving = known[known > 1e-6 * max(float(np.median(known)) if len(known) else 0, 1e-300)]
        if len(moving) < 3:
            return self
        logs = np.log(moving) - digamma(d / 2) + np.log(d / 2)
        excess = float(logs.var(ddof=1)) - float(polygamma(1, d / 2))
        if excess > 0:
            prior = 2 * _inverse_trigamma(excess)
            centre = np.exp(logs.mean() + digamma(prior / 2) - np.log(prior / 2))
        else:
            prior, centre = np.inf, np.exp(logs.mean())
        # pairs share members: no more is learnt than from the free differences between them
        prior = min(prior, d * (contenders - 1))
        shrunk = (prior * centre + d * self.seed) / (prior + d)
        np.fill_diagonal(shrunk, 0.0)
        return _Variance(shrunk, self.unit, prior + d, self.unit_degrees)


def _apart(vectors: Floats) -> Floats:
    """Squared distances between all rows, ``(C, C)``."""
    gram = vectors @ vectors.T
    size = np.diag(gram)
    return np.maximum(size[:, None] + size - 2 * gram, 0.0)


def _range_bar(draws: Floats) -> float:
    """How many standard errors the luckiest of equals leads by, at most, 95 times in 100."""
    widest = np.zeros(len(draws))
    for best in range(draws.shape[1]):
        apart = draws[:, best, None] - draws
        scale = apart.std(0)
        scale[scale <= 1e-9 * scale.max(initial=1e-300)] = np.inf  # itself and identical twins
        widest = np.maximum(widest, (apart / scale).max(1))
    return float(np.quantile(widest, LEVEL))


def _inverse_trigamma(value: float) -> float:
    """``x`` with trigamma(x) = ``value``, by Newton's method on its reciprocal."""
    x = 0.5 + 1 / value
    for _ in range(50):
        step = float(polygamma(1, x) * (1 - polygamma(1, x) / value) / polygamma(2, x))
        x += step
        if abs(step) < 1e-10 * x:
            break
    return x
