"""What is minimised over codes, and how far from its minimum is a given code?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from thalweg.sparse.datafits import Quadratic
from thalweg.sparse.penalties.base import Penalty


class Certificate(NamedTuple):
    """Per sample ``(b,)``: energy, duality gap (None without a dual), distance to optimality."""

    energy: Tensor
    gap: Tensor | None
    distance: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Energy:
    r"""Datafit plus penalty, :math:`E(x, z) = \tfrac12\|x - D z\|^2 + \Omega(z) + \tfrac\beta2\|z\|^2`.

    Args:
        datafit: The quadratic over a dictionary.
        penalty: What codes cost.
    """

    datafit: Quadratic
    penalty: Penalty

    def value(self, x: Tensor, z: Tensor) -> Tensor:
        """The energy per sample ``(b,)``."""
        return self.datafit.value(x, z) + self.penalty.value(z)

    def grad(self, x: Tensor, z: Tensor) -> Tensor:
        """The gradient of the datafit per sample ``(b, m)``."""
        return self.datafit.grad(x, z)

    def certificate(self, x: Tensor, z: Tensor) -> Certificate:
        r"""Energy, duality gap and distance of zero to the subdifferential, per sample ``(b,)``.

        With :math:`r = x - Dz`, :math:`c = D^\top r - \beta z` and :math:`\rho = \|r\|^2 + \beta\|z\|^2`
        the residual scaled by :math:`s = \min(x^\top r / \rho, \max\{s : s\,c \text{ feasible}\})` is
        the best dual point on its ray, and

        .. math:: \text{gap} = \tfrac12\rho + \Omega(z) - s\,x^\top r + \tfrac12 s^2 \rho.

        The gap bounds how far the energy is above its minimum.
        """
        residual = x - self.datafit.decode(z)
        correlation = self.datafit.correlate(residual)
        beta = self.penalty.curvature
        fit = residual.square().sum(-1)
        energy = 0.5 * fit + self.penalty.value(z)
        distance = self.penalty.distance(z, correlation)
        if not self.penalty.has_dual:
            return Certificate(energy, None, distance)
        rho, product = fit, (x * residual).sum(-1)
        if beta:
            correlation = correlation - beta * z
            rho = fit + beta * z.square().sum(-1)
        best = torch.where(rho > 0, product / rho, 0.0).clamp(min=0.0)
        s = torch.minimum(best, self.penalty.largest_scale(correlation))
        gap = energy - s * product + 0.5 * s.square() * rho
        return Certificate(energy, gap.clamp(min=0.0), distance)


def relative(gap: Tensor, x: Tensor) -> Tensor:
    """The gap as a share of ``½‖x‖²``, the energy of the zero code; 0 for ``x = 0``."""
    half = 0.5 * x.square().sum(-1)
    return torch.where(half > 0, gap / half, 0.0)
