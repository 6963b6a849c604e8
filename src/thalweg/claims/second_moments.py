"""Which mean is subtracted? Second moments, covariances, and the variance in batch norm."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.claims.conditioning import _unit
from thalweg.data.synthetic import linear_unit


@claim(
    name="second-moment",
    title="A linear unit's Hessian is no covariance",
    decks=("D0",),
    section="gradient#g2",
    says="The Hessian of the linear unit is the second moment of its inputs.",
    targets=(
        Target("largest error of the Hessian against the mean of x xᵀ", 0.0, 1e-12, source="[C]"),
        Target("its largest eigenvalue, inputs moved by (2, 2)", 8.77, 0.01, source="[C]"),
        Target("largest eigenvalue of their covariance", 0.84, 0.01, source="[C]"),
        Target("expected largest eigenvalue of drawn inputs", 0.84, 0.005, source="[C]"),
        Target("expected smallest eigenvalue of drawn inputs", 0.04, 0.002, source="[C]"),
    ),
    correction=(
        "D0 writes ∂²f/∂w for it and calls it the covariance matrix: it is ∂²f/∂w², and a "
        "covariance only where the inputs' mean is zero."
    ),
    seconds=1,
)
def second_moment(setting: Setting) -> Outcome:
    """Centred data with the exact curvatures, moved; the mean second moment of 400 draws."""
    moved = _unit(setting.seed) + 2
    y = torch.randn(len(moved), generator=torch.Generator().manual_seed(setting.seed)).double()

    def loss(w: torch.Tensor) -> torch.Tensor:
        return 0.5 * (y - moved @ w).square().mean()

    hessian = torch.func.jacrev(torch.func.grad(loss))(torch.zeros(2, dtype=torch.float64))
    moment = moved.mT @ moved / len(moved)
    covariance = torch.cov(moved.mT, correction=0)
    drawn = np.mean(
        [
            draw.T @ draw / len(draw)
            for draw in (linear_unit("gaussian", 1000 * setting.seed + k)[0] for k in range(400))
        ],
        axis=0,
    )
    small, large = np.linalg.eigvalsh(drawn)
    return Outcome(
        {
            "largest error of the Hessian against the mean of x xᵀ": float(
                (hessian - moment).abs().max()
            ),
            "its largest eigenvalue, inputs moved by (2, 2)": float(
                torch.linalg.eigvalsh(moment)[-1]
            ),
            "largest eigenvalue of their covariance": float(torch.linalg.eigvalsh(covariance)[-1]),
            "expected largest eigenvalue of drawn inputs": float(large),
            "expected smallest eigenvalue of drawn inputs": float(small),
        }
    )


@claim(
    name="batch-norm-variance",
    title="Batch norm divides by the batch's deviation",
    decks=("D3",),
    section="conditioning#c2",
    says="In training, mean and variance are those of the batch; the variance is the biased one.",
    targets=(
        Target("torch less the form with σ_B", 0.0, 1e-12, source="[C]"),
        Target("torch less the form with σ_D, the data's, largest", 1e-2, 0.0, "at least"),
        Target("running variance less 0.9 + 0.1 of the unbiased one", 0.0, 1e-12, source="[P]"),
        Target("training with eps = 0 is refused (torch 2.13)", 1.0, 0.0, source="[C]"),
    ),
    correction="D3's variance line prints σ_D where the batch's σ_B is meant.",
    seconds=1,
)
def batch_norm_variance(setting: Setting) -> Outcome:
    """A batch of 16 of 400 samples with five features, float64."""
    g = torch.Generator().manual_seed(setting.seed)
    data = torch.randn(400, 5, generator=g, dtype=torch.float64) * 3 + 1
    batch = data[:16]
    layer = nn.BatchNorm1d(5, dtype=torch.float64)
    with torch.no_grad():
        out = layer(batch)
    by = [
        (batch - part.mean(0)) / (part.var(0, unbiased=False) + layer.eps).sqrt()
        for part in (batch, data)
    ]
    assert layer.running_var is not None
    running = layer.running_var - (0.9 + 0.1 * batch.var(0))
    try:
        nn.BatchNorm1d(5, eps=0.0, dtype=torch.float64)(batch)
        refused = 0.0
    except (ValueError, RuntimeError):
        refused = 1.0
    return Outcome(
        {
            "torch less the form with σ_B": float((out - by[0]).abs().max()),
            "torch less the form with σ_D, the data's, largest": float((out - by[1]).abs().max()),
            "running variance less 0.9 + 0.1 of the unbiased one": float(running.abs().max()),
            "training with eps = 0 is refused (torch 2.13)": refused,
        }
    )
