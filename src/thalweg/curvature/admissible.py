"""Which learning rates do the initial weights of a task admit? Fast, for ladders of rates."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import torch
from torch import Tensor

from thalweg.curvature.fishers import mean_gradient
from thalweg.curvature.hessians import hessian
from thalweg.curvature.matrix import CurvatureOperator
from thalweg.linalg.compose import ScaledOperator
from thalweg.linalg.lanczos import eigenvalues
from thalweg.records_spectrum import AdmissibleRates
from thalweg.steps.adaptive import mean_square_scale
from thalweg.steps.bounds import max_learning_rate
from thalweg.task import Task

PLAIN = ("sgd", "momentum", "nesterov")
ADAPTIVE = ("adam", "adamw", "amsgrad")
ONLY_CHUNKS = 32  # gradients that Adam's mean square is taken over


def admissible_rates(
    task: Task,
    optimizers: Sequence[str] = ("sgd", "momentum", "adam"),
    *,
    momentum: float = 0.9,
    betas: tuple[float, float] = (0.9, 0.999),
    seed: int = 0,
    samples: int = 512,
    tol: float = 2e-2,
    device: str | torch.device | None = None,
) -> AdmissibleRates:
    r"""Limits of the first steps at the initial weights: :math:`2/\lambda_{\max}` and its kin.

    λmax of the Hessian in train mode (batch statistics as training sees them) over a random part
    of the training data, to ``tol``; for adaptive optimisers that of the Hessian preconditioned by
    the root mean square of minibatch gradients. Exact limits on quadratics; elsewhere the rate up
    to which the *first* steps are stable. Failing rates lie between about 1.6 and 64 times
    1/λmax (measured on small tasks), so a ladder should reach well beyond.

    Args:
        task: The task.
        optimizers: Names; those without a closed form are left out of the answer.
        momentum: Of ``"momentum"`` and ``"nesterov"``.
        betas: Of Adam's family.
        seed: Of the initial weights and of the samples.
        samples: At most so many.
        tol: Relative error of λmax.
        device: Default ``"auto"``.

    Returns:
        λmax with its residual, and the limit by optimiser; ``rates["greedy"]`` is 1/λmax.

    Raises:
        ValueError: As :func:`thalweg.curvature.hessian` does.
    """
    start = time.perf_counter()
    op = hessian(task, samples=samples, mode="train", seed=seed, device=device)
    found = eigenvalues(op, tol=tol, seed=seed)
    top = float(found.values[0])
    products = found.products
    rates: dict[str, float] = {"greedy": 1 / top if top > 0 else math.inf}
    for name in optimizers:
        if name in PLAIN:
            used = 0.0 if name == "sgd" else momentum
            rates[name] = max_learning_rate(max(top, 0.0), name, used)
        elif name in ADAPTIVE and not any(n in rates for n in ADAPTIVE):
            bent = eigenvalues(adaptive(op), tol=tol, seed=seed)
            products += bent.products
            limit = max_learning_rate(max(float(bent.values[0]), 0.0), "adam", betas=betas)
            rates |= {n: limit for n in optimizers if n in ADAPTIVE}
    return AdmissibleRates(
        largest=top,
        residual=float(found.residuals[0]),
        samples=op.problem.chunks.n,
        products=products,
        seconds=time.perf_counter() - start,
        rates=rates,
        notes=op.notes,
    )


def adaptive(
    op: CurvatureOperator, eps: float = 1e-8, batch_size: int | None = None
) -> ScaledOperator:
    r"""``P^{-1/2} H P^{-1/2}`` with Adam's P as it settles at these weights.

    P is the root mean square of minibatch gradients plus ``eps``, over up to 32 batches.

    Args:
        op: A Hessian or another curvature operator.
        eps: Adam's.
        batch_size: Of the gradients; default: such that there are 32, or batches as given.
    """
    gradients = batch_gradients(op, batch_size)
    return ScaledOperator(op, mean_square_scale(gradients, eps).rsqrt().to(op.device))


def batch_gradients(op: CurvatureOperator, batch_size: int | None = None) -> Tensor:
    """One minibatch gradient a row, ``(batches, p)``: up to 32 of them."""
    problem = op.problem
    size = batch_size or max(1, -(-problem.chunks.n // ONLY_CHUNKS))
    rows = []
    for index, batch in enumerate(problem.chunks.walk(None if problem.couples else size)):
        if len(rows) == ONLY_CHUNKS:
            break
        with problem.steady(index):
            theta = tuple(t.detach().clone().requires_grad_() for t in problem.theta)
            loss = problem.loss(theta, batch)
            if not loss.requires_grad or not bool(torch.isfinite(loss)):
                continue  # a batch of ignored targets only
            grads = torch.autograd.grad(loss, theta, allow_unused=True)
        filled = [
            torch.zeros_like(t) if g is None else g for g, t in zip(grads, theta, strict=True)
        ]
        rows.append(problem.layout.join(filled, problem.dtype, None))
    if not rows:
        return mean_gradient(problem)[None]
    return torch.stack(rows)
