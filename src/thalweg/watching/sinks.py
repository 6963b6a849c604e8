"""Where do a watch's numbers go? Any logger's scalars, and a few lines for a person."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

from thalweg.records_diagnosis import Finding
from thalweg.watching.findings.flow import back_ratio
from thalweg.watching.findings.pace import noise_ratio, update_ratio
from thalweg.watching.history import History

PREFIX = "thalweg/"
_log = logging.getLogger("thalweg.watching")
Log = Callable[[int, dict[str, float]], None]


def sink(logger: Any) -> Log | None:
    """A function ``(step, numbers)`` for whatever logger was given.

    Raises:
        TypeError: Neither callable nor with ``add_scalar``.
    """
    if logger is None:
        return None
    add = getattr(logger, "add_scalar", None)
    if callable(add):

        def write(step: int, numbers: dict[str, float]) -> None:
            for name, value in numbers.items():
                add(name, value, step)

        return write
    if callable(logger):
        return logger
    raise TypeError(
        f"logger is a {type(logger).__name__}; wanted an object with add_scalar(name, value, step) "
        "or a function of (step, {name: value})."
    )


def tell(finding: Finding) -> None:
    """Hand a finding that limits the training to Python's ``logging``."""
    if finding.severity != "info":
        _log.warning("%s: %s %s", finding.code, finding.message, finding.remedy)


def scalars(
    history: History, overhead: float, findings: Sequence[Finding]
) -> dict[str, float]:  # fmt: skip
    """The latest numbers by name; what is not known yet is left out."""
    if not history.looks:
        return {}
    last = history.looks[-1]
    numbers = {
        "gradient_norm": last.norm,
        "learning_rate": last.lr,
        "update_ratio": update_ratio(history),
        "gradient_first_over_last": back_ratio(history)[0],
        "noise_over_signal": noise_ratio(history)[0],
        "dead_units": max(history.units.dead.values(), default=math.nan),
        "saturated_units": max(last.saturated.values(), default=math.nan),
        "lost_updates": last.lost,
        "overhead": overhead,
        "findings": float(len(findings)),
    }
    numbers |= {f"finding/{f.code}": 1.0 for f in findings}
    numbers |= {f"update_ratio/{name}": value for name, value in last.ratios.items()}
    return {PREFIX + n: float(v) for n, v in numbers.items() if math.isfinite(v)}


def words(
    history: History, findings: Sequence[Finding], overhead: float, notes: Sequence[str]
) -> str:
    """What was found, in a few lines."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.severity}: {finding.title} ({finding.code})")
        lines.append(f"    {finding.message}")
        lines.append(f"    change: {finding.remedy}")
    if not lines:
        lines.append("nothing wrong that can be seen from outside")
    lines += notes
    lines.append(f"{len(history.looks)} looks in {history.steps} steps, {overhead:.1%} of the time")
    return "\n".join(lines)
