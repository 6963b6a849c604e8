"""How is a model with its data a function of one flat weight vector? Values and gradients of it.

Noise, critical points, slices and smoothness are all read from a :class:`Surface`: the mean loss
over some data as f(w), w a vector ``(p,)``. The model handed in is copied, so it stays as it was.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from thalweg.curvature.once import once, twice

MEMORY = 256 * 2**20  # bytes that a block of gradients or of points may take
CHUNK = 512  # samples per forward pass, at most
BLOCK = 64  # Hessian-vector products at once, at most

Loss = Callable[[Tensor, Any], Tensor]  # weights (p,), batch -> scalar mean


class Surface:
    """The mean loss over data as a function of the flat trainable weights.

    Build one with :func:`thalweg.curvature.surfaces.surface` (a task, or model, loss and data) or
    with :func:`of_function`.

    Attributes:
        w: The weights where it was built, ``(p,)``; never changed.
        names: The trainable tensors' names, tied ones once, in the order of ``w``.
        shapes: Their shapes.
        samples: How many samples the mean runs over.
        data: Which part of the data, in words.
        couples: Whether samples of one batch influence each other (batch statistics).
        grouped: Whether several points are evaluated at once by default.
    """

    def __init__(
        self,
        loss: Loss,
        w: Tensor,
        batches: Callable[[int], Iterator[Any]],
        weigh: Callable[[Any], float],
        samples: int,
        names: Sequence[str] = ("w",),
        shapes: Sequence[torch.Size] | None = None,
        data: str = "data",
        couples: bool = False,
        grouped: bool = True,
        take: Callable[[Tensor], Any] | None = None,
    ) -> None:
        self.loss, self.w, self.batches, self.weigh = loss, w.detach(), batches, weigh
        self.take = take  # indices (b,) -> batch; None for a function without samples
        self.samples, self.data, self.couples, self.grouped = samples, data, couples, grouped
        self.names = tuple(names)
        self.shapes = tuple(shapes) if shapes is not None else (w.shape,)

    @property
    def p(self) -> int:
        """Number of weights."""
        return self.w.numel()

    def chunk(self, rows: int | None = None) -> int:
        """Samples per forward pass."""
        return self.samples if self.couples else min(self.samples, rows or CHUNK)

    def split(self, w: Tensor) -> dict[str, Tensor]:
        """A flat vector ``(..., p)`` as named tensors ``(..., *shape)``."""
        return split(w, self.names, self.shapes)

    def value(self, w: Tensor | None = None) -> float:
        """f(w), one number."""
        w = self.w if w is None else w
        with torch.no_grad(), exact_attention():
            return float(self._mean(lambda batch: self.loss(w, batch)))

    def values(self, points: Tensor) -> Tensor:
        """F at every row of ``points (k, p)``: shape ``(k,)``, float64."""
        rows = max(1, MEMORY // (8 * max(1, self.p * points.element_size())))
        found = []
        with torch.no_grad(), exact_attention():
            for block in points.split(rows):
                if self.grouped and len(block) > 1:
                    try:
                        at = vmap(self.loss, in_dims=(0, None))
                        with stacking():
                            found.append(self._mean(lambda b, f=at, w=block: f(w, b)).double())
                        continue
                    except REFUSALS:  # a model that cannot be stacked
                        self.grouped = False
                each = [self._mean(lambda b, w=w: self.loss(w, b)).double() for w in block]
                found.append(torch.stack(each))
        return torch.cat(found)

    def grad(self, w: Tensor | None = None) -> Tensor:
        """∇f(w), shape ``(p,)``."""
        return self.value_and_grad(w)[1]

    def value_and_grad(self, w: Tensor | None = None) -> tuple[float, Tensor]:
        """f(w) and ∇f(w)."""
        at = (self.w if w is None else w).detach().clone().requires_grad_()

        def both(batch: Any) -> Tensor:
            with torch.enable_grad():
                loss = self.loss(at, batch)
                (g,) = torch.autograd.grad(loss, at, allow_unused=True)
            g = torch.zeros_like(at) if g is None else g
            return torch.cat([loss.detach().reshape(1), g])

        with exact_attention():
            out = self._mean(both)
        return float(out[0]), out[1:]

    def hvp(self, v: Tensor, w: Tensor | None = None) -> Tensor:
        """∇²f(w) v for ``(p,)`` or a block ``(p, k)``, over which one graph is kept."""
        at = (self.w if w is None else w).detach()
        rows = v.reshape(self.p, -1).mT.to(at.dtype)
        with exact_attention():
            found = self._mean(lambda batch: self._products(at, rows, batch))
        return found.mT.reshape(v.shape)

    def dense_hessian(self, w: Tensor | None = None) -> Tensor:
        """∇²f(w) in full, ``(p, p)``, symmetrised; for a few thousand weights at most."""
        h = self.hvp(torch.eye(self.p, dtype=self.w.dtype, device=self.w.device), w)
        return (h + h.mT) / 2

    def _products(self, w: Tensor, rows: Tensor, batch: Any) -> Tensor:
        """Each of ``rows (k, p)`` times the Hessian of one batch."""
        at = w.clone().requires_grad_()
        with torch.enable_grad():
            loss = self.loss(at, batch)
            twice(once(loss), "Hessian")
            (g,) = torch.autograd.grad(loss, at, create_graph=True, allow_unused=True)
        if g is None or not g.requires_grad:  # linear in the weights
            return torch.zeros_like(rows)
        found = [
            torch.autograd.grad(g, at, v, retain_graph=True, allow_unused=True)[0] for v in rows
        ]
        return torch.stack([torch.zeros_like(at) if h is None else h for h in found])

    def _mean(self, of: Callable[[Any], Tensor]) -> Tensor:
        """The mean of ``of(batch)`` over the data, weighted as the loss is; sums in float64."""
        total: Tensor | None = None
        weights = 0.0
        dtype = self.w.dtype
        for batch in self.batches(self.chunk()):
            weight = self.weigh(batch)
            part = of(batch).double() * weight
            total = part if total is None else total + part
            weights += weight
        if total is None or weights == 0:
            raise ValueError(f"the {self.data} hold nothing that the loss is a mean over.")
        return (total / weights).to(dtype)


def split(w: Tensor, names: Sequence[str], shapes: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    """Cut a flat vector ``(..., p)`` into named tensors ``(..., *shape)``, as views."""
    sizes = [torch.Size(shape).numel() for shape in shapes]
    parts = w.split(sizes, -1)
    return {
        name: part.reshape(*w.shape[:-1], *shape)
        for name, part, shape in zip(names, parts, shapes, strict=True)
    }


@contextmanager
def exact_attention() -> Iterator[None]:
    """Attention by plain matrix products: the fused kernels have no second derivative."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


@contextmanager
def stacking() -> Iterator[None]:
    """An operation that ``vmap`` would only loop over, slowly, is refused like an unknown one."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*performance drop.*")
        yield


REFUSALS = (RuntimeError, ValueError, NotImplementedError, UserWarning)  # what vmap says no with


def of_function(f: Callable[[Tensor], Tensor], w: Tensor) -> Surface:
    """A plain function of ``(p,)`` as a surface; it must be differentiable by torch.

    >>> bowl = of_function(lambda w: (w * w).sum(), torch.tensor([3.0, 4.0]))
    >>> bowl.value(), bowl.grad()
    (25.0, tensor([6., 8.]))
    """
    if w.ndim != 1 or not w.is_floating_point():
        raise ValueError(f"w must be a vector of real numbers, got {w.dtype} {tuple(w.shape)}")
    return Surface(lambda w, _: f(w), w, lambda _: iter((None,)), lambda _: 1.0, 1, data="function")
