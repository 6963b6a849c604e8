"""Over which axes does each normalisation average? One table, and the equation it stands for.

Networks use torch's layers; what is here shows and checks what they compute.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

EPS = 1e-5


class Normalisation(NamedTuple):
    """One kind, for inputs ``(N, C, H, W)``: what is averaged over, and what is learnt."""

    reduces: tuple[str, ...]  # axes of one average
    statistic_per: tuple[str, ...]  # what has a mean and variance of its own
    affine_per: tuple[str, ...]  # what has a learnt scale and shift, in torch's layer
    layer: str  # torch's
    reference: str


NORMALISATIONS = {
    "batch": Normalisation(
        ("N", "H", "W"), ("C",), ("C",), "BatchNorm2d", "Ioffe and Szegedy 2015"
    ),
    "layer": Normalisation(
        ("C", "H", "W"), ("N",), ("C", "H", "W"), "LayerNorm", "Ba, Kiros and Hinton 2016"
    ),
    "instance": Normalisation(
        ("H", "W"), ("N", "C"), ("C",), "InstanceNorm2d", "Ulyanov, Vedaldi and Lempitsky 2016"
    ),
    "group": Normalisation(("C/G", "H", "W"), ("N", "G"), ("C",), "GroupNorm", "Wu and He 2018"),
}


class NormStatistics(NamedTuple):
    """Mean and biased variance, each of a shape that broadcasts against the input ``(N, C, …)``.

    ``count`` is how many numbers one average runs over.
    """

    mean: Tensor
    variance: Tensor
    count: int


def norm_statistics(x: Tensor, kind: str, groups: int | None = None) -> NormStatistics:
    """Statistics of one kind of normalisation.

    >>> import torch
    >>> x = torch.arange(8.0).view(2, 2, 2)
    >>> norm_statistics(x, "batch").mean.flatten().tolist()
    [2.5, 4.5]
    >>> norm_statistics(x, "layer").mean.flatten().tolist()
    [1.5, 5.5]

    Args:
        x: ``(N, C)`` or ``(N, C, …)`` of a floating type.
        kind: ``batch``, ``layer``, ``instance`` or ``group``. With groups = 1 a group is the
            layer, with groups = C the instance; no kind but ``batch`` averages over samples.
        groups: Of ``group``; must divide C.

    Raises:
        ValueError: Unknown kind, wrong groups, or an average over a single number.
    """
    if kind not in NORMALISATIONS:
        raise ValueError(f"kind is {kind!r}; known: {', '.join(NORMALISATIONS)}.")
    if x.ndim < 2 or not x.is_floating_point():
        raise ValueError(f"x is {x.dtype} of shape {tuple(x.shape)}; wanted floats (N, C, ...).")
    if (groups is None) == (kind == "group"):
        raise ValueError(f"groups is {groups!r} with kind='{kind}'; 'group' needs it, others none.")
    n, c = x.shape[:2]
    if groups is not None and (groups < 1 or c % groups):
        raise ValueError(f"groups is {groups}; it must divide the {c} channels.")
    grouped = x.reshape(n, groups or c, -1, x.shape[2:].numel())  # (N, G, C/G, HW)
    axes = {"batch": (0, 2, 3), "layer": (1, 2, 3), "instance": (2, 3), "group": (2, 3)}[kind]
    count = 1
    for axis in axes:
        count *= grouped.shape[axis]
    if count < 2:
        raise ValueError(
            f"{kind} statistics of shape {tuple(x.shape)} average over a single number, whose "
            "variance is 0; take more samples, channels or positions."
        )
    mean, variance = grouped.mean(axes, True), grouped.var(axes, correction=0, keepdim=True)
    return NormStatistics(_like(mean, x), _like(variance, x), count)


def normalised(x: Tensor, kind: str, groups: int | None = None, eps: float = EPS) -> Tensor:
    r""":math:`(x-\mu)/\sqrt{\sigma^2+\epsilon}`, without scale and shift; as torch in training.

    Args:
        x: ``(N, C, …)``.
        kind: As :func:`norm_statistics`, likewise ``groups``.
        groups: See there.
        eps: torch's default.
    """
    s = norm_statistics(x, kind, groups)
    return (x - s.mean) / (s.variance + eps).sqrt()


def _like(statistic: Tensor, x: Tensor) -> Tensor:
    """From ``(N, G, C/G, HW)``, some of them 1, to something that broadcasts against ``x``."""
    n, groups = statistic.shape[:2]
    if groups == 1:
        return statistic.reshape(n, 1, *([1] * (x.ndim - 2)))
    per_channel = statistic.expand(n, groups, x.shape[1] // groups, 1)
    return per_channel.reshape(n, x.shape[1], *([1] * (x.ndim - 2)))
