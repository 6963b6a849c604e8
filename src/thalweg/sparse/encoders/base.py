"""What every encoder is: a network from signals to codes that can measure its own error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from thalweg.records import Codes
from thalweg.sparse.inputs import read

if TYPE_CHECKING:
    from thalweg.sparse.encoders.training import Training


def as_dictionary(D: Any) -> Tensor:
    """A float tensor ``(n, m)`` of its own memory, finite and with no zero atom.

    Raises:
        TypeError: Not an array of real numbers.
        ValueError: Not such a matrix; the message says which atom.
    """
    checked = read(D, "D", "(inputs, atoms)")
    n, m = checked.shape
    if n == 0 or m == 0:
        raise ValueError(f"D has shape {(n, m)}; a dictionary needs at least one atom")
    matrix = checked.rows(0, n).to(checked.dtype, copy=True).contiguous()
    zero = (matrix == 0).all(0).nonzero().flatten().tolist()
    if zero:
        raise ValueError(f"atom {zero[0]} of the dictionary is zero ({len(zero)} such); drop it")
    return matrix


class Encoder(nn.Module):
    """A network ``(b, n) -> (b, m)`` that predicts ``argmin ½‖x − Dz‖² + l1 ‖z‖₁``.

    Members implement ``forward``, ``project_`` and ``multiplies``; training, the measured duality
    gap and certified encoding are the same for all and live here.

    Args:
        D: Dictionary ``(n, m)``, atoms as columns; numpy or torch. The encoder takes its dtype
            and device from it.
        l1: Weight of the L1 term, positive.
    """

    D: Tensor

    def __init__(self, D: Any, l1: float) -> None:
        super().__init__()
        if not (float(l1) > 0 and np.isfinite(float(l1))):
            raise ValueError(f"l1 must be a positive finite number, got {l1!r}")
        self.register_buffer("D", as_dictionary(D))
        self.l1 = float(l1)

    @classmethod
    def from_dictionary(cls, dictionary: Any, l1: float | None = None, **settings: Any) -> Self:
        """Build from a learned or loaded `Dictionary`, with its ``l1`` by default, or a matrix.

        Args:
            dictionary: A `thalweg.sparse.storage.Dictionary`, or a matrix ``(n, m)``.
            l1: Overrides the dictionary's weight; required for a bare matrix.
            settings: What the encoder's constructor takes besides (depth, steps, S_form, ...).
        """
        atoms = getattr(dictionary, "D", dictionary)
        l1 = getattr(dictionary, "l1", None) if l1 is None else l1
        if l1 is None:
            raise ValueError("l1 is missing: a bare matrix does not say it; pass l1=...")
        return cls(atoms, l1, **settings)

    @property
    def n(self) -> int:
        """Length of a signal."""
        return self.D.shape[0]

    @property
    def m(self) -> int:
        """Number of atoms."""
        return self.D.shape[1]

    def project_(self) -> None:
        """Put parameters back where they must live (thresholds ≥ 0, masks); after every step."""
        raise NotImplementedError(f"{type(self).__name__} does not say how to project")

    def multiplies(self) -> int:
        """Multiplications for one signal."""
        raise NotImplementedError(f"{type(self).__name__} does not count its multiplications")

    def signals(self, X: Any) -> Tensor:
        """``X (b, n)`` as the encoder's dtype and device, checked.

        Raises:
            TypeError: Not an array of real numbers.
            ValueError: Wrong shape, or values that are not finite.
        """
        checked = read(X, "X", "(samples, inputs)")
        count, width = checked.shape
        if width != self.n:
            raise ValueError(
                f"signals must have shape (b, {self.n}) for this dictionary, got {(count, width)}"
            )
        return X.detach().to(self.D) if checked.is_torch else checked.rows(0, count).to(self.D)

    @torch.no_grad()
    def encode(self, X: Any, chunk: int = 8192) -> Any:
        """Codes ``(b, m)`` without gradients, in chunks; numpy in, numpy out."""
        signals = self.signals(X)
        parts = [self(part) for part in signals.split(chunk)]
        z = torch.cat(parts) if parts else signals.new_zeros((0, self.m))
        return z if isinstance(X, Tensor) else z.cpu().numpy()

    def gap(self, X: Any) -> Any:
        """Relative duality gap ``(b,)`` of the encoder's codes, float64: 0 is exact.

        The energy of a code exceeds the optimum by at most ``gap · ½‖x‖²``.
        """
        from thalweg.sparse.inference import certify

        signals = self.signals(X)
        gap = certify(signals, self.D, self.encode(signals), self.l1).gap
        return gap if isinstance(X, Tensor) else gap.cpu().numpy()

    def certified(self, X: Any, tol: float = 1e-6) -> Codes:
        """The encoder's codes where their gap is at most ``tol``, exact ones elsewhere.

        Args:
            X: Signals ``(b, n)``; numpy or torch.
            tol: Largest relative duality gap that is accepted.

        Returns:
            `Codes`; ``iterations`` of the exact solve, 0 where the encoder's answer stands;
            ``status`` says how many were solved.
        """
        from thalweg.sparse.encoders.certified import certified

        return certified(self, X, tol)

    def fit(
        self,
        X: Any,
        codes: Any = None,
        *,
        steps: int = 20_000,
        lr: float = 2e-3,
        batch_size: int = 256,
        seed: int = 0,
        progress: Callable[[int, int, float], None] | None = None,
        checkpoint: str | Path | None = None,
        every: int = 1000,
    ) -> Training:
        """Train on ``mean ‖z − z*‖² / mean ‖z*‖²`` by Adam with a cosine rate.

        Args:
            X: Training signals ``(N, n)``.
            codes: Their exact codes ``(N, m)``; computed by `thalweg.sparse.encode` when None.
            steps: Optimiser steps.
            lr: Rate at the first step; it falls to zero along a half cosine.
            batch_size: Signals a step (all of them where there are fewer).
            seed: Decides the order of the signals, nothing else is random.
            progress: Called as ``progress(step, steps, loss)`` every ``every`` steps.
            checkpoint: Directory for a checkpoint every ``every`` steps. A training that was cut
                off goes on from the last one and ends with the same bits.
            every: Steps between progress reports and checkpoints.

        Returns:
            The `Training` record: steps and mean losses since the report before.
        """
        from thalweg.sparse.encoders.training import Plan, train

        plan = Plan(steps=steps, lr=lr, batch_size=batch_size, seed=seed, every=every)
        return train(self, X, codes, plan, progress, checkpoint)
