"""What a table says beyond its first line: how forgiving each optimiser is, what to beware of."""

from __future__ import annotations

import math
from collections.abc import Sequence

from thalweg.optim.methods import method
from thalweg.race.space import Configuration
from thalweg.race.table import Table, rank
from thalweg.records import Entry, Sensitivity


def sensitivity(table: Table, optimizers: Sequence[str]) -> tuple[Sensitivity, ...]:
    """Per optimiser: the band of learning rates within noise of its own best one."""
    found = (_band(table, name) for name in optimizers)
    return tuple(band for band in found if band is not None)


def _band(table: Table, optimizer: str) -> Sensitivity | None:
    entries = {c: table.entry(c) for c in table.configurations}
    ranked = table.ranked(table.configurations, entries)
    best = next((c for c in ranked if c.optimizer == optimizer), None)
    if best is None:
        return None
    curve = [c for c in table.configurations if c.without_lr() == best.without_lr()]
    good = {best} | {c for c, (_, tied) in table.behind(best, ranked).items() if tied}
    low, high = _reach(best, curve, good)
    failed = [c.lr for c in curve if entries[c].status == "diverged" and c.lr > best.lr]
    return Sensitivity(
        optimizer=optimizer,
        best_lr=best.lr,
        best_held_out=entries[best].held_out,
        low_lr=low,
        high_lr=high,
        decades=math.log10(high / low),
        fails_above=min(failed, default=None),
    )


def _reach(
    best: Configuration, curve: Sequence[Configuration], good: set[Configuration]
) -> tuple[float, float]:
    """The unbroken band of good rates around the best one."""
    lrs = {c.lr: c in good for c in curve}
    ordered = sorted(lrs)
    at = low = high = ordered.index(best.lr)
    while low > 0 and lrs[ordered[low - 1]]:
        low -= 1
    while high + 1 < len(ordered) and lrs[ordered[high + 1]]:
        high += 1
    assert low <= at <= high
    return ordered[low], ordered[high]


def edges(table: Table) -> list[str]:
    """A sentence for every optimiser whose best rate lies on the edge of what was tried."""
    notes = []
    for name in dict.fromkeys(c.optimizer for c in table.configurations):
        found = best_on_edge(table, name)
        if found is None:
            continue
        best, lrs, _ = found
        beyond = "lower" if best.lr <= min(lrs) else "higher"
        notes.append(
            f"The best rate of {name}, {best.lr:g}, is the {beyond[:-2]}est one tried: "
            f"a {beyond} one may do better."
        )
    return notes


def best_on_edge(
    table: Table, optimizer: str
) -> tuple[Configuration, list[float], list[float]] | None:
    """The optimiser's best configuration if its rate is the lowest or highest that finished.

    Returns:
        The configuration, all rates tried on its curve, and those at which training diverged.
    """
    own = [c for c in table.configurations if c.optimizer == optimizer]
    if method(optimizer).evaluates:
        return None  # its rate is only the length of the first trial step
    entries = {c: table.entry(c) for c in own}
    ranked = table.ranked(own, entries)
    if not ranked:
        return None
    best = ranked[0]
    curve = [c for c in own if c.without_lr() == best.without_lr()]
    lrs = [c.lr for c in curve]
    failed = [c.lr for c in curve if entries[c].status == "diverged"]
    whole = [lr for lr in lrs if lr not in failed]
    on_edge = best.lr <= min(lrs) or (best.lr >= max(whole) and not failed)
    return (best, lrs, failed) if on_edge else None


def outcome(entries: Sequence[Entry]) -> list[str]:
    """Sentences about the whole field."""
    finished = [e for e in entries if e.status == "finished"]
    if not finished:
        return [
            "Every configuration diverged. Look at the data's scale and the initialisation, or "
            "try lower learning rates."
        ]
    best, notes = min(finished, key=rank), []
    if best.seeds and len(best.seeds) == 1:
        notes.append(
            "One seed: the intervals leave out the luck of initial weights and data order. Use "
            "three or more for a verdict."
        )
    tied = sum(e.tied for e in finished)
    if tied >= max(3, len(entries) // 2):
        notes.append(
            f"{tied} of {len(entries)} configurations are within noise of the winner: "
            "on this budget and held-out data the choice hardly matters."
        )
    return notes
