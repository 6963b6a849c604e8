"""What are the mean and the scatter of data that come in chunks? One pass, in float64."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor


class Moments(NamedTuple):
    r"""Rows seen, their mean ``(d,)`` and the centred second moment, both over ``count``.

    ``scatter`` is :math:`\frac1n\sum_i (x_i-\mu)(x_i-\mu)^\top`: the matrix ``(d, d)``, or only
    its diagonal ``(d,)``. The variance is the biased one, as in the lectures.
    """

    count: int
    mean: Tensor
    scatter: Tensor


def moments(chunks: Iterable[Tensor], *, cross: bool) -> Moments:
    r"""Merge chunk by chunk; nothing larger than a chunk and ``scatter`` is held.

    The pairwise update keeps what :math:`E[x^2] - \mu^2` loses where the mean is large:

    .. math:: M \leftarrow M_a + M_b + \frac{n_a n_b}{n_a + n_b}\,\delta\delta^\top, \qquad
              \delta = \mu_b - \mu_a

    >>> m = moments([torch.tensor([[1.0], [3.0]]), torch.tensor([[5.0]])], cross=False)
    >>> m.count, m.mean.item(), round(m.scatter.item(), 6)
    (3, 3.0, 2.666667)

    Args:
        chunks: Rows ``(n_k, d)`` each, any floating type.
        cross: Whether covariances are wanted and not variances alone.

    Raises:
        ValueError: No rows at all, or one that is not finite, with its index.

    References:
        Chan, Golub and LeVeque, "Algorithms for computing the sample variance", 1983.
    """
    count, mean, total = 0, torch.empty(0), torch.empty(0)
    for chunk in chunks:
        if not len(chunk):
            continue
        _finite(chunk, count)
        rows = chunk.to(torch.float64)
        n, centre = len(rows), rows.mean(0)
        rows = rows - centre
        scatter = rows.mT @ rows if cross else rows.square().sum(0)
        if count:
            delta, share = centre - mean, n / (count + n)
            outer = torch.outer(delta, delta) if cross else delta.square()
            mean, total = mean + share * delta, total + scatter + count * share * outer
        else:
            mean, total = centre, scatter
        count += n
    if not count:
        raise ValueError("there are no samples to take statistics from.")
    return Moments(count, mean, total / count)


def _finite(chunk: Tensor, before: int) -> None:
    if bool(torch.isfinite(chunk.sum())):  # one pass; a finite sum has finite terms
        return
    rows = (~torch.isfinite(chunk)).any(1).nonzero()[:, 0]
    if len(rows):
        raise ValueError(
            f"the inputs hold NaN or infinite numbers, the first in row {before + int(rows[0])}. "
            "Remove or replace those samples before statistics are taken."
        )
