"""One loss per member from outputs of all: by hand where the loss is known, else by proof."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

from thalweg.race.population.flat import Unsupported
from thalweg.race.population.stacked.attention import scaled_dot_product
from thalweg.race.population.stacked.noise import dropout
from thalweg.race.population.stacked.stack import Stack
from thalweg.registry import resolve
from thalweg.risk import tree

IGNORED = -100
FEW_CLASSES = 128  # up to which two scalar passes beat torch's reductions


def cross_entropy(
    logits: Tensor, target: Tensor, k: int, ignored: int | None = None
) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy per member with its gradient (a softmax kernel costs several times more).

    Args:
        logits: ``(K n, C)``.
        target: ``(K n,)`` classes, or ``(n,)`` shared by all members.
        k: Members.
        ignored: A target that does not count; None: every target counts.

    Returns:
        Losses ``(K,)`` and their gradients ``(K n, C)``.
    """
    if ignored is None and logits.device.type == "cpu" and logits.shape[1] <= FEW_CLASSES:
        return _few_classes(logits.contiguous(), target, k)
    if len(target) < len(logits):
        target = target.repeat(k)
    counted = None if ignored is None else target != ignored
    if counted is not None and logits.device.type == "cpu" and bool(counted.all()):
        counted = None  # elsewhere the question would wait for the device
    index = target[:, None] if counted is None else torch.where(counted, target, 0)[:, None]
    p = torch.log_softmax(logits, 1)
    rows = p.gather(1, index).neg_()
    p.exp_().scatter_add_(1, index, torch.full_like(rows, -1.0))
    if counted is None:
        n = logits.shape[0] // k
        return rows.view(k, n).mean(1), p.mul_(1.0 / n)
    rows = rows.masked_fill_(~counted[:, None], 0.0)
    n = counted.view(k, -1).sum(1).to(p.dtype)
    share = torch.where(counted.view(k, -1), 1.0 / n[:, None], 0.0).reshape(-1, 1)
    return rows.view(k, -1).sum(1) / n, p.mul_(share).masked_fill_(~counted[:, None], 0.0)


def _few_classes(logits: Tensor, target: Tensor, k: int) -> tuple[Tensor, Tensor]:
    shift, finish = (resolve(f"{__package__}.kernels:{name}") for name in ("shift", "finish"))
    losses, shifted = logits.new_empty(k), torch.empty_like(logits)
    shift(logits.numpy(), shifted.numpy())
    p = shifted.exp()
    finish(shifted.numpy(), p.numpy(), target.contiguous().numpy(), losses.numpy())
    return losses, p


def square(output: Tensor, target: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Mean squared error per member ``(K,)`` with its gradient."""
    rest = output - target
    n = rest.numel() // k
    return rest.square().view(k, n).mean(1), rest.mul_(2.0 / n)


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, k: int, ignored: int) -> Tensor:
        losses, gradient = cross_entropy(logits, target, k, ignored)
        ctx.save_for_backward(gradient)
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyrefly: ignore
        (d,) = grad_outputs
        (gradient,) = ctx.saved_tensors
        gradient.view(len(d), -1).mul_(d[:, None])  # ours alone, and read once
        return gradient, None, None, None


class Intercept(TorchFunctionMode):
    """Lets the user's own code call losses and dropout on all members at once.

    Means over a batch become means per member; masks are drawn once a seed.
    """

    def __init__(self, stack: Stack) -> None:
        super().__init__()
        self.stack = stack

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        known = _KNOWN.get(func)
        made = None if known is None else known(self.stack, func, args, kwargs)
        return func(*args, **kwargs) if made is None else made


def _entropy(stack: Stack, func: Any, args: Any, kwargs: Any) -> Tensor | None:
    plain = set(kwargs) <= {"ignore_index", "reduction", "input", "target", "weight"}
    plain = plain or not kwargs.get("label_smoothing")
    named = dict(zip(("input", "target", "weight"), args, strict=False)) | kwargs
    logits, target = named["input"], named["target"]
    if not plain or len(args) > 3 or named.get("weight") is not None:
        return None
    if kwargs.get("reduction", "mean") != "mean" or target.is_floating_point():
        return None
    if logits.dim() < 2 or logits.shape[0] % stack.k:
        return None
    rows = logits.movedim(1, -1).reshape(-1, logits.shape[1])
    ignored = kwargs.get("ignore_index", IGNORED)
    return _CrossEntropy.apply(rows, target.reshape(-1), stack.k, ignored)


def _elementwise(stack: Stack, func: Any, args: Any, kwargs: Any) -> Tensor | None:
    if kwargs.get("reduction", "mean") != "mean" or len(args) > 2:
        return None
    if any(kwargs.get(key) is not None for key in ("weight", "size_average", "reduce")):
        return None
    values = func(*args, **(kwargs | {"reduction": "none"}))
    return values.reshape(stack.k, -1).mean(1) if values.shape[0] % stack.k == 0 else None


def _dropout(stack: Stack, func: Any, args: Any, kwargs: Any) -> Tensor | None:
    named = dict(zip(("input", "p", "training", "inplace"), args, strict=False)) | kwargs
    training = named.get("training", named.get("train", True))
    return dropout(stack, named["input"], named.get("p", 0.5), 0) if training else named["input"]


def _attention(stack: Stack, func: Any, args: Any, kwargs: Any) -> Tensor | None:
    return scaled_dot_product(stack, *args, **kwargs)


_KNOWN: Mapping[Any, Callable[..., Tensor | None]] = {
    F.cross_entropy: _entropy,
    F.mse_loss: _elementwise,
    F.l1_loss: _elementwise,
    F.smooth_l1_loss: _elementwise,
    F.huber_loss: _elementwise,
    F.binary_cross_entropy: _elementwise,
    F.binary_cross_entropy_with_logits: _elementwise,
    F.dropout: _dropout,
    torch.dropout: _dropout,
    F.scaled_dot_product_attention: _attention,
}

Losses = Callable[[Any, Any], Tensor]  # outputs (K b, ...) and targets likewise -> (K,)


def is_plain_cross_entropy(loss: Any) -> bool:
    """Whether ``loss`` is torch's cross-entropy as it comes."""
    if loss is F.cross_entropy:
        return True
    if type(loss) is not nn.CrossEntropyLoss:
        return False
    usual = loss.ignore_index == IGNORED and loss.reduction == "mean"
    return usual and loss.weight is None and not loss.label_smoothing


def is_plain_square(loss: Any) -> bool:
    """Whether ``loss`` is torch's mean squared error."""
    return loss is F.mse_loss or (type(loss) is nn.MSELoss and loss.reduction == "mean")


def candidates(stack: Stack, loss: Callable[..., Tensor]) -> dict[str, Losses]:
    """Ways to take any loss per member, the likely fastest first; ``loop`` is always right."""

    def intercepted(output: Any, target: Any) -> Tensor:
        with Intercept(stack):
            return loss(output, target)

    def apart(item: Any) -> Any:
        return tree.tree_map(lambda t: t.unflatten(0, (stack.k, -1)) if t.dim() else t, item)

    def vmapped(output: Any, target: Any) -> Tensor:
        return torch.func.vmap(loss)(apart(output), apart(target))

    def looped(output: Any, target: Any) -> Tensor:
        outputs, targets = apart(output), apart(target)
        each = []
        for i in range(stack.k):
            one = [tree.tree_map(lambda t, i=i: t[i], item) for item in (outputs, targets)]
            each.append(loss(*one).reshape(()))
        return torch.stack(each)

    return {"intercepted": intercepted, "vmapped": vmapped, "looped": looped}


def pick(stack: Stack, loss: Callable[..., Tensor], output: Any, target: Any) -> tuple[str, Losses]:
    """The first way that gives what the loop over members gives, values and gradients."""
    ways = candidates(stack, loss)
    wanted = _evaluate(ways.pop("looped"), output, target)
    for name, way in ways.items():
        try:
            found = _evaluate(way, output, target)
        except Exception:  # a loss that this way cannot take
            continue
        if len(found) == len(wanted) and all(
            a.shape == b.shape and torch.allclose(a, b, rtol=1e-4, atol=1e-7, equal_nan=True)
            for a, b in zip(found, wanted, strict=True)
        ):
            return name, way
    return "looped", candidates(stack, loss)["looped"]


def _evaluate(way: Losses, output: Any, target: Any) -> list[Tensor]:
    leaves = tree.tree_map(
        lambda t: t.detach().requires_grad_() if t.is_floating_point() else t, output
    )
    inputs = [t for t in tree.tensors(leaves) if t.requires_grad]
    with torch.enable_grad():
        losses = way(leaves, target)
        if losses.dim() != 1:
            raise Unsupported("the loss mixes members")
        found = torch.autograd.grad(losses.sum(), inputs, allow_unused=True)
    zeros = [torch.zeros_like(t) if g is None else g for t, g in zip(inputs, found, strict=True)]
    return [losses.detach(), *zeros]
