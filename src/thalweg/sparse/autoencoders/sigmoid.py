"""The sparse autoencoder of the lectures: sigmoid units whose mean activity is held at a target."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from thalweg.sparse.encoders.training import Training

_EDGE = 1e-6  # mean activities are kept this far from 0 and 1, where the penalty is infinite


def kl_bernoulli(rho: float, rho_hat: Tensor) -> Tensor:
    r"""Divergence of coins of chance ``rho_hat`` from one of chance ``rho``, entry by entry.

    .. math:: \rho\log\frac{\rho}{\hat\rho} + (1-\rho)\log\frac{1-\rho}{1-\hat\rho}

    >>> [round(v, 4) for v in kl_bernoulli(0.2, torch.tensor([0.1, 0.2, 0.5])).tolist()]
    [0.0444, 0.0, 0.1927]
    """
    rho_hat = rho_hat.clamp(_EDGE, 1 - _EDGE)
    on = rho * (math.log(rho) - rho_hat.log())
    return on + (1 - rho) * (math.log1p(-rho) - torch.log1p(-rho_hat))


class SparseAutoencoder(nn.Module):
    r"""Sigmoid units, each active a share ρ of the time, and a sigmoid reconstruction.

    .. math:: J = \frac1P\sum_i \tfrac12\|x_i' - x_i\|^2 + \tfrac\lambda2\|W\|^2
        + \beta\sum_j \mathrm{KL}(\rho\,\|\,\hat\rho_j)

    :math:`\hat\rho_j` is the mean activity of unit j over the batch, so the penalty couples its
    samples: use all of the data, or batches of some hundreds with ``momentum``.

    Args:
        n: Length of a signal; signals lie in [0, 1], best in [0.1, 0.9].
        s: Hidden units.
        rho: Wanted mean activity ρ.
        sparsity_weight: β.
        weight_decay: λ, on both matrices, not on biases.
        momentum: Share of the running mean of activities that a batch keeps; None: the batch alone.
            The penalty's slope is then taken at the running mean, as if the batch stood for all.
        seed: Decides the first weights.

    References:
        Ng, "Sparse autoencoder", CS294A lecture notes, 2011.
    """

    rho_hat: Tensor

    def __init__(
        self,
        n: int,
        s: int,
        rho: float = 0.05,
        sparsity_weight: float = 3.0,
        weight_decay: float = 1e-4,
        *,
        momentum: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if min(n, s) < 1:
            raise ValueError(f"n and s count inputs and units, got {n} and {s}")
        if not 0 < rho < 1:
            raise ValueError(f"rho must lie between 0 and 1, got {rho!r}")
        for name, value in (("sparsity_weight", sparsity_weight), ("weight_decay", weight_decay)):
            if not (value >= 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be 0 or more and finite, got {value!r}")
        if momentum is not None and not 0 <= momentum < 1:
            raise ValueError(f"momentum must lie in [0, 1), got {momentum!r}")
        self.rho, self.momentum = float(rho), momentum
        self.sparsity_weight, self.weight_decay = float(sparsity_weight), float(weight_decay)
        g = torch.Generator().manual_seed(seed)
        reach = math.sqrt(6 / (n + s + 1))
        self.W = nn.Parameter(reach * (2 * torch.rand(s, n, generator=g) - 1))
        self.V = nn.Parameter(reach * (2 * torch.rand(n, s, generator=g) - 1))
        self.hidden_bias = nn.Parameter(torch.zeros(s))
        self.output_bias = nn.Parameter(torch.zeros(n))
        self.register_buffer("rho_hat", torch.full((s,), float(rho)))

    def encode(self, x: Tensor) -> Tensor:
        """Activities ``(b, s)`` of signals ``(b, n)``."""
        return torch.sigmoid(x @ self.W.T + self.hidden_bias)

    def decode(self, a: Tensor) -> Tensor:
        """Signals ``(b, n)`` of activities ``(b, s)``."""
        return torch.sigmoid(a @ self.V.T + self.output_bias)

    def forward(self, x: Tensor) -> Tensor:
        """Reconstructions ``(b, n)``."""
        return self.decode(self.encode(x))

    def loss(self, x: Tensor) -> Tensor:
        """J over a batch ``(b, n)``: one number."""
        a = self.encode(x)
        fit = 0.5 * (self.decode(a) - x).square().sum(1).mean()
        decay = 0.5 * self.weight_decay * (self.W.square().sum() + self.V.square().sum())
        activity = kl_bernoulli(self.rho, self._activity(a.mean(0))).sum()
        return fit + decay + self.sparsity_weight * activity

    def _activity(self, mean: Tensor) -> Tensor:
        """The batch's mean, or the running one with the batch's gradient."""
        if self.momentum is None or not self.training:
            return mean
        with torch.no_grad():
            self.rho_hat.mul_(self.momentum).add_(mean, alpha=1 - self.momentum)
        return self.rho_hat.clone() + (mean - mean.detach())

    def fit(self, X: Any, *, iterations: int = 400, tol: float = 1e-9) -> Training:
        """Minimise J over all signals at once by L-BFGS with a strong Wolfe search.

        Args:
            X: Signals ``(N, n)`` in [0, 1]; numpy or torch.
            iterations: Most iterations.
            tol: Change of J, and of the weights, below which it ends.

        Returns:
            J at the evaluations.
        """
        from thalweg.sparse.autoencoders.training import minimise

        return minimise(self, X, iterations, tol)

    @torch.no_grad()
    def maximal_inputs(self) -> Tensor:
        """The input with ``‖x‖ <= 1`` that excites each unit most, ``(s, n)``: ``W_i / ‖W_i‖``."""
        return self.W / self.W.norm(dim=1, keepdim=True).clamp_min(1e-12)
