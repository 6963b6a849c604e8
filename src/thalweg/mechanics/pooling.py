"""How invariant is max pooling? Which one-pixel shifts leave the pooled output as it was."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import torch
from torch.nn import functional as F

SHIFTS = tuple((i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0))


class ShiftInvariance(NamedTuple):
    """Of the 8 one-pixel shifts, how many leave the output as it was.

    ``table`` has one count for each place ``(row, column)`` of the dominant pixel in its window;
    ``mean`` is the share over all places.
    """

    table: tuple[tuple[int, ...], ...]
    mean: Fraction


def invariant_share(k: int) -> Fraction:
    r"""The share in closed form: :math:`(k-1)(2k-1)/(2k^2)`.

    >>> [str(invariant_share(k)) for k in (2, 3, 4)]
    ['3/8', '5/9', '21/32']

    Raises:
        ValueError: A window below 1.
    """
    if k < 1:
        raise ValueError(f"k is {k}; a window has at least one pixel.")
    return Fraction((k - 1) * (2 * k - 1), 2 * k * k)


def pool_shift_invariance(k: int) -> ShiftInvariance:
    """The same by enumeration with torch's pooling: one bright pixel, every place, every shift.

    The slides give 3/8 for windows of 2x2 (right: each cell is a corner) and 5/8 for 3x3: that is
    an edge cell; corners keep 3, edges 5, the centre all 8, on average 5/9.

    >>> pool_shift_invariance(3).table
    ((3, 5, 3), (5, 8, 5), (3, 5, 3))
    """
    if k < 1:
        raise ValueError(f"k is {k}; a window has at least one pixel.")
    places = [(i, j) for i in range(k) for j in range(k)]
    images = torch.zeros(len(places), 1 + len(SHIFTS), 3 * k, 3 * k)
    for n, (i, j) in enumerate(places):
        for s, (di, dj) in enumerate(((0, 0), *SHIFTS)):
            images[n, s, k + i + di, k + j + dj] = 1.0  # windows start at multiples of k
    pooled = F.max_pool2d(images, k)
    same = (pooled[:, 1:] == pooled[:, :1]).flatten(2).all(2).sum(1).reshape(k, k)
    table = tuple(tuple(int(v) for v in row) for row in same)
    return ShiftInvariance(table, Fraction(int(same.sum()), len(places) * len(SHIFTS)))
