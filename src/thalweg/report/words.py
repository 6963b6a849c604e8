"""What is the answer of a race, in sentences? One source for the page and for the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from thalweg.records import Entry, Race
from thalweg.report.entries import describe, ranked, same_but_rate, width, winner
from thalweg.report.names import label, setting
from thalweg.report.numbers import THIN, Criterion, count, duration, plural, rate

UNFINISHED = "The race was stopped or is still running: this is what had arrived."


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a race in words, most important first."""

    headline: str  # one sentence: what to use, or why there is no answer
    sentences: tuple[str, ...]  # how good it is, what ties, the defaults, how wide the rate is
    cautions: tuple[str, ...]  # what a careful reader must know before acting on it
    line: str  # builds the torch optimiser; empty without a winner
    with_settings: str  # what the line cannot hold: "batch size 64, cosine schedule"
    notes: tuple[str, ...] = ()  # what the race noted besides
    unfinished: str = ""  # what to know of a race that has not come to its end


def answer(race: Race) -> Answer:
    """Say what a race found.

    Args:
        race: Finished or not, with any number of entries.

    Returns:
        Sentences for people; numbers are rounded, the paste-able line is exact.
    """
    best = winner(race)
    if best is None:
        return _nothing(race)
    if race.unfinished:
        return _so_far(race, best)
    urgent = (*_edge(race, best), *_one_seed(race))
    return Answer(
        headline=f"Use {describe(best, race)}.",
        sentences=tuple(
            sentence
            for sentence in (
                _score(race, best),
                _ties(race, best),
                _range(race, best),
                _defaults(race, best),
            )
            if sentence
        ),
        cautions=(*_cautions(race, best), *urgent),
        line=best.line,
        with_settings=_settings(best),
        notes=tuple(note for note in race.notes if note not in urgent),
    )


def _so_far(race: Race, best: Entry) -> Answer:
    criterion = Criterion(race.criterion)
    return Answer(
        headline=f"Ahead so far: {describe(best, race)}.",
        sentences=(
            f"It stands at {_value(criterion, best.held_out)} on the data that decides; "
            "ties, intervals and the confirmation come when the race has ended.",
        ),
        cautions=(),
        line=best.line,
        with_settings=_settings(best),
        notes=race.notes,
        unfinished=UNFINISHED,
    )


def _settings(entry: Entry) -> str:
    return ", ".join(setting(key, value) for key, value in entry.settings.items())


def effort(race: Race) -> str:
    """One sentence on what was done: configurations, seeds, samples, gradients, time."""
    samples = race.samples.get("train")
    where = f" on {count(samples)} training samples" if samples else ""
    return (
        f"{plural(len(race.table), 'configuration')}, {plural(race.seeds, 'seed')} each{where}: "
        f"{plural(race.executed, 'gradient')} in {duration(race.seconds)}."
    )


def _score(race: Race, best: Entry) -> str:
    criterion = Criterion(race.criterion)
    if best.confirmed is None or not math.isfinite(best.confirmed):
        known = math.isfinite(best.stderr)
        noise = f" (standard error {criterion.spread(best.stderr)})" if known else ""
        return (
            f"It reaches {_value(criterion, best.held_out)}{noise} on the data it was chosen on; "
            "no other data has confirmed it, so expect a little worse."
        )
    interval = best.confirmation
    bounds = f" (95{THIN}% interval {criterion.bounds(interval)})" if interval else ""
    return (
        f"It reaches {_value(criterion, best.confirmed)}{bounds} on data that the choice never saw."
    )


def _value(criterion: Criterion, stored: float) -> str:
    if criterion.name == "accuracy":
        return f"{criterion.show(stored)} {criterion.label}"
    return f"a {criterion.label} of {criterion.show(stored)}"


def _ties(race: Race, best: Entry) -> str:
    others = [entry for entry in race.table if ranked(entry) and entry is not best]
    if not others:
        return "No other configuration finished." if len(race.table) > 1 else ""
    covered = any(item.optimizer == best.optimizer for item in race.sensitivity)
    groups: dict[str, list[Entry]] = {}
    for entry in others:
        if entry.tied and not (covered and same_but_rate(entry, best)):
            groups.setdefault(entry.optimizer, []).append(entry)
    if groups:
        return f"Within noise of it: {_and([_group(group) for group in groups.values()])}."
    if any(entry.tied for entry in others):
        if len({entry.optimizer for entry in race.table}) > 1:
            return "No other optimiser is within noise of it."
        return ""
    return "Nothing else that was raced is within noise of it."


def _group(entries: Sequence[Entry]) -> str:
    rates = sorted({entry.lr for entry in entries})
    name = label(entries[0].optimizer)
    if len(rates) == 1:
        text = f"{name} at learning rate {rate(rates[0])}"
    else:
        text = f"{name} at learning rates {rate(rates[0])} to {rate(rates[-1])}"
    return text if len(entries) == 1 else f"{text} ({plural(len(entries), 'configuration')})"


def _range(race: Race, best: Entry) -> str:
    found = next((item for item in race.sensitivity if item.optimizer == best.optimizer), None)
    if found is None or not (0 < found.low_lr <= found.high_lr):
        return ""
    fails = ""
    if found.fails_above is not None and math.isfinite(found.fails_above):
        fails = f"; training diverged from {rate(found.fails_above)} on"
    if found.low_lr == found.high_lr:
        tried = {entry.lr for entry in race.table if entry.optimizer == best.optimizer}
        if len(tried) < 2:
            return ""
        return f"No other learning rate that was tried does as well{fails}."
    return (
        f"Learning rates from {rate(found.low_lr)} to {rate(found.high_lr)} do as well "
        f"({width(found)}){fails}."
    )


def _defaults(race: Race, best: Entry) -> str:
    if best.default:
        return "These are the library's default settings: tuning found nothing better."
    if not race.defaults:
        return ""
    criterion = Criterion(race.criterion)
    # Confirmation scores only where both sides have one: selection scores flatter the winner.
    alike = best.confirmed is not None and all(
        entry.confirmed is not None for entry in race.defaults if ranked(entry)
    )
    where = "" if alike else " on the selection data"
    rank = [
        (entry.confirmed if alike and entry.confirmed is not None else entry.held_out, entry)
        for entry in race.defaults
        if ranked(entry)
    ]
    rank.sort(key=lambda pair: pair[0], reverse=True)
    parts = []
    if rank:
        reached = [
            f"{criterion.show(score)} ({label(entry.optimizer)} at {rate(entry.lr)}"
            f"{', within noise' if entry.tied else ''})"
            for score, entry in rank
        ]
        parts.append(f"the library's defaults reach {_and(reached)}{where}")
    for status, verb in (("diverged", "diverged"), ("culled", "were dropped early, behind")):
        names = [label(entry.optimizer) for entry in race.defaults if entry.status == status]
        if names:
            parts.append(f"the defaults of {_and(names)} {verb}")
    if not parts:
        return ""
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _cautions(race: Race, best: Entry) -> Iterable[str]:
    lost = [result for result in best.seeds if result.status == "diverged"]
    if lost:
        yield (
            f"{len(lost)} of {plural(len(best.seeds), 'seed')} diverged at this very setting: "
            "a lower learning rate is safer."
        )
    better = [
        entry
        for entry in race.defaults
        if ranked(entry) and entry is not best and _above(entry.confirmed, best.confirmed)
    ]
    if better:
        names = _and([label(entry.optimizer) for entry in better])
        yield (
            f"On the data that the choice never saw, the defaults of {names} did better: "
            "the difference between them and the winner is noise or worse."
        )


def _edge(race: Race, best: Entry) -> list[str]:
    """That the winner's rate is the last one tried: as the race noted it, or by the table."""
    noted = [note for note in race.notes if note.startswith(f"The best rate of {best.optimizer},")]
    tried = {entry.lr for entry in race.table if same_but_rate(entry, best)}
    if noted or len(tried) < 2 or best.lr not in (min(tried), max(tried)):
        return noted
    end, beyond = ("lowest", "lower") if best.lr == min(tried) else ("highest", "higher")
    return [f"Its learning rate is the {end} that was tried with it: {beyond} ones may do better."]


def _one_seed(race: Race) -> list[str]:
    noted = [note for note in race.notes if note.startswith("One seed")]
    if noted or race.seeds != 1:
        return noted
    return ["One seed only: the intervals do not cover how much the seed matters."]


def _above(one: float | None, other: float | None) -> bool:
    return one is not None and other is not None and one > other


def _nothing(race: Race) -> Answer:
    head, sentences = _why_nothing(race)
    return Answer(
        headline=head,
        sentences=sentences,
        cautions=(),
        line="",
        with_settings="",
        notes=tuple(n for n in race.notes if not n.startswith("Every configuration diverged")),
        unfinished=UNFINISHED if race.unfinished else "",
    )


def _why_nothing(race: Race) -> tuple[str, tuple[str, ...]]:
    if not race.table and race.unfinished:
        return "No answer yet: no run has ended.", ()
    if not race.table:
        return "No answer: nothing ran.", ()
    if any(entry.status != "diverged" for entry in race.table):
        return "No answer: no configuration came to its end.", ()
    rates = sorted(entry.lr for entry in race.table)
    span = f"from {rate(rates[0])} to {rate(rates[-1])}" if len(set(rates)) > 1 else rate(rates[0])
    many = len(race.table) > 1
    whole = f"all of {len(race.table)} configurations" if many else "the only configuration"
    return "No answer: every run diverged.", (
        f"The loss became infinite or not a number in {whole}, "
        f"at learning rate{'s' if many else ''} {span}.",
        f"Race lower rates, for example --lrs {rates[0] / 1e4:.0e}:{rates[0] / 10:.0e}:7, "
        "and check the inputs and targets for extreme values.",
    )


def _and(items: Sequence[str]) -> str:
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"
