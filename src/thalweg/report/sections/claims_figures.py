"""How is a chart that travels as data drawn? Lines, points, bars, bands; log axes where asked."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from thalweg.records_claims import Chart, Curve
from thalweg.report.axes import finite, ticks
from thalweg.report.figures import Figure, plotly_text
from thalweg.report.numbers import clean, significant

HUES = 8
DASHES = ("solid", "dash", "dot")
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "x", "star", "pentagon")


def draw(chart: Chart, name: str, height: int = 360) -> Figure:
    """One chart as plotly data.

    Args:
        chart: The figure as data.
        name: Of the figure inside its page.
        height: In pixels.
    """
    data: list[dict[str, Any]] = []
    for place, curve in enumerate(chart.curves):
        data += _band(curve, place, chart)
        data.append(_trace(curve, place, chart))
    layout: dict[str, Any] = {
        "xaxis": _axis(chart.x_label, chart.x_log, _xs(chart)),
        "yaxis": _axis(chart.y_label, chart.y_log, _ys(chart)),
        "bargap": 0.1,
    }
    if len(chart.curves) == 1:
        layout["showlegend"] = False
    return Figure(
        name, clean(chart.title, 120), clean(chart.caption, 600), _alt(chart), data, layout, height
    )


def _trace(curve: Curve, place: int, chart: Chart) -> dict[str, Any]:
    colour = f"@hue{place % HUES}"
    name = plotly_text(clean(curve.name, 60))
    hover = "%{x:.4~g}: %{y:.4~g}"
    shared = {
        "x": _places(curve.x, chart.x_log),
        "y": _places(curve.y, chart.y_log),
        "name": name,
        "hovertemplate": f"{name}, {hover}<extra></extra>",
    }
    if curve.kind == "bars":
        return {"type": "bar", "marker": {"color": colour}, **shared}
    modes = {"points": "markers", "both": "lines+markers"}
    few = len(curve.x) < 2
    return {
        "mode": "markers" if few else modes.get(curve.kind, "lines"),
        "line": {
            "color": colour,
            "width": 2,
            "dash": DASHES[place // HUES % len(DASHES)],
        },
        "marker": {"color": colour, "size": 7, "symbol": SYMBOLS[place % len(SYMBOLS)]},
        **shared,
    }


def _band(curve: Curve, place: int, chart: Chart) -> list[dict[str, Any]]:
    """The range around a curve as a filled outline; none where it is not known."""
    if len(curve.low) != len(curve.x) or len(curve.high) != len(curve.x) or not curve.x:
        return []
    return [
        {
            "x": _places((*curve.x, *reversed(curve.x)), chart.x_log),
            "y": _places((*curve.high, *reversed(curve.low)), chart.y_log),
            "fill": "toself",
            "fillcolor": f"@hue{place % HUES}/0.15",
            "line": {"width": 0},
            "mode": "lines",
            "hoverinfo": "skip",
            "showlegend": False,
        }
    ]


def _places(values: Iterable[float], log: bool) -> list[float | None]:
    """What plotly may be given: finite, and positive on a log axis."""
    return [v if math.isfinite(v) and (v > 0 or not log) else None for v in values]


def _axis(label: str, log: bool, values: list[float]) -> dict[str, Any]:
    axis: dict[str, Any] = {"title": {"text": plotly_text(clean(label, 80))}}
    if not log:
        return axis
    positive = [v for v in values if v > 0]
    if not positive:
        return {**axis, "type": "log"}
    return {**axis, "type": "log", **ticks(min(positive), max(positive), _mark)}


def _mark(number: float) -> str:
    return significant(number, 2)


def _xs(chart: Chart) -> list[float]:
    return finite(x for curve in chart.curves for x in curve.x)


def _ys(chart: Chart) -> list[float]:
    return finite(y for curve in chart.curves for y in (*curve.y, *curve.low, *curve.high))


def _alt(chart: Chart) -> str:
    """For those who cannot see it: what is drawn, and where each curve ends."""
    ends = "; ".join(
        f"{clean(curve.name, 60)} ends at {significant(curve.y[-1])}"
        for curve in chart.curves[:6]
        if curve.y
    )
    return f"{clean(chart.y_label, 80)} against {clean(chart.x_label, 80)}. {ends}."
