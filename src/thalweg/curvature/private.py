"""How is a model prepared for second derivatives without touching the one that was handed in?"""

from __future__ import annotations

import copy
import functools
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils.weight_norm import WeightNorm

MODES = ("eval", "train")
HALF = (torch.float16, torch.bfloat16)
DROPOUTS = (nn.modules.dropout._DropoutNd,)
NORMS = (nn.modules.batchnorm._NormBase,)  # batch and instance norms: they hold running statistics
BATCH_NORMS = (nn.modules.batchnorm._BatchNorm,)


def unwrapped(model: nn.Module) -> nn.Module:
    """The module inside a compiled, data-parallel or distributed one."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(
            model, nn.DataParallel | nn.parallel.DistributedDataParallel
        ):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def private_copy(
    model: nn.Module, mode: str, dropout: bool, dtype: torch.dtype | None
) -> nn.Module:
    """A copy whose forward pass is a pure function of its weights and input.

    Half-precision weights and buffers become float32. In ``"train"`` mode normalisation uses the
    statistics of the batch and holds no running ones, so none can change; everything else but
    dropout is in training mode. Dropout is off unless asked for.
    """
    model = unwrapped(model)
    # a weight computed from others (the old weight_norm) is no leaf, which deepcopy refuses
    memo = {
        id(value): value.detach()
        for module in model.modules()
        for value in vars(module).values()
        if isinstance(value, Tensor) and value.grad_fn is not None
    }
    twin = copy.deepcopy(model, memo)
    for parameter in twin.parameters():
        parameter.grad = None
    kinds = {t.dtype for t in (*twin.parameters(), *twin.buffers()) if t.is_floating_point()}
    if dtype is not None:
        twin = twin.to(dtype)
    elif kinds & set(HALF):
        twin = twin.to(torch.float32)
    twin.train(mode == "train")
    for module in twin.modules():
        if isinstance(module, nn.RNNBase) and not dropout:
            module.dropout = 0.0
        if isinstance(module, nn.MultiheadAttention) and not dropout:
            module.dropout = 0.0
        if isinstance(module, DROPOUTS):
            module.train(dropout)
        if mode == "train" and isinstance(module, NORMS) and module.running_mean is not None:
            module.running_mean = module.running_var = module.num_batches_tracked = None
            module.track_running_stats = False
        if type(module).__module__ == "torch.nn.utils.parametrizations":
            module.eval()  # spectral norm would take a step of its power iteration
        _plain_weight_norm(module)
    return twin


def _plain_weight_norm(module: nn.Module) -> None:
    """Weight norm by the formula: the fused kernel's second derivative is wrong (torch 2.13).

    It differs from differences of the gradient by more than the Hessian itself, and is not even
    symmetric.
    """
    owner: Any = module
    if isinstance(module, nn.utils.parametrizations._WeightNorm):
        owner.forward = lambda g, v: g * v / _norm_except(v, owner.dim)
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm):
            old: Any = hook
            old.compute_weight = functools.partial(_old_weight, old.name, old.dim)


def _old_weight(name: str, dim: int, module: nn.Module) -> Tensor:
    v = getattr(module, name + "_v")
    return getattr(module, name + "_g") * v / _norm_except(v, dim)


def _norm_except(v: Tensor, dim: int) -> Tensor:
    """``‖v‖`` over all axes but one; -1 (or None, as torch writes it inside): over all."""
    axes = [i for i in range(v.dim()) if i != dim]
    return v.square().sum(axes, keepdim=dim != -1).sqrt()


def rebound(loss: Callable[..., Any], model: nn.Module, twin: nn.Module) -> Callable[..., Any]:
    """The loss, where it is a method of the model itself, as a method of the copy."""
    if isinstance(loss, types.MethodType) and loss.__self__ in (model, unwrapped(model)):
        return types.MethodType(loss.__func__, twin)
    return loss


def settled(loss: Callable[..., Any], like: Tensor) -> Callable[..., Any]:
    """The loss, its own half-precision weights (class weights) in float32, on ``like``'s device.

    A loss that is a module is copied, so that nothing it stores changes.
    """
    if isinstance(loss, nn.Module):
        twin = copy.deepcopy(loss).to(like.device)
        kinds = {t.dtype for t in (*twin.parameters(), *twin.buffers())}
        return twin.to(torch.float32) if kinds & set(HALF) else twin
    if isinstance(loss, functools.partial) and loss.keywords:
        moved = {
            key: value.to(like.device, torch.float32 if value.dtype in HALF else value.dtype)
            if isinstance(value, Tensor)
            else value
            for key, value in loss.keywords.items()
        }
        return functools.partial(loss.func, *loss.args, **moved)
    return loss


class Bound(nn.Module):
    """Model and loss as one module, so that one functional call swaps the weights of both."""

    def __init__(self, model: nn.Module, loss: Callable[..., Any], forward: str) -> None:
        super().__init__()
        self.model = model
        self.criterion: Any = [loss]  # in a list: the loss's own weights are no weights of this
        self.pair = forward == "pair"

    def forward(self, batch: Any, what: str = "loss") -> Any:
        """The loss of a batch, or with ``what="outputs"`` what the model answers."""
        if not self.pair:
            return self.criterion[0](self.model, batch)
        inputs = batch[0]
        if isinstance(inputs, Mapping):
            outputs = self.model(**inputs)
        elif isinstance(inputs, list | tuple):
            outputs = self.model(*inputs)
        else:
            outputs = self.model(inputs)
        return outputs if what == "outputs" else self.criterion[0](outputs, batch[1])


@contextmanager
def second_order(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Kernels that can be differentiated twice, gradients on, autocast off, whatever is outside."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(torch.autocast(device.type, enabled=False))
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if any(isinstance(module, nn.RNNBase) for module in model.modules()):
            # the vendors' recurrent kernels have no second derivative
            stack.callback(
                torch.backends.mkldnn.set_flags, torch.backends.mkldnn.set_flags(False)[0]
            )
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        yield
