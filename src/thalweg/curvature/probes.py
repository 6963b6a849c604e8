r"""How flat is a minimum? The mean rise of the loss around it, and the volume of low loss.

None of these numbers is invariant to rescaling the weights of ReLU layers, which leaves the
network's function as it is: two networks may only be compared where their layers have like norms
(Dinh et al., "Sharp minima can generalize for deep nets", ICML 2017). :data:`WARNING` says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from thalweg.curvature.surface import MEMORY, Surface
from thalweg.curvature.surfaces import surface

WARNING = (
    "No probe of flatness is invariant to the rescaling of ReLU layers: compare networks of one "
    "architecture and like weight norms only."
)


@dataclass(frozen=True, slots=True)
class Flatness:
    """What random perturbations of one relative size do to the loss.

    ``rise`` and ``entropy`` are in the loss's own unit; zero is perfectly flat.
    """

    loss: float
    sigma: float
    rise: float  # mean of f(w + u) - f(w)
    rise_stderr: float
    worst: float  # largest rise among the perturbations
    entropy: float  # -log mean exp(-(f(w + u) - f(w))): minus the local entropy over a flat loss's
    entropy_stderr: float
    scope: float  # gamma of that local entropy: 1 / variance of one weight's perturbation
    perturbations: int
    warning: str = WARNING


def flatness(
    problem: Any,
    loss: Any = None,
    data: Any = None,
    *,
    sigma: float = 0.05,
    perturbations: int = 64,
    relative: bool = True,
    seed: int = 0,
    **options: Any,
) -> Flatness:
    r"""Perturb all weights by :math:`u \sim N(0, \sigma^2 \|w\|^2/n)`, in pairs ``u`` and ``-u``.

    The pairs take the slope out, so that to second order the mean rise is
    :math:`\tfrac{\sigma^2\|w\|^2}{2n}\,\mathrm{tr}\,H`, whatever the gradient. The same samples
    estimate the local entropy at scope :math:`\gamma = n/(\sigma\|w\|)^2`, less that of a flat loss
    of the same height.

    Args:
        problem: As :func:`thalweg.curvature.surfaces.surface`, with ``loss`` and ``data``.
        loss: See there.
        data: See there.
        sigma: Size of the perturbation over that of the weights (0.05: five per cent).
        perturbations: Even, at least 4; one pass over the data each.
        relative: ``False``: ``sigma`` is the deviation of each weight itself.
        seed: Of the perturbations.
        **options: ``part``, ``mode``, ``model`` … of the surface.

    Returns:
        Means with standard errors over the pairs.

    Raises:
        ValueError: ``sigma`` not positive, too few perturbations, or weights that are all zero with
            ``relative``.
    """
    at = surface(problem, loss, data, **options)
    if not (math.isfinite(sigma) and sigma > 0):
        raise ValueError(f"sigma must be > 0, got {sigma!r}")
    if perturbations < 4 or perturbations % 2:
        raise ValueError(f"perturbations must be even and at least 4, got {perturbations!r}")
    size = sigma * float(at.w.norm()) / math.sqrt(at.p) if relative else sigma
    if size == 0:
        raise ValueError("all weights are zero: give sigma with relative=False")
    here = at.value()
    rises = _rises(at, here, size, perturbations // 2, seed)  # (pairs, 2)
    means = rises.mean(1)
    volume = (-rises).exp().mean(1)
    mean = float(volume.mean())
    return Flatness(
        loss=here,
        sigma=sigma,
        rise=float(means.mean()),
        rise_stderr=_error(means),
        worst=float(rises.max()),
        entropy=-math.log(mean) if mean > 0 else math.inf,
        entropy_stderr=_error(volume) / mean if mean > 0 else math.inf,
        scope=size**-2,
        perturbations=perturbations,
    )


def _rises(at: Surface, here: float, size: float, pairs: int, seed: int) -> Tensor:
    """``f(w ± u) - f(w)``, ``(pairs, 2)`` float64, in blocks that fit into memory."""
    generator = torch.Generator(at.w.device).manual_seed(seed)
    rows = max(1, MEMORY // (16 * at.p * at.w.element_size()))
    found = []
    for first in range(0, pairs, rows):
        count = min(rows, pairs - first)
        u = torch.empty(count, at.p, dtype=at.w.dtype, device=at.w.device)
        u.normal_(generator=generator).mul_(size)
        both = at.values(torch.cat([at.w + u, at.w - u]))
        found.append(both.view(2, count).T.cpu())
    return torch.cat(found) - here


def _error(values: Tensor) -> float:
    return float(values.std() / math.sqrt(len(values)))
