"""How is a spectrum shown? What it means for the rate, both ends, the density, the layers."""

from __future__ import annotations

import math
from typing import Any

from thalweg.records_landscape import BatchAdvice, CriticalPoint
from thalweg.records_spectrum import Share, SpectrumReport
from thalweg.report.axes import ticks
from thalweg.report.figures import Figure, plotly_text
from thalweg.report.numbers import clean, count, duration, significant
from thalweg.report.sections.spectrum_views import views
from thalweg.report.sheet import Sheet, fill

NAMES = {
    "hessian": "Hessian",
    "ggn": "generalised Gauss-Newton matrix",
    "fisher": "empirical Fisher matrix",
}
FLOOR = 1e-6  # of the peak: densities below are not drawn


def draw(found: SpectrumReport) -> Sheet:
    """The sheet of one spectrum."""
    figures = [density(found)] if found.grid else []
    if len(found.layers) > 1:
        figures.append(layers(found))
    figures += views(found)
    return Sheet(
        title=f"Curvature of {clean(found.task, 60)}",
        summary=headline(found),
        body=fill(
            "spectrum.html.j2",
            found=found,
            headline=headline(found),
            sentences=sentences(found),
            rates=rate_rows(found),
            ends=end_rows(found),
            layers=layer_rows(found),
            shares=share_rows(found),
            batches=batch_rows(found.batch) if found.batch is not None else [],
            noises=noise_rows(found),
            figures=figures,
            facts=facts(found),
            effort=effort(found),
        ),
        figures=tuple(figures),
    )


def headline(found: SpectrumReport) -> str:
    """The rate, in one line."""
    top = found.largest[0]
    if top <= 0:
        return (
            f"No positive curvature at these weights of {clean(found.task, 60)}: it limits no "
            "learning rate."
        )
    if found.operator != "hessian":
        return f"The {NAMES[found.operator]} reaches {significant(top)} at these weights."
    limit = significant(2 / top)
    if found.quadratic:
        return (
            f"λmax = {significant(top)}, and the loss is a quadratic: plain descent on all the "
            f"data converges below a rate of {limit} and diverges above it."
        )
    return (
        f"λmax = {significant(top)}: the first steps of plain descent are stable up to a rate of "
        f"{limit}."
    )


def sentences(found: SpectrumReport) -> list[str]:
    """What else there is to say."""
    said = []
    if found.operator == "hessian" and not found.quadratic and found.largest[0] > 0:
        said.append(
            "On a quadratic this limit is exact. Here it is a cautious one: training on whole data "
            "sets re-settles at the edge of stability and often survives far above it; minibatches "
            "lower what is useful. Where a rate fails is measured by a race."
        )
    if found.samples < found.of and found.largest_stderr:
        said.append(
            f"From {count(found.samples)} of {count(found.of)} samples, drawn at random: another "
            f"draw changes λmax by ± {significant(found.largest_stderr, 2)} (one standard error), "
            "and few samples make it too large rather than too small. --samples 0 takes all."
        )
    if found.critical is not None:
        said.append(place(found))
    elif found.smallest and found.smallest[0] < -found.smallest_residuals[0]:
        said.append(
            f"The most negative eigenvalue is {significant(found.smallest[0])}, certain to within "
            f"{significant(found.smallest_residuals[0])}: these weights are no minimum."
        )
    said.append(condition(found))
    zero = found.near_zero[-1]
    said.append(
        f"{share(zero)} of the {count(found.parameters)} eigenvalues lie within "
        f"{significant(zero.below)} of zero (a hundredth of the largest); "
        f"{share(found.negative)} lie below −{significant(found.negative.below)}."
    )
    if found.batch is not None:
        said.append(batch(found.batch))
    return said


def place(found: SpectrumReport) -> str:
    """Minimum, saddle, plateau or none of them, and how many directions curve downwards."""
    at = found.critical
    assert at is not None
    down = ""
    if at.lowest + at.lowest_residual < -at.tol_curvature:
        down = (
            f" {directions(at)} curve downwards; along the steepest, curvature "
            f"{significant(at.lowest)} within {significant(at.lowest_residual, 2)} for certain"
        )
        down += (
            f", the loss falls by {significant(at.drop)} over a way of {significant(at.drop_step)}."
            if at.drop and at.drop_step
            else "."
        )
    if at.kind == "not critical":
        return (
            f"No critical point: the gradient norm is {significant(at.gradient_norm)} (it would be "
            f"one at {significant(at.tol_gradient)}, --tol-gradient)."
            + (down or " No direction was found to curve downwards.")
        )
    sure = {
        "saddle": "A saddle, proved by a negative eigenvalue.",
        "minimum": "A minimum.",
        "maximum": "A maximum.",
        "plateau": "A plateau: no curvature stands out of zero.",
        "degenerate": "Flat in some directions and rising in the others: second derivatives do "
        "not tell whether it is a minimum.",
    }[at.kind]
    if not at.proved:
        sure += " Likely, not certain: eigenvalues were sought at the ends only."
    return f"The gradient vanishes (norm {significant(at.gradient_norm)}). {sure}{down}"


def directions(at: CriticalPoint) -> str:
    """The index in words: exact, or bounds."""
    of = f"of {count(at.parameters)} directions"
    if at.method == "dense":
        return f"{count(at.index)} {of}"
    low, high = max(1, math.floor(at.index_low)), math.ceil(at.index_high)
    if high > 2 * low:  # most of them are near zero: their signs are not known
        return f"Between {count(low)} and {count(high)} {of}"
    middle = min(max(round(at.index), low), high)
    return f"About {count(middle)} ({count(low)} to {count(high)}) {of}"


def batch(advice: BatchAdvice) -> str:
    """The noise scale and what to do about it."""
    span = "" if advice.low == advice.high else f" ({count(advice.low)} to {count(advice.high)})"
    return (
        f"Batch size: about {count(advice.batch_size)}{span} here, since {clean(advice.reason)}. "
        "It usually grows while training goes on."
    )


def batch_rows(advice: BatchAdvice) -> list[tuple[str, ...]]:
    """Batch size, updates and samples needed, around the noise scale."""
    near = [
        i for i, m in enumerate(advice.sizes) if advice.batch_size / 32 < m < advice.batch_size * 32
    ]
    return [
        (
            count(advice.sizes[i]),
            f"{significant(advice.steps[i], 2)} ×",
            f"{significant(advice.samples[i], 2)} ×",
        )
        for i in near
    ]


def noise_rows(found: SpectrumReport) -> list[tuple[str, ...]]:
    """Layer weights: noise and signal of the gradient."""
    if found.batch is None:
        return []
    return [
        (clean(name, 40), significant(trace), significant(square),
         significant(trace / square) if square > 0 else "∞")
        for name, (trace, square) in found.batch.noise.layers.items()
    ]  # fmt: skip


def condition(found: SpectrumReport) -> str:
    """The condition number in a sentence."""
    if found.condition is None:
        return f"There is no condition number: {found.condition_reason}"
    relation = "is" if found.condition_exact else "is at least"
    return (
        f"The condition number (largest to smallest non-zero) {relation} "
        f"{significant(found.condition)}: {found.condition_reason}"
    )


def share(s: Share) -> str:
    """Bounds in per cent."""
    low, high = 100 * s.low, 100 * s.high
    if high - low < 0.05:
        return f"{low:.1f} %"
    return f"{low:.0f} to {high:.0f} %"


def rate_rows(found: SpectrumReport) -> list[tuple[str, ...]]:
    """Optimiser, λmax, limit, and the rate of the best single step along the top direction."""
    if found.operator != "hessian":
        return []
    rows: list[tuple[str, ...]] = []
    for r in found.rates:
        name = f"{r.optimizer}, {r.settings}" if r.settings else r.optimizer
        greedy = significant(1 / r.curvature) if r.optimizer == "sgd" else ""
        rows.append((name, significant(r.curvature), significant(r.limit), greedy))
    return rows


def end_rows(found: SpectrumReport) -> list[tuple[str, ...]]:
    """Both ends with certificates."""
    rows: list[tuple[str, ...]] = []
    for end, values, residuals, errors in (
        ("largest", found.largest, found.largest_residuals, found.largest_errors),
        ("smallest", found.smallest, found.smallest_residuals, found.smallest_errors),
    ):
        for i, (x, r, e) in enumerate(zip(values, residuals, errors, strict=True)):
            rows.append((end if i == 0 else "", significant(x, 6), f"{r:.1e}", f"{e:.1e}"))
    return rows


def layer_rows(found: SpectrumReport) -> list[tuple[str, ...]]:
    """Layer by layer."""
    return [
        (
            clean(x.layer, 40),
            count(x.parameters),
            significant(x.largest),
            _with_error(x.trace, x.trace_stderr),
        )
        for x in found.layers
    ]


def _with_error(x: float, stderr: float) -> str:
    return significant(x) + (f" ± {significant(stderr, 2)}" if stderr else "")


def share_rows(found: SpectrumReport) -> list[tuple[str, ...]]:
    """Shares with their bounds."""
    rows = [(f"|λ| < {significant(s.below)}", share(s)) for s in found.near_zero]
    return [*rows, (f"λ < −{significant(found.negative.below)}", share(found.negative))]


def facts(found: SpectrumReport) -> list[tuple[str, str]]:
    """Settings."""
    samples = f"{count(found.samples)} of {count(found.of)}, {found.part}"
    return [
        ("matrix", NAMES[found.operator]),
        ("weights", clean(found.weights, 80)),
        ("samples", samples),
        ("batch statistics", "stored" if found.mode == "eval" else "of each batch"),
        ("numbers", found.dtype),
        ("loss", significant(found.loss)),
        ("gradient norm", significant(found.gradient_norm)),
        *([("noise", noise_fact(found.batch))] if found.batch is not None else []),
        ("trace", _with_error(found.trace, found.trace_stderr)),
        ("eigenvalues", "all computed" if found.exact else f"{found.probes} random probes of "
         f"{found.steps} products"),
    ]  # fmt: skip


def noise_fact(advice: BatchAdvice) -> str:
    """How the noise scale was measured."""
    noise = advice.noise
    what = "single samples" if noise.method == "samples" else "batches"
    return (
        f"{significant(noise.scale)} ± {significant(noise.stderr, 2)} samples, from the gradients "
        f"of {what}, {count(noise.samples)} of {count(noise.of)} samples"
    )


def effort(found: SpectrumReport) -> str:
    """What it cost."""
    return (
        f"{count(found.products)} products besides the layers, {duration(found.seconds)}, seed "
        f"{found.seed}, {clean(found.machine.get('processor', 'unknown processor'), 60)}."
    )


def density(found: SpectrumReport) -> Figure:
    """The smoothed density on a logarithmic scale, with the ends marked."""
    peak = max(found.density)
    floor = peak * FLOOR

    def place(y: float) -> float:
        return math.log10(max(y, floor))

    xs = list(found.grid)
    high = [place(y + 1.96 * s) for y, s in zip(found.density, found.density_stderr, strict=True)]
    low = [place(y - 1.96 * s) for y, s in zip(found.density, found.density_stderr, strict=True)]
    band = {"mode": "lines", "line": {"width": 0}, "showlegend": False, "hoverinfo": "skip"}
    data: list[dict[str, Any]] = [
        {"x": xs, "y": high, **band},
        {"x": xs, "y": low, **band, "fill": "tonexty", "fillcolor": "@hue0/0.2"},
        {
            "x": xs,
            "y": [place(y) for y in found.density],
            "mode": "lines",
            "line": {"color": "@hue0", "width": 2},
            "name": "density",
            "showlegend": False,
            "hovertemplate": "λ = %{x:.3g}<extra></extra>",
        },
        {
            "x": [*found.largest, *found.smallest],
            "y": [math.log10(floor)] * (len(found.largest) + len(found.smallest)),
            "mode": "markers",
            "marker": {"color": "@hue1", "size": 9, "symbol": "line-ns-open"},
            "name": "eigenvalues found, with certificates",
            "showlegend": True,
            "hovertemplate": "λ = %{x:.6g}<extra></extra>",
        },
    ]
    marks = ticks(floor, peak, significant)
    layout = {
        "xaxis": {"title": {"text": "eigenvalue λ"}, "zeroline": True},
        "yaxis": {
            "title": {"text": "density"},
            "tickvals": [math.log10(v) for v in marks["tickvals"]],
            "ticktext": marks["ticktext"],
        },
    }
    return Figure(
        "density",
        "How the eigenvalues are spread",
        f"Smoothed by a Gaussian of width {significant(found.sigma, 2)}; the band is two standard "
        "errors over the random probes. Spikes of single eigenvalues have this width.",
        "Density of eigenvalues on a logarithmic scale.",
        data,
        layout,
        360,
    )


def layers(found: SpectrumReport) -> Figure:
    """The largest eigenvalue of each layer's block."""
    names = [plotly_text(clean(x.layer, 40)) for x in found.layers]
    data: list[dict[str, Any]] = [
        {
            "type": "bar",
            "orientation": "h",
            "y": names[::-1],
            "x": [x.largest for x in found.layers][::-1],
            "marker": {"color": "@hue0"},
            "hovertemplate": "%{y}: %{x:.4g}<extra></extra>",
            "showlegend": False,
        }
    ]
    layout = {"xaxis": {"title": {"text": "largest eigenvalue of the layer's block"}}}
    return Figure(
        "layers",
        "Where the curvature is",
        "A layer with a much larger eigenvalue than the others sets the limit for all of them.",
        "Largest eigenvalue by layer.",
        data,
        layout,
        max(200, 60 + 34 * len(names)),
    )
