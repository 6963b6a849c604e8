"""What is a matrix that one can only multiply with?"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator as ScipyOperator


class LinearOperator(ABC):
    """A linear map known through its products: ``op @ v`` and ``op.adjoint @ u``.

    ``v`` is one vector ``(columns,)`` or a block of vectors ``(columns, k)``. Subclasses say their
    ``shape``, ``dtype`` and ``device`` and implement ``apply`` and ``adjoint``; power iteration,
    Lanczos and conjugate gradients ask nothing else of them.
    """

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """Of the vectors it takes and gives."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where these vectors live."""

    @abstractmethod
    def apply(self, v: Tensor) -> Tensor:
        """The product with ``v (columns,)`` or ``(columns, k)``."""

    @property
    @abstractmethod
    def adjoint(self) -> LinearOperator:
        """The transposed map: ``⟨A v, u⟩ = ⟨v, Aᵀ u⟩``."""

    def expect(self, products: int) -> None:  # noqa: B027 - most have nothing to prepare
        """About so many products will be asked for next: a hint, by which to prepare, or not.

        Args:
            products: With single vectors; those of a block count each.
        """

    def __matmul__(self, v: Tensor) -> Tensor:
        """``op @ v``, with a check of the shape.

        Raises:
            ValueError: If ``v`` is neither ``(columns,)`` nor ``(columns, k)``.
        """
        if v.ndim not in (1, 2) or v.shape[0] != self.shape[1]:
            raise ValueError(
                f"an operator of shape {self.shape} multiplies vectors ({self.shape[1]},) or "
                f"blocks ({self.shape[1]}, k), got {tuple(v.shape)}"
            )
        return self.apply(v)

    def to_scipy(self) -> ScipyOperator:
        """The same map for ``scipy.sparse.linalg``: numpy arrays in and out, on the CPU.

        >>> import numpy as np
        >>> op = DenseOperator(torch.tensor([[1.0, 2.0], [0.0, 3.0]])).to_scipy()
        >>> op @ np.array([1.0, 1.0], dtype=np.float32)
        array([3., 3.], dtype=float32)
        """
        from scipy.sparse.linalg import LinearOperator as ScipyOperator

        def product(op: LinearOperator, v: np.ndarray) -> np.ndarray:
            given = torch.from_numpy(np.array(v, order="C")).to(op.device, op.dtype)
            return (op @ given).detach().cpu().numpy()

        def forward(v: np.ndarray) -> np.ndarray:
            return product(self, v)

        def backward(v: np.ndarray) -> np.ndarray:
            return product(self.adjoint, v)

        kind = torch.empty(0, dtype=self.dtype).numpy().dtype
        make: Any = ScipyOperator  # its constructor picks a subclass, which type checkers miss
        return make(
            shape=self.shape,
            matvec=lambda v: forward(v.reshape(-1)),
            rmatvec=lambda v: backward(v.reshape(-1)),
            matmat=forward,
            rmatmat=backward,
            dtype=kind,
        )


class DenseOperator(LinearOperator):
    """A stored matrix seen as an operator.

    >>> op = DenseOperator(torch.tensor([[1.0, 2.0], [0.0, 3.0]]))
    >>> op @ torch.tensor([1.0, 1.0])
    tensor([3., 3.])
    >>> op.adjoint @ torch.tensor([1.0, 1.0])
    tensor([1., 5.])
    """

    def __init__(self, matrix: Tensor) -> None:
        if matrix.ndim != 2:
            raise ValueError(f"a dense operator needs a matrix, got shape {tuple(matrix.shape)}")
        self.matrix = matrix

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.matrix.shape[0], self.matrix.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """The matrix's."""
        return self.matrix.dtype

    @property
    def device(self) -> torch.device:
        """The matrix's."""
        return self.matrix.device

    def apply(self, v: Tensor) -> Tensor:
        """Multiply by the matrix."""
        return self.matrix @ v

    @property
    def adjoint(self) -> DenseOperator:
        """The transposed matrix, a view."""
        return DenseOperator(self.matrix.mT)
