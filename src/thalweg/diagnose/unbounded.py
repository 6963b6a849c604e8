"""Can a loss fall below any bound? Where it can, it can be lowered without learning anything."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

FAR = 1e4


def unbounded(loss: Callable[[Tensor], float], output: Tensor, target: Tensor) -> float:
    """How fast the loss falls, per unit of output, in the worst of four directions; 0: it does not.

    Args:
        loss: Of an output, targets given.
        output: ``(n, …)``.
        target: The same shape.
    """
    centred = (target - target.mean()).to(output.dtype)
    size = float(centred.abs().max())
    ones = torch.ones_like(output)
    ways = [ones, -ones]
    if size > 0:
        ways += [centred / size, -centred / size]
    worst = 0.0
    for way in ways:
        near, far = loss(FAR * way), loss(2 * FAR * way)
        if math.isfinite(near) and math.isfinite(far) and far < near < 0:
            worst = max(worst, (near - far) / FAR)
    return worst
