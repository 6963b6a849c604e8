"""Faults of the initial weights."""

from __future__ import annotations

import math

from thalweg.diagnose.observation import Observation
from thalweg.diagnose.suspect import Suspicion, step
from thalweg.records_diagnosis import Step

LOW, HIGH = 0.19, 4.3  # of weight deviation · sqrt(fan-in)


def restart(seen: Observation) -> tuple[tuple[Step, ...], ...]:
    """Ways to draw weights anew, the fitting one first."""
    rectified = any(a.kind == "relu" for a in seen.anatomy.activations)
    scheme = "he" if rectified else "glorot"
    return ((step("fresh_weights", f"weights drawn anew ({scheme})", scheme=scheme),),)


def symmetric_init(seen: Observation) -> Suspicion | None:
    """Units with equal weights and equal gradients never come to differ."""
    worst = max(seen.anatomy.leaves, key=lambda leaf: leaf.equal, default=None)
    if worst is None or worst.equal < 0.5:
        return None
    return Suspicion(
        "symmetric-init",
        "Units start equal and stay equal",
        f"In '{worst.name}' {worst.equal:.0%} of the units repeat another unit's weights and get "
        "the same gradient: together they do the work of one.",
        "Draw initial weights at random.",
        restart(seen),
        plain=True,
        severity="error",
        measured=worst.equal,
        threshold=0.5,
        derivation="Equal weights and equal gradients give equal weights after every step.",
        where=worst.name,
    )


def init_scale(seen: Observation) -> Suspicion | None:
    """Weights whose size, times the root of their fan-in, is far from 1."""
    ratios = {
        leaf.name: leaf.weight_rms * math.sqrt(leaf.fan_in)
        for leaf in seen.anatomy.leaves
        if leaf.fan_in > 1 and leaf.kind != "Embedding" and leaf.weight_rms > 0
    }
    off = {name: max(r / HIGH, LOW / r) for name, r in ratios.items()}
    if not off:
        return None
    worst = max(off, key=off.__getitem__)
    if off[worst] <= 1:
        return None
    ratio = ratios[worst]
    large = ratio > HIGH
    evidence = {"initial loss": seen.anatomy.loss}
    if math.isfinite(seen.bench.judge.floor_loss):
        evidence["loss of a constant answer"] = seen.bench.judge.floor_loss
    return Suspicion(
        "init-scale",
        "Initial weights are too large" if large else "Initial weights are too small",
        f"In '{worst}' the deviation of the weights is {ratio:.3g} times 1/sqrt(inputs): signals "
        f"{'grow' if large else 'shrink'} by about that factor in the layer.",
        "Draw weights with variance 1/inputs (tanh) or 2/inputs (ReLU).",
        (*restart(seen), (step("unit_variance", "layers scaled to unit variance"),)),
        measured=ratio,
        threshold=HIGH if large else LOW,
        derivation="1/sqrt(inputs) keeps the variance of a linear layer, sqrt(2) of that under "
        "ReLU, and torch's own start is 0.58 of it; a factor 3 beyond these.",
        where=worst,
        evidence=evidence,
    )
