"""What does a sampled spectrum say? Shares of eigenvalues with bounds, a smoothed density, moments.

Everything follows from the Jacobi matrices of the probes: small arrays, no operator is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Z = 1.96  # normal quantile of a two-sided 95 % interval


@dataclass(frozen=True, slots=True, eq=False)
class Jacobi:
    """One probe's tridiagonal matrix: ``alpha (n,)``, ``beta (n - 1,)``, and the next β (0: exact).

    Its eigenvalues and the squared first entries of its eigenvectors are a Gauss quadrature of the
    spectrum as the probe weighs it.
    """

    alpha: np.ndarray
    beta: np.ndarray
    last: float

    def rule(self) -> tuple[np.ndarray, np.ndarray]:
        """Nodes (ascending) and weights of the Gauss rule."""
        return _rule(self.alpha, self.beta)

    def distribution(self, x: float) -> tuple[float, float]:
        """Chebyshev–Markov–Stieltjes: the sharpest bounds on the measure of (−∞, x) and (−∞, x].

        The rule that is made to have a node at x splits the mass: what lies left of x is at least
        the weights left of it, and at most these and x's own.
        """
        alpha, beta = self.alpha, self.beta
        if self.last > 0:
            alpha = np.append(alpha, x + self._correction(x))
            beta = np.append(beta, self.last)
        nodes, weights = _rule(alpha, beta)
        slack = 1e-9 * max(1.0, abs(x), float(np.abs(self.alpha).max()))
        low = float(weights[nodes < x - slack].sum())
        high = float(weights[nodes <= x + slack].sum())
        return min(max(low, 0.0), 1.0), min(max(high, 0.0), 1.0)

    def _correction(self, x: float) -> float:
        """``β² (T − x I)⁻¹`` at its last corner, by the recurrence of the pivots from the top."""
        pivot = self.alpha[0] - x
        tiny = np.finfo(np.float64).eps * (abs(x) + float(np.abs(self.alpha).max()) + 1e-300)
        for i in range(1, len(self.alpha)):
            pivot = pivot if abs(pivot) > tiny else math.copysign(tiny, pivot)
            pivot = self.alpha[i] - x - self.beta[i - 1] ** 2 / pivot
        pivot = pivot if abs(pivot) > tiny else math.copysign(tiny, pivot)
        return self.last**2 / pivot


@dataclass(frozen=True, slots=True, eq=False)
class Density:
    """The spectral density of a symmetric operator from random probes.

    Attributes:
        nodes: ``(probes, steps)`` float64, ascending in each row; rows that ended early (the space
            was invariant) repeat their last node with weight zero.
        weights: ``(probes, steps)``; each row sums to one.
        p: Dimension of the operator.
        products: Products with single vectors.
        resolution: Distance below which nodes are rounding, not spectrum.
        jacobi: The tridiagonal matrices, for bounds.
    """

    nodes: Tensor
    weights: Tensor
    p: int
    products: int
    resolution: float
    jacobi: tuple[Jacobi, ...]

    @property
    def probes(self) -> int:
        """How many random vectors were used."""
        return len(self.jacobi)

    def density(self, grid: Tensor | Sequence[float], sigma: float | None = None) -> Tensor:
        """The density smoothed by Gaussians of width ``sigma`` at ``grid (g,)``; its integral is 1.

        Args:
            grid: Where.
            sigma: Width, above 0; default: a hundredth of the range of the nodes.

        Returns:
            ``(g,)`` float64: the mean over the probes.
        """
        return self._curves(grid, sigma).mean(0)

    def density_stderr(self, grid: Tensor | Sequence[float], sigma: float | None = None) -> Tensor:
        """Standard error of :meth:`density` over the probes, ``(g,)``; NaN for one probe."""
        curves = self._curves(grid, sigma)
        if self.probes < 2:
            return torch.full_like(curves[0], math.nan)
        return curves.std(0) / math.sqrt(self.probes)

    def width(self) -> float:
        """The default ``sigma``: a hundredth of the range of the nodes."""
        span = float(self.nodes.max() - self.nodes.min())
        return max(span / 100, 10 * self.resolution, 1e-300)

    def _curves(self, grid: Tensor | Sequence[float], sigma: float | None) -> Tensor:
        width = self.width() if sigma is None else float(sigma)
        if not 0 < width < math.inf:
            raise ValueError(f"sigma must be a finite number above 0, got {sigma!r}")
        x = torch.as_tensor(grid, dtype=torch.float64)
        if x.ndim != 1:
            raise ValueError(f"grid has shape {tuple(x.shape)}; wanted (g,)")
        far = (x[:, None, None] - self.nodes) / width
        bumps = torch.exp(-0.5 * far.square()) / (width * math.sqrt(2 * math.pi))
        return (bumps * self.weights).sum(2).mT

    def mean(self, function: Callable[[Tensor], Tensor]) -> tuple[float, float]:
        """``tr f(A) / p`` with its standard error over the probes (NaN for one probe)."""
        each = (self.weights * function(self.nodes)).sum(1)
        stderr = float(each.std()) / math.sqrt(self.probes) if self.probes > 1 else math.nan
        return float(each.mean()), stderr

    def fraction_within(self, x: float) -> tuple[float, float]:
        """Bounds on the share of eigenvalues with absolute value below x.

        For each probe the bounds are certain (Chebyshev–Markov–Stieltjes); over the probes they are
        widened by 1.96 standard errors, so together they hold about 19 times in 20.

        Raises:
            ValueError: ``x`` is not a positive finite number.
        """
        if not 0 < x < math.inf:
            raise ValueError(f"x must be a finite number above 0, got {x!r}")
        lows, highs = [], []
        for probe in self.jacobi:
            up, down = self._bounds(probe, x), self._bounds(probe, -x)
            lows.append(max(0.0, up[0] - down[1]))
            highs.append(min(1.0, max(0.0, up[1] - down[0])))
        return self._widened(lows, highs)

    def fraction_below(self, x: float) -> tuple[float, float]:
        """Bounds on the share of eigenvalues λ < x, as in :meth:`fraction_within`."""
        if not math.isfinite(x):
            raise ValueError(f"x must be a finite number, got {x!r}")
        pairs = [self._bounds(probe, x) for probe in self.jacobi]
        return self._widened([low for low, _ in pairs], [high for _, high in pairs])

    def _bounds(self, probe: Jacobi, x: float) -> tuple[float, float]:
        """Of the measure below x, where nodes may be off by the resolution."""
        low = probe.distribution(x - self.resolution)[0]
        return low, probe.distribution(x + self.resolution)[1]

    def _widened(self, lows: list[float], highs: list[float]) -> tuple[float, float]:
        low, high = float(np.mean(lows)), float(np.mean(highs))
        middle = 0.5 if low <= 0.5 <= high else (low if low > 0.5 else high)
        # the share that a random unit vector gives to f p of p directions is Beta(fp/2, (1-f)p/2)
        theory = 2 * middle * (1 - middle) / (self.p + 2)
        spread = [float(np.var(v, ddof=1)) if len(v) > 1 else 0.0 for v in (lows, highs)]
        low -= Z * math.sqrt(max(theory, spread[0]) / self.probes)
        high += Z * math.sqrt(max(theory, spread[1]) / self.probes)
        return max(0.0, low), min(1.0, high)


def _rule(alpha: np.ndarray, beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    T = np.diag(alpha) + np.diag(beta, 1) + np.diag(beta, -1)
    nodes, vectors = np.linalg.eigh(T)
    return nodes, vectors[0] ** 2
