"""How much does the learning rate matter? One curve per optimiser, with what diverged below."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from thalweg.records import Entry, Race
from thalweg.report.axes import Axis, criterion_axis, rate_axis
from thalweg.report.entries import axes, ranked, varying, winner
from thalweg.report.figures import Figure, capital, optimizers, plotly_text
from thalweg.report.names import label, look, short
from thalweg.report.numbers import Criterion, rate, significant


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
        f"{capital(criterion.label)} against learning rate",
        _u_caption(race, bool(lost)),
        _u_alt(race, criterion),
        data,
        layout,
        height=430 + 22 * len(lost),
    )


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
                "legendgroup": plotly_text(name),
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
        "name": plotly_text(short(name)),
        "legendgroup": plotly_text(name),
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
        "legendgroup": plotly_text(name),
        "hoverinfo": "skip",
        "marker": {
            "color": [colour if point is best else "@surface" for point in ringed],
            "size": [14 if point is best else 11 for point in ringed],
            "symbol": style.marker,
            "opacity": 1,
            "line": {"color": "@ink", "width": 2},
        },
    }
    return [curve, rings] if ringed else [curve]


def _hover(race: Race, entry: Entry) -> str:
    criterion = Criterion(race.criterion)
    lines = [
        f"<b>{plotly_text(label(entry.optimizer))}</b>",
        f"learning rate {significant(entry.lr, 4)}",
        f"{criterion.show(entry.held_out)} ± {criterion.spread(entry.stderr)}",
        *(plotly_text(part) for part in axes(entry, varying(race.table))),
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
                "name": plotly_text(short(name)),
                "legendgroup": plotly_text(name),
                "showlegend": False,
                "marker": {
                    "symbol": "x-thin",
                    "size": 8,
                    "line": {"width": 2, "color": f"@hue{look(name).hue}"},
                },
                "customdata": [
                    f"{plotly_text(label(name))} diverged at {rate(lr)}" for lr in rates
                ],
                "hovertemplate": "%{customdata}<extra></extra>",
            }
        )


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
    return f"{capital(criterion.label)} against learning rate. {said or 'Every run diverged'}."
