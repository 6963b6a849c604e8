"""How do images become signals, and codes become images again?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from thalweg.records import Record

SCALES = ("none", "unit")


@dataclass(frozen=True, slots=True)
class Preprocessing(Record):
    """What is done to each signal before it is coded.

    Attributes:
        patch: ``(height, width)`` of the image patch a signal is, None for plain vectors.
        center: Its mean is removed.
        scale: ``"unit"``: divided by its norm; ``"none"``: left as it is.
    """

    patch: tuple[int, ...] | None = None
    center: bool = False
    scale: str = "none"

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise ValueError(f"scale must be one of {', '.join(SCALES)}, got {self.scale!r}")

    def apply(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Prepared signals ``(b, n)``, and the means and norms ``(b, 1)`` that undo it.

        A constant signal becomes zero, and its code is zero.
        """
        X = np.asarray(X)
        X = X if X.dtype in (np.float32, np.float64) else X.astype(np.float64)
        mean = X.mean(1, keepdims=True) if self.center else np.zeros((len(X), 1), X.dtype)
        Y = X - mean
        if self.scale == "none":
            return Y, mean, np.ones((len(X), 1), X.dtype)
        norm = np.linalg.norm(Y, axis=1, keepdims=True)
        # what rounding leaves of a constant patch must not be blown up to a unit vector
        flat = norm <= 1e2 * np.finfo(Y.dtype).eps * np.linalg.norm(X, axis=1, keepdims=True)
        Y[flat[:, 0]] = 0
        return np.divide(Y, norm, out=Y, where=~flat), mean, np.where(flat, 0, norm)

    def undo(self, Y: np.ndarray, mean: np.ndarray, norm: np.ndarray) -> np.ndarray:
        """Signals in their own scale again."""
        return Y * norm + mean


def grey(image: Any) -> np.ndarray:
    """An image as float64 grey values: Rec. 601 weights for colour, uint8 divided by 255.

    >>> grey(np.full((2, 2, 3), 255, np.uint8))
    array([[1., 1.],
           [1., 1.]])
    """
    values = np.asarray(image)
    scale = 255.0 if values.dtype == np.uint8 else 1.0
    if values.ndim == 3 and values.shape[2] in (3, 4):
        values = values[..., :3] @ np.array([0.299, 0.587, 0.114])
    elif values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.ndim != 2:
        raise ValueError(f"an image is (height, width) or (height, width, 3), got {values.shape}")
    return values.astype(np.float64) / scale


def sample_patches(
    images: Sequence[np.ndarray],
    size: int,
    count: int,
    seed: int = 0,
    min_contrast: float = 0.02,
) -> np.ndarray:
    """Distinct random patches ``(count, size²)`` of grey images, flat ones left out.

    Args:
        images: Grey images.
        size: Side of a patch in pixels.
        count: Patches wanted; fewer come back where the images do not hold so many.
        seed: Decides the positions.
        min_contrast: Least standard deviation of a patch, as a share of the images' largest value.

    Raises:
        ValueError: No image is as large as a patch, or every patch is flat.
    """
    views = [
        np.lib.stride_tricks.sliding_window_view(np.asarray(image), (size, size))
        for image in images
        if min(image.shape) >= size
    ]
    if not views:
        raise ValueError(f"no image is as large as one {size} x {size} patch; choose a smaller one")
    sizes = np.array([view.shape[0] * view.shape[1] for view in views])
    floor = min_contrast * max(float(np.abs(image).max()) for image in images)
    order = np.random.default_rng(seed).permutation(int(sizes.sum()))
    starts = np.concatenate([[0], np.cumsum(sizes)])
    kept: list[np.ndarray] = []
    found = at = 0
    while found < count and at < len(order):
        some = order[at : at + max(count - found, 1024)]
        at += len(some)
        patches = np.empty((len(some), size * size))
        owner = np.searchsorted(starts, some, side="right") - 1
        for i, view in enumerate(views):
            mine = np.flatnonzero(owner == i)
            row, column = np.divmod(some[mine] - starts[i], view.shape[1])
            patches[mine] = view[row, column].reshape(len(mine), -1)
        patches = patches[patches.std(1) > floor]
        kept.append(patches[: count - found])
        found += len(kept[-1])
    if not found:
        raise ValueError("every patch of these images is flat; nothing can be learned from them")
    return np.concatenate(kept)


def grid_patches(image: np.ndarray, size: int, stride: int) -> np.ndarray:
    """Patches ``(rows · columns, size²)`` on a grid that covers the image to its far edges."""
    rows, columns = _grid(image.shape, size, stride)
    view = np.lib.stride_tricks.sliding_window_view(image, (size, size))
    return view[np.ix_(rows, columns)].reshape(-1, size * size).astype(np.float64)


def from_grid(patches: np.ndarray, shape: tuple[int, ...], size: int, stride: int) -> np.ndarray:
    """The image ``shape`` whose `grid_patches` these are; overlapping patches are averaged."""
    rows, columns = _grid(shape, size, stride)
    total, weight = np.zeros(shape), np.zeros(shape)
    tiles = patches.reshape(len(rows), len(columns), size, size)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            total[row : row + size, column : column + size] += tiles[i, j]
            weight[row : row + size, column : column + size] += 1
    return total / weight


def _grid(shape: tuple[int, ...], size: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
    if min(shape) < size:
        raise ValueError(f"an image of {shape} pixels is smaller than one {size} x {size} patch")
    if not 1 <= stride <= size:
        raise ValueError(
            f"stride must lie in 1 … {size} so that patches cover the image, got {stride}"
        )
    # the last patch is moved back to the edge, so every pixel is covered
    ends = [
        np.arange(0, extent - size + stride, stride).clip(max=extent - size) for extent in shape
    ]
    return np.unique(ends[0]), np.unique(ends[1])
