"""Which operators follow from another one? Scaled on both sides, and shifted."""

from __future__ import annotations

import torch
from torch import Tensor

from thalweg.linalg.operator import LinearOperator


class ScaledOperator(LinearOperator):
    r"""``D A D`` for a diagonal D: the curvature in coordinates that are stretched by D.

    With :math:`D = P^{-1/2}` its eigenvalues are those of :math:`P^{-1} A`, the curvature that an
    optimiser with the preconditioner P feels.

    >>> from thalweg.linalg import DenseOperator
    >>> op = ScaledOperator(DenseOperator(torch.eye(2)), torch.tensor([1.0, 3.0]))
    >>> op @ torch.tensor([1.0, 1.0])
    tensor([1., 9.])
    """

    def __init__(self, op: LinearOperator, scale: Tensor) -> None:
        """Scale an operator.

        Args:
            op: Square ``(p, p)``.
            scale: The diagonal of D, ``(p,)``, finite.

        Raises:
            ValueError: Shapes that do not fit, or numbers that are not finite.
        """
        if op.shape[0] != op.shape[1] or scale.shape != (op.shape[0],):
            raise ValueError(
                f"an operator of shape {op.shape} cannot be scaled by shape {tuple(scale.shape)}; "
                f"wanted ({op.shape[0]},)"
            )
        if not bool(torch.isfinite(scale).all()):
            raise ValueError("scale holds numbers that are not finite")
        self.inner, self.scale = op, scale.to(op.device, op.dtype)

    @property
    def shape(self) -> tuple[int, int]:
        """That of the operator within."""
        return self.inner.shape

    @property
    def dtype(self) -> torch.dtype:
        """That of the operator within."""
        return self.inner.dtype

    @property
    def device(self) -> torch.device:
        """That of the operator within."""
        return self.inner.device

    def expect(self, products: int) -> None:
        """One of the operator within for each."""
        self.inner.expect(products)

    def apply(self, v: Tensor) -> Tensor:
        """``D (A (D v))``."""
        scale = self.scale if v.ndim == 1 else self.scale[:, None]
        return scale * (self.inner @ (scale * v))

    @property
    def adjoint(self) -> ScaledOperator:
        """``D Aᵀ D``."""
        return ScaledOperator(self.inner.adjoint, self.scale)


class ShiftedOperator(LinearOperator):
    """``A + c I``, as damping wants it.

    >>> from thalweg.linalg import DenseOperator
    >>> ShiftedOperator(DenseOperator(torch.zeros(2, 2)), 0.5) @ torch.tensor([1.0, 2.0])
    tensor([0.5000, 1.0000])
    """

    def __init__(self, op: LinearOperator, shift: float) -> None:
        """Shift a square operator by a finite number."""
        if op.shape[0] != op.shape[1]:
            raise ValueError(f"only square operators can be shifted, got shape {op.shape}")
        if not -float("inf") < shift < float("inf"):
            raise ValueError(f"shift must be a finite number, got {shift!r}")
        self.inner, self.shift = op, shift

    @property
    def shape(self) -> tuple[int, int]:
        """That of the operator within."""
        return self.inner.shape

    @property
    def dtype(self) -> torch.dtype:
        """That of the operator within."""
        return self.inner.dtype

    @property
    def device(self) -> torch.device:
        """That of the operator within."""
        return self.inner.device

    def expect(self, products: int) -> None:
        """One of the operator within for each."""
        self.inner.expect(products)

    def apply(self, v: Tensor) -> Tensor:
        """``A v + c v``."""
        return self.inner @ v + self.shift * v

    @property
    def adjoint(self) -> ShiftedOperator:
        """``Aᵀ + c I``."""
        return ShiftedOperator(self.inner.adjoint, self.shift)
