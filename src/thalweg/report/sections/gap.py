"""How much does one encoder pass lose? Explained variance of four kinds of codes, and where."""

from __future__ import annotations

from typing import Any

from thalweg.records_gap import CodeKind, GapReport
from thalweg.report.figures import Figure
from thalweg.report.numbers import THIN, clean, count, duration, significant
from thalweg.report.sheet import Sheet, fill

WORDS = {  # of each kind of codes: name, colour, dash
    "encoder": ("encoder", "@hue1", "solid"),
    "refit": ("encoder's atoms, refitted", "@hue1", "dot"),
    "optimal": ("optimal", "@hue0", "solid"),
    "optimal_refit": ("optimal atoms, refitted", "@hue0", "dot"),
}


def draw(record: GapReport) -> Sheet:
    """The section of one amortisation gap."""
    figures = tuple(f for f in (_variance(record), _excess(record), _missed(record)) if f)
    body = fill(
        "gap.html.j2",
        record=record,
        headline=headline(record),
        sentences=sentences(record),
        kinds=[row(record, kind) for kind in record.kinds],
        figures=figures,
        facts=_facts(record),
        machine=[(clean(k, 60), clean(v, 200)) for k, v in record.machine.items()],
    )
    return Sheet(
        f"Amortisation gap of {clean(record.weights, 80)}", headline(record), body, figures
    )


def kind_of(record: GapReport, name: str) -> CodeKind:
    """The codes of that name; ``ValueError`` if the record lacks them."""
    for kind in record.kinds:
        if kind.name == name:
            return kind
    raise ValueError(f"the record holds no codes called {name!r}")


def best_word(record: GapReport) -> str:
    """What the codes of least energy are called: k-sparse ones are only the best known."""
    return "the optimal codes" if record.problem == "l1" else "the best codes found"


def headline(record: GapReport) -> str:
    """What came out, in one sentence."""
    own, best = kind_of(record, "encoder"), kind_of(record, "optimal")
    return (
        f"The encoder leaves {_percent(own.fvu)} of the variance unexplained; "
        f"{best_word(record)} of the same decoder leave {_percent(best.fvu)}."
    )


def sentences(record: GapReport) -> list[str]:
    """Where the loss comes from."""
    refit = kind_of(record, "refit")
    energy = _cost(record)
    lines = [
        f"{energy}. With the best amplitudes on the encoder's own atoms "
        f"{significant(100 * record.support_share)}{THIN}% of that excess remains: the rest is "
        "amplitudes, such as shrinkage, that a refit cures."
        if record.relative_excess > 0
        else f"{energy}.",
        f"Least squares on its own atoms leaves {_percent(refit.fvu)} unexplained.",
        f"On {_percent(record.wrong)} of the activations its atoms are not the best ones; on "
        f"average it misses {_percent(record.missed)} of those, and {_percent(record.extra)} of "
        "its own are not among them.",
    ]
    if record.certificate is not None:
        lines.append(
            "The optimum is certified: its largest duality gap is "
            f"{significant(record.certificate, 2)} of ½‖x − b‖²."
        )
    return lines


def _cost(record: GapReport) -> str:
    """Its energy beside the best one."""
    ratio = 1 + record.relative_excess
    if ratio < 1:
        less = f"{significant(100 * (1 - ratio))}{THIN}% less energy than {best_word(record)}"
        return f"Its codes, which use more atoms, cost {less}"
    if ratio > 2:
        return f"Its codes cost {significant(ratio)} times the energy of {best_word(record)}"
    more = f"{significant(100 * (ratio - 1))}{THIN}% more energy than {best_word(record)}"
    return f"Its codes cost {more}"


def _percent(share: float) -> str:
    return f"{significant(100 * share)}{THIN}%"


def row(record: GapReport, kind: CodeKind) -> dict[str, str]:
    """One line of the table, in words."""
    name = WORDS[kind.name][0]
    if record.problem != "l1":
        name = name.replace("optimal", "best found")
    median = significant(kind.quantiles[50], 3) if len(kind.quantiles) == 101 else "–"
    return {
        "name": name[:1].upper() + name[1:],
        "fvu": significant(kind.fvu, 3),
        "median": median,
        "l0": f"{kind.l0:.1f}",
        "energy": significant(kind.energy, 4),
    }


def _variance(record: GapReport) -> Figure | None:
    lines = [
        {
            "x": list(kind.quantiles),
            "y": [i / 100 for i in range(101)],
            "mode": "lines",
            "name": row(record, kind)["name"],
            "line": {"color": WORDS[kind.name][1], "dash": WORDS[kind.name][2], "width": 2},
            "hovertemplate": "%{y:.0%} of activations: at most %{x:.3g}<extra></extra>",
        }
        for kind in record.kinds
        if len(kind.quantiles) == 101
    ]
    if not lines:
        return None
    layout = {
        "xaxis": {
            "title": {"text": "variance unexplained of an activation"},
            "rangemode": "tozero",
        },
        "yaxis": {"title": {"text": "share of activations with less"}, "tickformat": ".0%"},
    }
    caption = (
        "Left is better. Between the solid lines lies the amortisation gap; a dotted line shows "
        "what is left when amplitudes are refitted and only the choice of atoms counts."
    )
    ends = "; ".join(f"{WORDS[k.name][0]} {significant(k.fvu, 3)}" for k in record.kinds)
    alt = f"Distribution of the unexplained variance. Over all activations: {ends}."
    return Figure(
        "variance", "What each kind of codes leaves out", caption, alt, lines, layout, 380
    )


def _excess(record: GapReport) -> Figure | None:
    if not record.excess_counts:
        return None
    names = [f"1e{decade}" for decade in record.excess_decades]
    if record.excess_decades[0] == -12:
        names[0] = "≤ 1e-11"
    layout = {
        "xaxis": {"title": {"text": "excess energy ÷ ½‖x − b‖², by decade"}, "type": "category"},
        "yaxis": {"title": {"text": "activations"}},
        "bargap": 0.05,
    }
    bars = _bars(names, list(record.excess_counts))
    caption = "How far above the least energy the encoder's code of each activation is."
    alt = f"Histogram of the excess energy; the mean is {significant(record.excess, 3)}."
    return Figure("excess", "Excess energy of the encoder", caption, alt, bars, layout, 320)


def _missed(record: GapReport) -> Figure | None:
    if not record.missed_counts:
        return None
    names = [f"{10 * i}–{10 * i + 10}{THIN}%" for i in range(len(record.missed_counts))]
    layout = {
        "xaxis": {"title": {"text": "share of the best atoms missed"}, "type": "category"},
        "yaxis": {"title": {"text": "activations"}},
        "bargap": 0.05,
    }
    alt = f"Histogram of the share of missed atoms; the mean is {_percent(record.missed)}."
    caption = "Coherent decoders have near twins: a missed atom may have been replaced by one."
    bars = _bars(names, list(record.missed_counts))
    return Figure("missed", "Atoms the encoder misses", caption, alt, bars, layout, 320)


def _bars(x: list[str], y: list[int]) -> list[dict[str, Any]]:
    hover = "%{x}: %{y:,}<extra></extra>"
    return [{"type": "bar", "x": x, "y": y, "marker": {"color": "@hue0"}, "hovertemplate": hover}]


def _facts(record: GapReport) -> list[tuple[str, str]]:
    problem = f"l1 = {record.l1:g}" if record.l1 is not None else f"k = {clean(record.k, 20)}"
    return [
        ("weights", clean(record.weights, 80)),
        ("layout", clean(record.layout, 40)),
        ("activations", clean(record.activations, 80)),
        ("measured", count(record.samples)),
        ("length of an activation", count(record.inputs)),
        ("atoms", count(record.atoms)),
        ("problem", f"{clean(record.problem, 20)}, {problem}"),
        ("time", duration(record.seconds)),
    ]
