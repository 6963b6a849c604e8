r"""Where does noise stop descent, and which batch is worth its price? Closed forms on quadratics.

.. math:: w_{k+1} = w_k - \eta\,(\lambda w_k - \xi_k), \quad \operatorname{Var}\xi = \sigma^2
    \;\Rightarrow\; \operatorname{Var} w = \frac{\eta\sigma^2}{\lambda(2 - \eta\lambda)}
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from thalweg.records_landscape import BatchAdvice, NoiseScale


def stationary_variance(
    curvature: float, lr: float, variance: float = 1.0, momentum: float = 0.0
) -> float:
    r"""Variance of the weight along one eigenvector once it has settled.

    .. math:: \frac{\eta\sigma^2(1+\beta)}{\lambda(1-\beta)(2(1+\beta) - \eta\lambda)}

    with heavy-ball momentum β (:math:`v \leftarrow \beta v - \eta g`, :math:`w \leftarrow w + v`).

    Args:
        curvature: λ > 0.
        lr: η, below the stability limit :math:`2(1+\beta)/\lambda`.
        variance: σ² of the gradient along that vector, of one minibatch.
        momentum: β in [0, 1).

    Returns:
        The variance, in squared units of the weight; ``inf`` at or above the stability limit.

    Raises:
        ValueError: An argument out of range.

    >>> stationary_variance(1.0, 1.0)
    1.0
    """
    if not (curvature > 0 and lr > 0 and variance >= 0 and 0 <= momentum < 1):
        raise ValueError(
            f"wanted curvature > 0, lr > 0, variance >= 0, momentum in [0, 1), got {curvature}, "
            f"{lr}, {variance}, {momentum}"
        )
    room = 2 * (1 + momentum) - lr * curvature
    if room <= 0:
        return math.inf
    return lr * variance * (1 + momentum) / (curvature * (1 - momentum) * room)


def noise_floor(
    curvatures: Sequence[float],
    variances: Sequence[float],
    lr: float,
    momentum: float = 0.0,
) -> float:
    r"""Mean excess loss :math:`\sum_i \tfrac12\lambda_i \operatorname{Var} w_i` on a quadratic.

    Args:
        curvatures: λ of each eigenvector, >= 0; flat ones add nothing.
        variances: σ² of a minibatch's gradient along each.
        lr: η.
        momentum: β.
    """
    return sum(
        0.5 * c * stationary_variance(c, lr, v, momentum)
        for c, v in zip(curvatures, variances, strict=True)
        if c > 0
    )


class Floor(NamedTuple):
    """Bounds on the excess loss that is left over."""

    low: float
    high: float


def floor_of(
    noise: NoiseScale, lr: float, batch_size: int, lambda_max: float, momentum: float = 0.0
) -> Floor:
    r"""The floor of the loss from the noise measured and the largest curvature alone.

    On a quadratic each direction leaves
    :math:`\frac{\eta\sigma_i^2(1+\beta)}{2m(1-\beta)(2(1+\beta) - \eta\lambda_i)}`, which grows
    with λ: the sum lies between its values at λ = 0 and at λ = ``lambda_max``. It is reached after
    about :math:`1/(\eta\lambda_i)` steps in each direction, and off quadratics it is a guide only.

    Args:
        noise: Measured near where training ends.
        lr: η.
        batch_size: m.
        lambda_max: Largest curvature there, > 0.
        momentum: β.

    Returns:
        Bounds in units of the loss; ``high`` is ``inf`` above the stability limit.
    """
    if batch_size < 1 or lambda_max <= 0:
        raise ValueError(
            f"wanted batch_size >= 1 and lambda_max > 0, got {batch_size}, {lambda_max}"
        )
    high = 0.5 * lambda_max * stationary_variance(lambda_max, lr, 1.0, momentum)
    low = lr / (4 * (1 - momentum))
    each = noise.trace / batch_size
    return Floor(low * each, high * each)


def advise_batch_size(noise: NoiseScale, largest: int | None = None) -> BatchAdvice:
    r"""The power of two nearest to the noise scale, with what other sizes would cost.

    A batch of m needs :math:`1 + B/m` times the updates of a batch without noise and
    :math:`1 + m/B` times the samples of the smallest batch, B the noise scale: at m = B both are 2.
    Below it, halving the batch saves few samples; above it, doubling saves few updates. It is
    measured at one place; during training the scale usually grows.

    Args:
        noise: From :func:`thalweg.curvature.noise_scale`.
        largest: Upper limit; None: all samples.
    """
    top = min(noise.of, largest or noise.of)
    low = _power_of_two(noise.scale - 1.96 * noise.stderr, top)
    high = _power_of_two(noise.scale + 1.96 * noise.stderr, top)
    if not noise.resolved:
        size = top
        reason = (
            f"the gradient does not stand out of its noise over {noise.samples} samples "
            f"(|G|² = {noise.gradient_square:.3g} ± {noise.gradient_square_stderr:.2g}): no batch "
            "is too large here; a smaller learning rate does the same"
        )
    else:
        size = _power_of_two(noise.scale, top)
        reason = (
            f"noise and gradient are equal at {noise.scale:.3g} ± {noise.stderr:.2g} samples "
            f"(tr Σ = {noise.trace:.3g}, |G|² = {noise.gradient_square:.3g})"
        )
        if noise.scale > top:
            reason += f"; limited to {top}"
    sizes = tuple(2**k for k in range(0, int(math.log2(max(1, top))) + 1))
    finite = noise.scale > 0 and math.isfinite(noise.scale)
    return BatchAdvice(
        batch_size=size,
        low=low,
        high=high,
        reason=reason,
        sizes=sizes,
        steps=tuple(1 + noise.scale / m for m in sizes),
        samples=tuple(1 + m / noise.scale if finite else 1.0 for m in sizes),
        noise=noise,
    )


def _power_of_two(scale: float, top: int) -> int:
    """Nearest power of two in ratio, from 1 to ``top``."""
    if not math.isfinite(scale):
        return top if scale > 0 else 1
    return int(min(top, 2 ** max(0, round(math.log2(max(1.0, scale))))))
