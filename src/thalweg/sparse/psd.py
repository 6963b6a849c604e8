"""Learn a dictionary and the encoder that predicts its codes, each helping the other (PSD)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from thalweg.sparse.batches import Batches
from thalweg.sparse.encoders.base import Encoder
from thalweg.sparse.encoders.training import Training
from thalweg.sparse.inference import encode


class PSD:
    r"""Predictive sparse decomposition over an encoder and the dictionary that it carries.

    .. math:: E(x, z) = \tfrac12\|x - Dz\|^2 + \tfrac\beta2\|z - \mathrm{Enc}(x)\|^2 + \alpha\|z\|_1

    Each step solves for the codes of a batch, takes a gradient step of the first term on D (columns
    scaled back to norm 1) and one of the second term on the encoder. Afterwards the encoder alone
    gives codes, and its own `Encoder.gap` says how good they are.

    Args:
        encoder: Any member of `thalweg.sparse.encoders`; its dictionary and weights are trained in
            place.
        beta: Weight β of the prediction; 0 is sparse coding with an encoder that only follows.
        joint: False leaves the prediction out of the inference (codes are those of sparse coding).
        tol: Relative duality gap of the inference.

    References:
        Kavukcuoglu, Ranzato and LeCun, "Fast inference in sparse coding algorithms with
        applications to object recognition", 2008.
    """

    def __init__(
        self, encoder: Encoder, beta: float = 1.0, joint: bool = True, tol: float = 1e-4
    ) -> None:
        if not (beta >= 0 and math.isfinite(beta)):
            raise ValueError(f"beta must be 0 or more and finite, got {beta!r}")
        self.encoder, self.beta, self.joint, self.tol = encoder, float(beta), joint, tol

    @property
    def D(self) -> Tensor:
        """The dictionary ``(n, m)``."""
        return self.encoder.D

    def energy(self, X: Any, z: Tensor) -> Tensor:
        """The energy of codes ``z (b, m)``, per signal ``(b,)``."""
        X = self.encoder.signals(X)
        fit = 0.5 * (X - z @ self.D.T).square().sum(1)
        apart = 0.5 * self.beta * (z - self.encoder.encode(X)).square().sum(1)
        return fit + apart + self.encoder.l1 * z.abs().sum(1)

    def infer(self, X: Any) -> Tensor:
        r"""The codes ``(b, m)`` of least energy.

        With the prediction :math:`\bar z` the energy is that of plain sparse coding of
        :math:`(x, \sqrt\beta\,\bar z)` over :math:`(D, \sqrt\beta\,I)`, so `encode` solves it.
        """
        X = self.encoder.signals(X)
        if not self.joint or self.beta == 0:
            return encode(X, self.D, self.encoder.l1, tol=self.tol).z
        root, guess = math.sqrt(self.beta), self.encoder.encode(X)
        eye = root * torch.eye(self.encoder.m, dtype=X.dtype, device=X.device)
        signals = torch.cat([X, root * guess], 1)
        stacked = torch.cat([self.D, eye])
        return encode(signals, stacked, self.encoder.l1, tol=self.tol, start=guess).z

    def fit(
        self,
        X: Any,
        *,
        steps: int = 2000,
        lr: float = 0.1,
        lr_encoder: float = 2e-3,
        batch_size: int = 256,
        seed: int = 0,
        progress: Callable[[int, int, float], None] | None = None,
        every: int = 100,
    ) -> Training:
        """Train dictionary and encoder together.

        Args:
            X: Signals ``(N, n)``.
            steps: Batches to learn from.
            lr: First rate of the dictionary's gradient steps; falls along a half cosine.
            lr_encoder: First rate of Adam on the encoder; falls likewise.
            batch_size: Signals a step.
            seed: Decides their order.
            progress: Called as ``progress(step, steps, energy)`` every ``every`` steps.
            every: Steps between points of the curve.

        Returns:
            The curve of the mean energy of the inferred codes.
        """
        X = self.encoder.signals(X)
        if len(X) == 0:
            raise ValueError("cannot train on an empty batch of signals")
        for name, value in (("lr", lr), ("lr_encoder", lr_encoder)):
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be positive and finite, got {value!r}")
        if min(steps, batch_size, every) < 1:
            raise ValueError("steps, batch_size and every count: each must be at least 1")
        adam = torch.optim.Adam([p for p in self.encoder.parameters() if p.requires_grad])
        batches = Batches(len(X), batch_size, seed, X.device)
        marks, energies, total, since = [], [], 0.0, 0
        for step in range(steps):
            share = 0.5 * (1 + math.cos(math.pi * step / steps))
            x = X[batches[step]]
            z = self.infer(x)
            total += float(self.energy(x, z).mean())
            self._decoder_step(x, z, lr * share)
            self._encoder_step(x, z, adam, lr_encoder * share)
            if (step + 1) % every == 0 or step + 1 == steps:
                marks.append(step + 1)
                energies.append(total / (step + 1 - since))
                total, since = 0.0, step + 1
                if not math.isfinite(energies[-1]):
                    raise FloatingPointError(f"diverged before step {step + 1}; lower the rates")
                if progress:
                    progress(step + 1, steps, energies[-1])
        return Training(tuple(marks), tuple(energies))

    @torch.no_grad()
    def _decoder_step(self, x: Tensor, z: Tensor, lr: float) -> None:
        D = self.D
        D.add_((x - z @ D.T).T @ z, alpha=lr / len(x))
        D.div_(D.norm(dim=0))

    def _encoder_step(self, x: Tensor, z: Tensor, adam: torch.optim.Adam, lr: float) -> None:
        for group in adam.param_groups:
            group["lr"] = lr
        adam.zero_grad(set_to_none=True)
        (self.encoder(x) - z).square().sum(1).mean().backward()
        adam.step()
        self.encoder.project_()
