"""Patches with flat spectrum: the leading principal components, each of variance one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Whitening:
    """A linear map from pixels ``(n,)`` to ``k`` whitened components, and back to white pixels.

    Attributes:
        mean: Mean of the patches ``(n,)`` after each lost its own.
        basis: Orthonormal principal directions ``(n, k)``.
        scale: Standard deviation along each ``(k,)``.
    """

    mean: Tensor
    basis: Tensor
    scale: Tensor

    @classmethod
    def fit(cls, patches: np.ndarray, components: int | None = None) -> Self:
        """Of patches ``(b, n)``.

        Args:
            patches: Raw pixels.
            components: How many are kept: fewer than pixels cut the noisy high frequencies. None:
                half as many as pixels, or all that the patches span.
        """
        X = torch.from_numpy(np.asarray(patches, np.float64))
        X = X - X.mean(1, keepdim=True)
        mean = X.mean(0)
        values, vectors = torch.linalg.eigh((X - mean).T @ (X - mean) / len(X))
        usable = int((values > 1e-10 * values[-1]).sum())
        if components is None:
            components = min(usable, (len(values) + 1) // 2)
        if not 1 <= components <= usable:
            raise ValueError(
                f"these patches span {usable} dimensions; components must lie in 1 … {usable}, "
                f"got {components}"
            )
        keep = slice(len(values) - components, None)
        return cls(mean, vectors[:, keep].flip(1), values[keep].flip(0).sqrt())

    def apply(self, patches: np.ndarray, unit: bool = True) -> Tensor:
        """Components ``(b, k)`` of patches ``(b, n)``, divided by their norm if ``unit``."""
        X = torch.from_numpy(np.asarray(patches, np.float64))
        Y = (X - X.mean(1, keepdim=True) - self.mean) @ self.basis / self.scale
        return Y / Y.norm(dim=1, keepdim=True).clamp_min(1e-12) if unit else Y

    def pixels(self, D: Tensor) -> np.ndarray:
        """Atoms ``(k, m)`` as white pixels ``(m, n)``: angles between atoms stay as they are."""
        return (self.basis @ D.to(self.basis)).T.numpy()
