"""How far is the reconstruction from the signal?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg.linalg.operator import DenseOperator, LinearOperator
from thalweg.linalg.power import gram_bound


@dataclass(frozen=True, slots=True, eq=False)
class Quadratic:
    r"""Half the squared error, :math:`\tfrac12\|x - D z\|^2`, one number per sample.

    Args:
        dictionary: The map from codes ``(m,)`` to signals ``(n,)``.
    """

    dictionary: LinearOperator

    @property
    def matrix(self) -> Tensor:
        """The dictionary ``(n, m)`` as a matrix.

        Raises:
            TypeError: If the dictionary is only known through its products.
        """
        if not isinstance(self.dictionary, DenseOperator):
            raise TypeError(f"this needs a dense dictionary, got {type(self.dictionary).__name__}")
        return self.dictionary.matrix

    def to(self, dtype: torch.dtype) -> Quadratic:
        """The same datafit with the dictionary in another dtype."""
        return (
            self
            if dtype == self.dictionary.dtype
            else Quadratic(DenseOperator(self.matrix.to(dtype)))
        )

    def decode(self, z: Tensor) -> Tensor:
        """``D z`` per sample: ``(b, m)`` to ``(b, n)``."""
        return (self.dictionary @ z.mT).mT

    def correlate(self, r: Tensor) -> Tensor:
        """``Dᵀ r`` per sample: ``(b, n)`` to ``(b, m)``."""
        return (self.dictionary.adjoint @ r.mT).mT

    def value(self, x: Tensor, z: Tensor) -> Tensor:
        """``½‖x - D z‖²`` per sample: ``(b,)``."""
        return 0.5 * (x - self.decode(z)).square().sum(-1)

    def grad(self, x: Tensor, z: Tensor) -> Tensor:
        """``Dᵀ(D z - x)`` per sample: ``(b, m)``."""
        return self.correlate(self.decode(z) - x)

    def lipschitz(self) -> float:
        """An upper bound on the largest eigenvalue of ``DᵀD``."""
        return gram_bound(self.matrix)
