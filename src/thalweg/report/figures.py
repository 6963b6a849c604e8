"""How does a race look? U-curves and training curves as plain plotly data, drawn by the page.

Colours are names (``@hue0``, ``@ink``, ``@hue0/0.15`` with its opacity): the page puts in those of
the light or the dark scheme, so that one figure serves both.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from thalweg.records import Entry, Race, SeedResult
from thalweg.report.axes import Axis, criterion_axis, loss_axis, rate_axis
from thalweg.report.names import label, look, short
from thalweg.report.numbers import Criterion, count, rate, significant
from thalweg.report.words import axes, ranked, varying, winner


@dataclass(frozen=True, slots=True)
class Figure:
    """One chart: what plotly is given, a caption, and a text for those who cannot see it."""

    name: str
    title: str
    caption: str
    alt: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]
    height: int = 400


def optimizers(race: Race) -> list[str]:
    """The optimisers of a race, the best first."""
    return list(dict.fromkeys(entry.optimizer for entry in race.table))


def u_curves(race: Race) -> Figure:
    """The criterion against the learning rate, a curve per optimiser, other axes at their best."""
    criterion = Criterion(race.criterion)
    shown = [entry for entry in race.table if ranked(entry) and entry.lr > 0]
    axis = criterion_axis(
        criterion, (entry.held_out for entry in shown), race.samples.get("selection")
    )
    lost = _diverged(race)
    data: list[dict[str, Any]] = []
    for name in optimizers(race):
        points = _best_by_rate(entry for entry in shown if entry.optimizer == name)
        data += _bands(points, name, axis, lost.get(name, ()))
        data += _curve(race, points, name, axis, lost.get(name, ()))
    rates = [entry.lr for entry in race.table]
    layout: dict[str, Any] = {"xaxis": rate_axis(rates), "yaxis": axis.layout}
    if lost:
        _strip(lost, data, layout)
    return Figure(
        "u-curves",
        f"{_capital(criterion.label)} against learning rate",
        _u_caption(race, bool(lost)),
        _u_alt(race, criterion),
        data,
        layout,
        height=430 + 22 * len(lost),
    )


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
        ("training-held-out", _capital(criterion.label), "held_out", held),
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


def _best_by_rate(entries: Iterable[Entry]) -> list[Entry]:
    found: dict[float, Entry] = {}
    for entry in entries:  # best first
        found.setdefault(entry.lr, entry)
    return [found[lr] for lr in sorted(found)]


def _diverged(race: Race) -> dict[str, list[float]]:
    """Rates at which nothing of an optimiser survived, by optimiser."""
    alive = {(entry.optimizer, entry.lr) for entry in race.table if entry.status != "diverged"}
    lost: dict[str, list[float]] = {}
    for entry in race.table:
        gone = (entry.optimizer, entry.lr) not in alive and entry.lr > 0
        if gone and entry.lr not in lost.setdefault(entry.optimizer, []):
            lost[entry.optimizer].append(entry.lr)
    return {name: sorted(rates) for name, rates in lost.items() if rates}


def _runs(points: Sequence[Entry], lost: Sequence[float]) -> list[list[Entry]]:
    """Neighbouring points, cut wherever a diverged rate lies between them."""
    runs: list[list[Entry]] = []
    for point in points:
        last = runs[-1][-1].lr if runs else None
        if last is None or any(last < lr < point.lr for lr in lost):
            runs.append([])
        runs[-1].append(point)
    return runs


def _bands(
    points: Sequence[Entry], name: str, axis: Axis, lost: Sequence[float]
) -> list[dict[str, Any]]:
    style = look(name)
    bands: list[dict[str, Any]] = []
    for run in _runs([point for point in points if math.isfinite(point.stderr)], lost):
        rates = [point.lr for point in run]
        upper = [axis.place(point.held_out + point.stderr) for point in run]
        lower = [axis.place(point.held_out - point.stderr) for point in run]
        if None in upper or None in lower:
            continue
        bands.append(
            {
                "x": rates + rates[::-1],
                "y": upper + lower[::-1],
                "fill": "toself",
                "fillcolor": f"@hue{style.hue}/0.16",
                "line": {"width": 0 if len(run) > 1 else 2, "color": f"@hue{style.hue}/0.4"},
                "mode": "lines",
                "hoverinfo": "skip",
                "showlegend": False,
                "legendgroup": _text(name),
            }
        )
    return bands


def _curve(
    race: Race, points: Sequence[Entry], name: str, axis: Axis, lost: Sequence[float]
) -> list[dict[str, Any]]:
    style, colour = look(name), f"@hue{look(name).hue}"
    best = winner(race)
    x: list[float | None] = []
    y: list[float | None] = []
    hover: list[str] = []
    for run in _runs(points, lost):
        if x:  # a gap in the line
            x, y, hover = [*x, None], [*y, None], [*hover, ""]
        x += [point.lr for point in run]
        y += [axis.place(point.held_out) for point in run]
        hover += [_hover(race, point) for point in run]
    curve = {
        "x": x,
        "y": y,
        "mode": "lines+markers",
        "name": _text(short(name)),
        "legendgroup": _text(name),
        "line": {"color": colour, "width": 2, "dash": style.dash},
        "marker": {"color": colour, "size": 6, "symbol": style.marker},
        "customdata": hover,
        "hovertemplate": "%{customdata}<extra></extra>",
        "connectgaps": False,
    }
    ringed = [point for point in points if point.tied or point is best]
    rings = {
        "x": [point.lr for point in ringed],
        "y": [axis.place(point.held_out) for point in ringed],
        "mode": "markers",
        "showlegend": False,
        "legendgroup": _text(name),
        "hoverinfo": "skip",
        "marker": {
            "color": [colour if point is best else "@surface" for point in ringed],
            "size": [14 if point is best else 11 for point in ringed],
            "symbol": style.marker,
            "line": {"color": "@ink", "width": 2},
        },
    }
    return [curve, rings] if ringed else [curve]


def _hover(race: Race, entry: Entry) -> str:
    criterion = Criterion(race.criterion)
    lines = [
        f"<b>{_text(label(entry.optimizer))}</b>",
        f"learning rate {significant(entry.lr, 4)}",
        f"{criterion.show(entry.held_out)} ± {criterion.spread(entry.stderr)}",
        *(_text(part) for part in axes(entry, varying(race.table))),
    ]
    if entry is winner(race):
        lines.append("<b>best</b>")
    elif entry.tied:
        lines.append("tied within noise")
    return "<br>".join(lines)


def _strip(lost: dict[str, list[float]], data: list[Any], layout: dict[str, Any]) -> None:
    """Below the curves, a narrow row per optimiser with a cross at each rate that diverged."""
    height = 0.05 + 0.035 * len(lost)
    layout["yaxis"] = {**layout["yaxis"], "domain": [height + 0.05, 1]}
    layout["yaxis2"] = {
        "domain": [0, height],
        "range": [-0.7, len(lost) - 0.3],
        "tickvals": [(len(lost) - 1) / 2],
        "ticktext": ["diverged"],
        "showgrid": False,
        "zeroline": False,
        "fixedrange": True,
    }
    layout["xaxis"] = {**layout["xaxis"], "anchor": "y2"}
    for row, (name, rates) in enumerate(reversed(lost.items())):
        data.append(
            {
                "x": rates,
                "y": [row] * len(rates),
                "yaxis": "y2",
                "mode": "markers",
                "name": _text(short(name)),
                "legendgroup": _text(name),
                "showlegend": False,
                "marker": {
                    "symbol": "x-thin",
                    "size": 8,
                    "line": {"width": 2, "color": f"@hue{look(name).hue}"},
                },
                "customdata": [f"{_text(label(name))} diverged at {rate(lr)}" for lr in rates],
                "hovertemplate": "%{customdata}<extra></extra>",
            }
        )


def _training_lines(entry: Entry, field: str, axis: Axis) -> list[dict[str, Any]]:
    style, colour = look(entry.optimizer), f"@hue{look(entry.optimizer).hue}"
    group = {"legendgroup": _text(entry.optimizer), "name": _text(short(entry.optimizer))}
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
                    f"<b>{_text(short(entry.optimizer))}</b> at {rate(entry.lr)}<br>"
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


def _u_caption(race: Race, lost: bool) -> str:
    parts = ["Mean over seeds, band: ± one standard error; large filled marker: the best"]
    if any(entry.tied for entry in race.table):
        parts[0] += ", open markers: tied with it within noise"
    if varying(race.table):
        parts.append("Other settings are at their best for each rate")
    if lost:
        parts.append("Crosses: training diverged")
    return ". ".join(parts) + "."


def _u_alt(race: Race, criterion: Criterion) -> str:
    best: dict[str, Entry] = {}
    for entry in race.table:
        if ranked(entry):
            best.setdefault(entry.optimizer, entry)
    said = "; ".join(
        f"{label(name)} is best at {rate(entry.lr)} with {criterion.show(entry.held_out)}"
        for name, entry in best.items()
    )
    return f"{_capital(criterion.label)} against learning rate. {said or 'Every run diverged'}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _text(text: str) -> str:
    """Plotly reads a little HTML in its labels; names of others must stay plain text."""
    return html.escape(text, quote=False)
