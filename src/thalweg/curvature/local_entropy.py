r"""How wide is a valley? Local entropy: the log-volume of low loss around a point.

.. math:: F(x, \gamma) = \log \int \exp\big(-f(x') - \tfrac{\gamma}{2}\|x - x'\|^2\big)\,dx'

Minimising :math:`-F` prefers wide valleys: for a quadratic the curvature :math:`a` becomes
:math:`\gamma a/(\gamma + a) \le \gamma`, so sharp directions are capped and flat ones kept. Here
are its estimators; ``thalweg.optim.EntropySGD`` descends on it.

References:
    Chaudhari et al., "Entropy-SGD: biasing gradient descent into wide valleys", ICLR 2017.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

Function = Callable[[Tensor], Tensor]  # points (b, n) -> values (b,)

_CHUNK = 2**22  # numbers drawn at once: 32 MiB in float64


class Estimate(NamedTuple):
    """A number or vector with its standard error, of the same shape."""

    value: Tensor
    stderr: Tensor


def local_entropy(
    f: Function,
    x: Tensor,
    scope: float,
    samples: int = 4096,
    generator: torch.Generator | None = None,
) -> Estimate:
    r"""Local entropy by sampling :math:`u \sim N(0, I/\gamma)` around ``x``.

    .. math:: F = \tfrac n2 \log\tfrac{2\pi}{\gamma} + \log E\,\exp(-f(x+u))

    The mean of exponentials is dominated by few samples where :math:`\|u\|` is large against the
    valley: trust it up to about ten dimensions, and look at the standard error.

    Args:
        f: The loss of a block of points, ``(b, n)`` to ``(b,)``.
        x: Where, ``(n,)``.
        scope: :math:`\gamma > 0`, in units of curvature: large looks near, small looks far.
        samples: Points drawn, at least 2. Memory holds at most four million numbers at once.
        generator: Of the samples, on the device of ``x``; ``None`` for torch's own.

    Returns:
        ``value`` and ``stderr`` (delta method), both 0-d.

    Raises:
        ValueError: ``scope`` not positive, too few samples, ``x`` not a finite vector, or a value
            of ``f`` of the wrong shape or NaN.
    """
    values, _ = _sampled(f, x, scope, samples, generator)
    weights, top = _weights(values)
    mean = weights.mean()
    stderr = weights.std() / mean / math.sqrt(samples)
    constant = 0.5 * x.numel() * math.log(2 * math.pi / scope)
    return Estimate(constant + top + mean.log(), stderr)


def local_entropy_grad(
    f: Function,
    x: Tensor,
    scope: float,
    samples: int = 4096,
    generator: torch.Generator | None = None,
) -> Estimate:
    r"""The gradient of :math:`-F`, which is :math:`\gamma\,(x - \langle x'\rangle)`.

    The mean :math:`\langle x'\rangle` under the modified Gibbs density is taken by self-normalised
    importance weights over the samples of :func:`local_entropy`.

    Args:
        f: As :func:`local_entropy`.
        x: As :func:`local_entropy`.
        scope: As :func:`local_entropy`.
        samples: As :func:`local_entropy`.
        generator: As :func:`local_entropy`.

    Returns:
        ``value`` and ``stderr``, both ``(n,)``.

    Raises:
        ValueError: As :func:`local_entropy`.
    """
    values, shifts = _sampled(f, x, scope, samples, generator)
    weights, _ = _weights(values)
    share = (weights / weights.sum())[:, None]
    mean = (share * shifts).sum(0)
    stderr = (share.square() * (shifts - mean).square()).sum(0).sqrt()
    return Estimate(-scope * mean, scope * stderr)


def local_entropy_on_grid(
    f: Function, x: Tensor, scope: float, low: float, high: float, points: int = 4001
) -> Tensor:
    r"""Local entropy by quadrature in one or two dimensions, to rounding where the grid is fine.

    The trapezoidal rule on an even grid of ``[low, high]`` per axis converges faster than any power
    of the spacing as long as the integrand has died out at the ends and the spacing resolves both
    ``f`` and the Gaussian of width :math:`1/\sqrt\gamma`.

    Args:
        f: The loss of a block of points, ``(b, n)`` to ``(b,)``.
        x: Where, ``(b, n)`` with n 1 or 2.
        scope: :math:`\gamma > 0`.
        low: Lower end of the grid on every axis.
        high: Upper end.
        points: Grid points per axis, at least 3; ``b * points**n`` numbers are held at once.

    Returns:
        F at every point, ``(b,)``.

    Raises:
        ValueError: ``x`` not of that shape, no grid, or ``scope`` not positive.
    """
    _require_scope(scope)
    if x.ndim != 2 or x.shape[1] not in (1, 2):
        raise ValueError(f"quadrature takes points (b, 1) or (b, 2), got {tuple(x.shape)}")
    if not low < high or points < 3:
        raise ValueError(f"a grid needs low < high and 3 points, got [{low}, {high}], {points}")
    axis = torch.linspace(low, high, points, dtype=x.dtype, device=x.device)
    grid = axis[:, None] if x.shape[1] == 1 else torch.cartesian_prod(axis, axis)
    values = _checked(f(grid), len(grid))
    near = -0.5 * scope * torch.cdist(x, grid, compute_mode="donot_use_mm_for_euclid_dist").square()
    cell = x.shape[1] * math.log((high - low) / (points - 1))
    return torch.logsumexp(near - values, dim=1) + cell


def quadratic_local_entropy(matrix: Tensor, x: Tensor, scope: float) -> tuple[Tensor, Tensor]:
    r"""F and the gradient of -F for :math:`f = \tfrac12 x^\top A x`, in closed form.

    .. math:: F = \tfrac n2 \log 2\pi - \tfrac12 \log\det(A + \gamma I)
            - \tfrac12 x^\top \gamma A (A+\gamma I)^{-1} x

    Args:
        matrix: A, symmetric ``(n, n)``, with :math:`A + \gamma I` positive definite.
        x: Where, ``(n,)``.
        scope: :math:`\gamma > 0`.

    Returns:
        F, 0-d, and the gradient of -F, ``(n,)``.

    Raises:
        ValueError: :math:`A + \gamma I` is not positive definite: the integral diverges.
    """
    _require_scope(scope)
    n = x.numel()
    factor, info = torch.linalg.cholesky_ex(
        matrix + scope * torch.eye(n, dtype=x.dtype, device=x.device)
    )
    if int(info):
        raise ValueError(
            f"A + {scope:g} I is not positive definite: the local entropy is infinite; take a "
            "larger scope"
        )
    gradient = scope * matrix @ torch.cholesky_solve(x[:, None], factor)[:, 0]
    logdet = 2 * factor.diagonal().log().sum()
    return 0.5 * (n * math.log(2 * math.pi) - logdet - x @ gradient), gradient


def _sampled(
    f: Function, x: Tensor, scope: float, samples: int, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Values ``(samples,)`` at shifted points and the shifts ``(samples, n)``."""
    _require_scope(scope)
    if x.ndim != 1 or not x.is_floating_point() or not bool(torch.isfinite(x).all()):
        raise ValueError(f"x must be a finite vector (n,), got {x.dtype} of {tuple(x.shape)}")
    if samples < 2:
        raise ValueError(f"samples must be at least 2, got {samples}")
    shifts = torch.empty(samples, x.numel(), dtype=x.dtype, device=x.device)
    shifts.normal_(std=1 / math.sqrt(scope), generator=generator)
    rows = max(1, _CHUNK // max(1, x.numel()))
    values = [_checked(f(x + part), len(part)) for part in shifts.split(rows)]
    return torch.cat(values), shifts


def _weights(values: Tensor) -> tuple[Tensor, Tensor]:
    """exp(-f) over its largest, and the log of that largest."""
    top = -values.min()
    return torch.exp(-values - top), top


def _checked(values: Tensor, rows: int) -> Tensor:
    if values.shape != (rows,):
        raise ValueError(
            f"the loss must give one value per point ({rows},), got {tuple(values.shape)}"
        )
    if bool(torch.isnan(values).any()):
        raise ValueError("the loss is NaN at some of the points around x")
    return values


def _require_scope(scope: float) -> None:
    if not (math.isfinite(scope) and scope > 0):
        raise ValueError(f"scope must be > 0, got {scope!r}")
