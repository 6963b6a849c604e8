"""What is minimised over codes, and how far from its minimum is a given code?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from thalweg.sparse.datafits import Quadratic
from thalweg.sparse.penalties.base import Penalty


class Certificate(NamedTuple):
    """Per sample ``(b,)``: energy, and duality gap (None without a dual)."""

    energy: Tensor
    gap: Tensor | None


@dataclass(frozen=True, slots=True, eq=False)
class Energy:
    r"""Datafit plus penalty.

    .. math:: E(x, z) = \tfrac12\|x - D z\|^2 + \Omega(z) + \tfrac\beta2\|z\|^2

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

    def step(self) -> float:
        """A step for proximal gradients: one over the largest eigenvalue of ``DᵀD``."""
        bound = self.datafit.lipschitz()
        return 1.0 / bound if bound > 0 else 1.0

    def certificate(self, x: Tensor, z: Tensor, residual: Tensor | None = None) -> Certificate:
        r"""Energy and duality gap per sample ``(b,)``.

        With :math:`r = x - Dz`, :math:`c = D^\top r - \beta z` and
        :math:`\rho = \|r\|^2 + \beta\|z\|^2` the residual scaled by
        :math:`s = \min(x^\top r / \rho, \max\{s : s\,c \text{ feasible}\})` is the best dual point
        on its ray, and

        .. math:: \text{gap} = \tfrac12\rho + \Omega(z) - s\,x^\top r + \tfrac12 s^2 \rho.

        The gap bounds how far the energy is above its minimum.

        Args:
            x: Signals ``(b, n)``.
            z: Codes ``(b, m)``.
            residual: ``x - D z`` where it is already known.
        """
        residual = x - self.datafit.decode(z) if residual is None else residual
        fit = residual.square().sum(-1)
        energy = 0.5 * fit + self.penalty.value(z)
        if not self.penalty.has_dual:
            return Certificate(energy, None)
        correlation = self.datafit.correlate(residual)
        beta = self.penalty.curvature
        rho, product = fit, (x * residual).sum(-1)
        if beta:
            correlation = correlation - beta * z
            rho = fit + beta * z.square().sum(-1)
        best = torch.where(rho > 0, product / rho, 0.0).clamp(min=0.0)
        s = torch.minimum(best, self.penalty.largest_scale(correlation))
        gap = energy - s * product + 0.5 * s.square() * rho
        return Certificate(energy, gap.clamp(min=0.0))

    def distance(self, x: Tensor, z: Tensor, residual: Tensor | None = None) -> Tensor:
        """Largest violation of optimality per sample ``(b,)``; see the penalty's ``distance``."""
        residual = x - self.datafit.decode(z) if residual is None else residual
        return self.penalty.distance(z, self.datafit.correlate(residual))


def relative(gap: Tensor, x: Tensor) -> Tensor:
    """The gap as a share of ``½‖x‖²``, the energy of the zero code.

    For ``x = 0`` it is 0 at the zero code, which is the answer there, and infinite elsewhere.
    """
    half = 0.5 * x.square().sum(-1)
    return torch.where(half > 0, gap / half, torch.where(gap > 0, torch.inf, 0.0))
