"""What is the Hessian of a loss in the weights, as a matrix that one can multiply with?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Unpack

from torch import Tensor, nn

from thalweg.curvature.matrix import CurvatureOperator
from thalweg.curvature.opening import opened
from thalweg.curvature.problem import Options, Problem
from thalweg.curvature.products import HessianProduct
from thalweg.task import Task


def hessian(
    problem: Task | nn.Module | Problem | None = None,
    loss: Callable[..., Any] | None = None,
    data: Any = None,
    params: Iterable[str | Tensor] | None = None,
    **options: Unpack[Options],
) -> CurvatureOperator:
    r"""The Hessian :math:`\nabla^2 f(w)` of the mean loss over data.

    Exact second derivatives (of ReLU networks: those almost everywhere), summed over chunks by
    what the mean runs over, so a smaller last batch weighs less. The model is copied first and
    left as it is; its weights at this moment are the ones looked at. Attention runs on matrix
    products, recurrent layers on plain kernels, dropout is off, batch normalisation uses stored
    statistics; half-precision weights become float32. Weights that the loss does not reach have
    rows of zeros; frozen ones are left out; tied ones count once.

    >>> import torch
    >>> line = torch.nn.Linear(1, 1, bias=False)
    >>> x = torch.tensor([[1.0], [3.0]])
    >>> op = hessian(line, torch.nn.functional.mse_loss, (x, x))
    >>> op @ torch.tensor([1.0])  # 2 · mean of x²
    tensor([10.])

    Args:
        problem: A model; or a :class:`thalweg.Task`, which brings loss and data.
        loss: ``(output, target) -> scalar`` mean; with ``forward="batch"`` ``(model, batch)``.
        data: ``(inputs, targets)``, a list of such batches, a ``Dataset`` or a ``DataLoader``.
        params: Names of parameters or modules, or parameters; by default all trainable ones.
        **options: See :class:`thalweg.curvature.problem.Options`.

    Returns:
        An operator of shape ``(p, p)``, in the order of ``op.layout.names``.

    Raises:
        ValueError: Something missing or unknown; a loss that is not deterministic, with its cause;
            a loss that reads weights behind the model's back.
        TypeError: A model, loss or data that is none.

    References:
        Pearlmutter, "Fast exact multiplication by the Hessian", 1994.
    """
    found, settings = opened(problem, loss, data, params, options)
    return CurvatureOperator(found, HessianProduct(found), **settings)
