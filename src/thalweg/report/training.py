"""How did training go? Loss and held-out criterion along the way, for each optimiser's best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from thalweg.records import Entry, Race, SeedResult
from thalweg.report.axes import Axis, criterion_axis, loss_axis
from thalweg.report.entries import ranked
from thalweg.report.figures import Figure, capital, plotly_text
from thalweg.report.names import look, short
from thalweg.report.numbers import Criterion, count, rate, significant


def training_curves(race: Race) -> list[Figure]:
    """Training loss and held-out criterion while training, for the best entry of each optimiser."""
    best: dict[str, Entry] = {}
    for entry in race.table:
        if ranked(entry) and any(seed.trace.evaluations for seed in entry.seeds):
            best.setdefault(entry.optimizer, entry)
    if not best:
        return []
    criterion = Criterion(race.criterion)
    traces = [seed.trace for entry in best.values() for seed in entry.seeds]
    losses = loss_axis((x for trace in traces for x in trace.train_loss), "training loss")
    held = criterion_axis(
        criterion, (x for trace in traces for x in trace.held_out), race.samples.get("selection")
    )
    which = "; ".join(f"{short(name)} at {rate(entry.lr)}" for name, entry in best.items())
    tail = f"The best setting of each optimiser ({which}). Thin: one seed. Thick: their mean."
    figures = []
    for name, title, field, axis in (
        ("training-loss", "Training loss", "train_loss", losses),
        ("training-held-out", capital(criterion.label), "held_out", held),
    ):
        data = [line for entry in best.values() for line in _training_lines(entry, field, axis)]
        if data:
            layout = {
                "xaxis": {"title": {"text": "gradient evaluations"}, "rangemode": "tozero"},
                "yaxis": axis.layout,
            }
            alt = f"{title} against gradient evaluations for {which}."
            figures.append(Figure(name, f"{title} while training", tail, alt, data, layout, 360))
    return figures


def _training_lines(entry: Entry, field: str, axis: Axis) -> list[dict[str, Any]]:
    style, colour = look(entry.optimizer), f"@hue{look(entry.optimizer).hue}"
    group = {
        "legendgroup": plotly_text(entry.optimizer),
        "name": plotly_text(short(entry.optimizer)),
    }
    lines: list[dict[str, Any]] = []
    for seed in entry.seeds:
        points = _points(seed, field)
        if points:
            lines.append(
                {
                    **group,
                    "x": list(points),
                    "y": [axis.place(y) for y in points.values()],
                    "mode": "lines",
                    "line": {"color": f"{colour}/0.35", "width": 1, "dash": style.dash},
                    "showlegend": False,
                    "hoverinfo": "skip",
                }
            )
    mean = _mean([_points(seed, field) for seed in entry.seeds])
    if mean:
        lines.append(
            {
                **group,
                "x": list(mean),
                "y": [axis.place(y) for y in mean.values()],
                "mode": "lines" if len(mean) > 1 else "markers",
                "line": {"color": colour, "width": 2.5, "dash": style.dash},
                "marker": {"color": colour, "symbol": style.marker},
                "customdata": [
                    f"<b>{plotly_text(short(entry.optimizer))}</b> at {rate(entry.lr)}<br>"
                    f"{count(x)} gradients: {significant(y)}"
                    for x, y in mean.items()
                ],
                "hovertemplate": "%{customdata}<extra></extra>",
            }
        )
    return lines


def _points(seed: SeedResult, field: str) -> dict[int, float]:
    return dict(zip(seed.trace.evaluations, getattr(seed.trace, field), strict=False))


def _mean(seeds: Sequence[dict[int, float]]) -> dict[int, float]:
    """The mean where every seed was measured; a seed that ended early ends it."""
    seeds = [seed for seed in seeds if seed]
    shared = sorted(set.intersection(*map(set, seeds))) if seeds else []
    return {x: sum(seed[x] for seed in seeds) / len(seeds) for x in shared}
