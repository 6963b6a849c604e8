"""Small convolutional problems with known answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d


@dataclass(frozen=True)
class Planted:
    """Images that few shifted filters add up to."""

    W: np.ndarray
    images: np.ndarray
    similarity: Callable[[np.ndarray, np.ndarray], np.ndarray]


def similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Largest |product| over all shifts of every pair of unit filters ``(K, 1, a, b)``."""
    return np.array(
        [[np.abs(correlate2d(one[0], two[0])).max() for two in second] for one in first]
    )


@pytest.fixture(scope="session")
def planted() -> Planted:
    """Six localised filters of 7 x 7 pixels, their codes 0.4 % active, 1 % noise."""
    rng = np.random.default_rng(0)
    K, s, h = 6, 7, 42
    window = np.exp(-(((np.arange(s) - s // 2) / 1.6) ** 2) / 2)
    W = rng.standard_normal((K, 1, s, s)) * window[:, None] * window
    W /= np.sqrt(np.square(W).sum((1, 2, 3), keepdims=True))
    shape = (8, K, h, h)
    z = rng.choice([-1.0, 1.0], shape) * rng.uniform(1, 2, shape) * (rng.random(shape) < 0.004)
    Y = torch.nn.functional.conv_transpose2d(torch.from_numpy(z), torch.from_numpy(W)).numpy()
    return Planted(W, Y + 0.01 * rng.standard_normal(Y.shape), similarity)


@pytest.fixture(scope="session")
def dense() -> Callable[..., np.ndarray]:
    """A convolutional dictionary as a matrix, atom by atom from its definition."""

    def build(W: Any, size: tuple[int, int], boundary: str) -> np.ndarray:
        K, c, a, b = W.shape
        H, Wd = size
        h, w = (H, Wd) if boundary == "circular" else (H - a + 1, Wd - b + 1)
        D = np.zeros((c, H, Wd, K, h, w))
        for k in range(K):
            for i in range(h):
                for j in range(w):
                    for y in range(a):
                        for x in range(b):
                            D[:, (i + y) % H, (j + x) % Wd, k, i, j] += np.asarray(W)[k, :, y, x]
        return D.reshape(c * H * Wd, K * h * w)

    return build
