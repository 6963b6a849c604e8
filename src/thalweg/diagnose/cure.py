"""Which cures go together? Added one by one, each kept only if it gains beside the ones before."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from thalweg.diagnose.observation import Observation
from thalweg.diagnose.trial import SEEDS, attempt, limits, walks
from thalweg.records_diagnosis import Cured, Finding, Step, Trial


def together(
    seen: Observation,
    findings: list[Finding],
    left: Callable[[], float],
    tell: Callable[[str], None],
) -> Cured | None:
    """Put cures together, most important first.

    Args:
        seen: The task as it is, with its runs.
        findings: In order.
        left: Seconds left.
        tell: Told what is being done.

    Returns:
        The steps that were kept and the paired comparison with the task as it is; None where
        no cure helps.
    """
    kept: tuple[Step, ...] = ()
    best: Trial | None = None
    for finding in findings:
        trial = finding.trial
        if trial is None or trial.verdict in ("harms", "fails") or not trial.steps:
            continue
        if best is None:
            kept, best = trial.steps, trial
            continue
        if clash(kept, trial.steps) or left() <= 0:
            continue
        tell(f"adding the cure of {finding.code}")
        both = attempt(seen, (*kept, *trial.steps), left)
        if both is not None and both.skill_after > best.skill_after and limits(both):
            kept, best = (*kept, *trial.steps), both
    if best is None:
        return None
    walks(seen, SEEDS)
    if len(best.seeds) < SEEDS:
        tell("comparing before and after")
        best = attempt(seen, kept, lambda: 1.0) or best
    return Cured(kept, dataclasses.replace(best, steps=kept))


def clash(kept: tuple[Step, ...], new: tuple[Step, ...]) -> bool:
    """Two steps that set the same thing."""
    taken = {(s.cure, key) for s in kept for key in (s.arguments or {"": 0})}
    return any((s.cure, key) in taken for s in new for key in (s.arguments or {"": 0}))
