"""Learned ISTA: a few steps of a thresholded recurrence whose matrices are trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from thalweg.linalg.power import gram_bound
from thalweg.sparse.encoders.base import Encoder
from thalweg.sparse.encoders.threshold import threshold

S_FORMS = ("dense", "sparse", "lowrank")


class LISTA(Encoder):
    r"""Unrolled ISTA with learned weights, shared over the steps.

    .. math:: b = W_e x,\quad z \leftarrow h_\theta(b),\quad
              \text{then depth times } z \leftarrow h_\theta(b + S z)

    Untrained (``W_e = Dᵀ/L``, ``S = I − DᵀD/L``, ``θ = l1/L``) it equals ISTA's iterate
    ``depth + 1`` from zero.

    >>> lista = LISTA(torch.eye(2, dtype=torch.float64), l1=1.0, depth=3)
    >>> lista(torch.tensor([[3.0, -0.5]], dtype=torch.float64)).tolist()
    [[2.0, 0.0]]

    Args:
        D: Dictionary ``(n, m)``.
        l1: Weight of the L1 term.
        depth: Steps T after the first threshold.
        S_form: ``dense``; ``sparse``: only the entries largest in size at the start live (the
            diagonal always); ``lowrank``: ``S = I − V U`` with ``V (m, r)``, ``U (r, m)``.
        keep: Share of the entries of S that live, for ``sparse``.
        rank: ``r`` for ``lowrank``, at most n; n by default, where the start is exact.
        learn_theta: Train the thresholds too.

    References:
        Gregor and LeCun, "Learning fast approximations of sparse coding", ICML 2010.
    """

    mask: Tensor | None

    def __init__(
        self,
        D: Any,
        l1: float,
        depth: int = 1,
        S_form: str = "dense",
        keep: float = 1.0,
        rank: int | None = None,
        learn_theta: bool = True,
    ) -> None:
        super().__init__(D, l1)
        _check(depth, S_form, keep, rank, self.n)
        self.depth, self.S_form, self.keep, self.rank = int(depth), S_form, float(keep), rank
        L = gram_bound(self.D)
        self.W_e = nn.Parameter((self.D.T / L).contiguous())
        theta = torch.full((self.m,), self.l1 / L, dtype=self.D.dtype, device=self.D.device)
        self.theta = nn.Parameter(theta, requires_grad=learn_theta)
        self.register_buffer("mask", None)
        if S_form == "lowrank":
            V, U = _factors(self.D, L, self.n if rank is None else int(rank))
            self.V, self.U = nn.Parameter(V), nn.Parameter(U)
            return
        S = torch.eye(self.m, dtype=self.D.dtype, device=self.D.device) - self.D.T @ self.D / L
        if S_form == "sparse":
            self.mask = _largest(S, self.keep)
            S = S * self.mask
        self.S = nn.Parameter(S)

    def forward(self, X: Tensor) -> Tensor:
        """Codes ``(b, m)`` of signals ``(b, n)``."""
        theta = self.theta.clamp_min(0)
        b = X @ self.W_e.T
        z = threshold(b, theta)
        if self.S_form == "lowrank":
            for _ in range(self.depth):
                z = threshold(b + z - (z @ self.U.T) @ self.V.T, theta)
            return z
        S = self.S if self.mask is None else self.S * self.mask
        for _ in range(self.depth):
            z = threshold(torch.addmm(b, z, S.T), theta)
        return z

    @torch.no_grad()
    def project_(self) -> None:
        """Keep thresholds non-negative and masked entries of S at zero."""
        self.theta.clamp_min_(0)
        if self.mask is not None:
            self.S.mul_(self.mask)

    def multiplies(self) -> int:
        """Multiplications for one signal, zeros of S not counted."""
        if self.S_form == "lowrank":
            step = self.V.numel() + self.U.numel()
        else:
            step = self.m**2 if self.mask is None else int(self.mask.count_nonzero())
        return self.n * self.m + self.depth * step


def _check(depth: int, S_form: str, keep: float, rank: int | None, n: int) -> None:
    if int(depth) != depth or depth < 0:
        raise ValueError(f"depth counts steps of S: 0 or more, got {depth!r}")
    if S_form not in S_FORMS:
        raise ValueError(f"S_form must be one of {', '.join(S_FORMS)}, got {S_form!r}")
    if not 0 < keep <= 1:
        raise ValueError(f"keep is a share of the entries of S in (0, 1], got {keep!r}")
    if keep < 1 and S_form != "sparse":
        raise ValueError(f"keep={keep} asks for S_form='sparse', got S_form={S_form!r}")
    if rank is not None and S_form != "lowrank":
        raise ValueError(f"rank={rank} asks for S_form='lowrank', got S_form={S_form!r}")
    if rank is not None and not 1 <= rank <= n:
        raise ValueError(f"rank must lie in 1 … n = {n} (I − S has no more), got {rank}")


def _factors(D: Tensor, L: float, rank: int) -> tuple[Tensor, Tensor]:
    """``V (m, r), U (r, m)`` with V U the best rank-r approximation of DᵀD/L."""
    if rank == D.shape[0]:
        return (D.T / L).contiguous(), D.clone()
    # with D = P Σ Qᵀ the leading terms of DᵀD/L are (Σ Qᵀ)ᵀ(Σ Qᵀ)/L: the same scale as above
    _, sigma, Qt = torch.linalg.svd(D.to(torch.float64), full_matrices=False)
    U = (sigma[:rank, None] * Qt[:rank]).to(D.dtype)
    return (U.T / L).contiguous(), U.contiguous()


def _largest(S: Tensor, keep: float) -> Tensor:
    """Mask of the ``keep · m²`` entries largest in size; the diagonal is always among them."""
    m = S.shape[0]
    count = max(m, round(keep * m * m))
    size = S.abs().fill_diagonal_(torch.inf)
    mask = torch.zeros(m * m, dtype=S.dtype, device=S.device)
    mask[size.flatten().topk(count).indices] = 1
    return mask.view(m, m)
