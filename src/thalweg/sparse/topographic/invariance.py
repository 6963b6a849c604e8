"""Do pools answer alike to a patch that moved a little? Correlation under shifts and rotations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import rotate
from torch import Tensor


class Invariance(NamedTuple):
    """Mean correlation, over units or pools, of responses before and after a change."""

    shift_units: float
    shift_pools: float
    rotation_units: float
    rotation_pools: float


def crops(
    images: Sequence[np.ndarray], size: int, count: int, seed: int, degrees: float = 10.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Patches ``(count, size²)``, the same one pixel to the right or down, and the same rotated."""
    rng = np.random.default_rng(seed)
    wide = size + 2 * (margin := size // 2 + 1)
    usable = [image for image in images if min(image.shape) >= wide]
    if not usable:
        raise ValueError(f"no image is as large as {wide} x {wide}, which shifts and turns need")
    still, moved, turned = [], [], []
    for _ in range(count):
        image = usable[rng.integers(len(usable))]
        row, column = (rng.integers(extent - wide + 1) for extent in image.shape)
        window = np.asarray(image[row : row + wide, column : column + wide], np.float64)
        down, right = ((0, 1), (1, 0))[rng.integers(2)]
        inner = slice(margin, margin + size)
        still.append(window[inner, inner])
        moved.append(
            window[margin + down : margin + down + size, margin + right : margin + right + size]
        )
        turned.append(rotate(window, degrees, reshape=False, order=1)[inner, inner])
    flat = [np.stack(part).reshape(count, -1) for part in (still, moved, turned)]
    return flat[0], flat[1], flat[2]


def invariance(
    encode: Callable[[np.ndarray], Tensor],
    pool: Callable[[Tensor], Tensor],
    images: Sequence[np.ndarray],
    size: int,
    count: int = 500,
    seed: int = 0,
    degrees: float = 10.0,
) -> Invariance:
    """How alike responses stay under shifts of one pixel and small rotations.

    Units answer with the size ``|z|`` of their code, so that a change of sign does not count
    against them; pools with ``√(Σ w z²)``. Units or pools that never answer are left out.

    Args:
        encode: Raw patches ``(b, size²)`` to codes ``(b, m)``.
        pool: Codes to pool outputs ``(b, pools)``.
        images: Grey images to cut patches from.
        size: Side of a patch.
        count: Patches.
        seed: Decides which.
        degrees: Angle of the rotation.
    """
    codes = [encode(part) for part in crops(images, size, count, seed, degrees)]
    units, pools = [z.abs() for z in codes], [pool(z) for z in codes]
    return Invariance(
        _correlation(units[0], units[1]),
        _correlation(pools[0], pools[1]),
        _correlation(units[0], units[2]),
        _correlation(pools[0], pools[2]),
    )


def _correlation(a: Tensor, b: Tensor) -> float:
    """Mean over columns of the correlation along rows."""
    a, b = a - a.mean(0), b - b.mean(0)
    size = a.norm(dim=0) * b.norm(dim=0)
    alive = size > 1e-12 * size.max().clamp_min(1e-300)
    each = (a * b).sum(0)[alive] / size[alive]
    return float(each.mean()) if len(each) else float(torch.nan)
