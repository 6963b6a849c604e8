"""What must a penalty answer so that solvers can minimise it and certify the result?"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor


class Penalty(ABC):
    r"""A function of codes ``z (..., m)``, answered per sample.

    Penalties with a dual have the form :math:`\Omega(z) + \tfrac{\beta}{2}\|z\|^2` with a gauge
    :math:`\Omega`; ``largest_scale`` measures its polar: the largest :math:`s` for which
    :math:`s\,c` is dual feasible. ``curvature`` is :math:`\beta`.
    """

    __slots__ = ()

    name: ClassVar[str]
    has_dual: ClassVar[bool] = True

    @property
    @abstractmethod
    def curvature(self) -> float:
        """The weight of ``½‖z‖²`` in the penalty."""

    @abstractmethod
    def check(self, atoms: int) -> None:
        """Raise ``ValueError`` where the settings do not fit ``atoms`` atoms."""

    @abstractmethod
    def value(self, z: Tensor) -> Tensor:
        """The penalty per sample: ``(..., m)`` to ``(...)``."""

    @abstractmethod
    def prox(self, v: Tensor, step: float | Tensor) -> Tensor:
        """``argmin_u penalty(u) + ‖u - v‖²/(2 step)``; ``step`` broadcasts against ``v``."""

    @abstractmethod
    def distance(self, z: Tensor, c: Tensor) -> Tensor:
        """Largest violation per sample of ``c ∈ ∂penalty(z)``.

        ``c`` is the datafit's negative gradient. Zero at a minimiser of the energy, and only there
        when the penalty is convex.
        """

    @abstractmethod
    def largest_scale(self, c: Tensor) -> Tensor:
        """Largest ``s`` per sample for which ``s c`` is dual feasible; ``inf`` where every s is.

        Raises:
            ValueError: If the penalty has no dual.
        """


def soft_threshold(v: Tensor, threshold: float | Tensor) -> Tensor:
    """Shrink towards zero: ``sign(v) max(|v| - threshold, 0)``; scalar or vector threshold.

    >>> soft_threshold(torch.tensor([-2.0, 0.5, 3.0]), 1.0).tolist()
    [-1.0, 0.0, 2.0]
    """
    return v - v.clamp(min=-threshold, max=threshold)  # pyrefly: ignore


def check_weight(value: float | Tensor, name: str = "l1") -> float | Tensor:
    """A positive finite number, or a vector of such; anything else is an error that says why.

    Raises:
        TypeError: If it is not a real number or vector.
        ValueError: If an entry is negative, zero, NaN or infinite, or if it is not one-dimensional.
    """
    if isinstance(value, bool | str | bytes | complex) or value is None:
        raise TypeError(f"{name} must be a positive number or vector, got {value!r}")
    try:
        # by way of numpy, because torch reads a Python number in single precision
        tensor = value if isinstance(value, Tensor) else torch.as_tensor(np.array(value))
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"{name} must be a positive number or vector, got {type(value).__name__}"
        ) from error
    if tensor.is_complex() or tensor.dtype is torch.bool:
        raise TypeError(f"{name} must be real, got {tensor.dtype}")
    tensor = tensor.detach().to(torch.float64)
    if tensor.ndim > 1:
        raise ValueError(
            f"{name} must be a number or one weight per atom, got shape {tuple(tensor.shape)}"
        )
    if tensor.numel() == 0 or not bool((torch.isfinite(tensor) & (tensor > 0)).all()):
        shown = float(tensor) if tensor.ndim == 0 else "a vector with such an entry"
        raise ValueError(
            f"{name} must be positive and finite, got {shown}; without a penalty the problem is "
            "plain least squares (numpy.linalg.lstsq)"
        )
    return float(tensor) if tensor.ndim == 0 else tensor


def weight_like(weight: float | Tensor, like: Tensor) -> float | Tensor:
    """A weight on the device and in the dtype of ``like``."""
    return weight if isinstance(weight, float) else weight.to(like.device, like.dtype)


def check_length(weight: float | Tensor, atoms: int, name: str = "l1") -> None:
    """Raise ``ValueError`` unless ``weight`` is a number or has one entry per atom."""
    if not isinstance(weight, float) and weight.shape[0] != atoms:
        raise ValueError(
            f"{name} has {weight.shape[0]} entries but the dictionary has {atoms} atoms"
        )


def scale_below(magnitude: Tensor, weight: float | Tensor) -> Tensor:
    """Largest ``s`` with ``s magnitude <= weight`` along the last axis; ``magnitude >= 0``."""
    return 1.0 / (magnitude / weight).amax(-1)
