"""What is the Gauss-Newton matrix: the curvature that comes from the loss, not from the model?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Unpack

from torch import Tensor, nn

from thalweg.curvature.matrix import CurvatureOperator
from thalweg.curvature.opening import opened
from thalweg.curvature.outputs import LossHessian, Metric, agrees, loss_hessian
from thalweg.curvature.problem import Options, Problem, samples_of
from thalweg.curvature.products import OutputProduct
from thalweg.task import Task


def ggn(
    problem: Task | nn.Module | Problem | None = None,
    loss: Callable[..., Any] | None = None,
    data: Any = None,
    params: Iterable[str | Tensor] | None = None,
    **options: Unpack[Options],
) -> CurvatureOperator:
    r"""The generalised Gauss-Newton matrix :math:`\sum_i J_i^\top \nabla^2_z\ell_i\, J_i`.

    J is the derivative of the model's outputs z in the weights. Positive semi-definite for losses
    convex in z; equal to the Hessian for models linear in their weights. For cross-entropy (class
    weights, ignored targets, label smoothing, class probabilities), squared error and binary
    cross-entropy of logits the inner Hessian is a closed form, checked once against the loss; any
    other loss of the outputs is differentiated twice.

    >>> import torch
    >>> line = torch.nn.Linear(1, 1, bias=False)
    >>> x = torch.tensor([[1.0], [3.0]])
    >>> ggn(line, torch.nn.functional.mse_loss, (x, x)) @ torch.tensor([1.0])
    tensor([10.])

    Args:
        problem: A model; or a :class:`thalweg.Task`.
        loss: ``(output, target) -> scalar`` mean.
        data: As for :func:`thalweg.curvature.hessian`.
        params: As for :func:`thalweg.curvature.hessian`.
        **options: See :class:`thalweg.curvature.problem.Options`.

    Raises:
        ValueError: A loss that hides the model's outputs (``forward="batch"``); and as for
            :func:`thalweg.curvature.hessian`.

    References:
        Schraudolph, "Fast curvature matrix-vector products for second-order gradient descent",
        2002.
    """
    found, settings = opened(problem, loss, data, params, options)
    shows_outputs(found, "ggn")
    metric = checked(found, loss_hessian(found.loss_function))
    return CurvatureOperator(found, OutputProduct(found, metric, "Gauss-Newton"), **settings)


def shows_outputs(problem: Problem, what: str) -> None:
    """Refuse a loss of (model, batch): nothing tells where the model ends and the loss begins."""
    if problem.forward != "pair":
        raise ValueError(
            f"{what}: with forward='batch' the loss hides the model's outputs, so there is no "
            "boundary to linearise at. Give the model and a loss (output, target) with "
            "forward='pair', or take hessian(), which needs no outputs."
        )


def checked(problem: Problem, metric: Metric) -> Metric:
    """The closed form where it agrees with the loss on the first samples, else the general one."""
    if isinstance(metric, LossHessian):
        return metric
    batch = next(iter(problem.chunks.walk(None)))
    batch = batch if problem.couples else samples_of(batch, 64)
    product = OutputProduct(problem, metric, "Gauss-Newton")
    with problem.steady():
        z = tuple(t.detach() for t in product._outputs(batch)(*problem.theta))
        same = agrees(metric, problem.loss_function, z, product._rebuild, batch)
    return metric if same else LossHessian(problem.loss_function)
