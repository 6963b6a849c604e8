"""How does the learning rate change with time? Factors that multiply it, step by step.

Members of ``SCHEDULES`` are functions ``(step, total) -> factor``: ``step`` updates were taken,
``total`` is the number of updates the budget allows, and the factor multiplies the base rate.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence

FLOOR = 0.01  # the linear schedule ends at this share of the rate: "about one per cent"


def _check(step: int, total: int) -> None:
    if step < 0 or total < 1:
        raise ValueError(
            f"a schedule needs step >= 0 and total >= 1, got step={step}, total={total}"
        )


def constant(step: int, total: int) -> float:
    """The factor 1 at every step."""
    _check(step, total)
    return 1.0


def linear(step: int, total: int) -> float:
    r"""Straight from 1 to 0.01 over ``total`` steps, 0.01 from then on.

    .. math:: (1 - a) + 0.01\,a, \qquad a = \min(k/\tau, 1), \quad \tau = \text{total}

    >>> linear(0, 10), linear(5, 10), linear(10, 10), linear(100, 10)
    (1.0, 0.505, 0.01, 0.01)

    References:
        Goodfellow, Bengio and Courville, "Deep Learning", 2016, eq. (8.14).
    """
    _check(step, total)
    a = min(step / total, 1.0)
    return (1.0 - a) + FLOOR * a


def cosine(step: int, total: int) -> float:
    r"""Half a cosine from 1 to 0 over ``total`` steps, 0 from then on.

    .. math:: \tfrac12\left(1 + \cos(\pi \min(k/\tau, 1))\right), \qquad \tau = \text{total}

    >>> cosine(0, 10), cosine(5, 10), cosine(10, 10)
    (1.0, 0.5, 0.0)

    References:
        Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017.
    """
    _check(step, total)
    return 0.5 * (1.0 + math.cos(math.pi * min(step / total, 1.0)))


SCHEDULE_FUNCTIONS: dict[str, Callable[[int, int], float]] = {
    "constant": constant,
    "linear": linear,
    "cosine": cosine,
}  # the members of ``SCHEDULES``, for loops that look one up at every step


def inverse_time(step: int, k0: float, power: float = 1.0) -> float:
    r"""The factor :math:`(1 + k/k_0)^{-\text{power}}`.

    >>> inverse_time(0, 10.0), inverse_time(10, 10.0)
    (1.0, 0.5)
    """
    if step < 0 or not k0 > 0 or not math.isfinite(power):
        raise ValueError(
            f"inverse_time needs step >= 0, k0 > 0 and a finite power, got {step}, {k0}, {power}"
        )
    return (1.0 + step / k0) ** -power


def milestones(step: int, at: Sequence[int], factor: float = 0.1) -> float:
    """``factor`` to the power of how many of the milestones ``at`` were reached.

    >>> milestones(9, [10, 20]), milestones(10, [10, 20], factor=0.5)
    (1.0, 0.5)
    """
    if step < 0 or list(at) != sorted(at):
        raise ValueError(f"milestones need step >= 0 and increasing steps, got {step}, {list(at)}")
    return factor ** bisect.bisect_right(at, step)


def is_robbins_monro(schedule: str, power: float = 1.0) -> bool:
    r"""Whether the rates satisfy :math:`\sum \eta_k = \infty` and :math:`\sum \eta_k^2 < \infty`.

    Args:
        schedule: ``"constant"``, ``"linear"``, ``"cosine"``, ``"milestones"`` or
            ``"inverse-time"``, continued for ever with its last value.
        power: Of ``"inverse-time"``; not looked at otherwise.

    Returns:
        True for ``"inverse-time"`` with ``1/2 < power <= 1`` and for nothing else: ``constant``,
        ``linear`` and ``milestones`` end in a constant, whose squares do not sum; ``cosine`` ends
        in zero, so its rates themselves sum to something finite.

    References:
        Robbins and Monro, "A stochastic approximation method", 1951.
    """
    known = ("constant", "linear", "cosine", "milestones", "inverse-time")
    if schedule not in known:
        raise ValueError(f"unknown schedule '{schedule}'. Known: {', '.join(known)}.")
    return schedule == "inverse-time" and 0.5 < power <= 1.0
