"""How does a sheet of filters look? The filters, their orientations with pinwheels, the numbers."""

from __future__ import annotations

import math
from typing import Any

from thalweg.records_gap import TopographyReport
from thalweg.report.figures import Figure
from thalweg.report.numbers import clean, duration, significant
from thalweg.report.sections.codes import image
from thalweg.report.sheet import Sheet, fill

# a cycle of hues of about equal lightness: 0 and 180 degrees are the same colour
CYCLE = ("#c4353f", "#b0762a", "#6f8f2a", "#1b8a6b", "#2a6fbb", "#8c4fc4", "#c4353f")


def draw(record: TopographyReport) -> Sheet:
    """The section of one topographic map."""
    figures = (_orientations(record), _invariance(record))
    body = fill(
        "topographic.html.j2",
        record=record,
        headline=headline(record),
        sentences=sentences(record),
        mosaic=image(record.mosaic, max(1, round(640 / record.mosaic.width))),
        figures=figures,
        facts=_facts(record),
        machine=[(clean(k, 60), clean(v, 200)) for k, v in record.machine.items()],
    )
    return Sheet(f"Topographic map of {clean(record.source, 80)}", headline(record), body, figures)


def headline(record: TopographyReport) -> str:
    """What came out, in one sentence."""
    return (
        f"Neighbours on the torus are alike: mean |cos| {record.neighbours:.2f}, against "
        f"{record.strangers:.2f} between strangers."
    )


def sentences(record: TopographyReport) -> list[str]:
    """The orientation map and the pools in words."""
    total = sum(record.windings)
    return [
        f"Between neighbours orientation turns by {record.roughness:.0f} degrees in the median "
        f"(45 by chance). {record.pinwheels} plaquettes of four clearly oriented filters are "
        f"pinwheels; all windings of the torus sum to {significant(total, 2)}.",
        f"When patches move by one pixel, responses of pools correlate by {record.pool_shift:.2f}, "
        f"those of single units by {record.unit_shift:.2f}; when they turn by 10 degrees, by "
        f"{record.pool_rotation:.2f} and {record.unit_rotation:.2f}.",
    ]


def _orientations(record: TopographyReport) -> Figure:
    a, b = record.grid
    degrees = [math.degrees(theta) % 180 for theta in record.orientation]
    grid = [degrees[i * b : (i + 1) * b] for i in range(a)]
    scale = [[i / (len(CYCLE) - 1), colour] for i, colour in enumerate(CYCLE)]
    data: list[dict[str, Any]] = [
        {
            "type": "heatmap",
            "z": grid,
            "zmin": 0,
            "zmax": 180,
            "colorscale": scale,
            "colorbar": {
                "title": {"text": "degrees", "side": "top"},
                "tickvals": [0, 45, 90, 135, 180],
                "orientation": "h",
                "x": 0,
                "xanchor": "left",
                "len": 0.5,
                "thickness": 12,
                "y": -0.13,
                "yanchor": "top",
            },
            "hovertemplate": "row %{y}, column %{x}: %{z:.0f}°<extra></extra>",
        }
    ]
    for sign, symbol, name in ((1, "circle", "winding +½"), (-1, "x", "winding −½")):
        places = [
            divmod(i, b)
            for i, (w, trusted) in enumerate(zip(record.windings, record.trusted, strict=True))
            if trusted and w * sign > 0
        ]
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "x": [column + 0.5 for _, column in places],
                "y": [row + 0.5 for row, _ in places],
                "marker": {
                    "symbol": symbol,
                    "size": 11,
                    "color": "#ffffff",
                    "line": {"width": 1.5, "color": "#1d2427"},
                },
                "hovertemplate": f"{name}<extra></extra>",
            }
        )
    side = {"showgrid": False, "zeroline": False, "constrain": "domain"}
    left = {"constraintoward": "left"}
    layout = {
        "xaxis": {
            **side,
            **left,
            "title": {"text": "column of the torus"},
            "range": [-0.5, b - 0.5],
        },
        "yaxis": {
            **side,
            "title": {"text": "row"},
            "range": [a - 0.5, -0.5],
            "scaleanchor": "x",
        },
        "plot_bgcolor": "#3a4247",
    }
    caption = (
        "Orientation of each filter's edges by its structure tensor. A mark is a pinwheel: around "
        "it every orientation occurs once. Marks are set only where all four filters are clear."
    )
    alt = f"Map of orientations on the {a} x {b} torus with {record.pinwheels} pinwheels."
    return Figure("orientations", "Orientation map", caption, alt, data, layout, 640)


def _invariance(record: TopographyReport) -> Figure:
    names = ["shift by a pixel", "rotation by 10 degrees"]
    data = [
        {
            "type": "bar",
            "name": name,
            "x": names,
            "y": values,
            "marker": {"color": colour},
            "hovertemplate": "%{x}: %{y:.3f}<extra></extra>",
        }
        for name, values, colour in (
            ("single units", [record.unit_shift, record.unit_rotation], "@hue1"),
            ("pools", [record.pool_shift, record.pool_rotation], "@hue0"),
        )
    ]
    layout = {
        "yaxis": {"title": {"text": "mean correlation with the patch at rest"}, "range": [0, 1]},
        "barmode": "group",
    }
    caption = (
        "1: the response does not notice the change. Units answer with the size of their code."
    )
    alt = (
        f"Under shifts units {record.unit_shift:.2f}, pools {record.pool_shift:.2f}; under "
        f"rotations units {record.unit_rotation:.2f}, pools {record.pool_rotation:.2f}."
    )
    return Figure("invariance", "Responses under small changes", caption, alt, data, layout, 340)


def _facts(record: TopographyReport) -> list[tuple[str, str]]:
    return [
        ("learned from", clean(record.source, 80)),
        ("torus", f"{record.grid[0]} x {record.grid[1]} units"),
        ("pools", clean(record.pool, 80)),
        ("patch", f"{record.patch[0]} x {record.patch[1]} pixels, whitened"),
        ("time", duration(record.seconds)),
    ]
