"""Does a remedy help? The task as it is and a changed copy, under equal seeds and batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from scipy import stats

from thalweg.diagnose import cures
from thalweg.diagnose.bench import Bench, Walk
from thalweg.diagnose.observation import Observation
from thalweg.records import Interval
from thalweg.records_diagnosis import Step, Trial
from thalweg.task import Task

SEEDS = 3
MORE = 5  # seeds where three leave it open
NOTHING = 0.1  # of skill: a training worth less does not work
WORTH = 0.95  # a fault limits a training that reaches less than this share of the cured skill
LEAST = 0.02  # of skill: less is not worth a sentence
LONGER, LASTING = 4, 0.05  # times as long; of skill that must be gained there


def changed(task: Task, steps: Sequence[Step]) -> Task:
    """The task after these steps."""
    for one in steps:
        task = getattr(cures, one.cure)(task, **one.arguments)
    return task


def key_of(steps: Sequence[Step]) -> str:
    """One text for one set of changes."""
    return repr([(one.cure, sorted(one.arguments.items())) for one in steps])


def walks(seen: Observation, number: int) -> list[Walk]:
    """At least so many runs of the recipe as it is, trained when they are first needed."""
    while len(seen.walks) < number:
        seed = seen.bench.seed + len(seen.walks)
        seen.walks.append(seen.bench.walk(seed, seen.evaluations))
    return seen.walks


def attempt(
    seen: Observation,
    steps: Sequence[Step],
    left: Callable[[], float],
    measure: str = "",
    base: Task | None = None,
    before: list[Walk] | None = None,
    most: int = MORE,
) -> Trial | None:
    """Try one remedy, on one seed first; a remedy that does nothing there is not tried further.

    Args:
        seen: The task as it is, with its runs.
        steps: The changes.
        left: Seconds left.
        measure: ``balanced accuracy`` instead of the criterion.
        base: What to change; default the task as it is.
        before: Runs to compare with; default those of ``seen``.
        most: Seeds at most.

    Returns:
        The trial; None where the change cannot be made or the copy cannot run.
    """
    try:
        bench = Bench(changed(base or seen.bench.task, steps), seen.bench.risk.device,
                      seen.bench.seed, like=seen.bench)  # fmt: skip
        longer = bench.task.recipe.epochs / seen.recipe.epochs
        evaluations = bench.gradients(seen.epochs * longer)
        known = seen.kept.setdefault(key_of(steps), []) if base is None else []
        trial: Trial | None = None
        for i in range(most):
            if i and left() <= 0:
                break
            if before is None:
                walks(seen, i + 1)
            if i == len(known):
                known.append(bench.walk(seen.bench.seed + i, evaluations))
            after = known[: i + 1]
            olds = (before or seen.walks)[: len(after)]
            trial = _verdict(seen, bench, steps, olds, after, measure)
            if i == 0 and trial.gain.value < LEAST:
                return trial  # one seed shows that nothing is to be had
            if i + 1 >= SEEDS and (trial.gain.low > 0 or trial.gain.value < LEAST):
                break
            if before is not None and i + 1 >= len(before):
                break
        return trial
    except (ValueError, TypeError, RuntimeError, AttributeError, IndexError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        seen.errors.append(f"{steps[0].cure}: {type(error).__name__}: {reason}")
        return None


def lasts(seen: Observation, steps: Sequence[Step], measure: str = "") -> bool:
    """Whether a gain of short runs is there in longer ones: most remedies speed up the start.

    One seed, runs four times as long, at most the recipe's. Where runs are as long as the recipe,
    or where the training does not work at all, there is nothing to ask.
    """
    if seen.whole or seen.skill < NOTHING:
        return True
    ours = seen.bench
    epochs = min(seen.recipe.epochs, LONGER * seen.epochs)
    if seen.long is None:
        seen.long = ours.walk(ours.seed, ours.gradients(epochs))
    bench = Bench(changed(ours.task, steps), ours.risk.device, ours.seed, like=ours)
    longer = bench.task.recipe.epochs / seen.recipe.epochs
    after = bench.walk(ours.seed, bench.gradients(epochs * longer))
    trial = _verdict(seen, bench, steps, [seen.long], [after], measure)
    return trial.gain.value >= LASTING and trial.skill_before < WORTH * trial.skill_after


def price(seen: Observation, trial: Trial) -> float:
    """What a trial judged by another measure loses in the task's own criterion, for each seed."""
    after = seen.kept.get(key_of(trial.steps), [])[: len(trial.seeds)]
    lost = [seen.bench.score(old) - seen.bench.score(new)
            for old, new in zip(seen.walks, after, strict=False)]  # fmt: skip
    return sum(lost) / len(lost) if lost else 0.0


def limits(trial: Trial | None) -> bool:
    """Whether the fault limits: the gain exceeds noise and is worth something."""
    if trial is None or len(trial.seeds) < 2 or not trial.gain.low > 0:
        return False
    return trial.gain.value >= LEAST and trial.skill_before < WORTH * trial.skill_after


def _verdict(
    seen: Observation, bench: Bench, steps: Sequence[Step], old: list[Walk], new: list[Walk],
    measure: str,
) -> Trial:  # fmt: skip
    ours = seen.bench.judge
    theirs = ours if bench.risk.metric == seen.bench.risk.metric else bench.judge
    before = [seen.bench.score(walk, measure) for walk in old]
    after = [bench.score(walk, measure) for walk in new]
    starts = [walk.values[0] if walk.values else math.nan for walk in old]

    def skill(judge: Any, value: float, start: float) -> float:
        if measure == "balanced accuracy":
            classes = max(2, sum(share > 0 for share in ours.shares))
            return (value - 1 / classes) / (1 - 1 / classes) if math.isfinite(value) else 0.0
        return max(-1.0, judge.skill(value, start))

    skills = [
        (skill(ours, a, s), skill(theirs, b, s))
        for a, b, s in zip(before, after, starts, strict=False)
    ]
    gain = interval([b - a for a, b in skills], _sampling(seen, skills, measure))
    return Trial(
        change="; ".join(one.says for one in steps),
        steps=tuple(steps),
        seeds=tuple(walk.seed for walk in new),
        evaluations=new[0].evaluations,
        measure=measure or seen.bench.risk.metric,
        before=tuple(before[: len(after)]),
        after=tuple(after),
        gain=gain,
        skill_before=sum(a for a, _ in skills) / len(skills),
        skill_after=sum(b for _, b in skills) / len(skills),
        verdict=_word(gain, new),
        trace_before=old[0].trace,
        trace_after=new[0].trace,
    )


def _word(gain: Interval, new: list[Walk]) -> str:
    if all(walk.diverged for walk in new):
        return "fails"
    if gain.low > 0 and gain.value >= LEAST:
        return "helps"
    return "harms" if gain.high < 0 else "no difference"


def _sampling(seen: Observation, skills: list[tuple[float, float]], measure: str = "") -> float:
    """Variance of a gain because held-out data are a sample: accuracies move in whole answers."""
    if measure == "balanced accuracy":  # a mean over classes, the rare ones of few answers each
        shares = [share for share in seen.bench.judge.shares if share > 0]
        classes = max(2, len(shares))
        moved = min(0.5, abs(sum(b - a for a, b in skills) / len(skills)) * (1 - 1 / classes))
        n = min(seen.bench.risk.selection.n, 2048)
        each = sum(moved * (1 - moved) / max(1.0, n * share) for share in shares)
        return each / classes**2 / (1 - 1 / classes) ** 2
    if seen.bench.risk.metric != "accuracy":
        return 0.0
    n = min(seen.bench.risk.selection.n, 2048)
    scale = 1 - seen.bench.judge.floor
    gain = abs(sum(b - a for a, b in skills) / len(skills)) * scale
    floor = seen.bench.judge.floor
    luck = 1 - min(1.0, max(0.0, sum(b for _, b in skills) / len(skills)))  # answers by guess
    differ = gain + luck * 2 * floor * (1 - floor)  # guesses of two models are independent
    return max(0.0, differ - gain * gain) / n / max(1e-9, scale) ** 2


def interval(gains: list[float], extra: float = 0.0) -> Interval:
    """Mean and 95 % interval of paired differences; one difference says nothing.

    Student's t, which a few unequal gains make wide: a start that sometimes fails and sometimes
    works. From five on the order tells as much: the least of n gains is below their median with
    probability 1 - 2^-n (96.9 % for five), whatever their distribution. The better bound counts.

    Args:
        gains: One for each seed.
        extra: Variance that all share, as that of the held-out sample.
    """
    n = len(gains)
    mean = sum(gains) / n
    if n < 2:
        return Interval(mean, math.inf, -math.inf, math.inf)
    spread = sum((g - mean) ** 2 for g in gains) / (n - 1)
    luck = 1.96 * math.sqrt(extra)
    width = math.hypot(float(stats.t.ppf(0.975, n - 1)) * math.sqrt(spread / n), luck)
    low, high = mean - width, mean + width
    if n >= MORE:
        low, high = max(low, min(gains) - luck), min(high, max(gains) + luck)
    return Interval(mean, math.sqrt(spread / n + extra), low, high)
