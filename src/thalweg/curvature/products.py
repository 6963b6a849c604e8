"""What is one product with a curvature matrix, on one chunk? In two forms that must agree.

``linear(theta, batch, v)`` is written with forward-mode derivatives, so that it can be traced and
split; ``graph(theta, batch)`` keeps a backward graph and answers products from it. ``v`` and the
answer are tuples of tensors shaped like the weights.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import grad_and_value, jvp, vjp
from torch.utils import _pytree as pytree

from thalweg.curvature.once import twice
from thalweg.curvature.outputs import Metric
from thalweg.curvature.problem import Problem, Theta

Linear = Callable[[Theta], Theta]


class Product(ABC):
    """A symmetric matrix of one chunk, seen through its products."""

    name: str

    @abstractmethod
    def linear(self, theta: Theta, batch: Any, v: Theta) -> tuple[Tensor, Theta]:
        """The product, by forward-mode derivatives, and :meth:`value` found on the way."""

    @abstractmethod
    def value(self, theta: Theta, batch: Any) -> Tensor:
        """A number of this chunk that does not depend on ``v``, to recognise it by."""

    @abstractmethod
    def graph(self, theta: Theta, batch: Any) -> Linear:
        """The products of one chunk, from a kept backward graph."""

    @abstractmethod
    def factor(self, share: float) -> float:
        """What a chunk's product counts, given its share of the mean."""

    @abstractmethod
    def on(self, problem: Problem) -> Product:
        """The same matrix of another problem: of fewer weights."""


class HessianProduct(Product):
    """∇²f v = d/dt ∇f(w + t v)."""

    name = "Hessian"

    def __init__(self, problem: Problem) -> None:
        twice(problem.once, self.name)
        self.problem = problem

    def linear(self, theta: Theta, batch: Any, v: Theta) -> tuple[Tensor, Theta]:
        """Forward over reverse."""

        def gradient(*at: Tensor) -> Any:
            return grad_and_value(lambda w: self.problem.loss(w, batch))(at)

        now, moved = jvp(gradient, theta, self.problem.moving(v))  # pyrefly: ignore
        return now[1], moved[0]

    def factor(self, share: float) -> float:
        """The share itself."""
        return share

    def on(self, problem: Problem) -> HessianProduct:
        """The Hessian in these weights."""
        return HessianProduct(problem)

    def value(self, theta: Theta, batch: Any) -> Tensor:
        """The loss."""
        return self.problem.loss(theta, batch)

    def graph(self, theta: Theta, batch: Any) -> Linear:
        """Reverse over a kept reverse graph."""
        at = tuple(t.detach().clone().requires_grad_() for t in theta)
        loss = self.problem.loss(at, batch)
        if not loss.requires_grad:
            return lambda v: tuple(torch.zeros_like(t) for t in v)
        first = torch.autograd.grad(loss, at, create_graph=True, allow_unused=True)
        bent = [i for i, g in enumerate(first) if g is not None and g.requires_grad]
        zeros = [first[i] for i in bent]

        def product(v: Theta) -> Theta:
            if not bent:  # linear in every weight
                return tuple(torch.zeros_like(t) for t in v)
            found = torch.autograd.grad(
                zeros, at, [v[i] for i in bent], retain_graph=True, allow_unused=True
            )
            return _filled(found, v)

        return product


class OutputProduct(Product):
    """Jᵀ M J v with J the derivative of the outputs and M a matrix on outputs."""

    def __init__(self, problem: Problem, metric: Metric, name: str) -> None:
        twice(problem.once, name)
        self.problem, self.metric, self.name = problem, metric, name

    def _outputs(self, batch: Any) -> Callable[..., Theta]:
        def outputs(*at: Tensor) -> Theta:
            leaves, self.spec = pytree.tree_flatten(self.problem.outputs(at, batch))
            self.real = [isinstance(t, Tensor) and t.is_floating_point() for t in leaves]
            self.rest = [None if real else t for t, real in zip(leaves, self.real, strict=True)]
            if not any(self.real):
                kinds = ", ".join(sorted({type(t).__name__ for t in leaves}))
                raise ValueError(
                    f"{self.name}: the model answers {kinds}, in which no real tensor is found, so "
                    "its outputs cannot be differentiated. Return tensors, or a tuple or dict."
                )
            return tuple(t for t, real in zip(leaves, self.real, strict=True) if real)

        return outputs

    def _rebuild(self, real: Theta) -> Any:
        found = iter(real)
        leaves = [next(found) if r else t for r, t in zip(self.real, self.rest, strict=True)]
        return pytree.tree_unflatten(leaves, self.spec)

    def factor(self, share: float) -> float:
        """The metric's."""
        return self.metric.factor(share)

    def on(self, problem: Problem) -> OutputProduct:
        """The same metric, the Jacobian in these weights."""
        return OutputProduct(problem, self.metric, self.name)

    def value(self, theta: Theta, batch: Any) -> Tensor:
        """The sum of all outputs."""
        return _total(self._outputs(batch)(*theta))

    def linear(self, theta: Theta, batch: Any, v: Theta) -> tuple[Tensor, Theta]:
        """Forward through the model, the metric, and back."""
        outputs = self._outputs(batch)
        z, moved = jvp(outputs, theta, self.problem.moving(v))  # pyrefly: ignore
        _, back = vjp(outputs, *theta)  # pyrefly: ignore
        return _total(z), back(self.metric.apply(z, self._rebuild, batch, moved))

    def graph(self, theta: Theta, batch: Any) -> Linear:
        """The model's graph kept; J v as the derivative of Jᵀ u by u."""
        at = tuple(t.detach().clone().requires_grad_() for t in theta)
        z = self._outputs(batch)(*at)
        reached = [i for i, t in enumerate(z) if t.requires_grad]
        if not reached:
            return lambda v: tuple(torch.zeros_like(t) for t in v)
        ends = [z[i] for i in reached]
        dummy = [torch.zeros_like(t, requires_grad=True) for t in ends]
        pulled = torch.autograd.grad(ends, at, dummy, create_graph=True, allow_unused=True)
        used = [i for i, g in enumerate(pulled) if g is not None and g.requires_grad]
        fixed = tuple(t.detach() for t in z)
        metric = self.metric.fix(fixed, self._rebuild, batch)

        def product(v: Theta) -> Theta:
            moved = torch.autograd.grad(
                [pulled[i] for i in used],
                dummy,
                [v[i] for i in used],
                retain_graph=True,
                allow_unused=True,
            )
            full = [torch.zeros_like(t) for t in fixed]
            for i, m in zip(reached, moved, strict=True):
                full[i] = full[i] if m is None else m
            u = metric(tuple(full))
            found = torch.autograd.grad(
                ends, at, [u[i] for i in reached], retain_graph=True, allow_unused=True
            )
            return _filled(found, v)

        return product


def _total(z: Theta) -> Tensor:
    return torch.stack([t.sum() for t in z]).sum()


def _filled(found: tuple[Tensor | None, ...], like: Theta) -> Theta:
    return tuple(torch.zeros_like(t) if g is None else g for g, t in zip(found, like, strict=True))
