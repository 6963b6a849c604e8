r"""Do equal networks learn equally? One map, three sets of weights, three different steps.

All three compute :math:`\hat y = w^2x` of a scalar input; the loss is the output itself, and one
gradient step of rate ε is taken. Only batch normalisation makes them alike again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

NETWORKS = ("one layer", "two layers, shared weight", "two layers")


class NormalisedStep(NamedTuple):
    """A chain of linear layers behind batch normalisation, before and after one step.

    ``response (n,)`` is the normalised response :math:`H'`; ``weight_jacobian (n, k)`` what each
    output gains from each linear weight: zero; ``updated (n,)`` each sample's output after a step
    on it.
    """

    response: Tensor
    weight_jacobian: Tensor
    updated: Tensor


def three_networks(x: float, w: float, eps: float) -> dict[str, float]:
    r"""Outputs at ``x`` after one gradient step of rate ``eps`` on the output itself.

    ==========================  ==============================
    one layer, z = w²           :math:`x(w^2-\epsilon x)`
    two layers, shared weight   :math:`x w^2(1-2\epsilon x)^2`
    two layers                  :math:`x w^2(1-\epsilon x)^2`
    ==========================  ==============================

    >>> [round(value, 4) for value in three_networks(1.0, 2.0, 0.1).values()]
    [3.9, 2.56, 3.24]

    The slide's :math:`x(w^2-2\epsilon xw)` for the shared weight is a slip.
    """
    return {
        NETWORKS[0]: x * (w * w - eps * x),
        NETWORKS[1]: x * w * w * (1 - 2 * eps * x) ** 2,
        NETWORKS[2]: x * w * w * (1 - eps * x) ** 2,
    }


def k_layer_update(x: float, weights: Sequence[float], eps: float) -> float:
    r"""Output of a chain of k scalar layers after one step on its own output.

    With :math:`\kappa=\prod_j w_j` and gradients :math:`x\kappa/w_i`:
    :math:`\hat y' = x\prod_i(w_i-\epsilon x\kappa/w_i)`.

    >>> round(k_layer_update(1.0, [2.0, 2.0], 0.1), 4)  # two layers of the table
    3.24

    Raises:
        ValueError: No weights.
    """
    values = np.asarray(weights, np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"weights are {weights!r}; give at least one number.")
    others = [np.prod(np.delete(values, i)) for i in range(len(values))]
    return float(x * np.prod(values - eps * x * np.asarray(others)))


def k_layer_polynomial(x: float, weights: Sequence[float]) -> tuple[float, ...]:
    r"""Coefficients of ε⁰, ε¹, … ε^k in :func:`k_layer_update`.

    The first is the output, the second :math:`-x^2\sum_i\prod_{j\ne i}w_j^2`, the last
    :math:`x(-x)^k\kappa^{k-1}`: higher orders depend on the weights themselves, so no single rate
    makes the first-order term right.

    >>> k_layer_polynomial(1.0, [2.0, 2.0])
    (4.0, -8.0, 4.0)
    """
    values = np.asarray(weights, np.float64)
    product = np.array([x])
    for i, w in enumerate(values):
        product = np.convolve(product, [w, -x * np.prod(np.delete(values, i))])
    return tuple(float(c) for c in product)


def with_batch_norm(
    x: Tensor,
    weights: Sequence[float],
    rate: float,
    *,
    gamma: float = 1.0,
    beta: float = 0.0,
    eps: float = 0.0,
) -> NormalisedStep:
    r"""A chain of scalar layers, normalised over the batch, after one step on its own output.

    With s the sign of :math:`\kappa=\prod_j w_j`, the response is
    :math:`H'=s(x-\mu_x)/\sqrt{\sigma_x^2+\epsilon/\kappa^2}` and the output
    :math:`\gamma H'+\beta`. The linear weights get no gradient (none at all for ``eps`` 0);
    one step on a sample's output moves γ by :math:`-\text{rate}\,H'` and β by :math:`-\text{rate}`:

    .. math:: (\gamma - \text{rate}\,H')\,H' + (\beta - \text{rate})

    for every network alike. The slide leaves the sign s out: it holds for positive weights.

    >>> step = with_batch_norm(torch.tensor([-1.0, 1.0]), [2.0, 2.0], rate=0.1)
    >>> step.response.tolist(), [round(v, 4) for v in step.updated.tolist()]
    ([-1.0, 1.0], [-1.2, 0.8])

    Args:
        x: Inputs ``(n,)``, not all equal.
        weights: Of the linear layers; a shared weight stands twice.
        rate: Of the gradient step.
        gamma: Scale after the normalisation.
        beta: Shift after it.
        eps: Added to the variance.

    Raises:
        ValueError: Fewer than two different inputs, or a weight of zero.
    """
    if x.ndim != 1 or len(x) < 2 or not bool((x != x[0]).any()):
        raise ValueError(f"x has shape {tuple(x.shape)}; give a batch (n,) of differing inputs.")
    layers = torch.tensor(list(weights), dtype=x.dtype, device=x.device)
    if not len(layers) or bool((layers == 0).any()):
        raise ValueError("a weight is 0, or there is none: the response is constant.")

    def outputs(w: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        raw = x * w.prod()
        centred = raw - raw.mean()
        return scale * centred / (centred.square().mean() + eps).sqrt() + shift

    scale, shift = (torch.tensor(v, dtype=x.dtype, device=x.device) for v in (gamma, beta))
    by_weight, by_scale, by_shift = torch.func.jacrev(outputs, (0, 1, 2))(layers, scale, shift)
    # each sample takes its own step: its output by γ is H' and by β is 1
    updated = (scale - rate * by_scale) * by_scale + (shift - rate * by_shift)
    return NormalisedStep(by_scale, by_weight, updated)
