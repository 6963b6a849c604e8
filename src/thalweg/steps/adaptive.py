"""What curvature does an adaptive optimiser feel? The Hessian in the coordinates of its steps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from thalweg.linalg.compose import ScaledOperator
from thalweg.linalg.operator import LinearOperator


def preconditioned(
    op: LinearOperator, optimizer: torch.optim.Optimizer, params: Sequence[Tensor]
) -> ScaledOperator:
    r"""``P^{-1/2} H P^{-1/2}`` with the preconditioner that a torch optimiser has now.

    Its largest eigenvalue is what ``max_learning_rate(…, "adam")`` asks for. P is
    :math:`\operatorname{diag}(\sqrt{\hat v} + \epsilon)`: debiased for Adam, AdamW and AMSGrad (its
    largest v), the mean square for RMSprop, the sum for Adagrad.

    Args:
        op: Hessian ``(p, p)`` over ``params``.
        optimizer: Has taken at least one step.
        params: The tensors in the order in which ``op`` lays them out.

    Raises:
        ValueError: No step was taken, a tensor that the optimiser does not train, sizes that do not
            fit.
        TypeError: An optimiser without such a preconditioner.

    References:
        Cohen et al., "Adaptive gradient methods at the edge of stability", 2022.
    """
    return ScaledOperator(op, scale_of(optimizer, params).rsqrt())


def scale_of(optimizer: torch.optim.Optimizer, params: Sequence[Tensor]) -> Tensor:
    """The diagonal of the preconditioner P, ``(p,)``, in the order of ``params``."""
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    parts = []
    for i, p in enumerate(params):
        if id(p) not in groups:
            raise ValueError(
                f"tensor {i} of shape {tuple(p.shape)} is not trained by this optimiser; pass the "
                "same tensors to both"
            )
        state = optimizer.state.get(p)
        if not state:
            raise ValueError(
                f"the optimiser has no state for tensor {i} of shape {tuple(p.shape)}; take a step "
                "first"
            )
        parts.append(_diagonal(state, groups[id(p)], optimizer).reshape(-1))
    return torch.cat(parts)


def mean_square_scale(gradients: Tensor, eps: float = 1e-8) -> Tensor:
    """P as Adam's would be after seeing these gradients at fixed weights.

    Args:
        gradients: One minibatch gradient a row, ``(batches, p)``.
        eps: Adam's.

    Returns:
        ``sqrt(mean of squares) + eps``, ``(p,)``.
    """
    if gradients.ndim != 2 or not len(gradients):
        raise ValueError(f"gradients have shape {tuple(gradients.shape)}; wanted (batches, p)")
    return gradients.square().mean(0).sqrt() + eps


def _diagonal(state: dict, group: dict, optimizer: torch.optim.Optimizer) -> Tensor:
    eps = float(group.get("eps", 0.0))
    if "exp_avg_sq" in state:  # adam, adamw, amsgrad
        square = state.get("max_exp_avg_sq", state["exp_avg_sq"])
        debias = 1 - float(group["betas"][1]) ** float(state["step"])
        return (square / debias).sqrt() + eps
    if "square_avg" in state and "acc_delta" not in state:  # rmsprop
        square = state["square_avg"]
        if "grad_avg" in state:
            square = square - state["grad_avg"].square()
        return square.sqrt() + eps
    if "sum" in state:  # adagrad
        return state["sum"].sqrt() + eps
    raise TypeError(
        f"{type(optimizer).__name__} keeps no root mean square that its steps are divided by; "
        "use Adam, AdamW, RMSprop or Adagrad, or the Hessian itself"
    )
