"""Which cures go together? One on top of the other, as long as it gains."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from thalweg.diagnose.bench import Bench
from thalweg.diagnose.cures import CORRECTIONS
from thalweg.diagnose.observation import Observation, moving, static
from thalweg.diagnose.trial import LEAST, SEEDS, attempt, changed, key_of, limits, walks
from thalweg.records_diagnosis import Cured, Finding, Step, Trial

ROUNDS = 3
REASON = 4.0  # seconds below which no further look is begun
FIRST = 0.6  # of the time that is left, for the first of two looks


def together(
    seen: Observation,
    findings: list[Finding],
    left: Callable[[], float],
    tell: Callable[[str], None],
    evaluations: int | None = None,
) -> tuple[Cured | None, list[Finding]]:
    """Cure the first finding that none betters, then what the cured copy shows in its turn.

    Args:
        seen: The task as it is, with its runs.
        findings: In order.
        left: Seconds left.
        tell: Told what is being done.
        evaluations: Gradients of each run of the cured copy; None: by the seconds.

    Returns:
        The steps that were kept with the paired comparison to the task as it is (None where no
        cure helps), and the findings that only showed after a cure.
    """
    helping = [f.trial for f in findings if f.trial is not None and _helps(f.trial)]
    helping = helping or [f.trial for f in findings if f.trial is not None and corrects(f)]
    if not helping:
        return None, []
    most = max(trial.skill_after for trial in helping)
    best = next(trial for trial in helping if trial.skill_after >= most - LEAST)
    kept = best.steps
    kept, best = _beside(seen, findings, kept, best, left, tell)
    hidden: list[Finding] = []
    for further in reversed(range(ROUNDS - 1)):
        if left() < REASON:
            break
        tell("looking at the cured copy")
        spare = (1 - FIRST) * left() if further else 0.0
        found = _again(seen, kept, lambda s=spare: left() - s, tell, evaluations)
        new = next((f for f in found if f.trial is not None and limits(f.trial)), None)
        if new is None or new.trial is None:
            break
        joined = over(kept, new.trial.steps)
        if joined is None:
            break
        both = attempt(seen, joined, lambda: max(1.0, left()))
        if both is None or both.skill_after <= best.skill_after:
            break
        kept, best = joined, both
        if new.code not in {f.code for f in findings}:
            said = f"Once the findings above are cured: {new.message}"
            hidden.append(dataclasses.replace(new, severity="info", message=said))
    walks(seen, SEEDS)
    if len(best.seeds) < SEEDS:
        tell("comparing before and after")
        best = attempt(seen, kept, lambda: 1.0) or best
    return Cured(kept, dataclasses.replace(best, steps=kept)), hidden


def corrects(finding: Finding) -> bool:
    """Whether its remedy puts a mistake right and did no harm, though it gained nothing for sure.

    Such a finding was raised because the fault is certain; too few data to show a gain are no
    reason to leave it in.
    """
    trial = finding.trial
    if trial is None or finding.severity == "info" or not trial.steps or limits(trial):
        return False
    known = all(step.cure in CORRECTIONS for step in trial.steps)
    return known and trial.verdict != "fails" and trial.gain.value > -LEAST


def _helps(trial: Trial) -> bool:
    return trial.verdict == "helps" and bool(trial.steps)


def _beside(
    seen: Observation, findings: list[Finding], kept: tuple[Step, ...], best: Trial,
    left: Callable[[], float], tell: Callable[[str], None],
) -> tuple[tuple[Step, ...], Trial]:  # fmt: skip
    """Add the cures of further findings that were measured to help beside the first."""
    for finding in findings:
        trial = finding.trial
        if trial is None or finding.severity == "info" or left() <= 0 or clash(kept, trial.steps):
            continue
        if corrects(finding):
            both = attempt(seen, (*kept, *trial.steps), left)
            if both is not None and both.skill_after > best.skill_after - LEAST:
                kept, best = (*kept, *trial.steps), both
            continue
        if not _helps(trial):
            continue
        tell(f"adding the cure of {finding.code}")
        before = seen.kept.get(key_of(kept), [])
        base = changed(seen.bench.task, kept)
        gains = attempt(seen, trial.steps, left, "", base, before) if before else None
        if gains is not None and limits(gains):
            both = attempt(seen, (*kept, *trial.steps), left)
            if both is not None and both.skill_after > best.skill_after:
                kept, best = (*kept, *trial.steps), both
    return kept, best


def _again(
    seen: Observation, kept: tuple[Step, ...], left: Callable[[], float],
    tell: Callable[[str], None], evaluations: int | None,
) -> list[Finding]:  # fmt: skip
    """A diagnosis of the cured copy."""
    from thalweg.diagnose.verdicts import verdicts

    try:
        bench = Bench(changed(seen.bench.task, kept), seen.bench.risk.device, seen.bench.seed,
                      like=seen.bench)  # fmt: skip
        copy = static(bench)
        moving(copy, max(REASON, left() / 2), tell, evaluations)
        return verdicts(copy, left, tell)[0]
    except (ValueError, TypeError, RuntimeError):
        return []


def clash(kept: tuple[Step, ...], new: tuple[Step, ...]) -> bool:
    """Two steps that set the same thing."""
    taken = {(s.cure, key) for s in kept for key in (s.arguments or {"": 0})}
    return any((s.cure, key) in taken for s in new for key in (s.arguments or {"": 0}))


def over(kept: tuple[Step, ...], new: tuple[Step, ...]) -> tuple[Step, ...] | None:
    """Both, in order, where the recipe's settings may be made anew; None where others clash."""
    if clash(tuple(s for s in kept if s.cure != "recipe"), new):
        return None
    again = {key for s in new if s.cure == "recipe" for key in s.arguments}
    stay = [s for s in kept if s.cure != "recipe" or not again.issuperset(s.arguments)]
    return (*stay, *new)
