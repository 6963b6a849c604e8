"""How do learned filters look, and what do they say of an image? Sheet, parts, orientations."""

from __future__ import annotations

import math
from typing import Any

from thalweg.records_filters import FiltersReport
from thalweg.report.axes import ticks
from thalweg.report.figures import Figure
from thalweg.report.numbers import THIN, clean, count, duration, significant
from thalweg.report.sections.codes import image
from thalweg.report.sheet import Sheet, fill

WIDE = 480  # pixels a sheet of filters takes on the page, or a little more


def draw(record: FiltersReport) -> Sheet:
    """The section of learned filters, or of code maps over them."""
    found = (_learning(record), _orientations(record), _use(record))
    figures = tuple(figure for figure in found if figure is not None)
    mosaic = record.mosaic
    body = fill(
        "filters.html.j2",
        record=record,
        headline=headline(record),
        sentences=sentences(record),
        figures=figures,
        mosaic=None if mosaic is None else image(mosaic, max(1, round(WIDE / mosaic.width))),
        examples=[image(picture, 1) for picture in record.examples],
        parts=[image(picture, 1) for picture in record.parts],
        facts=_facts(record),
        machine=[(clean(k, 60), clean(v, 200)) for k, v in record.machine.items()],
    )
    what = "Filters from" if record.kind == "dictionary" else "Code maps of"
    return Sheet(f"{what} {clean(record.source, 80)}", headline(record), body, figures)


def headline(record: FiltersReport) -> str:
    """What came out, in one sentence."""
    explained = f"{100 * record.explained:.1f}{THIN}%"
    share = f"{significant(100 * record.share, 2)}{THIN}%"
    a, b = record.size
    return (
        f"{count(record.filters)} filters of {a} x {b} pixels explain {explained} of the images' "
        f"energy with {share} of their coefficients."
    )


def sentences(record: FiltersReport) -> list[str]:
    """How exact, how sparse, how different."""
    exact = sum(gap <= record.tol for gap in record.gaps)
    found = [
        f"{exact} of {len(record.gaps)} images are coded within {significant(record.tol, 2)} of "
        f"their optimum (worst relative duality gap: {significant(max(record.gaps), 2)}); "
        f"{significant(record.coefficients / record.pixels, 3)} coefficients a pixel."
    ]
    if record.filters > 1:
        found.append(
            f"Two filters resemble each other by {record.likeness:.2f} in the mean, at the shift "
            "where they do most (1: the same filter moved)."
        )
    idle = sum(share == 0 for share in record.use)
    if idle:
        found.append(f"{idle} of {record.filters} filters are used by none of these images.")
    if record.reseeded:
        found.append(f"{record.reseeded} filters had died while learning and were replaced.")
    return found


def _learning(record: FiltersReport) -> Figure | None:
    steps, energy = record.learned_steps, record.learned_energy
    if len(steps) < 2:
        return None
    line = {
        "x": list(steps),
        "y": list(energy),
        "mode": "lines",
        "line": {"color": "@hue0", "width": 2},
        "hovertemplate": "step %{x:,}: %{y:.4g}<extra></extra>",
    }
    layout = {
        "xaxis": {
            "title": {"text": "batches learned from (log scale)"},
            "type": "log",
            **ticks(steps[0], steps[-1], count),
        },
        "yaxis": {"title": {"text": "energy a pixel"}},
    }
    caption = "Mean since the point before, measured on pieces of images before the filters moved."
    alt = f"Energy a pixel falls from {significant(energy[0])} to {significant(energy[-1])}."
    return Figure("learning", "Energy while learning", caption, alt, [line], layout, 340)


def _orientations(record: FiltersReport) -> Figure | None:
    if record.filters < 2:
        return None
    dots: dict[str, list[Any]] = {"x": [], "y": [], "text": [], "size": [], "fade": []}
    for place, (theta, clear, f) in enumerate(
        zip(record.orientation, record.coherence, record.frequency, strict=True)
    ):
        for side in (theta, theta + 180):  # a line has two ends
            dots["x"].append(f * math.cos(math.radians(side)))
            dots["y"].append(f * math.sin(math.radians(side)))
            dots["text"].append(f"filter {place + 1}: {theta % 180:.0f}°, {f:.2f} cycles a pixel")
            dots["size"].append(6 + 10 * clear)
            dots["fade"].append(0.25 + 0.75 * clear)
    far = 1.1 * max(record.frequency)
    data = [
        {
            "type": "scatter",
            "mode": "markers",
            "x": dots["x"],
            "y": dots["y"],
            "text": dots["text"],
            "marker": {"color": "@hue0", "size": dots["size"], "opacity": dots["fade"]},
            "hovertemplate": "%{text}<extra></extra>",
            "showlegend": False,
        }
    ]
    axis = {"range": [-far, far], "zeroline": True}
    layout = {
        "xaxis": {**axis, "title": {"text": "cycles a pixel, along the edge's direction"}},
        "yaxis": {**axis, "scaleanchor": "x"},
    }
    clear = sum(value >= 0.3 for value in record.coherence)
    caption = (
        "Each filter stands twice, at the two ends of its edges' direction; the distance from the "
        "middle is its mean frequency. Large and strong: one clear orientation."
    )
    alt = f"Orientation and frequency of the filters; {clear} of {record.filters} are oriented."
    return Figure("orientations", "Orientations and scales", caption, alt, data, layout, 420)


def _use(record: FiltersReport) -> Figure | None:
    if record.filters < 2 or not any(record.use):
        return None
    bars = {
        "type": "bar",
        "x": list(range(1, record.filters + 1)),
        "y": list(record.use),
        "marker": {"color": "@hue2"},
        "hovertemplate": "filter %{x}: %{y:.1%}<extra></extra>",
    }
    layout = {
        "xaxis": {"title": {"text": "filter, in the order of the sheet"}},
        "yaxis": {
            "title": {"text": "share of all absolute coefficients"},
            "tickformat": ".0%",
            "rangemode": "tozero",
        },
        "bargap": 0.1,
    }
    caption = "Even bars: every filter does its share."
    alt = f"Shares from {record.use[0]:.1%} down to {record.use[-1]:.1%}."
    return Figure("use", "How much each filter is used", caption, alt, [bars], layout, 340)


def _facts(record: FiltersReport) -> list[tuple[str, str]]:
    a, b = record.size
    border = "inside the image" if record.boundary == "full" else "around a torus"
    facts = [
        ("images", clean(record.source, 80)),
        ("preparation", clean(record.preparation, 120)),
        ("filters", f"{count(record.filters)} of {a} x {b} pixels, {border}"),
        ("weight", f"{record.l1:g}" + (", no negative codes" if record.non_negative else "")),
        ("pixels coded here", count(record.pixels)),
        ("energy a pixel", significant(record.energy, 4)),
    ]
    if record.learned_steps:
        facts.append(("batches learned from", count(record.learned_steps[-1])))
    return [*facts, ("time", duration(record.seconds))]
