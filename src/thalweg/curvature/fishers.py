"""What are the Fisher matrices and the covariance of the gradients?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thalweg.curvature.gauss_newton import shows_outputs
from thalweg.curvature.gradients import DrawnGradients, SampleGradients
from thalweg.curvature.matrix import CurvatureOperator
from thalweg.curvature.opening import opened
from thalweg.curvature.outputs import Metric
from thalweg.curvature.problem import Options, Problem
from thalweg.curvature.products import OutputProduct
from thalweg.curvature.weighing import usual
from thalweg.linalg.operator import LinearOperator
from thalweg.risk import tree
from thalweg.task import Task

KINDS = ("empirical", "monte-carlo")
_DRAWN = (F.cross_entropy, F.mse_loss, F.binary_cross_entropy_with_logits)


def fisher(
    problem: Task | nn.Module | Problem | None = None,
    loss: Callable[..., Any] | None = None,
    data: Any = None,
    params: Iterable[str | Tensor] | None = None,
    *,
    kind: str = "empirical",
    draws: int = 1,
    **options: Unpack[Options],
) -> CurvatureOperator:
    r"""The Fisher matrix: empirical, or with targets drawn from the model.

    Empirical: :math:`\frac1n\sum_i g_i g_i^\top`, the uncentred second moment of per-sample
    gradients at the *given* targets; it is no curvature (it vanishes where every sample is fitted).
    Monte-Carlo: the same at targets drawn from the model; its mean over draws is the Gauss-Newton
    matrix exactly, of rank at most draws times targets.

    >>> import torch
    >>> line = torch.nn.Linear(1, 1, bias=False)
    >>> _ = line.weight.data.zero_()
    >>> x, y = torch.tensor([[1.0], [1.0]]), torch.tensor([[1.0], [3.0]])
    >>> fisher(line, torch.nn.functional.mse_loss, (x, y)) @ torch.tensor([1.0])  # (2² + 6²) / 2
    tensor([20.])

    Args:
        problem: A model; or a :class:`thalweg.Task`.
        loss: ``(output, target) -> scalar`` mean over samples.
        data: As for :func:`thalweg.curvature.hessian`.
        params: As for :func:`thalweg.curvature.hessian`.
        kind: ``"empirical"`` (default) or ``"monte-carlo"``.
        draws: Targets drawn per target for ``"monte-carlo"``.
        **options: See :class:`thalweg.curvature.problem.Options`.

    Raises:
        ValueError: A loss that hides the outputs or couples samples; for ``"monte-carlo"`` a loss
            that belongs to no known distribution.

    References:
        Kunstner, Balles and Hennig, "Limitations of the empirical Fisher approximation for natural
        gradient descent", 2019; Martens, "New insights and perspectives on the natural gradient
        method", 2020.
    """
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; known: {', '.join(KINDS)}.")
    if isinstance(draws, bool) or int(draws) != draws or draws < 1:
        raise ValueError(f"draws must be a whole number of at least 1, got {draws!r}.")
    found, settings = opened(problem, loss, data, params, options)
    shows_outputs(found, "fisher")
    metric = _drawn(found, draws) if kind == "monte-carlo" else _given(found)
    name = "Fisher (empirical)" if kind == "empirical" else "Fisher (Monte-Carlo)"
    return CurvatureOperator(found, OutputProduct(found, metric, name), **settings)


def _given(problem: Problem) -> Metric:
    batch = next(iter(problem.chunks.walk(None)))
    rows = tree.count(batch[1])
    with problem.steady(), torch.no_grad():
        outputs = tree.tensors(problem.outputs(problem.theta, batch))
    real = [z for z in outputs if z.is_floating_point()]
    if problem.couples or any(z.dim() == 0 or len(z) != rows for z in real):
        raise ValueError(
            "fisher: the loss or the model couples the samples of a batch (batch normalisation in "
            "train mode, outputs that are not one row a sample), so there is no gradient per "
            "sample. Use mode='eval', or ggn()."
        )
    return SampleGradients(problem.loss_function, problem.chunks.n)


def _drawn(problem: Problem, draws: int) -> Metric:
    known = usual(problem.loss_function)
    if known is None or known.function not in _DRAWN or known.reduction == "none":
        name = getattr(problem.loss_function, "__name__", type(problem.loss_function).__name__)
        raise ValueError(
            f"fisher: targets cannot be drawn for the loss '{name}', which belongs to no known "
            "distribution. Use cross_entropy, mse_loss or binary_cross_entropy_with_logits of "
            "torch, or kind='empirical', or ggn()."
        )
    if known.function is F.mse_loss and known.settings.get("weight") is not None:
        raise ValueError("fisher: mse_loss with weights has no Monte-Carlo form here; use ggn().")
    return DrawnGradients(known, draws)


class GradientCovariance(LinearOperator):
    r"""``F − ḡ ḡᵀ``: the covariance of per-sample gradients, known by products."""

    def __init__(self, second: CurvatureOperator, gradient: Tensor) -> None:
        self.second, self.gradient = second, gradient

    @property
    def shape(self) -> tuple[int, int]:
        """``(p, p)``."""
        return self.second.shape

    @property
    def dtype(self) -> torch.dtype:
        """That of the weights."""
        return self.second.dtype

    @property
    def device(self) -> torch.device:
        """That of the weights."""
        return self.second.device

    @property
    def adjoint(self) -> GradientCovariance:
        """Itself."""
        return self

    def apply(self, v: Tensor) -> Tensor:
        """``F v − ḡ ⟨ḡ, v⟩``."""
        g = self.gradient
        along = g @ v
        return self.second @ v - (g * along if v.dim() == 1 else torch.outer(g, along))


def gradient_covariance(
    problem: Task | nn.Module | Problem | None = None,
    loss: Callable[..., Any] | None = None,
    data: Any = None,
    params: Iterable[str | Tensor] | None = None,
    **options: Unpack[Options],
) -> GradientCovariance:
    r"""The covariance :math:`\frac1n\sum_i (g_i-\bar g)(g_i-\bar g)^\top` of the gradients.

    A minibatch of m samples drawn with replacement has a gradient of covariance 1/m times this.

    Args:
        problem: A model; or a :class:`thalweg.Task`.
        loss: ``(output, target) -> scalar`` mean over samples.
        data: As for :func:`thalweg.curvature.hessian`.
        params: As for :func:`thalweg.curvature.hessian`.
        **options: See :class:`thalweg.curvature.problem.Options`.

    Raises:
        ValueError: As for :func:`fisher`.
    """
    second = fisher(problem, loss, data, params, **options)
    return GradientCovariance(second, mean_gradient(second.problem))


def mean_gradient(problem: Problem, chunk: int | None = None) -> Tensor:
    """The gradient ``(p,)`` of the mean loss over all data."""
    total = torch.zeros(problem.layout.p, dtype=problem.dtype, device=problem.device)
    for index, (batch, share) in enumerate(problem.parts(chunk)):
        with problem.steady(index):
            theta = tuple(t.detach().clone().requires_grad_() for t in problem.theta)
            loss = problem.loss(theta, batch)
            if not loss.requires_grad:
                continue
            found = torch.autograd.grad(loss, theta, allow_unused=True)
        filled = [
            torch.zeros_like(t) if g is None else g for g, t in zip(found, theta, strict=True)
        ]
        total += share * problem.layout.join(filled, problem.dtype, None)
    return total
