"""What is minimised over convolutional codes, and how far is a code from the minimum?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg.sparse.convolution.operator import ConvDictionary
from thalweg.sparse.energy import Certificate


@dataclass(frozen=True, slots=True, eq=False)
class ConvEnergy:
    r"""Datafit plus weighted absolute values.

    .. math:: E(Y, Z) = \tfrac12\Big\|Y - \sum_k W_k * Z_k\Big\|^2 + \sum_k \alpha_k \|Z_k\|_1

    Args:
        dictionary: The convolutional dictionary.
        l1: Weights α, one per filter ``(K,)``.
        non_negative: Codes are not negative.
    """

    dictionary: ConvDictionary
    l1: Tensor
    non_negative: bool = False

    def value(self, Y: Tensor, Z: Tensor) -> Tensor:
        """The energy per image ``(b,)``."""
        fit = 0.5 * (Y - self.dictionary.decode(Z)).square().sum((1, 2, 3))
        return fit + self.penalty(Z)

    def penalty(self, Z: Tensor) -> Tensor:
        """``Σ α |Z|`` per image ``(b,)``; infinite where a code that may not be is negative."""
        cost = Z.abs().sum((2, 3)) @ self.l1
        if self.non_negative:
            cost = torch.where((Z < 0).flatten(1).any(1), torch.inf, cost)
        return cost

    def grad(self, Y: Tensor, Z: Tensor) -> Tensor:
        """The gradient of the datafit ``(b, K, h, w)``."""
        return -self.dictionary.correlate(Y - self.dictionary.decode(Z))

    def shrink(self, V: Tensor, threshold: Tensor) -> Tensor:
        """The proximal map of ``threshold · |Z|``."""
        if self.non_negative:
            return (V - threshold).clamp_min_(0)
        return V - V.clamp(-threshold, threshold)

    def certificate(self, Y: Tensor, Z: Tensor) -> Certificate:
        """Energy and duality gap per image ``(b,)``; as `Energy.certificate`."""
        r = Y - self.dictionary.decode(Z)
        axes = (1, 2, 3)
        fit, product = r.square().sum(axes), (Y * r).sum(axes)
        energy = 0.5 * fit + self.penalty(Z)
        c = self.dictionary.correlate(r)
        peak = (c if self.non_negative else c.abs()).amax((2, 3)) / self.l1
        peak = peak.amax(1).clamp_min(torch.finfo(Y.dtype).tiny)
        best = torch.where(fit > 0, product / fit, 0.0).clamp(min=0.0)
        s = torch.minimum(best, 1 / peak)
        gap = energy - s * product + 0.5 * s.square() * fit
        return Certificate(energy, gap.clamp(min=0.0))

    def relative_gap(self, Y: Tensor, Z: Tensor) -> Tensor:
        """The gap over ``½‖Y‖²`` per image ``(b,)``, float64; 0 for the zero image's zero code."""
        gap = self.certificate(Y, Z).gap
        assert gap is not None
        half = 0.5 * Y.square().sum((1, 2, 3))
        share = torch.where(half > 0, gap / half, torch.where(gap > 0, torch.inf, 0.0))
        return share.to(torch.float64)
