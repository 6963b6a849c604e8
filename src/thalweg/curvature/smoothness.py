r"""How far ahead can a gradient be trusted? The smoothness measures of batch normalisation.

Along :math:`w - s g` over a grid of s: how the loss varies, how far the gradient moves
(predictiveness), and :math:`\beta = \max_s \|g - \nabla L(w - sg)\| / (s\|g\|)`.

References:
    Santurkar, Tsipras, Ilyas, Madry, "How does batch normalization help optimization?", 2018.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from thalweg.curvature.surface import Surface
from thalweg.curvature.surfaces import surface
from thalweg.records_landscape import CovariateShift, Smoothness


def landscape_along_gradient(
    problem: Any,
    loss: Any = None,
    data: Any = None,
    *,
    lr: float,
    n: int = 8,
    span: tuple[float, float] = (0.5, 4.0),
    mode: str = "train",
    **look: Any,
) -> Smoothness:
    """Loss variation, gradient predictiveness and effective β-smoothness at the weights.

    All evaluations see the same data; batch normalisation reads the statistics of these data and
    does not update its own. The measures depend on the scale of the weights: compare networks that
    both train, and look at ``scaled_beta`` as well.

    Args:
        problem: A task, a model (with ``loss`` and ``data``: one batch) or a surface.
        loss: See :func:`thalweg.curvature.surfaces.surface`.
        data: See there.
        lr: The learning rate of the training; steps s lie between ``span`` times it.
        n: Number of steps, log-spaced, at least 1.
        span: Of s in units of ``lr``.
        mode: ``"train"`` or ``"eval"``, of batch normalisation.
        **look: Further arguments of ``surface``.

    Raises:
        ValueError: A rate or span that is not positive, or a gradient of exactly 0.
    """
    if not (lr > 0 and n >= 1 and 0 < span[0] <= span[1]):
        raise ValueError(f"wanted lr > 0, n >= 1, 0 < span, got lr={lr}, n={n}, span={span}.")
    at = surface(problem, loss, data, mode=mode, **look)
    value, g = at.value_and_grad()
    norm = float(g.double().norm())
    if norm == 0:
        raise ValueError("the gradient is exactly 0 here: there is no direction to look along.")
    steps = torch.logspace(math.log10(span[0] * lr), math.log10(span[1] * lr), n).tolist()
    losses, moved = [], []
    for s in steps:
        there, gradient = at.value_and_grad(at.w - s * g)
        losses.append(there)
        moved.append(float((g - gradient).double().norm()))
    return Smoothness(
        steps=tuple(steps),
        loss=value,
        losses=tuple(losses),
        predictiveness=tuple(moved),
        beta=max(m / (s * norm) for m, s in zip(moved, steps, strict=True)),
        gradient_norm=norm,
        weight_norm=float(at.w.double().norm()),
    )


def covariate_shift(
    problem: Any,
    loss: Any = None,
    data: Any = None,
    *,
    lr: float,
    mode: str = "train",
    **look: Any,
) -> CovariateShift:
    r"""Internal covariate shift: how a layer's gradient moves when the layers below it step.

    For tensor i: G at the weights, and G' after tensors 1 .. i-1 took the step :math:`-\eta g`;
    reported are :math:`\|G - G'\|` and their cosine. Tensors of one module (weight, bias) count as
    one layer.

    Args:
        problem: A task, a model (with ``loss`` and ``data``: one batch) or a surface.
        loss: See :func:`landscape_along_gradient`.
        data: See :func:`landscape_along_gradient`.
        lr: η.
        mode: Of batch normalisation.
        **look: Further arguments of ``surface``.
    """
    at = surface(problem, loss, data, mode=mode, **look)
    g = at.grad()
    names, distance, cosine = [], [], []
    for name, start, stop in _layers(at):
        w = at.w.clone()
        w[:start] -= lr * g[:start]
        here, there = g[start:stop].double(), at.grad(w)[start:stop].double()
        names.append(name)
        distance.append(float((here - there).norm()))
        size = float(here.norm() * there.norm())
        cosine.append(float(here @ there) / size if size else math.nan)
    return CovariateShift(tuple(names), tuple(distance), tuple(cosine))


def _layers(at: Surface) -> list[tuple[str, int, int]]:
    """Name, first and one past last index of each module's weights."""
    found: list[tuple[str, int, int]] = []
    place = 0
    for name, shape in zip(at.names, at.shapes, strict=True):
        module, stop = name.rpartition(".")[0] or name, place + shape.numel()
        if found and found[-1][0] == module:
            found[-1] = (module, found[-1][1], stop)
        else:
            found.append((module, place, stop))
        place = stop
    return found
