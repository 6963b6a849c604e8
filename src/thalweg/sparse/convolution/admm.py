r"""Dense convolutional codes, CPU and CUDA: the alternating direction method on a torus.

.. math:: \min_{x, y} \tfrac12\|Dx - s\|^2 + \sum \alpha_k |y_k| \quad\text{with } x = y

The quadratic step has a closed form at every frequency,
:math:`x = v + D^\top (\rho I + D D^\top)^{-1} (s - D v)` with :math:`v = y - u`; on a torus
:math:`DD^\top` is a c x c matrix at each of them. Only ``v`` and one image are transformed: the
last product with :math:`D^\top` is a correlation with small filters.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from thalweg.sparse.convolution.energy import ConvEnergy
from thalweg.sparse.convolution.operator import ConvDictionary


@dataclass(frozen=True, slots=True)
class AdmmOptions:
    """How exactly and how long.

    Attributes:
        tol: Relative duality gap.
        iterations: Limit.
        every: Iterations between certificates and changes of ρ.
        rho: First penalty parameter, times the weight over the root mean square of the image.
        relaxation: Over-relaxation, 1 to 2.
    """

    tol: float = 1e-4
    iterations: int = 2000
    every: int = 10
    rho: float = 4.0
    relaxation: float = 1.8


def solve(
    energy: ConvEnergy, images: Tensor, start: Tensor | None, options: AdmmOptions
) -> tuple[Tensor, Tensor]:
    """Codes ``(b, K, h, w)`` of ``images (b, c, H, W)``, and iterations ``(b,)``.

    Args:
        energy: What is minimised; its filters decide dtype and device of the work.
        images: The batch, in the filters' dtype.
        start: Codes to begin from, or None.
        options: How exactly.
    """
    torus = ConvDictionary(energy.dictionary.filters, energy.dictionary.size, "circular")
    step = _Quadratic(torus, images)
    h, w = energy.dictionary.code_shape[1:]
    y = images.new_zeros(len(images), *torus.code_shape)
    if start is not None:
        y[:, :, :h, :w] = start
    u = torch.zeros_like(y)
    weight = energy.l1[:, None, None]
    scale = images.square().mean((1, 2, 3)).sqrt().clamp_min(torch.finfo(images.dtype).tiny)
    rho = (options.rho * energy.l1.mean() / scale).clamp(1e-3, 1e3)[:, None, None, None]
    best = y[:, :, :h, :w].clone()
    lowest = energy.relative_gap(images, best)
    took = torch.full((len(images),), -options.every, dtype=torch.int64)
    took[(lowest > options.tol).cpu()] = 0
    if not bool((lowest > options.tol).any()):
        return best, took + options.every
    for done in range(1, options.iterations + 1):
        x = step.solve(y - u, rho)
        x.mul_(options.relaxation).add_(y, alpha=1 - options.relaxation).add_(u)
        last = y
        y = energy.shrink(x, weight / rho)
        if energy.dictionary.boundary != "circular":
            y[:, :, h:] = 0
            y[:, :, :, w:] = 0
        u = x.sub_(y)
        if done % options.every and done < options.iterations:
            continue
        codes = y[:, :, :h, :w]
        gap = energy.relative_gap(images, codes)
        better = gap < lowest
        best[better], lowest = codes[better], torch.minimum(gap, lowest)
        open_ = lowest > options.tol
        took[open_.cpu()] = done
        if not bool(open_.any()):
            break
        _balance(step, energy, y, last, u, rho, options)
    return best, (took + options.every).clamp_max(options.iterations)


def _balance(
    step: _Quadratic,
    energy: ConvEnergy,
    y: Tensor,
    last: Tensor,
    u: Tensor,
    rho: Tensor,
    options: AdmmOptions,
) -> None:
    """Change ρ where the two residuals differ much, and the scaled multipliers with it."""
    x = step.solve(y - u, rho)
    axes = (1, 2, 3)
    tiny = torch.finfo(y.dtype).tiny
    primal = (x - y).square().sum(axes).sqrt() / y.square().sum(axes).sqrt().clamp_min(tiny)
    dual = (y - last).square().sum(axes).sqrt() / u.square().sum(axes).sqrt().clamp_min(tiny)
    ratio = (primal / dual.clamp_min(tiny)).sqrt().clamp(0.2, 5.0)[:, None, None, None]
    factor = torch.where((ratio > 1.5) | (ratio < 1 / 1.5), ratio, 1.0)
    rho.mul_(factor)
    u.div_(factor)


class _Quadratic:
    """The quadratic step for a batch of images."""

    def __init__(self, torus: ConvDictionary, images: Tensor) -> None:
        self.filters, self.size = torus.filters, torus.size
        self.spectra = torch.fft.rfft2(torus.filters, s=torus.size)  # (K, c, H, W')
        self.images = torch.fft.rfft2(images)
        self.single = images.shape[1] == 1
        if self.single:
            self.power = self.spectra.abs().square().sum(0)  # (1, H, W')
        else:
            rows = self.spectra.permute(2, 3, 1, 0)
            self.values, self.vectors = torch.linalg.eigh(rows @ rows.mH)

    def solve(self, v: Tensor, rho: Tensor) -> Tensor:
        """``argmin ½‖Dx − s‖² + ρ/2 ‖x − v‖²``; ``rho (b, 1, 1, 1)``."""
        transformed = torch.fft.rfft2(v)
        decoded = torch.stack(
            [torch.einsum("kcij,kij->cij", self.spectra, one) for one in transformed]
        )
        rest = self.images - decoded
        if self.single:
            rest = rest / (rho + self.power)
        else:
            turned = self.vectors.mH @ rest.permute(0, 2, 3, 1)[..., None]
            turned = turned / (rho + self.values)[..., None]
            rest = (self.vectors @ turned)[..., 0].permute(0, 3, 1, 2)
        r = torch.fft.irfft2(rest, s=self.size)
        a, b = self.filters.shape[2:]
        return conv2d(pad(r, (0, b - 1, 0, a - 1), mode="circular"), self.filters).add_(v)
