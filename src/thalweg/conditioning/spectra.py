"""What did conditioning change? The spectrum of the inputs' second moment, before and after.

For a linear unit with half the mean squared error that matrix is the Hessian; in a network it is a
factor of the first layer's curvature.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from thalweg.conditioning.conditioner import CHUNK, Conditioner, pieces
from thalweg.conditioning.layout import resolve_layout, to_rows
from thalweg.conditioning.moments import moments


class InputSpectrum(NamedTuple):
    r"""Eigenvalues of :math:`C=\frac1n\sum_i x_ix_i^\top`, not centred.

    ``smallest`` is the smallest *non-zero* one; ``condition`` is the ratio of both and says by
    which factor gradient descent on a linear unit shrinks its error: (κ − 1)/(κ + 1) at best.
    ``largest_rate`` is 2/``largest``. ``mean_share`` is the share of the trace that the mean makes.
    """

    largest: float
    smallest: float
    condition: float
    rank: int
    variables: int
    largest_rate: float
    mean_share: float


class Effect(NamedTuple):
    """The spectrum before and after."""

    before: InputSpectrum
    after: InputSpectrum


def spectrum(x: Tensor, per: str = "auto", chunk: int = CHUNK) -> InputSpectrum:
    """The spectrum of the second moment of inputs ``(n, ...)``.

    >>> s = spectrum(torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))
    >>> s.largest, s.smallest, s.condition, s.largest_rate
    (2.0, 0.5, 4.0, 1.0)

    Args:
        x: Inputs of a floating type.
        per: What a variable is, as in :class:`thalweg.conditioning.inputs.Centre`.
        chunk: Samples looked at together.

    Raises:
        TypeError: Inputs of an integer type.
        ValueError: No samples, non-finite numbers, all zeros, or an ambiguous shape.
    """
    layout = resolve_layout(per, x, mixes=True)
    return _spectrum(to_rows(piece, layout) for piece in pieces(x, chunk))


def effect(x: Tensor, conditioner: Conditioner, chunk: int = CHUNK) -> Effect:
    """The spectrum of ``x`` as it is and as ``conditioner`` (fitted) hands it on."""
    layout = resolve_layout(conditioner.per, x, conditioner.mixes)

    def after() -> Iterable[Tensor]:
        return (to_rows(conditioner(piece), layout) for piece in pieces(x, chunk))

    with torch.no_grad():
        return Effect(_spectrum(to_rows(p, layout) for p in pieces(x, chunk)), _spectrum(after()))


def _spectrum(rows: Iterable[Tensor]) -> InputSpectrum:
    m = moments(rows, cross=True)
    power = torch.outer(m.mean, m.mean)
    second = m.scatter + power
    values = torch.linalg.eigvalsh(second)
    largest, d = float(values[-1]), len(values)
    if largest <= 0:
        raise ValueError("all inputs are 0, so their second moment has no condition number.")
    kept = values[values > largest * d * torch.finfo(torch.float64).eps]
    smallest = float(kept[0])
    return InputSpectrum(
        largest=largest,
        smallest=smallest,
        condition=largest / smallest,
        rank=len(kept),
        variables=d,
        largest_rate=2 / largest,
        mean_share=float(power.trace() / second.trace()),
    )
