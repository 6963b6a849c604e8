"""What is inside a wrapped model or optimiser, and can hooks be hung on it?"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def inner_optimizer(optimizer: Any) -> torch.optim.Optimizer:
    """The optimiser whose step is taken in the end (accelerate and Lightning wrap it)."""
    for _ in range(4):
        within = getattr(optimizer, "optimizer", None)
        if not isinstance(within, torch.optim.Optimizer):
            break
        optimizer = within
    if not isinstance(optimizer, torch.optim.Optimizer):
        more = "; make one watch for each optimiser" if isinstance(optimizer, list | tuple) else ""
        raise TypeError(
            f"watch needs a torch.optim.Optimizer, got {type(optimizer).__name__}{more}."
        )
    return optimizer


def inner_model(model: nn.Module) -> nn.Module:
    """The module inside DDP, DataParallel and torch.compile."""
    for _ in range(4):
        within = getattr(model, "_orig_mod", None)
        if within is None and isinstance(
            model, nn.parallel.DistributedDataParallel | nn.DataParallel
        ):
            within = model.module
        if not isinstance(within, nn.Module):
            return model
        model = within
    return model


def eager(model: nn.Module) -> tuple[bool, tuple[str, ...]]:
    """Whether module hooks will be called, and a note where they will not."""
    if isinstance(model, nn.DataParallel):
        return False, ("DataParallel copies the model at every step: layers are not watched.",)
    if isinstance(model, torch.jit.ScriptModule):
        return False, ("A scripted model calls no hooks: layers are not watched.",)
    for module in model.modules():
        if hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None:
            return False, (
                "Compiled code may leave out hooks: layers are not watched, only gradients, "
                "updates and the loss.",
            )
    return True, ()
