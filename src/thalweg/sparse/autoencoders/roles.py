"""Which units are parts and which are prototypes? Decoder against encoder, and the classifier."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Roles(NamedTuple):
    """One entry a unit ``(m,)``.

    A *part* is driven by its input: its encoder row looks like its decoder column. A *categorical*
    unit is driven by the other units: the two differ, its column looks like a whole prototype and
    the classifier listens to it.
    """

    alignment: Tensor  # cosine of decoder column and encoder row
    classifier: Tensor  # norm of the classifier's column, less its mean over classes
    categorical: Tensor  # True for the group of low alignment, split where the two groups part
    split: float  # the alignment at which they do


def roles(D: Tensor, E: Tensor, C: Tensor) -> Roles:
    """The roles of units with columns ``D (n, m)``, rows ``E (m, n)`` and columns ``C (c, m)``.

    What all classes have in common of a classifier's column shifts all scores alike, so it is taken
    off. The groups are split where the variance within both is least (Otsu 1979).
    """
    size = D.norm(dim=0) * E.norm(dim=1)
    alignment = (D * E.T).sum(0) / size.clamp_min(1e-12)
    classifier = (C - C.mean(0)).norm(dim=0)
    split = _two_groups(alignment)
    return Roles(alignment, classifier, alignment < split, split)


def _two_groups(values: Tensor) -> float:
    """The threshold between two groups of least variance within; all in one if they are equal."""
    v = values.double().sort().values
    m = len(v)
    if m < 2 or float(v[-1] - v[0]) < 1e-12:
        return float(v[0])
    low = torch.arange(1, m, dtype=torch.float64, device=v.device)  # sizes of the lower group
    total = v.cumsum(0)
    below = total[:-1] / low
    above = (total[-1] - total[:-1]) / (m - low)
    between = low * (m - low) * (above - below).square()
    at = int(between.argmax())
    return float((v[at] + v[at + 1]) / 2)
