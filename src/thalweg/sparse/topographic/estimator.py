"""Complex cells as a scikit-learn transformer: patches in, pool responses or codes out."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data  # pyrefly: ignore

from thalweg.sparse.estimators.base import FLOATS, codes_of, seed_of
from thalweg.sparse.topographic.coder import responses
from thalweg.sparse.topographic.psd import TopographicPSD
from thalweg.sparse.topographic.storage import TopographicMap
from thalweg.sparse.topographic.torus import TorusPools
from thalweg.sparse.topographic.whitening import Whitening

OUTPUTS = ("pools", "codes")


class TopographicCoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Learn a map on a torus from image patches; answer with its pools, or its codes.

    Patches are whitened and scaled to norm 1 first, at ``fit`` and at ``transform`` alike.

    Args:
        grid: Rows and columns of the torus.
        pool_size: Side of a pool.
        stride: Units between pools.
        window: ``"uniform"`` or ``"gaussian"`` weights within a pool.
        l1: Weight of a pool.
        whitened: Principal components kept; None: half as many as pixels.
        steps: Batches of 256 patches to learn from.
        output: ``"pools"``: ``√(Σ w z²)`` of each; ``"codes"``: one number a unit.
        tol: Relative duality gap of the codes.
        random_state: Seed of atoms and batches.

    Attributes:
        components_: Filters as white pixels, ``(units, n)``; unit ``(i, j)`` is row ``i b + j``.
        map_: The `TopographicMap`, which can be saved.
        n_features_in_: Pixels of a patch.
    """

    def __init__(
        self,
        grid: tuple[int, int] = (16, 16),
        *,
        pool_size: int = 6,
        stride: int = 2,
        window: str = "uniform",
        l1: float = 0.2,
        whitened: int | None = None,
        steps: int = 500,
        output: str = "pools",
        tol: float = 1e-4,
        random_state: Any = None,
    ) -> None:
        self.grid = grid
        self.pool_size = pool_size
        self.stride = stride
        self.window = window
        self.l1 = l1
        self.whitened = whitened
        self.steps = steps
        self.output = output
        self.tol = tol
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the map.

        Args:
            X: Raw patches ``(N, n)``, pixels of one in a row.
            y: Ignored.
        """
        if self.output not in OUTPUTS:
            raise ValueError(f"output must be one of {', '.join(OUTPUTS)}, got {self.output!r}")
        pools = TorusPools(*self.grid, self.pool_size, self.stride, self.window)
        X = validate_data(self, X, reset=True, dtype=FLOATS, order="C", ensure_min_samples=2)
        whitening = Whitening.fit(X, self.whitened)
        model = TopographicPSD(
            len(whitening.scale), pools, self.l1, seed=seed_of(self.random_state)
        )
        model.fit(whitening.apply(X), steps=self.steps)
        side = math.isqrt(X.shape[1])
        shape = (side, side) if side * side == X.shape[1] else (1, X.shape[1])
        self.map_ = TopographicMap.of(model, whitening, shape)
        self.components_ = whitening.pixels(self.map_.D)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Responses of pools ``(b, pools)``, or codes ``(b, units)``.

        Args:
            X: Raw patches ``(b, n)``.
        """
        check_is_fitted(self, "map_")
        X = validate_data(self, X, reset=False, dtype=FLOATS, order="C")
        coder = self.map_.coder()
        found = coder.encode(self.map_.whitening.apply(X), tol=self.tol)
        codes_of(found)
        z = found.z if self.output == "codes" else responses(found.z, coder.penalty)
        return z.numpy().astype(X.dtype)

    @property
    def _n_features_out(self) -> int:
        units = len(self.components_)
        return units if self.output == "codes" else units // self.stride**2
