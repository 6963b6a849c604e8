"""Which matrix on the model's outputs turns Jacobians into curvature? Closed and general forms.

For a loss ℓ of outputs z the Gauss-Newton matrix takes its Hessian.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import grad, jvp
from torch.overrides import TorchFunctionMode

from thalweg.curvature.weighing import Usual, usual
from thalweg.risk.criterion import IGNORED

with warnings.catch_warnings():  # torch deprecates what its own jvp imports on first use
    warnings.simplefilter("ignore", DeprecationWarning)
    import torch._decomp.decompositions_for_jvp

Tensors = tuple[Tensor, ...]
Rebuild = Callable[[Tensors], Any]


class PlainLosses(TorchFunctionMode):
    """Squares written out: forward over reverse fails in torch's kernel for them (2.13)."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """``mse_loss`` by its formula; everything else as it is."""
        named = dict(zip(("input", "target"), args[:2], strict=False)) | (kwargs or {})
        named = {key: value for key, value in named.items() if value is not None}
        reduction = named.get("reduction", "mean")
        known = set(named) <= {"input", "target", "reduction"} and len(args) <= 2
        if func is F.mse_loss and known and reduction in ("mean", "sum"):
            error = (named["input"] - named["target"]).square()
            return error.mean() if reduction == "mean" else error.sum()
        return func(*args, **(kwargs or {}))


class Metric(ABC):
    """A symmetric matrix on outputs, one chunk at a time."""

    @abstractmethod
    def apply(self, z: Tensors, rebuild: Rebuild, batch: Any, u: Tensors) -> Tensors:
        """The product with ``u``, shaped like the outputs ``z``; linear in ``u``, traceable."""

    def fix(self, z: Tensors, rebuild: Rebuild, batch: Any) -> Callable[[Tensors], Tensors]:
        """The same for many ``u`` at one ``z``."""
        return lambda u: self.apply(z, rebuild, batch, u)

    def factor(self, share: float) -> float:
        """What a chunk counts, given its share of the mean."""
        return share


class LossHessian(Metric):
    """∇²ℓ by differentiating the loss itself: any loss of the outputs."""

    def __init__(self, loss: Callable[..., Tensor]) -> None:
        self.loss = loss

    def apply(self, z: Tensors, rebuild: Rebuild, batch: Any, u: Tensors) -> Tensors:
        """Forward over reverse, on outputs only."""

        def gradient(*at: Tensor) -> Tensors:
            return grad(lambda t: self.loss(rebuild(t), batch[1]).reshape(()))(at)

        with PlainLosses():
            return jvp(gradient, z, u)[1]

    def fix(self, z: Tensors, rebuild: Rebuild, batch: Any) -> Callable[[Tensors], Tensors]:
        """Reverse over a kept reverse graph, which more losses allow."""
        with torch.enable_grad():
            at = tuple(t.detach().requires_grad_() for t in z)
            loss = self.loss(rebuild(at), batch[1])
            first = torch.autograd.grad(loss.reshape(()), at, create_graph=True, allow_unused=True)
        bent = [i for i, g in enumerate(first) if g is not None and g.requires_grad]

        def product(u: Tensors) -> Tensors:
            zeros = [torch.zeros_like(t) for t in z]
            if not bent:
                return tuple(zeros)
            ends = [first[i] for i in bent]
            found = torch.autograd.grad(
                ends, at, [u[i] for i in bent], retain_graph=True, allow_unused=True
            )
            return tuple(e if f is None else f for f, e in zip(found, zeros, strict=True))

        return product


class CrossEntropyHessian(Metric):
    r"""Per target :math:`w\,(\mathrm{diag}(p) - pp^\top)/\text{mass}`, p the softmax.

    Class weights, ignored targets, label smoothing and class probabilities only change w and the
    mass. Work and memory are those of the outputs.
    """

    def __init__(self, known: Usual) -> None:
        self.known = known

    def apply(self, z: Tensors, rebuild: Rebuild, batch: Any, u: Tensors) -> Tensors:
        """``w (p ∘ u − p ⟨p, u⟩) / mass`` along the class axis."""
        logits, target = z[0], batch[1]
        axis = 0 if logits.dim() == 1 else 1
        p = logits.softmax(axis)
        scale = self.scale(logits, target, axis).unsqueeze(axis)
        weighted = p * scale
        pu = p * u[0]
        return (scale * pu - weighted * pu.sum(axis, keepdim=True),)

    def scale(self, logits: Tensor, target: Tensor, axis: int) -> Tensor:
        """The weight of each target ÷ what the mean runs over: the sum of the soft target."""
        s = self.known.settings
        weight, smoothing = s.get("weight"), s.get("label_smoothing", 0.0)
        classes = logits.shape[axis]
        if target.is_floating_point():
            soft = target * (1 - smoothing) + smoothing / classes
            if weight is not None:
                shape = [1] * soft.dim()
                shape[axis] = classes
                soft = soft * weight.to(soft).reshape(shape)
            each = soft.sum(axis)
            number = each.numel()
            return each if self.known.reduction == "sum" else each / number
        counted = target != s.get("ignore_index", IGNORED)
        safe = torch.where(counted, target, torch.zeros_like(target))
        if weight is None:
            each = counted.to(logits.dtype)
            mass = each.sum()
        else:
            weight = weight.to(logits)
            mass = (weight[safe] * counted).sum()
            each = ((1 - smoothing) * weight[safe] + smoothing * weight.mean()) * counted
        return each if self.known.reduction == "sum" else each / mass


class SquaredHessian(Metric):
    """∇²ℓ = 2/number: mean squared error."""

    def __init__(self, known: Usual) -> None:
        self.known = known

    def apply(self, z: Tensors, rebuild: Rebuild, batch: Any, u: Tensors) -> Tensors:
        """``2 u / number``, with the loss's own weights where it has some."""
        weight = self.known.settings.get("weight")
        number = 1 if self.known.reduction == "sum" else z[0].numel()
        moved = u[0] if weight is None else u[0] * weight.to(z[0])
        if weight is not None and self.known.reduction != "sum":
            number = weight.to(z[0]).expand_as(z[0]).sum()  # torch divides by the weights
        return (moved * (2.0 / number),)


class LogisticHessian(Metric):
    """Per number σ(z)(1 − σ(z)), weighted: binary cross-entropy of logits."""

    def __init__(self, known: Usual) -> None:
        self.known = known

    def apply(self, z: Tensors, rebuild: Rebuild, batch: Any, u: Tensors) -> Tensors:
        """``w σ(1 − σ) u / number`` with ``w = weight · (1 + (pos_weight − 1) y)``."""
        s = torch.sigmoid(z[0])
        each = s * (1 - s)
        positive, weight = (self.known.settings.get(k) for k in ("pos_weight", "weight"))
        if positive is not None:
            y = batch[1].to(s)
            each = each * (positive.to(s) * y + 1 - y)
        if weight is not None:
            each = each * weight.to(s)
        number = 1 if self.known.reduction == "sum" else s.numel()
        return (each * (1.0 / number) * u[0],)


_CLOSED: dict[Any, type[Metric]] = {
    F.cross_entropy: CrossEntropyHessian,
    F.mse_loss: SquaredHessian,
    F.binary_cross_entropy_with_logits: LogisticHessian,
}
_SETTINGS = {"weight", "ignore_index", "label_smoothing", "reduction", "pos_weight"}


def loss_hessian(loss: Callable[..., Tensor]) -> Metric:
    """The closed form of a usual loss, else the loss differentiated twice."""
    known = usual(loss)
    if known is None or known.function not in _CLOSED or set(known.settings) - _SETTINGS:
        return LossHessian(loss)
    if known.reduction not in ("mean", "sum"):
        return LossHessian(loss)
    return _CLOSED[known.function](known)  # pyrefly: ignore


def agrees(
    closed: Metric, loss: Callable[..., Tensor], z: Tensors, rebuild: Rebuild, batch: Any
) -> bool:
    """Whether a closed form equals the loss differentiated twice, on these outputs."""
    if len(z) != 1 or not isinstance(batch[1], Tensor):
        return False
    generator = torch.Generator(z[0].device).manual_seed(0)
    u = tuple(torch.randn(t.shape, generator=generator, dtype=t.dtype, device=t.device) for t in z)
    try:
        one = closed.apply(z, rebuild, batch, u)[0]
        two = LossHessian(loss).fix(z, rebuild, batch)(u)[0]
    except (RuntimeError, IndexError, TypeError):
        return False
    tol = 1e-4 if z[0].dtype == torch.float32 else 1e-10
    return one.shape == two.shape and bool((one - two).norm() <= tol * two.norm())
