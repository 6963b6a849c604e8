"""Which findings are only consequences of the first? Those whose remedy gains nothing beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from thalweg.diagnose.cure import clash
from thalweg.diagnose.observation import Observation
from thalweg.diagnose.trial import attempt, changed, key_of, limits
from thalweg.records_diagnosis import Finding


def symptoms(
    seen: Observation,
    findings: list[Finding],
    plain: set[str],
    left: Callable[[], float],
    tell: Callable[[str], None],
) -> list[Finding]:
    """Mark findings that the first one's cure takes away as ``info``, and put them last.

    A certain fault is never marked. Where time is up, findings stay as they are.

    Args:
        seen: The task as it is, with its runs and those of its changed copies.
        findings: In order.
        plain: Codes of faults that are certain.
        left: Seconds left.
        tell: Told what is being done.
    """
    first = next((f for f in findings if f.trial is not None and limits(f.trial)), None)
    if first is None or first.trial is None:
        return findings
    before = seen.kept.get(key_of(first.trial.steps), [])
    kept: list[Finding] = []
    minor: list[Finding] = []
    for finding in findings:
        trial = finding.trial
        if finding is first or finding.code in plain or trial is None or left() <= 0:
            kept.append(finding)
            continue
        if clash(first.trial.steps, trial.steps) or not before:
            beside = None
        else:
            tell(f"is {finding.code} a consequence of {first.code}?")
            base = changed(seen.bench.task, first.trial.steps)
            beside = attempt(seen, trial.steps, left, "", base, before)
        if limits(beside):
            kept.append(finding)
            continue
        said = f"{finding.message} Nothing is left to gain here once {first.code} is cured."
        minor.append(dataclasses.replace(finding, severity="info", message=said))
    return [*kept, *minor]
