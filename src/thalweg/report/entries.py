"""Which entries count, which one won, and how is one described?"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from thalweg.records import Entry, Race, Sensitivity
from thalweg.report.names import label, setting
from thalweg.report.numbers import rate


def winner(race: Race) -> Entry | None:
    """The best entry that was trained to its end with a finite result, if there is one."""
    return next((entry for entry in race.table if ranked(entry)), None)


def ranked(entry: Entry) -> bool:
    """Whether an entry takes part in the ranking: neither diverged nor dropped on the way."""
    return entry.status not in ("diverged", "culled") and math.isfinite(entry.held_out)


def varying(entries: Iterable[Entry]) -> frozenset[str]:
    """Names of hyperparameters and settings, beyond ``lr``, that differ within some optimiser."""
    seen: dict[tuple[str, str], Any] = {}
    names: set[str] = set()
    for entry in entries:
        for name, value in {**entry.hyperparameters, **entry.settings}.items():
            if name != "lr" and seen.setdefault((entry.optimizer, name), value) != value:
                names.add(name)
    return frozenset(names)


def describe(entry: Entry, race: Race) -> str:
    """An entry in words: ``SGD with momentum 0.9 at learning rate 0.1, batch size 32``."""
    name = label(entry.optimizer)
    names = varying(race.table)
    momentum = entry.hyperparameters.get("momentum")
    if entry.optimizer in ("momentum", "nesterov") and momentum is not None:
        name = f"{name} {momentum:g}"
        names -= {"momentum"}
    return ", ".join([f"{name} at learning rate {rate(entry.lr)}", *axes(entry, names)])


def axes(entry: Entry, names: Iterable[str]) -> list[str]:
    """The named hyperparameters and settings of an entry, each in words."""
    values = {**entry.hyperparameters, **entry.settings}
    return [setting(name, values[name]) for name in sorted(names) if name in values]


def same_but_rate(entry: Entry, best: Entry) -> bool:
    """Whether two entries differ in nothing but their learning rate."""

    def rest(one: Entry) -> dict[str, Any]:
        return {k: v for k, v in {**one.hyperparameters, **one.settings}.items() if k != "lr"}

    return entry.optimizer == best.optimizer and rest(entry) == rest(best)


def width(item: Sensitivity) -> str:
    """How wide a range of rates is, as a factor: ``a factor of 3.2``."""
    if not (item.low_lr > 0 and math.isfinite(item.high_lr)):
        return ""
    ratio = item.high_lr / item.low_lr
    return f"a factor of {ratio:,.0f}" if ratio >= 10 else f"a factor of {ratio:.2g}"
