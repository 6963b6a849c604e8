"""How do a dictionary and sparse codes look? Atoms, how many are used, how exact, and examples."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

from markupsafe import Markup

from thalweg.records import CodesReport, Picture
from thalweg.report.axes import ticks
from thalweg.report.figures import Figure
from thalweg.report.numbers import THIN, clean, count, duration, significant
from thalweg.report.sheet import Sheet, fill

SOLVERS = {"ista": ("ISTA", "@hue0", "dot"), "fista": ("FISTA", "@hue1", "dash")}


def draw(record: CodesReport) -> Sheet:
    """The section of one dictionary or one batch of codes."""
    figures = tuple(
        figure
        for figure in (_learning(record), _activity(record), _use(record), _gaps(record))
        if figure is not None
    )
    convergence = _convergence(record)
    figures = figures if convergence is None else (*figures, convergence)
    body = fill(
        "codes.html.j2",
        record=record,
        headline=headline(record),
        sentences=_sentences(record),
        figures=figures,
        mosaic=None if record.mosaic is None else image(record.mosaic, _zoom(record.mosaic)),
        examples=[image(picture, max(1, 240 // picture.width)) for picture in record.examples],
        facts=_facts(record),
        machine=[(clean(k, 60), clean(v, 200)) for k, v in record.machine.items()],
    )
    what = "Dictionary from" if record.kind == "dictionary" else "Codes of"
    return Sheet(f"{what} {clean(record.source, 80)}", headline(record), body, figures)


def headline(record: CodesReport) -> str:
    """What came out, in one sentence."""
    share = f"{100 * record.explained:.1f}{THIN}%"
    few = f"{record.active:.1f} of {count(record.atoms)} atoms"
    if record.kind == "dictionary":
        return f"{few} a signal, on average, explain {share} of the signals' energy."
    return f"Codes of {few} on average explain {share} of the signals' energy."


def _sentences(record: CodesReport) -> list[str]:
    exact = (
        f"{count(record.converged)} of {count(record.samples)} codes are certified within "
        f"{significant(record.tol, 2)} of their optimum"
    )
    if record.gap is not None:
        exact += f" (worst relative duality gap: {significant(record.gap, 2)})"
    sentences = [exact + "."]
    dead = sum(share == 0 for share in record.use)
    if dead:
        sentences.append(f"{dead} of {record.atoms} atoms are used by none of these signals.")
    if record.reseeded:
        sentences.append(f"{record.reseeded} atoms had died while learning and were replaced.")
    return sentences


def image(picture: Picture, zoom: int) -> dict[str, Any]:
    """What the template needs to show a picture ``zoom`` times as large, pixels left square."""
    pixels = base64.b64decode(picture.pixels)
    if len(pixels) != picture.width * picture.height:
        raise ValueError(
            f"picture {picture.title!r}: {picture.width} x {picture.height} needs "
            f"{picture.width * picture.height} bytes, got {len(pixels)}"
        )
    data = base64.b64encode(png(pixels, picture.width, picture.height)).decode()
    return {
        "title": clean(picture.title, 120),
        "source": Markup(f"data:image/png;base64,{data}"),
        "width": picture.width * zoom,
        "height": picture.height * zoom,
        "crisp": zoom > 1,
    }


def png(pixels: bytes, width: int, height: int) -> bytes:
    """A grey 8-bit PNG file of rows of bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    rows = b"".join(b"\0" + pixels[i * width : (i + 1) * width] for i in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows, 9)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _zoom(picture: Picture) -> int:
    """Whole pixels, some 500 of them across."""
    return max(1, round(500 / picture.width))


def _learning(record: CodesReport) -> Figure | None:
    if len(record.learned_seen) < 2:
        return None
    line = {
        "x": list(record.learned_seen),
        "y": list(record.learned_energy),
        "mode": "lines",
        "line": {"color": "@hue0", "width": 2},
        "hovertemplate": "%{x:,} signals: %{y:.4g}<extra></extra>",
    }
    layout = {
        "xaxis": {
            "title": {"text": "signals learned from (log scale)"},
            "type": "log",
            **ticks(record.learned_seen[0], record.learned_seen[-1], count),
        },
        "yaxis": {"title": {"text": "mean energy ½‖x − Dz‖² + penalty"}},
    }
    first, last = record.learned_energy[0], record.learned_energy[-1]
    return Figure(
        "learning",
        "Energy while learning",
        "Mean since the point before, measured on each batch before the atoms moved: during the "
        "first pass over the signals this is a held-out figure.",
        f"Mean energy falls from {significant(first)} to {significant(last)}.",
        [line],
        layout,
        340,
    )


def _activity(record: CodesReport) -> Figure | None:
    if not record.activity:
        return None
    bars = _bars(list(range(len(record.activity))), list(record.activity), "%{x} atoms: %{y:,}")
    layout = {
        "xaxis": {"title": {"text": "atoms in a code"}},
        "yaxis": {"title": {"text": "signals"}},
        "bargap": 0.05,
    }
    caption = f"Mean {record.active:.1f} of {count(record.atoms)} atoms."
    alt = f"Histogram of the number of active atoms, mean {record.active:.1f}."
    return Figure("activity", "How many atoms a code uses", caption, alt, bars, layout, 320)


def _use(record: CodesReport) -> Figure | None:
    if not any(record.use):
        return None
    line = {
        "x": list(range(1, len(record.use) + 1)),
        "y": list(record.use),
        "mode": "lines",
        "line": {"color": "@hue2", "width": 2, "shape": "hv"},
        "hovertemplate": "atom %{x}: %{y:.1%}<extra></extra>",
    }
    layout = {
        "xaxis": {"title": {"text": "atom, most used first"}},
        "yaxis": {
            "title": {"text": "share of signals that use it"},
            "tickformat": ".0%",
            "rangemode": "tozero",
        },
    }
    most, least = record.use[0], record.use[-1]
    alt = f"Use of the atoms, from {most:.1%} of the signals down to {least:.1%}."
    caption = "A flat curve: every atom does its share. A long tail at zero: too many atoms."
    return Figure("use", "How often each atom is used", caption, alt, [line], layout, 320)


def _gaps(record: CodesReport) -> Figure | None:
    if not record.gap_counts:
        return None
    names = [f"1e{d}" for d in record.gap_decades]
    names[0] = f"≤ 1e{record.gap_decades[0] + 1}"
    bars = _bars(names, list(record.gap_counts), "%{x}: %{y:,}")
    layout = {
        "xaxis": {"title": {"text": "relative duality gap, by decade"}, "type": "category"},
        "yaxis": {"title": {"text": "signals"}},
        "bargap": 0.05,
    }
    caption = (
        "The gap bounds how far a code's energy is above the least possible, as a share of ½‖x‖². "
        f"Asked for: {significant(record.tol, 2)}."
    )
    alt = f"Histogram of relative duality gaps; the worst is {significant(record.gap or 0.0, 2)}."
    return Figure("gaps", "How exact the codes are", caption, alt, bars, layout, 320)


def _convergence(record: CodesReport) -> Figure | None:
    lines = [
        {
            "x": list(record.iterations),
            "y": [gap if gap > 0 else None for gap in gaps],
            "mode": "lines+markers",
            "name": SOLVERS.get(name, (clean(name, 20), "@hue3", "solid"))[0],
            "line": {
                "color": SOLVERS.get(name, ("", "@hue3", "solid"))[1],
                "dash": SOLVERS.get(name, ("", "@hue3", "solid"))[2],
                "width": 2,
            },
            "hovertemplate": "%{x} iterations: %{y:.2g}<extra></extra>",
        }
        for name, gaps in record.solver_gaps.items()
    ]
    if not lines:
        return None
    layout = {
        "xaxis": {
            "title": {"text": "iterations from zero (log scale)"},
            "type": "log",
            **ticks(record.iterations[0], record.iterations[-1], count),
        },
        "yaxis": {
            "title": {"text": "median relative duality gap"},
            "type": "log",
            "exponentformat": "power",
            "dtick": 2,
        },
    }
    caption = (
        "Two solvers on up to 200 of these signals. FISTA restarts, and once the support has "
        "settled it solves on it exactly: the drop at its end."
    )
    ends = ", ".join(
        f"{name} {significant(gaps[-1], 2)}" for name, gaps in record.solver_gaps.items()
    )
    alt = f"Median gap after {record.iterations[-1]} iterations: {ends}."
    return Figure("convergence", "How iterative solvers converge", caption, alt, lines, layout, 360)


def _bars(x: list[Any], y: list[int], hover: str) -> list[dict[str, Any]]:
    return [
        {
            "type": "bar",
            "x": x,
            "y": y,
            "marker": {"color": "@hue0"},
            "hovertemplate": f"{hover}<extra></extra>",
        }
    ]


def _facts(record: CodesReport) -> list[tuple[str, str]]:
    facts = [
        ("signals", clean(record.source, 80)),
        ("preparation", clean(record.preparation, 120)),
        ("length of a signal", count(record.inputs)),
        ("atoms", count(record.atoms)),
        ("penalty", f"{clean(record.penalty, 40)}, weight {record.l1:g}"),
        ("signals coded here", count(record.samples)),
        ("mean energy", significant(record.energy, 4)),
    ]
    if record.learned_seen:
        facts.append(("signals learned from", f"{count(record.learned_seen[-1])}, repeats counted"))
    return [*facts, ("time", duration(record.seconds))]
