"""A recurrent sparse autoencoder that also classifies: parts and prototypes from one code."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from thalweg.sparse.autoencoders.roles import Roles, roles

if TYPE_CHECKING:
    from thalweg.sparse.encoders.training import Training


class Losses(NamedTuple):
    """The three terms, each a mean over the batch, and the sum in use."""

    reconstruction: Tensor  # ½‖x − D z‖²
    sparsity: Tensor  # l1 ‖z‖₁
    classification: Tensor  # cross-entropy, 0 without labels
    total: Tensor


class DrSAE(nn.Module):
    r"""Discriminative recurrent sparse autoencoder.

    .. math:: z^{t+1} = \max(0, E x + S z^t - b),\quad z^0 = 0,\quad t < T;\qquad
        \hat x = D z^T,\quad \text{logits} = C\,z^T/\|z^T\|

    Columns of D have norm at most 1, rows of E at most ``1.25/T``, rows of C at most 5. The bounds
    hold in every pass: a longer row or column is scaled down where it is used, so any optimiser may
    train it; `project_` writes the scaled ones back. The first weights are those of non-negative
    ISTA for :math:`\tfrac12\|x - Dz\|^2 + \lambda\|z\|_1` with step
    :math:`\min(1/L, 1.25/T)`.

    Args:
        n: Length of a signal.
        m: Hidden units.
        T: Steps of the recurrence.
        n_classes: Classes.
        l1: Weight λ of ``‖z^T‖₁``.
        seed: Decides the first weights.

    References:
        Rolfe and LeCun, "Discriminative recurrent sparse auto-encoders", ICLR 2013.
    """

    def __init__(
        self,
        n: int,
        m: int = 400,
        T: int = 11,
        n_classes: int = 10,
        l1: float = 0.01,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if min(n, m, T, n_classes) < 1:
            raise ValueError(
                f"n, m, T and n_classes must each be at least 1, got {(n, m, T, n_classes)}"
            )
        if not (l1 >= 0 and math.isfinite(l1)):
            raise ValueError(f"l1 must be 0 or more and finite, got {l1!r}")
        self.T, self.l1 = int(T), float(l1)
        g = torch.Generator().manual_seed(seed)
        D = torch.randn(n, m, generator=g)
        D = D / D.norm(dim=0)
        step = min(1 / float(torch.linalg.matrix_norm(D, 2)) ** 2, self.reach)
        self.D = nn.Parameter(D)
        self.E = nn.Parameter(step * D.T.contiguous())
        self.S = nn.Parameter(torch.eye(m) - step * D.T @ D)
        self.b = nn.Parameter(torch.full((m,), step * self.l1))
        self.C = nn.Parameter(torch.randn(n_classes, m, generator=g) / math.sqrt(m))

    @property
    def reach(self) -> float:
        """Largest norm of a row of E."""
        return 1.25 / self.T

    def bounded(self) -> tuple[Tensor, Tensor, Tensor]:
        """D, E and C as they are used, within their bounds."""
        return _bound(self.D, 0, 1.0), _bound(self.E, 1, self.reach), _bound(self.C, 1, 5.0)

    def steps(self, x: Tensor) -> list[Tensor]:
        """The codes ``z¹ … z^T`` of signals ``(b, n)``, each ``(b, m)``."""
        drive = x @ _bound(self.E, 1, self.reach).T - self.b
        z = torch.relu(drive)  # z⁰ = 0
        every = [z]
        for _ in range(self.T - 1):
            z = torch.relu(drive + z @ self.S.T)
            every.append(z)
        return every

    def encode(self, x: Tensor) -> Tensor:
        """The codes ``z^T (b, m)`` of signals ``(b, n)``."""
        return self.steps(x)[-1]

    def decode(self, z: Tensor) -> Tensor:
        """Signals ``(b, n)`` of codes ``(b, m)``."""
        return z @ _bound(self.D, 0, 1.0).T

    def logits(self, z: Tensor) -> Tensor:
        """Scores ``(b, classes)`` of codes; a code's length does not matter."""
        return z @ _bound(self.C, 1, 5.0).T / (z.norm(dim=1, keepdim=True) + 1e-12)

    def forward(self, x: Tensor) -> Tensor:
        """Scores ``(b, classes)`` of signals ``(b, n)``."""
        return self.logits(self.encode(x))

    def losses(self, x: Tensor, y: Tensor | None = None) -> Losses:
        """The terms for signals ``(b, n)`` and labels ``(b,)``; without labels the first two.

        Args:
            x: Signals.
            y: Classes, integers.
        """
        z = self.encode(x)
        fit = 0.5 * (x - self.decode(z)).square().sum(1).mean()
        sparse = self.l1 * z.sum(1).mean()  # z >= 0
        label = x.new_zeros(()) if y is None else F.cross_entropy(self.logits(z), y)
        return Losses(fit, sparse, label, fit + sparse + label)

    @torch.no_grad()
    def project_(self) -> None:
        """Write D, E and C back within their bounds; the function stays the same."""
        for weight, within in zip((self.D, self.E, self.C), self.bounded(), strict=True):
            weight.copy_(within)

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        pretrain: int = 500,
        steps: int = 1500,
        lr: float = 1e-3,
        batch_size: int = 128,
        seed: int = 0,
        progress: Callable[[int, int, float], None] | None = None,
        every: int = 100,
    ) -> Training:
        """Train: first without labels, then on all three terms.

        Args:
            X: Signals ``(N, n)``; numpy or torch.
            y: Their classes ``(N,)``, integers; None: without labels to the end.
            pretrain: Batches without labels.
            steps: Batches with them.
            lr: First rate of Adam; falls along a half cosine over all batches. Gradients are
                clipped to norm 1.
            batch_size: Signals a batch.
            seed: Decides their order.
            progress: Called as ``progress(step, steps, loss)`` every ``every`` batches.
            every: Batches between points of the curve.

        Returns:
            The curve of the mean of the terms in use.
        """
        from thalweg.sparse.autoencoders.training import Plan, train_drsae

        plan = Plan(pretrain, steps, lr, batch_size, seed, every)
        return train_drsae(self, X, y, plan, progress)

    def unit_roles(self) -> Roles:
        """What each unit does: see `thalweg.sparse.autoencoders.roles`."""
        D, E, C = (weight.detach() for weight in self.bounded())
        return roles(D, E, C)


def _bound(weight: Tensor, axis: int, most: float) -> Tensor:
    """``weight`` with norms along an axis scaled down to ``most`` where they are larger."""
    norm = torch.linalg.vector_norm(weight, dim=axis, keepdim=True).clamp_min(1e-12)
    return weight * (most / norm).clamp(max=1.0)
