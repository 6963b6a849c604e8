"""Learned coordinate descent: one atom a step, so a step costs m multiplications and not m²."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from thalweg.sparse.encoders.base import Encoder
from thalweg.sparse.encoders.threshold import threshold
from thalweg.sparse.penalties.base import soft_threshold


class LCoD(Encoder):
    r"""Unrolled greedy coordinate descent with trained ``W_e``, ``S`` and ``θ``.

    .. math:: \bar z = h_\theta(B),\quad k = \arg\max_j |\bar z_j - z_j|,\quad
              B \leftarrow B + S_{:,k}(\bar z_k - z_k),\quad z_k \leftarrow \bar z_k

    from ``B = W_e x``, ``z = 0``, for ``steps`` steps; the answer is ``h_θ(B)``. Untrained
    (``W_e = Dᵀ``, ``S = I − DᵀD``, ``θ = l1``) it is coordinate descent. The chosen index is a
    constant of the backward pass.

    >>> lcod = LCoD(torch.eye(2, dtype=torch.float64), l1=1.0, steps=2)
    >>> lcod(torch.tensor([[3.0, -0.5]], dtype=torch.float64)).tolist()
    [[2.0, 0.0]]

    Args:
        D: Dictionary ``(n, m)`` with atoms of norm 1 (the algorithm's exact line step needs it).
        l1: Weight of the L1 term.
        steps: Coordinate steps.
        learn_theta: Train the thresholds too.

    References:
        Gregor and LeCun, ICML 2010, algorithms 3 and 4; Li and Osher, "Coordinate descent
        optimization for l1 minimization", 2009.
    """

    def __init__(self, D: Any, l1: float, steps: int, learn_theta: bool = True) -> None:
        super().__init__(D, l1)
        if int(steps) != steps or steps < 0:
            raise ValueError(f"steps counts coordinate steps: 0 or more, got {steps!r}")
        norms = self.D.norm(dim=0)
        worst = int((norms - 1).abs().argmax())
        if abs(float(norms[worst]) - 1) > 1e-3:
            raise ValueError(
                f"coordinate descent needs atoms of norm 1; atom {worst} has norm "
                f"{float(norms[worst]):.4g}. Divide the columns of D by their norms (and scale l1)."
            )
        self.steps = int(steps)
        self.W_e = nn.Parameter(self.D.T.contiguous())
        eye = torch.eye(self.m, dtype=self.D.dtype, device=self.D.device)
        self.S = nn.Parameter(eye - self.D.T @ self.D)
        theta = torch.full((self.m,), self.l1, dtype=self.D.dtype, device=self.D.device)
        self.theta = nn.Parameter(theta, requires_grad=learn_theta)

    def forward(self, X: Tensor) -> Tensor:
        """Codes ``(b, m)`` of signals ``(b, n)``."""
        B: Tensor = Descend.apply(  # pyrefly: ignore
            X @ self.W_e.T, self.S, self.theta.clamp_min(0), self.steps
        )
        return threshold(B, self.theta.clamp_min(0))

    @torch.no_grad()
    def project_(self) -> None:
        """Keep thresholds non-negative."""
        self.theta.clamp_min_(0)

    def multiplies(self) -> int:
        """Multiplications for one signal: ``nm`` once and ``m`` a step."""
        return self.n * self.m + self.steps * self.m


class Descend(torch.autograd.Function):
    """The loop ``(B, S, θ) -> B after T steps`` with its own backward.

    Plain autograd would make a zero ``(m, m)`` gradient at every step; here one is filled.
    """

    @staticmethod
    def forward(ctx: Any, B: Tensor, S: Tensor, theta: Tensor, steps: int) -> Tensor:
        """Run the loop and keep, per step and sample, the index, the change and the slope."""
        B = B.clone()
        z = torch.zeros_like(B)
        columns = S.T.contiguous()
        picked, changes, slopes = [], [], []
        for _ in range(steps):
            change = soft_threshold(B, theta).sub_(z)
            k = change.abs().argmax(1, keepdim=True)  # (b, 1)
            e = change.gather(1, k)
            at = B.gather(1, k)
            picked.append(k)
            changes.append(e)
            slopes.append(at.sign() * (at.abs() > theta[k]))  # ± where h_θ has slope 1
            z.scatter_add_(1, k, e)
            B.addcmul_(columns[k[:, 0]], e)
        ctx.save_for_backward(columns, *picked, *changes, *slopes)
        ctx.steps = steps
        return B

    @staticmethod
    @once_differentiable
    def backward(  # pyrefly: ignore
        ctx: Any, *grad_outputs: Any
    ) -> tuple[Tensor, Tensor, Tensor, None]:
        """Algorithm 4 of Gregor and LeCun, with the thresholds' gradient."""
        columns, *saved = ctx.saved_tensors
        T = ctx.steps
        gB = grad_outputs[0].clone()
        gz = torch.zeros_like(gB)
        g_columns = torch.zeros_like(columns)
        g_theta = columns.new_zeros(columns.shape[0])
        for t in range(T - 1, -1, -1):
            k, e, slope = saved[t], saved[T + t], saved[2 * T + t]
            g_columns.index_add_(0, k[:, 0], gB * e)
            ge = (columns[k[:, 0]] * gB).sum(1, keepdim=True)
            g_new = gz.gather(1, k) + ge  # gradient of the new z_k
            gz.scatter_(1, k, -ge)  # of the z_k it replaced
            gB.scatter_add_(1, k, g_new * slope.abs())
            g_theta.index_add_(0, k[:, 0], (-g_new * slope)[:, 0])
        return gB, g_columns.T, g_theta, None
