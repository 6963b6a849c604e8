"""What does the surface look like along the directions that a spectrum found, and over a plane?"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from thalweg.curvature.landscape import direction, line_slice, plane_slice
from thalweg.curvature.problem import Problem
from thalweg.curvature.surface import Surface
from thalweg.linalg.lanczos import Eigenpairs
from thalweg.records_landscape import LineSlice, PlaneSlice

if TYPE_CHECKING:
    from collections.abc import Callable

POINTS = 21  # of a line
SIDE = 13  # of a plane


class Seen(Surface):
    """A curvature problem as a surface: the same samples, weights and batch statistics."""

    def __init__(self, problem: Problem, tell: Callable[[int], None] = lambda done: None) -> None:
        """View ``problem``; ``tell`` is given the number of values after each."""
        super().__init__(
            lambda w, batch: problem.loss(self._theta(w), batch),
            problem.layout.join(problem.theta, problem.dtype, None),
            lambda rows: problem.chunks.walk(rows),
            problem.weigh,
            problem.chunks.n,
            problem.layout.names,
            problem.layout.shapes,
            couples=problem.couples,
        )
        self.problem, self.tell, self.done = problem, tell, 0

    def _theta(self, w: Tensor) -> tuple[Tensor, ...]:
        return self.problem.layout.split(w, self.problem.dtypes)

    def values(self, points: Tensor) -> Tensor:
        """F at every row of ``points (k, p)``: ``(k,)``, float64."""
        found = []
        for w in points:
            found.append(mean_loss(replace(self.problem, theta=self._theta(w))))
            self.done += 1
            self.tell(self.done)
        return torch.tensor(found, dtype=torch.float64)


def mean_loss(problem: Problem, chunk: int | None = None) -> float:
    """Over all the data, ``chunk`` samples at once."""
    total = 0.0
    for index, (batch, share) in enumerate(problem.parts(chunk)):
        with problem.steady(index), torch.no_grad():
            total += share * float(problem.loss(problem.theta, batch))
    return total


def views(
    problem: Problem,
    ends: Eigenpairs,
    seed: int = 0,
    tell: Callable[[int, int], None] = lambda done, of: None,
) -> tuple[tuple[LineSlice, ...], PlaneSlice]:
    """Three lines and a plane around the weights.

    The lines go along a random direction scaled filter by filter, along the largest curvature and
    along the smallest (the most negative one where there is any), all of the random one's length;
    the plane is spanned by two random directions scaled alike.

    Args:
        problem: The function.
        ends: Eigenpairs of its Hessian at both ends, the largest first, as ``eigenvalues`` with
            ``which="both"`` gives them.
        seed: Of the random directions; ``seed + 1`` is the plane's other one.
        tell: Called with (values, of).
    """
    of = 3 * POINTS + SIDE * SIDE
    at = Seen(problem, lambda done: tell(done, of))
    rows = any(len(shape) > 1 for shape in at.shapes)
    normalise = "filter" if rows else "none"
    d = direction(at, normalise, seed)
    if not rows:
        d = d * (at.w.norm() if bool(at.w.any()) else 1.0)
    low = ends.vectors[:, (len(ends.values) + 1) // 2 if len(ends.values) > 1 else 0]
    along = {
        "a random direction": d,
        "the largest curvature": ends.vectors[:, 0] * d.norm(),
        "the smallest curvature": low * d.norm(),
    }
    lines = tuple(
        replace(line_slice(at, along=v, points=POINTS), title=title, normalise=normalise)
        for title, v in along.items()
    )
    other = direction(at, normalise, seed + 1)
    other = other - (other @ d) / (d @ d) * d
    plane = plane_slice(at, along=(d, other * (d.norm() / other.norm())), points=SIDE)
    return lines, replace(plane, normalise=normalise, seed=seed)
