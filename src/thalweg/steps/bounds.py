"""How large may the learning rate be? Stability limits on a quadratic, in closed form."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from thalweg.registry import suggest

# By optimiser: which of the four limits below applies. All but the first two lines divide by
# root mean squares, so for them lambda_max is that of the Hessian preconditioned in the same way.
_LIMITS = {
    "sgd": "heavy-ball",
    "momentum": "heavy-ball",
    "nesterov": "nesterov",
    "adagrad": "plain",
    "rmsprop": "heavy-ball",
    "adadelta": "plain",
    "adam": "averaged",
    "adamw": "averaged",
    "amsgrad": "averaged",
    "delta-bar-delta": "plain",
}


def max_learning_rate(
    lambda_max: Any,
    optimizer: str = "sgd",
    momentum: float = 0.0,
    betas: Sequence[float] = (0.9, 0.999),
) -> float:
    r"""The rate below which an optimiser is stable on a quadratic with top curvature λ.

    Each step maps the error along an eigenvector by a companion matrix; the limit is the rate at
    which its spectral radius reaches 1:

    ================================  =========================================
    sgd, without momentum             :math:`2/\lambda`
    sgd, momentum, rmsprop            :math:`2(1+\beta)/\lambda`
    nesterov                          :math:`2(1+\beta)/((1+2\beta)\lambda)`
    adam, adamw, amsgrad              :math:`2(1+\beta_1)/((1-\beta_1)\lambda)`
    adagrad, adadelta                 :math:`2/\lambda`
    delta-bar-delta                   :math:`2/\lambda`, for its largest rate
    ================================  =========================================

    It is exact on quadratics and a cautious bound elsewhere: full-batch descent often survives far
    above it (the edge of stability), minibatch noise lowers what is useful. Read it as the rate up
    to which the first steps are stable. No weight decay is included: add it to λ.

    Args:
        lambda_max: Largest eigenvalue of the Hessian, non-negative; of the preconditioned Hessian
            :math:`P^{-1/2} H P^{-1/2}`, with :math:`P = \operatorname{diag}(\sqrt{v} + \epsilon)`,
            for optimisers that divide by root mean squares (held fixed).
        optimizer: A name of ``thalweg.optim.OPTIMIZERS``.
        momentum: β, in [0, 1); optimisers without one take no notice of zero and refuse the rest.
        betas: Adam's pair; only the first enters.

    Returns:
        The limit; ``inf`` for ``lambda_max`` zero.

    Raises:
        ValueError: an argument out of range or an unknown optimiser.

    >>> max_learning_rate(0.5), max_learning_rate(0.5, "momentum", momentum=0.5)
    (4.0, 6.0)

    References:
        Polyak 1964; Cohen et al., "Adaptive gradient methods at the edge of stability", 2022.
    """
    curvature = float(lambda_max)
    if not 0 <= curvature < math.inf:
        raise ValueError(f"lambda_max must be a finite number >= 0, got {lambda_max!r}")
    if optimizer not in _LIMITS:
        raise ValueError(f"unknown optimizer '{optimizer}'. {suggest(optimizer, tuple(_LIMITS))}")
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must be a number in [0, 1), got {momentum!r}")
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"betas must be two numbers in [0, 1), got {betas!r}")
    limit = _LIMITS[optimizer]
    if momentum and limit in ("plain", "averaged"):
        raise ValueError(f"{optimizer} has no momentum (got {momentum!r}); leave it at 0")
    if curvature == 0:
        return math.inf
    if limit == "heavy-ball":
        return 2 * (1 + momentum) / curvature
    if limit == "nesterov":
        return 2 * (1 + momentum) / ((1 + 2 * momentum) * curvature)
    if limit == "averaged":
        return 2 * (1 + betas[0]) / ((1 - betas[0]) * curvature)
    return 2 / curvature
