"""What flows through the layers: units that are off or at their ends, gradients that fade or grow.

Thresholds are those of ``thalweg diagnose``; here they are held against several looks.
"""

from __future__ import annotations

import math

from thalweg.diagnose.findings.layers import GROWS, SATURATED, SHRINKS, SILENT
from thalweg.records_diagnosis import Finding
from thalweg.watching.history import ROWS, History, median

BURST = 1e3
JUMP = 0.5  # a step of half the weights' size can turn the sign of most inputs of a unit
TRIAL = "A trial: thalweg diagnose on this task tries the remedy on a copy."


def dead_units(seen: History) -> Finding | None:
    """Rectified units that were off on every sample of the last looks."""
    dead = seen.units.dead
    worst = max(dead, key=lambda place: dead[place], default="")
    share = dead.get(worst, 0.0)
    if share < SILENT:
        return None
    early = [median([r for r in k.ratios.values() if math.isfinite(r)]) for k in seen.looks[:2]]
    jump = max((r for r in early if r == r), default=0.0)
    blame = f" A first step changed the weights by {jump:.0%}: the rate is the likely cause."
    return Finding(
        "dead-units", "info",
        "Rectified units are dead",
        f"{share:.0%} of the {seen.units.sizes.get(worst, 0)} units after '{worst}' were at zero "
        f"on each of {ROWS} samples and more; they get no gradient." + blame * (jump > JUMP),
        where=worst, measured=share, threshold=SILENT,
        derivation=f"Off on {ROWS} samples, a unit is on for less than {3 / ROWS:.1%} of them (95 "
        "% bound 3/n). A quarter of a layer is what widths are usually chosen within.",
        remedy="Lower the rate, start weights with variance 2/inputs and zero biases, or use a "
        "leaky ReLU.", settle=TRIAL,
    )  # fmt: skip


def saturated_units(seen: History) -> Finding | None:
    """Squashing units whose slope is nearly nothing."""
    recent = seen.recent()
    shares = {p: median([k.saturated.get(p, math.nan) for k in recent])
              for p in (recent[-1].saturated if recent else ())}  # fmt: skip
    worst = max((p for p in shares if shares[p] == shares[p]), key=lambda p: shares[p], default="")
    if not shares.get(worst, 0.0) >= SATURATED:
        return None
    return Finding(
        "saturated-units", "info",
        "Squashing units are saturated",
        f"{shares[worst]:.0%} of the outputs of '{worst}' are at their ends, where the slope is "
        "below 5 % of its largest.",
        where=worst, measured=shares[worst], threshold=SATURATED,
        derivation="With inputs of variance 1 a tanh is beyond that point on 3 % of samples; at "
        "half, gradients lose a factor 2 and more in every such layer.",
        remedy="Draw smaller initial weights (variance 1/inputs), standardise inputs, or "
        "normalise before the unit.", settle=TRIAL,
    )  # fmt: skip


def back_ratio(seen: History) -> tuple[float, str, str]:
    """Gradient that reaches the first layer over that at the last: a median over the last looks."""
    recent = seen.recent()
    layers = [name for name in seen.order if name in seen.wide]
    layers = [n for n in layers if recent and all(n in k.back for k in recent)]
    if len(layers) < 3:
        return math.nan, "", ""
    first, last = layers[0], layers[-1]
    values = [k.back[first] / k.back[last] for k in recent if k.back[last] > 0]
    return (median(values) if len(values) == len(recent) else math.nan), first, last


def vanishing_gradient(seen: History) -> Finding | None:
    """Gradients that shrink on the way back."""
    ratio, first, last = back_ratio(seen)
    if not ratio < SHRINKS:
        return None
    return Finding(
        "vanishing-gradient", "info",
        "Gradients vanish on the way back",
        f"The gradient that reaches '{first}' is {ratio:.2g} of that at '{last}'.",
        where=first, measured=ratio, threshold=SHRINKS,
        derivation="Weights that keep the variance keep this ratio near 1 (Glorot and Bengio); at "
        "1/100 a rate that suits the last layer moves the first a hundred times too slowly.",
        remedy="Draw weights that keep the variance, use ReLU, or add skip connections or "
        "normalisation.", settle=TRIAL,
    )  # fmt: skip


def exploding_gradient(seen: History) -> Finding | None:
    """Gradients that grow on the way back, or one that is far beyond the others."""
    ratio, first, last = back_ratio(seen)
    if ratio > GROWS:
        return Finding(
            "exploding-gradient", "info",
            "Gradients grow on the way back",
            f"The gradient that reaches '{first}' is {ratio:.3g} times that at '{last}'.",
            where=first, measured=ratio, threshold=GROWS,
            derivation="Weights that keep the variance keep this ratio near 1.",
            remedy="Draw smaller weights that keep the variance, or clip gradients.", settle=TRIAL,
        )  # fmt: skip
    norms = [k.norm for k in seen.looks if math.isfinite(k.norm) and k.norm > 0]
    if len(norms) <= 8:
        return None
    burst = max(norms[1:]) / median(norms)
    if not burst > BURST:
        return None
    return Finding(
        "exploding-gradient", "info",
        "Gradients come in bursts",
        f"The largest gradient of {len(norms)} looks is {burst:.3g} times the median.",
        measured=burst, threshold=BURST,
        derivation="A step a thousand times the usual one undoes a thousand of them.",
        remedy="Clip gradients.", settle=TRIAL,
    )  # fmt: skip
