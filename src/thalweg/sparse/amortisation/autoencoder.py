"""A sparse autoencoder read from a file: its encoder, its decoder and how it wants its inputs."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

ACTIVATIONS = ("relu", "topk", "groupmax", "jumprelu", "gated")
NORMALISATIONS = ("none", "constant_norm_rescale", "layer_norm")


@dataclass(frozen=True, slots=True, eq=False)
class Autoencoder:
    """An encoder pass ``z = act((x − shift) W_enc + b_enc)`` and a decoder ``z W_dec + b_dec``.

    Attributes:
        W_enc: ``(n, m)``.
        b_enc: ``(m,)``; of the magnitudes for a gated encoder.
        W_dec: ``(m, n)``, one atom a row.
        b_dec: ``(n,)``.
        activation: One of ``relu``, ``topk``, ``groupmax``, ``jumprelu``, ``gated``.
        k: Units kept by ``topk`` and ``groupmax``.
        threshold: ``(m,)`` for ``jumprelu``: units at or below it are off.
        gate: ``(m,)`` bias of the gate, and
        gain: ``(m,)`` log gain of the magnitudes, for ``gated``.
        shift_input: Whether ``b_dec`` is taken from the input first.
        normalisation: What `prepare` does to an activation: one of ``none``,
            ``constant_norm_rescale`` (norm √n), ``layer_norm``.
        layout: Whose files these are.
        notes: What was folded into the weights on reading.
    """

    W_enc: Tensor
    b_enc: Tensor
    W_dec: Tensor
    b_dec: Tensor
    activation: str = "relu"
    k: int | None = None
    threshold: Tensor | None = None
    gate: Tensor | None = None
    gain: Tensor | None = None
    shift_input: bool = True
    normalisation: str = "none"
    layout: str = ""
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        (n, m), decoder = self.W_enc.shape, tuple(self.W_dec.shape)
        if decoder != (m, n):
            raise ValueError(f"W_enc is {(n, m)}, so W_dec must be {(m, n)}, got {decoder}")
        for name, length in (
            ("b_enc", m),
            ("b_dec", n),
            ("threshold", m),
            ("gate", m),
            ("gain", m),
        ):
            value = getattr(self, name)
            if value is not None and tuple(value.shape) != (length,):
                raise ValueError(f"{name} must have shape ({length},), got {tuple(value.shape)}")
        if self.activation not in ACTIVATIONS:
            raise ValueError(
                f"unknown activation {self.activation!r}; known: {', '.join(ACTIVATIONS)}"
            )
        if self.normalisation not in NORMALISATIONS:
            raise ValueError(
                f"activations are normalised by {self.normalisation!r}, which the weights alone do "
                f"not say how to do; known: {', '.join(NORMALISATIONS)}. Fold the scale into the "
                "weights first (SAELens: fold_activation_norm_scaling_factor)"
            )
        if self.activation in ("topk", "groupmax") and not (self.k and 0 < self.k <= m):
            raise ValueError(f"{self.activation} needs k between 1 and {m}, got {self.k!r}")
        if self.activation == "groupmax" and self.k and m % self.k:
            raise ValueError(f"groupmax needs k to divide the {m} units, got k = {self.k}")
        if self.activation == "jumprelu" and self.threshold is None:
            raise ValueError("a jumprelu encoder needs its threshold")
        if self.activation == "gated" and (self.gate is None or self.gain is None):
            raise ValueError("a gated encoder needs the bias of its gate and its gain")

    @property
    def n(self) -> int:
        """Length of an activation."""
        return self.W_enc.shape[0]

    @property
    def m(self) -> int:
        """Number of units."""
        return self.W_enc.shape[1]

    def prepare(self, X: Tensor) -> Tensor:
        """Activations ``(b, n)`` as encoder and decoder want them; the gap is measured there."""
        if self.normalisation == "constant_norm_rescale":
            return X * (self.n**0.5 / torch.linalg.vector_norm(X, dim=-1, keepdim=True))
        if self.normalisation == "layer_norm":
            X = X - X.mean(-1, keepdim=True)
            return X / (X.std(-1, keepdim=True) + 1e-5)
        return X

    @torch.no_grad()
    def encode(self, X: Tensor) -> Tensor:
        """Codes ``(b, m)`` of *prepared* activations ``(b, n)``, all non-negative."""
        x = X.to(self.W_enc)
        x = x - self.b_dec if self.shift_input else x
        a = x @ self.W_enc
        if self.activation == "gated":
            gain, gate = torch.as_tensor(self.gain), torch.as_tensor(self.gate)
            return torch.relu(a * gain.exp() + self.b_enc) * (a + gate > 0)
        a = a + self.b_enc
        if self.activation == "jumprelu":
            return torch.relu(a) * (a > torch.as_tensor(self.threshold))
        a = torch.relu(a)
        if self.activation == "topk":
            top = a.topk(self.k or 1)
            return torch.zeros_like(a).scatter_(-1, top.indices, top.values)
        if self.activation == "groupmax":
            groups = a.unflatten(-1, (self.k or 1, -1))
            top = groups.max(-1, keepdim=True)
            return torch.zeros_like(groups).scatter_(-1, top.indices, top.values).flatten(-2)
        return a

    def decode(self, z: Tensor) -> Tensor:
        """Reconstructions ``(b, n)`` of codes ``(b, m)``."""
        return z @ self.W_dec + self.b_dec
