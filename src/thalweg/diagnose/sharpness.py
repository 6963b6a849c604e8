"""How curved is the loss, and how noisy its gradient, at given weights? For any module."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from thalweg.linalg.lanczos import eigenvalues
from thalweg.linalg.operator import LinearOperator
from thalweg.risk import Risk, tree

PRODUCTS = 12
GRADIENTS = 8  # batches for the noise
LARGEST = 20_000_000  # weights up to which products are taken


class BatchHessian(LinearOperator):
    """Second derivatives of one batch's loss by differentiating twice; the graph is kept."""

    def __init__(self, loss: Tensor, params: Sequence[Tensor]) -> None:
        self.params = params
        grads = torch.autograd.grad(loss, params, create_graph=True, allow_unused=True)
        self.grad = torch.cat([
            (torch.zeros_like(p) if g is None else g).reshape(-1)
            for p, g in zip(params, grads, strict=True)
        ])  # fmt: skip

    @property
    def shape(self) -> tuple[int, int]:
        """``(p, p)``."""
        return len(self.grad), len(self.grad)

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self.grad.dtype

    @property
    def device(self) -> torch.device:
        """Of the weights."""
        return self.grad.device

    @property
    def adjoint(self) -> LinearOperator:
        """Itself."""
        return self

    def apply(self, v: Tensor) -> Tensor:
        """The product with ``(p,)`` or, column by column, ``(p, k)``."""
        if v.dim() == 2:
            return torch.stack([self.apply(column) for column in v.unbind(1)], 1)
        with torch.enable_grad():
            inner = self.grad @ v
        grads = torch.autograd.grad(inner, self.params, retain_graph=True, allow_unused=True)
        return torch.cat([
            (torch.zeros_like(p) if g is None else g).reshape(-1)
            for p, g in zip(self.params, grads, strict=True)
        ])  # fmt: skip


def ends(risk: Risk, model: nn.Module, batch: Any, products: int = PRODUCTS) -> tuple[float, float]:
    """Largest and smallest eigenvalue of one batch's Hessian, about; NaN where there is none.

    From a dozen products: λmax to a few per cent as a rule (it is met from below), λmin only in
    sign and size.
    """
    twin = copy.deepcopy(model).float() if _half(model) else copy.deepcopy(model)
    if _half(model):
        batch = tree.tree_map(lambda t: t.float() if t.is_floating_point() else t, batch)
    params = [p for p in twin.parameters() if p.requires_grad]
    if not params or sum(p.numel() for p in params) > LARGEST:
        return math.nan, math.nan
    try:
        with (
            torch.random.fork_rng(devices=[]),
            sdpa_kernel(SDPBackend.MATH),
            torch.backends.cudnn.flags(enabled=False),
        ):
            torch.default_generator.manual_seed(0)
            op = BatchHessian(risk.loss(twin, batch), params)
            if not bool(torch.isfinite(op.grad).all()):
                return math.nan, math.nan
            found = eigenvalues(op, 1, "both", tol=0.02, max_products=products)
        return float(found.values[0]), float(found.values[1])
    except (RuntimeError, ValueError, NotImplementedError):  # no second derivative
        return math.nan, math.nan


def noise(risk: Risk, model: nn.Module, seed: int, batch_size: int) -> float:
    r"""The gradient noise scale :math:`\operatorname{tr}\Sigma/|G|^2` in samples, from 8 batches.

    The mean of k batch gradients has a squared norm too large by ``tr Σ / (b k)``, which is taken
    off; where nothing is left of it the answer is infinite: noise hides the gradient.
    """
    feed = risk.feed(seed, batch_size)
    twin = copy.deepcopy(model)
    params = [p for p in twin.parameters() if p.requires_grad]
    total: list[Tensor] | None = None
    squares = 0.0
    with torch.random.fork_rng(devices=[]):
        for step in range(GRADIENTS):
            loss = risk.loss(twin, feed.batch(step))
            if not loss.requires_grad:
                return math.nan
            grads = torch.autograd.grad(loss, params, allow_unused=True)
            fine = [
                torch.zeros_like(p) if g is None else g for p, g in zip(params, grads, strict=True)
            ]
            squares += sum(float(g.double().square().sum()) for g in fine)
            total = fine if total is None else [a + g for a, g in zip(total, fine, strict=True)]
    if total is None:
        return math.nan
    mean = sum(float((a / GRADIENTS).double().square().sum()) for a in total)
    trace = batch_size * (squares / GRADIENTS - mean) * GRADIENTS / (GRADIENTS - 1)
    signal = mean - trace / (batch_size * GRADIENTS)
    if not math.isfinite(trace):
        return math.nan
    return trace / signal if signal > 0 else math.inf


def _half(model: nn.Module) -> bool:
    return any(p.dtype in (torch.float16, torch.bfloat16) for p in model.parameters())
