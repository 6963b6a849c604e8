"""Which suspicions hold? Each remedy is tried; what gains is raised, most important first."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from thalweg.diagnose import FINDINGS
from thalweg.diagnose.cure import clash
from thalweg.diagnose.observation import Observation
from thalweg.diagnose.suspect import Suspicion
from thalweg.diagnose.symptoms import symptoms
from thalweg.diagnose.trial import LONGER, NOTHING, SEEDS, attempt, lasts, limits, price
from thalweg.records_diagnosis import SEVERITIES, Finding, Step, Trial

ENOUGH = 0.5  # of what is missing to a perfect answer: a cure that gains it is not bettered
LAST = "below-reference"  # asked where no other finding says what is wrong
PROMISING = 0.1  # of skill: such a gain on the first seed is followed up though time is up
TIED = 0.8  # of the largest gain: the cause, which stands first in the registry, goes first


def verdicts(
    seen: Observation, left: Callable[[], float], tell: Callable[[str], None]
) -> tuple[list[Finding], list[str]]:
    """Ask every detector, try every remedy.

    Args:
        seen: The task as it is.
        left: Seconds left.
        tell: Told what is being done.

    Returns:
        Findings in order, and a line for every suspicion that a trial cleared.
    """
    raised: list[Finding] = []
    cleared: list[str] = []
    plain: set[str] = set()
    open_: list[Suspicion] = []
    short: list[tuple[Suspicion, Trial]] = []
    aside: set[str] = set()
    for code in FINDINGS.names():
        if code == LAST:
            continue
        seen.errors.clear()
        suspicion = FINDINGS.load(code)(seen)
        if suspicion is None:
            continue
        tell(f"suspected: {suspicion.title.lower()}; trying the remedy")
        trial = _best_trial(seen, suspicion, left)
        dear = trial is not None and trial.gain.value < suspicion.worth
        held = trial is not None and limits(trial) and not dear
        passing = held and not suspicion.plain and not lasts(seen, trial.steps, suspicion.measure)
        held = held and not (trial is not None and suspicion.measure and _traded(seen, trial))
        if suspicion.plain or (held and not passing):
            if limits(trial) and seen.skill < NOTHING:
                suspicion = dataclasses.replace(suspicion, severity="error")
            raised.append(_finding(suspicion, trial))
            plain |= {code} if suspicion.plain else set()
            aside |= {code} if suspicion.aside else set()
        else:
            open_.append(suspicion)
            if trial is not None and len(trial.seeds) < SEEDS and not dear:
                short.append((suspicion, trial))
            cleared.append(_cleared(suspicion, trial, seen.errors, passing))
    raised += _followed(seen, short, raised, tell)
    if not raised and seen.skill < NOTHING:
        tell("no single remedy helps: trying them together")
        raised = _jointly(seen, open_, left)
    found = {f.code for f in raised}
    cleared = [line for line in cleared if line.partition(":")[0] not in found]
    if not raised:
        unnamed = FINDINGS.load(LAST)(seen)
        raised = [] if unnamed is None else [_finding(unnamed, None)]
    names = FINDINGS.names()
    top = max((f.trial.gain.value for f in raised if f.trial is not None), default=0.0)

    def rank(finding: Finding) -> tuple[int, bool, bool, int]:
        gain = finding.trial.gain.value if finding.trial is not None else top
        behind = gain < TIED * top and finding.code not in plain
        return (
            SEVERITIES.index(finding.severity),
            behind,
            finding.code in aside,
            names.index(finding.code),
        )

    return symptoms(seen, sorted(raised, key=rank), plain, left, tell), cleared


def _best_trial(seen: Observation, suspicion: Suspicion, left: Callable[[], float]) -> Trial | None:
    best: Trial | None = None
    for steps in suspicion.cures:
        if best is not None and left() <= 0:
            break
        trial = attempt(seen, steps, left, suspicion.measure)
        if trial is None:
            continue
        if best is None or _merit(trial) > _merit(best):
            best = trial
        if limits(best) and best.gain.value > ENOUGH * (1 - best.skill_before):
            break
    return best


def _traded(seen: Observation, trial: Trial) -> bool:
    """Whether the task's own criterion loses more than the other measure gains: a matter of taste.

    So it is for words or letters, of which most are rare and none is left out by mistake.
    """
    gained = sum(b - a for a, b in zip(trial.before, trial.after, strict=True)) / len(trial.seeds)
    return price(seen, trial) > gained


def _merit(trial: Trial) -> tuple[bool, float]:
    return limits(trial), trial.skill_after


def _followed(
    seen: Observation,
    short: list[tuple[Suspicion, Trial]],
    raised: list[Finding],
    tell: Callable[[str], None],
) -> list[Finding]:
    """The most promising trial that time cut short gets its seeds: it is what the user came for.

    Not where a finding that was raised gains as much and stands before it.
    """
    known = {f.code: f.trial.gain.value for f in raised if f.trial is not None}
    top = max([PROMISING, *known.values(), *(trial.gain.value for _, trial in short)])
    found = next((one for one in short if one[1].gain.value >= TIED * top), None)
    if found is None:
        return []
    suspicion, trial = found
    names = FINDINGS.names()
    before = names[: names.index(suspicion.code)]
    if trial.gain.value < PROMISING or any(known.get(n, 0.0) >= TIED * top for n in before):
        return []
    tell(f"following up: {suspicion.title.lower()}")
    full = attempt(seen, trial.steps, lambda: 1.0, suspicion.measure, most=SEEDS)
    if seen.skill < NOTHING:
        suspicion = dataclasses.replace(suspicion, severity="error")
    held = full is not None and limits(full) and lasts(seen, full.steps, suspicion.measure)
    return [_finding(suspicion, full)] if held else []


def _finding(suspicion: Suspicion, trial: Trial | None) -> Finding:
    steps = () if trial is None else trial.steps
    why = f"{suspicion.code}: {suspicion.title}"
    if trial is not None:
        steps = tuple(dataclasses.replace(one, why=why) for one in steps)
        trial = dataclasses.replace(trial, steps=steps)
    return Finding(
        code=suspicion.code,
        severity=suspicion.severity,
        title=suspicion.title,
        message=suspicion.message,
        where=suspicion.where,
        measured=_number(suspicion.measured),
        threshold=_number(suspicion.threshold),
        derivation=suspicion.derivation,
        evidence={k: float(v) for k, v in suspicion.evidence.items() if v == v},
        remedy=suspicion.remedy,
        settle=suspicion.settle,
        trial=trial,
    )


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)


def _cleared(
    suspicion: Suspicion, trial: Trial | None, errors: list[str], passing: bool = False
) -> str:
    if trial is None:
        why = f" ({errors[0]})" if errors else ""
        return f"{suspicion.code}: {suspicion.message} The remedy could not be tried{why}."
    return (
        f"{suspicion.code}: {suspicion.message} Tried ({trial.change}): {trial.verdict}, skill "
        f"{trial.skill_before:.3f} before and {trial.skill_after:.3f} after."
        + f" Little of that is left in runs up to {LONGER} times as long."
        * passing
    )


def _jointly(
    seen: Observation, suspicions: list[Suspicion], left: Callable[[], float]
) -> list[Finding]:
    """Where several faults hide each other: all cures at once, then without each in turn.

    Those without which the rest does not work are raised, with the trial of all that are needed.
    """
    chosen: list[tuple[Suspicion, tuple[Step, ...]]] = []
    taken: tuple[Step, ...] = ()
    for suspicion in suspicions:
        if suspicion.cures and not clash(taken, suspicion.cures[0]):
            chosen.append((suspicion, suspicion.cures[0]))
            taken = (*taken, *suspicion.cures[0])
    if len(chosen) < 2:
        return []
    best = attempt(seen, taken, left)
    if best is None or not limits(best):
        return []
    needed = chosen
    for one in reversed(chosen):  # from symptom to cause
        rest = [other for other in needed if other is not one]
        if not rest or left() <= 0:
            break
        without = attempt(seen, tuple(s for _, steps in rest for s in steps), left)
        if (
            without is not None
            and limits(without)
            and (without.skill_after >= 0.95 * best.skill_after)
        ):
            needed, best = rest, without
    return [
        _finding(dataclasses.replace(suspicion, severity="error"), best) for suspicion, _ in needed
    ]
