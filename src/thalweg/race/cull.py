"""Which configurations need not be trained to the end? Halving, with a guard against bad luck."""

from __future__ import annotations

from collections.abc import Mapping

from thalweg.race.score import Comparison, Floats
from thalweg.race.space import Configuration

RUNGS = (0.125, 0.25, 0.5)  # shares of the budget after which the field is halved
FEWEST = 4  # a field this small is raced to the end


def survivors(values: Mapping[Configuration, Floats], comparison: Comparison) -> set[Configuration]:
    """The configurations that go on.

    Args:
        values: Criterion ``(S, u)`` on the selection part of every configuration still racing.
        comparison: Paired intervals over the same units and seeds.

    The better half goes on. Beside it: everything within one standard error of the last one in
    (the cut must not be luck), for every optimiser that goes on the next lower learning rate than
    its best one (low rates start slowly and may win late), and the library's defaults (the answer
    is compared with them).
    """
    field = [c for c in values if not c.default]
    keep = {c for c in values if c.default}
    if len(field) <= FEWEST:
        return set(values)
    ranked = sorted(field, key=lambda c: -float(comparison.interval(values[c]).value))
    half = (len(ranked) + 1) // 2
    last = ranked[half - 1]
    keep.update(ranked[:half])
    for c in ranked[half:]:
        gap = comparison.interval(values[last] - values[c])
        if gap.value <= gap.stderr:
            keep.add(c)
    for best in ranked[:half]:
        slower = [c for c in field if c.without_lr() == best.without_lr() and c.lr < best.lr]
        leads = not any(c.without_lr() == best.without_lr() for c in ranked[: ranked.index(best)])
        if leads and slower:
            keep.add(max(slower, key=lambda c: c.lr))
    return keep
