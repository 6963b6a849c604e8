"""Learn a dictionary laid out on a torus, with or without an encoder that predicts its codes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thalweg.sparse.batches import Batches
from thalweg.sparse.encoders.base import Encoder
from thalweg.sparse.encoders.training import Training
from thalweg.sparse.inputs import read
from thalweg.sparse.learning.atoms import sweep
from thalweg.sparse.topographic.coder import GroupSparseCoder, Problem, responses, solve
from thalweg.sparse.topographic.torus import TorusPools


class TopographicPSD:
    r"""Predictive sparse decomposition with overlapping pools on a torus in place of the L1 term.

    .. math:: E(x, z) = \tfrac12\|x - Dz\|^2 + \tfrac\beta2\|z - \mathrm{Enc}(x)\|^2
        + \alpha\sum_p\sqrt{\textstyle\sum_{i\in p} w_i z_i^2 + \varepsilon}

    Each step infers the codes of a batch by a fixed number of monotone steps (from the prediction,
    where there is an encoder), makes one sweep of the online dictionary update, and one Adam step
    of the encoder on the codes. Units that share pools come to share causes, so neighbours on the
    grid become alike.

    Args:
        n: Length of a signal.
        pools: The torus.
        l1: Weight α of the pools.
        beta: Weight β of the prediction; used only with an encoder.
        encoder: ``"tanh"`` or another name of ``thalweg.sparse.encoders.ENCODERS`` that takes no
            setting of its own; None learns the dictionary alone.
        eps: Smoothing of the penalty.
        seed: Decides the first atoms.

    References:
        Kavukcuoglu, Ranzato, Fergus and LeCun, "Learning invariant features through topographic
        filter maps", 2009; Hyvärinen and Hoyer, "A two-layer sparse coding model learns simple and
        complex cell receptive fields and topography", 2001.
    """

    def __init__(
        self,
        n: int,
        pools: TorusPools,
        l1: float = 0.12,
        *,
        beta: float = 0.1,
        encoder: str | None = None,
        eps: float = 1e-6,
        seed: int = 0,
    ) -> None:
        if not (beta >= 0 and math.isfinite(beta)):
            raise ValueError(f"beta must be 0 or more and finite, got {beta!r}")
        self.pools, self.beta, self.seed = pools, float(beta), seed
        self.penalty = pools.penalty(l1, eps)
        rng = np.random.default_rng([seed, 3])
        atoms = torch.from_numpy(rng.standard_normal((pools.units, n)))
        self.atoms = atoms / atoms.norm(dim=1, keepdim=True)
        self.encoder: Encoder | None = None
        if encoder is not None:
            from thalweg.sparse.encoders import ENCODERS

            self.encoder = ENCODERS.load(encoder)(self.atoms.T.contiguous(), l1)

    @property
    def D(self) -> Tensor:
        """The dictionary ``(n, m)``, float64; unit ``(i, j)`` of the torus is atom ``i b + j``."""
        return self.atoms.T

    def coder(self) -> GroupSparseCoder:
        """Certified inference with the present dictionary, without the prediction."""
        return GroupSparseCoder(self.D.contiguous(), self.penalty)

    def complex_cells(self, z: Tensor) -> Tensor:
        """Pool outputs ``(b, pools)`` of codes ``(b, m)``."""
        return responses(z, self.penalty)

    def infer(self, X: Tensor, steps: int = 20) -> Tensor:
        """Codes ``(b, m)`` of signals ``(b, n)`` after so many steps, in the dtype of ``X``."""
        guess = None
        if self.encoder is not None:
            guess = self.encoder.encode(X.to(self.encoder.D)).to(X)
        D = self.D.to(X)
        problem = Problem.of(D, self.penalty, 0.0 if guess is None else self.beta)
        return solve(problem, X, guess, guess, steps, None)[0]

    def fit(
        self,
        X: Any,
        *,
        steps: int = 1000,
        batch_size: int = 256,
        inference: int = 20,
        forgetting: float = 5.0,
        lr_encoder: float = 2e-3,
        progress: Callable[[int, int, float], None] | None = None,
        every: int = 100,
    ) -> Training:
        """Learn from signals.

        Args:
            X: Signals ``(N, n)``, best whitened and of norm 1; numpy or torch.
            steps: Batches.
            batch_size: Signals a batch.
            inference: Steps of inference a batch, in float32.
            forgetting: How fast old codes fade: after t batches they are multiplied by
                ``(1 - 1/t)^forgetting``.
            lr_encoder: First rate of Adam on the encoder; falls along a half cosine.
            progress: Called as ``progress(step, steps, energy)``.
            every: Steps between points of the curve.

        Returns:
            The curve of the mean energy, up to the prediction's term.
        """
        signals = read(X, "X", "(samples, inputs)")
        if signals.shape[1] != self.atoms.shape[1] or signals.shape[0] == 0:
            raise ValueError(
                f"X must hold signals of length {self.atoms.shape[1]}, got {signals.shape}"
            )
        if min(steps, batch_size, inference, every) < 1:
            raise ValueError("steps, batch_size, inference and every must each be at least 1")
        data = signals.rows(0, signals.shape[0])
        self.atoms = self.atoms.to(data.device)
        m, n = self.atoms.shape
        A, B = self.atoms.new_zeros(m, m), self.atoms.new_zeros(m, n)
        adam = None
        if self.encoder is not None:
            self.encoder.to(data.device)
            adam = torch.optim.Adam([p for p in self.encoder.parameters() if p.requires_grad])
        batches = Batches(len(data), batch_size, self.seed, data.device)
        marks, energies, total, since = [], [], 0.0, 0
        for step in range(steps):
            x = data[batches[step]]
            z = self.infer(x.float(), inference).double()
            fit = 0.5 * (x - z @ self.atoms).square().sum(1)
            total += float((fit + self.penalty.value(z)).mean())
            fade = (1 - 1 / (step + 1)) ** forgetting
            A.mul_(fade).addmm_(z.T, z, alpha=1 / len(x))
            B.mul_(fade).addmm_(z.T, x, alpha=1 / len(x))
            sweep(self.atoms, A, B, floor=1e-10 * float(A.diagonal().max()))
            if adam is not None:
                share = 0.5 * (1 + math.cos(math.pi * step / steps))
                self._encoder_step(x, z, adam, lr_encoder * share)
            if (step + 1) % every == 0 or step + 1 == steps:
                marks.append(step + 1)
                energies.append(total / (step + 1 - since))
                total, since = 0.0, step + 1
                if progress:
                    progress(step + 1, steps, energies[-1])
        return Training(tuple(marks), tuple(energies))

    def _encoder_step(self, x: Tensor, z: Tensor, adam: torch.optim.Adam, lr: float) -> None:
        encoder = self.encoder
        if encoder is None:
            return
        encoder.D.copy_(self.atoms.T)
        for group in adam.param_groups:
            group["lr"] = lr
        adam.zero_grad(set_to_none=True)
        (encoder(x.to(encoder.D)) - z.to(encoder.D)).square().sum(1).mean().backward()
        adam.step()
        encoder.project_()
