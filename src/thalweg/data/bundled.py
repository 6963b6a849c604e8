"""Which real data need no download? Four small sets that ship with scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Handwritten digits: images ``(1797, 8, 8)`` float64 in 0..16, labels ``(1797,)`` int64."""
    loaded = _sklearn().load_digits()
    return loaded.images.astype(np.float64), loaded.target.astype(np.int64)


def diabetes() -> tuple[np.ndarray, np.ndarray]:
    """Disease progression: ``(442, 10)`` float64 in physical units, target ``(442,)`` in 25..346.

    References:
        Efron, Hastie, Johnstone, Tibshirani, "Least angle regression", 2004.
    """
    loaded = _sklearn().load_diabetes(scaled=False)
    return loaded.data.astype(np.float64), loaded.target.astype(np.float64)


def breast_cancer() -> tuple[np.ndarray, np.ndarray]:
    """Tumours: ``(569, 30)`` float64 measurements, labels ``(569,)`` 0 malignant, 1 benign."""
    loaded = _sklearn().load_breast_cancer()
    return loaded.data.astype(np.float64), loaded.target.astype(np.int64)


def wine() -> tuple[np.ndarray, np.ndarray]:
    """Wines: ``(178, 13)`` float64 measurements, labels ``(178,)`` of three growers."""
    loaded = _sklearn().load_wine()
    return loaded.data.astype(np.float64), loaded.target.astype(np.int64)


def _sklearn() -> Any:
    """scikit-learn's data sets, imported here alone: it takes most of a second."""
    import sklearn.datasets

    return sklearn.datasets
