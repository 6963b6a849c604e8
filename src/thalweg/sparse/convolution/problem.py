"""What a convolutional solver on a CPU works with: unit atoms, filters last, plain arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from thalweg.sparse.convolution.kernels.decode import add_atoms

_CHUNK = 4 * 2**20  # bytes of patches correlated at once: they should stay in the cache


class Measured(NamedTuple):
    """Energy, relative duality gap, and correlations with the residual ``(h, w, K)``."""

    energy: float
    gap: float
    q: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """Filters scaled to norm one, and the weights that this scaling asks for.

    Attributes:
        atoms: ``(K, c, a, b)``, float64, each of norm one.
        norms: Norms of the filters as given ``(K,)``; codes of these are codes here over them.
        low: Intervals in which a zero stays zero: minus the weight, or minus infinity ``(K,)``.
        high: The weight ``(K,)``.
        circular: The image is a torus.
    """

    atoms: np.ndarray
    norms: np.ndarray
    low: np.ndarray
    high: np.ndarray
    circular: bool

    @classmethod
    def of(cls, filters: np.ndarray, l1: np.ndarray, non_negative: bool, circular: bool) -> Self:
        """The problem of ``filters (K, c, a, b)`` and weights ``l1 (K,)``."""
        filters = np.ascontiguousarray(filters, dtype=np.float64)
        norms = np.sqrt(np.square(filters).sum((1, 2, 3)))
        high = l1 / norms
        low = np.full_like(high, -np.inf) if non_negative else -high
        return cls(filters / norms[:, None, None, None], norms, low, high, circular)

    def places(self, image: np.ndarray) -> tuple[int, int]:
        """Height and width of a code of ``image (c, H, W)``."""
        a, b = self.atoms.shape[2:]
        H, W = image.shape[1:]
        return (H, W) if self.circular else (H - a + 1, W - b + 1)

    def correlate(self, image: np.ndarray) -> np.ndarray:
        """Products ``(h, w, K)`` of every atom with ``image (c, H, W)``, in the image's dtype."""
        K, c, a, b = self.atoms.shape
        if self.circular:
            image = np.pad(image, ((0, 0), (0, a - 1), (0, b - 1)), mode="wrap")
        views = np.lib.stride_tricks.sliding_window_view(image, (a, b), axis=(1, 2))
        views = views.transpose(1, 2, 0, 3, 4)  # (h, w, c, a, b)
        h, w = views.shape[:2]
        matrix = np.ascontiguousarray(self.atoms.reshape(K, -1).T, dtype=image.dtype)
        q = np.empty((h, w, K), dtype=image.dtype)
        rows = max(1, _CHUNK // (w * c * a * b * image.itemsize))
        for top in range(0, h, rows):
            part = views[top : top + rows].reshape(-1, c * a * b)
            np.matmul(part, matrix, out=q[top : top + rows].reshape(-1, K))
        return q

    def residual(self, image: np.ndarray, z: np.ndarray) -> np.ndarray:
        """``image - Dz`` for codes ``(h, w, K)``."""
        r = image.copy()
        add_atoms(z, self.atoms, -1.0, r)
        return r

    def measure(self, image: np.ndarray, z: np.ndarray) -> Measured:
        """Energy and duality gap of codes ``z (h, w, K)``; see `Energy.certificate`."""
        r = self.residual(image, z)
        q = self.correlate(r)
        half = 0.5 * float(np.square(image).sum())
        fit, product = float(np.square(r).sum()), float((image * r).sum())
        energy = 0.5 * fit + float(np.abs(z).sum((0, 1)) @ self.high)
        ratio = float((q.max((0, 1)) / self.high).max())
        if np.isfinite(self.low[0]):
            ratio = max(ratio, float((q.min((0, 1)) / self.low).max()))
        s = max(0.0, product / fit) if fit > 0 else 0.0
        s = min(s, 1 / ratio) if ratio > 0 else s
        gap = max(0.0, energy - s * product + 0.5 * s * s * fit)
        return Measured(energy, gap / half if half > 0 else (0.0 if gap == 0 else np.inf), q)

    def table(self) -> np.ndarray:
        """Products of shifted atoms ``(K, 2a - 1, 2b - 1, K)``.

        ``table[k, a - 1 + dy, b - 1 + dx, l]`` is the product of filter k with filter l moved by
        ``(dy, dx)``.
        """
        a, b = self.atoms.shape[2:]
        wide = np.pad(self.atoms, ((0, 0), (0, 0), (a - 1, a - 1), (b - 1, b - 1)))
        flat = Problem(self.atoms, self.norms, self.low, self.high, circular=False)
        return np.stack([flat.correlate(one) for one in wide])
