"""How do slices of the loss look? Lines through the weights, and a plane as contours."""

from __future__ import annotations

import math
from typing import Any

from thalweg.records_landscape import LineSlice, PlaneSlice
from thalweg.records_spectrum import SpectrumReport
from thalweg.report.axes import finite, loss_axis, ticks
from thalweg.report.figures import Figure, capital
from thalweg.report.numbers import count, significant

# light to dark for low to high; legible on a light and on a dark page
SHADES = (
    (0.0, "#f2e9d0"),
    (0.25, "#b9d3b0"),
    (0.5, "#5fa8a0"),
    (0.75, "#2f6d8f"),
    (1.0, "#27386b"),
)
SCALED = {
    "filter": "scaled filter by filter to the size of the weights",
    "layer": "scaled layer by layer to the size of the weights",
    "none": "of the length of the weights",
}


def views(found: SpectrumReport) -> list[Figure]:
    """What was looked at."""
    figures = [lines(found.lines)] if found.lines else []
    return figures + ([plane(found.plane)] if found.plane is not None else [])


def lines(slices: tuple[LineSlice, ...]) -> Figure:
    """The loss along each line; equal lengths are equal distances in weight space."""
    axis = loss_axis([v for s in slices for v in s.loss], "loss")
    data: list[dict[str, Any]] = [
        {
            "x": list(s.at),
            "y": [axis.place(v) for v in s.loss],
            "mode": "lines",
            "line": {"color": f"@hue{i}", "width": 2},
            "name": f"along {s.title}",
            "hovertemplate": "at %{x:.2f}: loss %{y:.4g}<extra></extra>",
        }
        for i, s in enumerate(slices)
    ]
    layout = {
        "xaxis": {"title": {"text": "way along the direction; 0: these weights"}, "zeroline": True},
        "yaxis": axis.layout,
    }
    return Figure(
        "lines",
        "The loss along three lines",
        f"A random direction {SCALED.get(slices[0].normalise, '')}, and those of the largest and "
        "the smallest curvature at the same length. Slices show three of many directions.",
        "Loss along three directions through the weights.",
        data,
        layout,
        340,
    )


def plane(found: PlaneSlice) -> Figure:
    """Contours over two random directions; values on a log scale where they span much."""
    seen = finite(v for row in found.loss for v in row)
    log = bool(seen) and min(seen) > 0 and max(seen) / min(seen) > 3

    def place(v: float) -> float | None:
        if not math.isfinite(v) or (log and v <= 0):
            return None
        return math.log10(v) if log else v

    bar: dict[str, Any] = {"title": {"text": "loss"}, "thickness": 12}
    if log:
        marks = ticks(min(seen), max(seen), significant)
        bar |= {
            "tickvals": [math.log10(v) for v in marks["tickvals"]],
            "ticktext": marks["ticktext"],
        }
    data: list[dict[str, Any]] = [
        {
            "type": "contour",
            "x": list(found.x),
            "y": list(found.y),
            "z": [[place(v) for v in row] for row in found.loss],
            "text": [[significant(v) for v in row] for row in found.loss],
            "colorscale": [list(shade) for shade in SHADES],
            "ncontours": 18,
            "line": {"width": 0.5, "color": "#ffffff"},
            "colorbar": bar,
            "hovertemplate": "(%{x:.2f}, %{y:.2f}): loss %{text}<extra></extra>",
        },
        {
            "x": [0],
            "y": [0],
            "mode": "markers",
            "marker": {"symbol": "cross-thin-open", "size": 12, "color": "#1d2427",
                       "line": {"width": 2}},
            "showlegend": False,
            "hovertemplate": "these weights<extra></extra>",
        },
    ]  # fmt: skip
    square = {"showgrid": False, "zeroline": False, "constrain": "domain"}
    layout = {
        "xaxis": {**square, "title": {"text": "a random direction"}},
        "yaxis": {**square, "title": {"text": "another one"}, "scaleanchor": "x"},
    }
    how = capital(SCALED.get(found.normalise, "given directions"))
    return Figure(
        "plane",
        "The loss over a plane",
        f"{how}, {count(len(found.x))} by {count(len(found.y))} values; the cross marks these "
        "weights.",
        "Contours of the loss over two random directions around the weights.",
        data,
        layout,
        460,
    )
