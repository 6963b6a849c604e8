"""What is a conditioner? An affine map of inputs that is learnt once, from training data.

Every conditioner is an ``nn.Module`` with buffers and no parameters: a fixed affine first layer
that ``state_dict`` carries and no optimiser moves.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, Self

import torch
from torch import Tensor, nn

from thalweg.conditioning.layout import from_rows, resolve_layout, to_rows, width_of
from thalweg.conditioning.moments import Moments, moments

CHUNK = 4096  # samples per pass of statistics or transformation


class Conditioner(nn.Module, ABC):
    r"""A fixed affine map of the inputs, :math:`\hat x = W (x - \mu)`, learnt from training data.

    Fit it on the training part, then apply it unchanged to every other part:
    ``conditioner.fit(x_train).transform(x_test)``. Statistics are taken in float64 in one pass over
    chunks; the answer has the type and device of what is asked. ``factor`` is ``(d,)`` where
    variables stay apart and ``(k, d)`` where they are mixed.
    """

    mean: Tensor
    factor: Tensor
    mixes: bool = False  # whether covariances are needed

    def __init__(self, per: str) -> None:
        super().__init__()
        self.per = per
        self.register_buffer("mean", torch.empty(0, dtype=torch.float64))
        self.register_buffer("factor", torch.empty(0, dtype=torch.float64))

    @abstractmethod
    def solve(self, m: Moments) -> Tensor:
        """The factor that these statistics ask for."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The constructor's arguments, JSON-ready."""

    @property
    def fitted(self) -> bool:
        """Whether statistics are there."""
        return self.mean.numel() > 0

    def fit(self, x: Tensor | Iterable[Tensor], chunk: int = CHUNK) -> Self:
        """Learn the statistics.

        Args:
            x: Training inputs ``(n, ...)``, or an iterable of such chunks (read once).
            chunk: Samples looked at together.

        Returns:
            The conditioner itself.

        Raises:
            TypeError: Inputs of an integer type.
            ValueError: Too few samples, non-finite numbers, nothing but constants, or a shape whose
                variables are ambiguous.
        """
        chunks = pieces(x, chunk) if isinstance(x, Tensor) else x
        found = moments(self._rows(chunks), cross=self.mixes)
        if found.count < 2:
            raise ValueError("statistics need at least 2 samples, got 1.")
        if not bool(varies(found).any()):
            raise ValueError(
                f"all {len(found.mean)} variables are constant over the {found.count} training "
                "samples, so there is nothing to condition; check the inputs."
            )
        self.mean, self.factor = found.mean, self.solve(found)
        return self

    def _rows(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        width = None
        for piece in chunks:
            per = resolve_layout(self.per, piece, self.mixes)
            self._check_shape(piece, per)
            rows = to_rows(piece, per)
            if width not in (None, rows.shape[1]):
                raise ValueError(
                    f"samples differ in size: {width} variables, then {rows.shape[1]}."
                )
            width = rows.shape[1]
            yield rows

    def _check_shape(self, x: Tensor, per: str) -> None:
        """Hook for conditioners that cannot keep every shape."""

    def forward(self, x: Tensor) -> Tensor:
        """Condition inputs ``(b, ...)``; same type and device as ``x``.

        Raises:
            RuntimeError: Not fitted.
            TypeError: Inputs of an integer type.
            ValueError: Another number of variables than in training.
        """
        if not self.fitted:
            raise RuntimeError(f"this {type(self).__name__} has no statistics yet; call fit first.")
        per = resolve_layout(self.per, x, self.mixes)
        self._check_shape(x, per)
        if width_of(x, per) != len(self.mean):
            raise ValueError(
                f"inputs of shape {tuple(x.shape)} have {width_of(x, per)} variables; the training "
                f"data had {len(self.mean)}."
            )
        # centred before it is multiplied: a large mean would cost digits otherwise
        rows = to_rows(x, per).to(self.mean.dtype) - self.mean
        rows = rows * self.factor if self.factor.ndim == 1 else rows @ self.factor.mT
        return from_rows(rows, x, per).to(x.dtype)

    @torch.no_grad()
    def transform(self, x: Tensor, chunk: int = CHUNK) -> Tensor:
        """As calling the module, chunk by chunk and without a graph."""
        return torch.cat([self(piece) for piece in pieces(x, chunk)])

    def _load_from_state_dict(self, *arguments: Any, **more: Any) -> None:
        state_dict, prefix = arguments[:2]
        for name in ("mean", "factor"):  # shapes are those of the data, not known before
            stored, own = state_dict.get(prefix + name), getattr(self, name)
            if isinstance(stored, Tensor) and stored.shape != own.shape:
                setattr(self, name, torch.empty_like(stored, device=own.device))
        super()._load_from_state_dict(*arguments, **more)


def varies(m: Moments) -> Tensor:
    """Which variables move by more than the rounding of their mean."""
    variance = m.scatter.diag() if m.scatter.ndim == 2 else m.scatter
    rounding = torch.finfo(torch.float64).eps * m.mean.abs()
    return variance.sqrt() > 10 * rounding


def pieces(x: Tensor, chunk: int) -> Iterator[Tensor]:
    """Views of at most ``chunk`` samples, in order."""
    if chunk < 1:
        raise ValueError(f"chunk is {chunk}; it must be at least 1 sample.")
    return iter(x.split(chunk)) if len(x) else iter([x])
