"""How is a race shown on a page? The answer, the leaderboard, the curves, and how to repeat it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from thalweg.records import Entry, Race, Sensitivity
from thalweg.report.entries import axes, ranked, varying, width, winner
from thalweg.report.names import look, plain, short
from thalweg.report.numbers import MISSING, Criterion, clean, count, duration, rate, significant
from thalweg.report.sheet import Sheet, fill
from thalweg.report.training import training_curves
from thalweg.report.u_curves import u_curves
from thalweg.report.words import answer, effort

SHOWN = 12  # rows of the leaderboard before the rest is folded away
MARKS = {"diverged": "diverged", "culled": "dropped early"}
BUDGET = {
    "asked": "budget asked for",
    "evaluations": "gradients per run",
    "epochs": "epochs per run",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the leaderboard, as text."""

    rank: str
    name: str
    hue: int
    details: str
    lr: str
    exact_lr: str
    score: str
    behind: str
    confirmed: str
    loss: str
    marks: tuple[tuple[str, str], ...]  # (kind, text)
    quiet: bool


@dataclass(frozen=True, slots=True)
class Forgiveness:
    """How wide an optimiser's good range is: one line of its table, with percents for the bar."""

    name: str
    hue: int
    best_lr: str
    score: str
    good: str
    wide: str
    fails: str
    left: float
    right: float
    best: float


def draw(race: Race) -> Sheet:
    """The section of one race."""
    criterion = Criterion(race.criterion)
    rows = leaderboard(race)
    curves = [u_curves(race)] if winner(race) is not None else []
    training = training_curves(race)
    told = answer(race)
    body = fill(
        "race.html.j2",
        race=race,
        told=told,
        criterion=criterion,
        columns=_columns(race),
        first=rows[:SHOWN],
        rest=rows[SHOWN:],
        effort=effort(race),
        sensitivity=forgiveness(race),
        span=_span(race),
        curves=curves,
        training=training,
        facts=_facts(race),
        machine=[(clean(k, 60), clean(v, 200)) for k, v in race.machine.items()],
        plan=json.dumps(_safe(race.plan), indent=2, ensure_ascii=False) if race.plan else "",
        python=_python(race),
    )
    return Sheet(f"Race on {clean(race.task, 80)}", told.headline, body, (*curves, *training))


def leaderboard(race: Race) -> list[Row]:
    """Every entry as a row of text, best first."""
    names = varying(race.table)
    best = winner(race)
    return [_row(place, entry, race, names, best) for place, entry in enumerate(race.table, 1)]


def _row(place: int, entry: Entry, race: Race, names: Iterable[str], best: Entry | None) -> Row:
    criterion = Criterion(race.criterion)
    alive = ranked(entry)
    behind = MISSING
    if entry.behind is not None and alive and entry is not best:
        low, high = (criterion.points(x) for x in (entry.behind.low, entry.behind.high))
        low = low.removesuffix("\u00a0points")
        behind = f"{criterion.points(entry.behind.value)} ({low} to {high})".replace(
            "\u00a0points", ""
        )
    confirmed = criterion.show(entry.confirmed)
    if entry.confirmation is not None and confirmed != MISSING:
        confirmed += f" ({criterion.bounds(entry.confirmation)})"
    score = criterion.show(entry.held_out) if math.isfinite(entry.held_out) else MISSING
    if alive and math.isfinite(entry.stderr):
        score += f" ± {criterion.spread(entry.stderr).removesuffix(chr(0xA0) + '%')}"
    return Row(
        rank=str(place) if alive else MISSING,
        name=short(entry.optimizer),
        hue=look(entry.optimizer).hue,
        details=", ".join(axes(entry, names)),
        lr=rate(entry.lr),
        exact_lr=repr(entry.lr),
        score=score,
        behind=behind,
        confirmed=confirmed,
        loss=_number(entry.loss),
        marks=tuple(_marks(entry, best)),
        quiet=not alive,
    )


def _marks(entry: Entry, best: Entry | None) -> Iterable[tuple[str, str]]:
    if entry is best:
        yield "best", "best"
    elif entry.tied:
        yield "tied", "tied within noise"
    lost = sum(seed.status == "diverged" for seed in entry.seeds)
    if 0 < lost < len(entry.seeds):
        yield "warn", f"{lost} of {len(entry.seeds)} seeds diverged"
    elif entry.status in MARKS:
        yield "quiet", MARKS[entry.status]
    if entry.default:
        yield "default", "default"


def _columns(race: Race) -> dict[str, bool]:
    """Which of the columns have anything to show."""
    best = winner(race)
    return {
        "behind": any(e.behind is not None and e is not best for e in race.table),
        "confirmed": any(e.confirmed is not None for e in race.table),
        "loss": race.criterion != "loss" and any(math.isfinite(e.loss) for e in race.table),
    }


def _number(x: float) -> str:
    return significant(x, 3, trim=False) if math.isfinite(x) else MISSING


def _span(race: Race) -> tuple[float, float] | None:
    rates = [e.lr for e in race.table if e.lr > 0 and math.isfinite(e.lr)]
    if not rates:
        return None
    return math.log10(min(rates)) - 0.15, math.log10(max(rates)) + 0.15


def forgiveness(race: Race) -> list[Forgiveness]:
    """How wide the good range of every optimiser is, with places on one shared log axis."""
    span = _span(race)
    ranked = sorted(race.sensitivity, key=lambda item: item.best_held_out, reverse=True)
    return [_forgiveness(item, race, span) for item in ranked] if span else []


def _forgiveness(item: Sensitivity, race: Race, span: tuple[float, float]) -> Forgiveness:
    def place(lr: float) -> float:
        if not (lr > 0 and math.isfinite(lr)):
            return 0.0
        share = (math.log10(lr) - span[0]) / (span[1] - span[0])
        return round(100 * min(max(share, 0.0), 1.0), 2)

    single = item.low_lr == item.high_lr
    return Forgiveness(
        name=short(item.optimizer),
        hue=look(item.optimizer).hue,
        best_lr=rate(item.best_lr),
        score=Criterion(race.criterion).show(item.best_held_out),
        good=rate(item.low_lr) if single else f"{rate(item.low_lr)} to {rate(item.high_lr)}",
        wide="one rate only" if single else width(item),
        fails=MISSING if item.fails_above is None else f"from {rate(item.fails_above)}",
        left=place(item.low_lr),
        right=place(item.high_lr),
        best=place(item.best_lr),
    )


def _facts(race: Race) -> list[tuple[str, str]]:
    facts = [("Configurations", count(len(race.table))), ("Seeds each", count(race.seeds))]
    facts += [(f"{clean(k, 40).capitalize()} samples", count(v)) for k, v in race.samples.items()]
    facts += [
        (_capital(BUDGET.get(k, clean(k, 40).replace("_", " "))), _amount(v))
        for k, v in race.budget.items()
        if v not in (None, {}, "")
    ]
    facts += [("Gradients executed", count(race.executed)), ("Time", duration(race.seconds))]
    if told := engine(race):
        facts.append(("Engine", told))
    if race.run:
        facts.append(("Run directory", clean(race.run, 200)))
    return facts


ENGINES = {
    "looped": "one run after another",
    "stacked": "runs stacked into one pass",
    "vmap": "runs mapped into one pass",
}


def engine(race: Race) -> str:
    """How the members were trained and why so, from the plan; empty where it does not say."""
    found = race.plan.get("engines")
    if not isinstance(found, Mapping):
        return ""
    told = []
    for size, choice in found.items():
        if not isinstance(choice, Mapping) or not isinstance(choice.get("engine"), str):
            return ""
        name, reasons = choice["engine"], choice.get("reasons")
        why = reasons.get(name) if isinstance(reasons, Mapping) else None
        speeds = choice.get("gradients_per_second")
        if name == "looped" and isinstance(speeds, Mapping) and len(speeds) > 1:
            why = "no other was faster"
        text = f"{clean(name, 40)}, {ENGINES.get(name, 'as the plan says')}"
        if isinstance(why, str) and why:
            text += f" ({clean(why.removesuffix(', taken'), 160)})"
        told.append(text if len(found) == 1 else f"{text} at batch size {clean(size, 20)}")
    workers = race.plan.get("workers", 1)
    if isinstance(workers, int) and workers > 1:
        told.append(f"{workers} worker processes")
    return "; ".join(dict.fromkeys(told))


def _amount(value: Any) -> str:
    """A budget: one number, or one for each batch size."""
    if isinstance(value, Mapping):
        if len(value) == 1 and next(iter(value)).isdigit():
            return _amount(next(iter(value.values())))
        return ", ".join(
            f"{_amount(v)} at batch size {k}" if k.isdigit() else f"{_amount(v)} {clean(k, 40)}"
            for k, v in value.items()
        )
    if isinstance(value, int) and not isinstance(value, bool):
        return count(value)
    return plain(value)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _python(race: Race) -> str:
    names = ", ".join(repr(name) for name in dict.fromkeys(e.optimizer for e in race.table))
    return (
        "import thalweg as tw\n\n"
        "task = tw.load_task(…)  # or the Task that was raced\n"
        f"tw.race(task, optimizers=({names},), seeds={race.seeds})"
    )


def _safe(value: Any) -> Any:
    if isinstance(value, dict):
        return {clean(k): _safe(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_safe(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return clean(value) if isinstance(value, str) else value
