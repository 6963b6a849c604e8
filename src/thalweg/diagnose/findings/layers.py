"""Faults in the flow through the layers, forward and back."""

from __future__ import annotations

import math

from thalweg.diagnose.findings.initial import restart
from thalweg.diagnose.observation import Observation
from thalweg.diagnose.suspect import Suspicion, step
from thalweg.records_diagnosis import Step

SILENT = 0.25
DEEP = 8  # layers: beyond, a start that keeps the variance does not keep it for long
SATURATED = 0.5
SHRINKS, GROWS = 1e-2, 1e2


def dead_units(seen: Observation) -> Suspicion | None:
    """Rectified units that are off on every sample."""
    for when, pass_ in (("at the start", seen.anatomy), ("after training", seen.end)):
        if pass_ is None:
            continue
        units = [a for a in pass_.activations if a.kind == "relu" and a.units > 1]
        units = [a for a in units if math.isfinite(a.silent)]
        worst = max(units, key=lambda a: a.silent, default=None)
        if worst is None or worst.silent < SILENT:
            continue
        cures: list[tuple[Step, ...]] = [
            (step("other_activation", "leaky ReLU", old="relu", new="leaky_relu"),)
        ]
        if when == "at the start":
            cures = [*restart(seen), *cures]
        return Suspicion(
            "dead-units",
            "Rectified units are dead",
            f"{worst.silent:.0%} of the {worst.units} units after '{worst.where}' are at zero on "
            f"every sample of a batch {when}; they get no gradient.",
            "Start weights with variance 2/inputs and zero biases, lower the rate, or use a leaky "
            "ReLU.",
            tuple(cures),
            measured=worst.silent,
            threshold=SILENT,
            derivation="A unit with symmetric input is off on all of n samples with probability "
            "2^−n; off on 256 it is active on less than 1.2 % (95 % bound 3/n). A quarter of a "
            "layer is what widths are usually chosen within.",
            where=worst.where,
            aside=pass_ is seen.end or _ratio(seen)[0] > GROWS,  # then weights are the cause
        )
    return None


def saturated_units(seen: Observation) -> Suspicion | None:
    """Squashing units at their ends, where their slope is below a twentieth."""
    hidden = [
        a
        for a in seen.anatomy.activations
        if a.kind in ("sigmoid", "tanh") and math.isfinite(a.saturated)
        and not (a.kind == seen.anatomy.last and a.where == seen.anatomy.last_where)
    ]  # fmt: skip
    worst = max(hidden, key=lambda a: a.saturated, default=None)
    if worst is None or worst.saturated < SATURATED:
        return None
    return Suspicion(
        "saturated-units",
        "Squashing units are saturated",
        f"{worst.saturated:.0%} of the outputs of the {worst.kind} in '{worst.where}' are at their "
        "ends at the start, where the slope is below 5 % of its largest.",
        "Draw smaller initial weights (variance 1/inputs) and standardise inputs.",
        (*restart(seen), (step("standardised_inputs", "inputs standardised"),)),
        measured=worst.saturated,
        threshold=SATURATED,
        derivation="With inputs of variance 1 a tanh is beyond that point on 3 % of samples; at "
        "half, gradients lose a factor 2 and more in every such layer.",
        where=worst.where,
    )


def _ratio(seen: Observation) -> tuple[float, str, str]:
    """Back-propagated signal at the first layer over that at the last."""
    leaves = [
        leaf
        for leaf in seen.anatomy.leaves
        if leaf.fan_in > 1 and leaf.kind != "Embedding" and math.isfinite(leaf.back_norm)
    ]
    if len(leaves) < 3 or leaves[-1].back_norm == 0:
        return math.nan, "", ""
    return leaves[0].back_norm / leaves[-1].back_norm, leaves[0].name, leaves[-1].name


def vanishing_gradient(seen: Observation) -> Suspicion | None:
    """Gradients that shrink on the way back."""
    ratio, first, last = _ratio(seen)
    if not ratio < SHRINKS:
        return None
    kinds = {a.kind for a in seen.anatomy.activations}
    squash = next((k for k in ("sigmoid", "tanh") if k in kinds), "")
    cures = [*restart(seen), (step("unit_variance", "layers scaled to unit variance"),)]
    if squash:
        he = step("fresh_weights", "weights drawn anew (he)", scheme="he")
        swap = step("other_activation", f"ReLU in place of {squash}", old=squash, new="relu")
        rectified: list[tuple[Step, ...]] = [(swap, he)]
        if sum(leaf.fan_in > 1 for leaf in seen.anatomy.leaves) > DEEP:
            norm = step("normalised", "layer normalisation after every layer but the last")
            rectified.append((swap, he, norm))
        cures = [*cures[:1], *rectified, *cures[1:]]
    if squash == "sigmoid":  # its slope is at most 1/4; a tanh keeps the size of what passes
        tanh = step("other_activation", "tanh in place of sigmoid", old="sigmoid", new="tanh")
        glorot = step("fresh_weights", "weights drawn anew (glorot)", scheme="glorot")
        cures = [(tanh, glorot), *cures[1:]]
    return Suspicion(
        "vanishing-gradient",
        "Gradients vanish on the way back",
        f"The gradient that reaches '{first}' is {ratio:.2g} of that at '{last}'.",
        "Draw weights that keep the variance, use ReLU, or add skip connections or normalisation.",
        tuple(cures),
        measured=ratio,
        threshold=SHRINKS,
        derivation="Weights that keep the variance keep this ratio near 1 (Glorot and Bengio); at "
        "1/100 a rate that suits the last layer moves the first a hundred times too slowly.",
        where=first,
    )


def exploding_gradient(seen: Observation) -> Suspicion | None:
    """Gradients that grow on the way back, or in bursts while training."""
    ratio, first, last = _ratio(seen)
    norms = [n for n in seen.walks[0].norms if math.isfinite(n)] if seen.walks else []
    burst = max(norms) / max(sorted(norms)[len(norms) // 2], 1e-30) if len(norms) > 8 else 0.0
    clip = (step("clipped_gradients", "gradients cut to norm 1", norm=1.0),)
    if ratio > GROWS:
        return Suspicion(
            "exploding-gradient",
            "Gradients grow on the way back",
            f"The gradient that reaches '{first}' is {ratio:.3g} times that at '{last}'.",
            "Draw smaller weights that keep the variance, or clip gradients.",
            (*restart(seen), (step("unit_variance", "layers scaled to unit variance"),), clip),
            measured=ratio,
            threshold=GROWS,
            derivation="Weights that keep the variance keep this ratio near 1.",
            where=first,
        )
    if burst > 1e3 or (seen.diverged and seen.anatomy.gradient_norm > 1e3):
        return Suspicion(
            "exploding-gradient",
            "Gradients come in bursts",
            f"The largest gradient of the run is {burst:.3g} times the median; the first has norm "
            f"{seen.anatomy.gradient_norm:.3g}.",
            "Clip gradients.",
            (clip, *restart(seen)),
            measured=burst,
            threshold=1e3,
            derivation="A step a thousand times the usual one undoes a thousand of them.",
        )
    return None
