"""Matrices made of gradients on outputs: the empirical and the Monte-Carlo Fisher's metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import grad

from thalweg.curvature.outputs import CrossEntropyHessian, Metric, Rebuild, Tensors
from thalweg.curvature.weighing import Usual


class SampleGradients(Metric):
    """``n Σ g_i g_iᵀ`` with g_i the gradient of sample i's share of the mean loss.

    Args:
        loss: Of (outputs, target).
        n: Samples in all.
    """

    def __init__(self, loss: Callable[..., Tensor], n: int) -> None:
        self.loss, self.n = loss, n

    def factor(self, share: float) -> float:
        """The square of the share: gradients enter twice; n of them make a mean."""
        return self.n * share * share

    def apply(self, z: Tensors, rebuild: Rebuild, batch: Any, u: Tensors) -> Tensors:
        """``g_i ⟨g_i, u_i⟩`` for each row i."""
        g = grad(lambda t: self.loss(rebuild(t), batch[1]).reshape(()))(z)
        rows = len(z[0])
        along = torch.stack(
            [(a * b).reshape(rows, -1).sum(1) for a, b in zip(g, u, strict=True)]
        ).sum(0)
        return tuple(a * along.reshape(-1, *[1] * (a.dim() - 1)) for a in g)


class DrawnGradients(Metric):
    r"""``mean over draws of q qᵀ``, one q a target, with :math:`E[q q^\top]=\nabla^2_z\ell`.

    q is the gradient of the loss at a target drawn from the model's own distribution: a class from
    the softmax, 0 or 1 from the logistic, a normal number around an output of squared error.
    Draws are the same in every product: they come from the state that the chunk is run under.

    Args:
        known: The loss.
        draws: Per target.
    """

    def __init__(self, known: Usual, draws: int) -> None:
        self.known, self.draws = known, draws

    def apply(self, z: Tensors, rebuild: Rebuild, batch: Any, u: Tensors) -> Tensors:
        """``q ⟨q, u⟩``."""
        return self.fix(z, rebuild, batch)(u)

    def fix(self, z: Tensors, rebuild: Rebuild, batch: Any) -> Callable[[Tensors], Tensors]:
        """Draw now."""
        q, axes = self._draw(z[0], batch[1])
        q = q * self.draws**-0.5

        def product(u: Tensors) -> Tensors:
            along = q * u[0]
            if axes:
                along = along.sum([a + 1 for a in axes], keepdim=True)
            return ((q * along).sum(0),)

        return product

    def _draw(self, z: Tensor, target: Tensor) -> tuple[Tensor, list[int]]:
        """``(draws, *z.shape)`` gradients, and the axes of ``z`` that belong to one target."""
        s, mean = self.known.settings, self.known.reduction != "sum"
        if self.known.function is F.cross_entropy:
            axis = 0 if z.dim() == 1 else 1
            p = z.softmax(axis)
            flat = p.movedim(axis, -1)
            classes = flat.shape[-1]
            drawn = torch.multinomial(flat.reshape(-1, classes), self.draws, replacement=True)
            which = drawn.mT[..., None] == torch.arange(classes, device=z.device)
            ones = which.to(z.dtype).reshape(self.draws, *flat.shape)
            scale = CrossEntropyHessian(self.known).scale(z, target, axis).unsqueeze(axis)
            return scale.sqrt() * (p - ones.movedim(-1, axis + 1)), [axis]
        if self.known.function is F.mse_loss:
            noise = torch.randn(self.draws, *z.shape, dtype=z.dtype, device=z.device)
            number = z.numel() if mean else 1
            return noise * (2.0 / number) ** 0.5, list(range(1, z.dim()))
        p = torch.sigmoid(z)
        drawn = (torch.rand(self.draws, *z.shape, dtype=z.dtype, device=z.device) < p).to(z.dtype)
        each = torch.ones_like(z) if s.get("weight") is None else s["weight"].to(z) + 0 * z
        if s.get("pos_weight") is not None:
            y = target.to(z)
            each = each * (s["pos_weight"].to(z) * y + 1 - y)
        return (each / (z.numel() if mean else 1)).sqrt() * (p - drawn), []
