r"""What does the loss look like along a line or over a plane? Slices and interpolations.

Random directions are scaled filter by filter to the norm of the weights, so that pictures of
networks whose weights differ in scale can be compared.

References:
    Li, Xu, Taylor, Studer, Goldstein, "Visualizing the loss landscape of neural nets", 2018;
    Goodfellow, Vinyals, Saxe, "Qualitatively characterizing neural network optimization
    problems", 2015 (interpolation).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.curvature.surface import Surface
from thalweg.curvature.surfaces import surface
from thalweg.records_landscape import LineSlice, PlaneSlice

NORMALISE = ("filter", "layer", "none")


def direction(at: Surface, normalise: str = "filter", seed: int = 0) -> Tensor:
    r"""A random direction ``(p,)``, scaled like the weights.

    Args:
        at: Where.
        normalise: ``"filter"``: each row of a weight (the weights into one unit, or one filter)
            gets the norm of that row of w. ``"layer"``: each tensor its norm. Both leave tensors
            with one axis (biases, normalisation) at 0. ``"none"``: a unit vector.
        seed: Of the draw.

    Raises:
        ValueError: An unknown ``normalise``, or no tensor has two axes.
    """
    if normalise not in NORMALISE:
        raise ValueError(f"normalise is {normalise!r}; known: {', '.join(NORMALISE)}.")
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(at.p, generator=generator, dtype=torch.float64).to(at.w)
    if normalise == "none":
        return drawn / drawn.norm()
    if all(len(shape) < 2 for shape in at.shapes):
        raise ValueError(
            f"no tensor of the {at.p} weights has rows to scale by; pass normalise='none'."
        )
    weights, parts = at.split(at.w), at.split(drawn)
    scaled = []
    for name, part in parts.items():
        w = weights[name]
        if w.ndim < 2:
            scaled.append(torch.zeros_like(part).flatten())
            continue
        axes = tuple(range(1, w.ndim)) if normalise == "filter" else tuple(range(w.ndim))
        size = part.square().sum(axes, keepdim=True).sqrt()
        wanted = w.square().sum(axes, keepdim=True).sqrt()
        scaled.append((part * wanted / size).flatten())
    return torch.cat(scaled)


def line_slice(
    problem: Any,
    loss: Any = None,
    data: Any = None,
    *,
    along: Tensor | None = None,
    span: tuple[float, float] = (-1.0, 1.0),
    points: int = 51,
    normalise: str = "filter",
    seed: int = 0,
    **look: Any,
) -> LineSlice:
    """The loss at ``w + a d`` for a on an even grid.

    Args:
        problem: A task, a model (with ``loss`` and ``data``) or a surface.
        loss: See :func:`thalweg.curvature.surfaces.surface`.
        data: See there; of a task choose the part with ``part="selection"`` for held data.
        along: d ``(p,)``, taken as it is; None: a random :func:`direction`.
        span: Lowest and highest a.
        points: Grid points, at least 2.
        normalise: Of the random direction.
        seed: Of the random direction.
        **look: Further arguments of ``surface``.

    Raises:
        ValueError: No grid, or ``along`` of the wrong shape.
    """
    at = surface(problem, loss, data, **look)
    d = direction(at, normalise, seed) if along is None else _direction(at, along)
    grid = _grid(span, points, at)
    values = at.values(at.w + grid[:, None] * d)
    return LineSlice(
        title="loss along a direction",
        at=tuple(grid.tolist()),
        loss=tuple(values.tolist()),
        data=at.data,
        samples=at.samples,
        normalise=normalise if along is None else "given",
        seed=seed if along is None else None,
    )


def plane_slice(
    problem: Any,
    loss: Any = None,
    data: Any = None,
    *,
    along: tuple[Tensor, Tensor] | None = None,
    span: tuple[float, float] = (-1.0, 1.0),
    points: int = 25,
    normalise: str = "filter",
    seed: int = 0,
    path: Sequence[Tensor] = (),
    **look: Any,
) -> PlaneSlice:
    """The loss over ``w + x d + y e``, with a trajectory projected onto it where one is given.

    Args:
        problem: A task, a model (with ``loss`` and ``data``) or a surface.
        loss: See :func:`line_slice`.
        data: See :func:`line_slice`.
        along: d and e; None: two random ones (seeds ``seed`` and ``seed + 1``), e made orthogonal
            to d (in many dimensions it nearly is).
        span: Of x and of y.
        points: Grid points on each axis.
        normalise: Of random directions.
        seed: Of random directions.
        path: Weight vectors ``(p,)``, projected by least squares.
        **look: Further arguments of ``surface``.
    """
    at = surface(problem, loss, data, **look)
    if along is None:
        d, e = (direction(at, normalise, s) for s in (seed, seed + 1))
        size = e.norm()
        e = e - (e @ d) / (d @ d) * d
        e = e * (size / e.norm())
    else:
        d, e = (_direction(at, v) for v in along)
    grid = _grid(span, points, at)
    x, y = grid.repeat(points), grid.repeat_interleave(points)  # rows of y
    rows = [
        at.values(at.w + a[:, None] * d + b[:, None] * e)
        for a, b in zip(x.split(points), y.split(points), strict=True)
    ]
    basis = torch.stack([d, e], 1)
    places = [torch.linalg.lstsq(basis, (w.to(at.w) - at.w)[:, None])[0][:, 0] for w in path]
    return PlaneSlice(
        title="loss over a plane",
        x=tuple(grid.tolist()),
        y=tuple(grid.tolist()),
        loss=tuple(tuple(row.tolist()) for row in rows),
        data=at.data,
        samples=at.samples,
        normalise=normalise if along is None else "given",
        seed=seed if along is None else None,
        path_x=tuple(float(place[0]) for place in places),
        path_y=tuple(float(place[1]) for place in places),
    )


def interpolate(
    problem: Any,
    loss: Any = None,
    data: Any = None,
    *,
    other: Tensor | nn.Module,
    span: tuple[float, float] = (-0.25, 1.25),
    points: int = 31,
    **look: Any,
) -> LineSlice:
    r"""The loss at :math:`(1-a)\,w + a\,w'`, with the barrier between the two.

    The barrier is the highest point of :math:`f - \text{chord}` over grid points in [0, 1]: 0 where
    the two lie in one basin. Models with batch normalisation: pass ``mode="train"``, so that each
    point is measured under its own statistics and not those of the first end.

    Args:
        problem: A task, a model (with ``loss`` and ``data``) or a surface: the end a = 0.
        loss: See :func:`line_slice`.
        data: See :func:`line_slice`.
        other: The end a = 1: a model of the same make, or its trainable weights ``(p,)``.
        span: Lowest and highest a; must cover [0, 1].
        points: Even grid points; 0 and 1 are added where they are missing.
        **look: Further arguments of ``surface``.

    Raises:
        ValueError: The two do not have the same weights, or the grid misses [0, 1].
    """
    at = surface(problem, loss, data, **look)
    end = _weights(at, other)
    if span[0] > 0 or span[1] < 1:
        raise ValueError(f"span {span} must cover [0, 1].")
    grid = torch.cat([_grid(span, points, at), at.w.new_tensor([0.0, 1.0])]).unique()
    values = at.values(at.w + grid[:, None] * (end - at.w))
    inside = (grid >= 0) & (grid <= 1)
    a, v = grid[inside].double(), values[inside]
    above = v - ((1 - a) * v[0] + a * v[-1])
    top = int(above.argmax())
    return LineSlice(
        title="loss between two solutions",
        at=tuple(grid.tolist()),
        loss=tuple(values.tolist()),
        data=at.data,
        samples=at.samples,
        normalise="ends",
        barrier=max(0.0, float(above[top])),
        barrier_at=float(a[top]),
    )


def _weights(at: Surface, other: Tensor | nn.Module) -> Tensor:
    if isinstance(other, nn.Module):
        named = {k: t for k, t in other.named_parameters() if t.requires_grad}
        shapes = tuple(t.shape for t in named.values())
        if shapes != at.shapes:
            raise ValueError(
                f"the two models differ: {len(at.shapes)} trainable tensors of {at.p} numbers "
                f"here, {len(shapes)} of {sum(s.numel() for s in shapes)} there."
            )
        return torch.cat([t.detach().flatten() for t in named.values()]).to(at.w)
    return _direction(at, other)


def _direction(at: Surface, v: Tensor) -> Tensor:
    if v.shape != (at.p,) or not bool(torch.isfinite(v).all()):
        raise ValueError(f"wanted a finite vector of shape ({at.p},), got {tuple(v.shape)}.")
    return v.detach().to(at.w)


def _grid(span: tuple[float, float], points: int, at: Surface) -> Tensor:
    if not (math.isfinite(span[0]) and math.isfinite(span[1]) and span[0] < span[1]) or points < 2:
        raise ValueError(f"a grid needs low < high and 2 points, got {span} and {points}.")
    return torch.linspace(*span, points, dtype=at.w.dtype, device=at.w.device)
