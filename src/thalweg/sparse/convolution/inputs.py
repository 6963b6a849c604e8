"""Are these images and filters usable? What the public functions are given is checked here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thalweg.sparse.inputs import read


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """A checked batch ``(b, c, H, W)`` in float64, and what the user gave."""

    data: Tensor
    is_torch: bool
    dtype: torch.dtype

    def give(self, values: Tensor) -> Any:
        """An answer of the kind the user gave."""
        return values if self.is_torch else values.cpu().numpy()


def read_images(images: Any, name: str = "images") -> Images:
    """Images ``(H, W)``, ``(b, H, W)`` or ``(b, c, H, W)``.

    Raises:
        TypeError: Not an array of real numbers in single or double precision.
        ValueError: Another number of axes, no pixels, or values that are not finite.
    """
    array = images if isinstance(images, Tensor) else _array(images, name)
    if not 2 <= array.ndim <= 4:
        raise ValueError(
            f"{name} must be (height, width), (images, height, width) or (images, channels, "
            f"height, width), got shape {tuple(array.shape)}"
        )
    shape = (1,) * (4 - array.ndim) + tuple(array.shape)
    if array.ndim == 3:
        shape = (shape[1], 1, *shape[2:])
    if 0 in shape[1:]:
        raise ValueError(f"{name} of shape {tuple(array.shape)} hold no pixels")
    flat = read(array.reshape(shape[0], math.prod(shape[1:])), name, "(images, pixels)")
    return Images(flat.rows(0, shape[0]).reshape(shape), flat.is_torch, flat.dtype)


def read_filters(filters: Any) -> Tensor:
    """Filters ``(K, a, b)`` or ``(K, c, a, b)`` as float64 ``(K, c, a, b)``.

    Raises:
        TypeError: Not an array of real numbers.
        ValueError: Another number of axes, no filter, or a filter of zeros.
    """
    array = filters if isinstance(filters, Tensor) else _array(filters, "filters")
    if array.ndim not in (3, 4) or 0 in array.shape:
        raise ValueError(
            "filters must be (filters, a, b) or (filters, channels, a, b), got shape "
            f"{tuple(array.shape)}"
        )
    found = read_images(array, "filters").data
    zero = (found == 0).flatten(1).all(1).nonzero().flatten().tolist()
    if zero:
        raise ValueError(f"filter {zero[0]} is zero ({len(zero)} such); drop it")
    return found


def read_weights(l1: Any, K: int) -> Tensor:
    """Weights ``(K,)`` from one positive number or one per filter.

    Raises:
        TypeError: Not numbers.
        ValueError: Not positive and finite, or of another length.
    """
    if l1 is None:
        raise ValueError("l1, the weight of the absolute values, is missing: a positive number")
    try:
        found = torch.as_tensor(
            l1.detach().cpu() if isinstance(l1, Tensor) else np.asarray(l1, dtype=np.float64),
            dtype=torch.float64,
        )
    except (TypeError, ValueError) as error:
        raise TypeError(f"l1 must be a number or one per filter, got {l1!r}") from error
    if found.ndim > 1 or (found.ndim == 1 and len(found) != K):
        raise ValueError(f"l1 must be a number or have shape ({K},), got {tuple(found.shape)}")
    if not bool((torch.isfinite(found) & (found > 0)).all()):
        raise ValueError(f"l1 must be positive and finite, got {l1!r}")
    return found.expand(K).clone()


def _array(values: Any, name: str) -> np.ndarray:
    try:
        return np.asarray(values)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} is not an array of numbers: {error}") from error
