"""Steps and where they lead: too long, too short, lost in rounding, or to and fro."""

from __future__ import annotations

import math

from thalweg.records_diagnosis import Finding
from thalweg.watching.findings.flow import TRIAL
from thalweg.watching.history import History, median

SURE = 4.0  # standard errors: by chance once in 30,000 questions
LOST = 0.5
ARRIVED = 1e-3  # of the first gradients' norm: training is at its end
MOVES = 0.01
STEPS, LOSSES = 200, 40  # before anything is said of a loss that stands still
STALL = 0.05
LEFT = 0.1
SPLIT = 9.0  # noise over signal


def lr_too_high(seen: History) -> Finding | None:
    """The loss ends above where it starts, or weights are rewritten every few steps."""
    fallen = seen.losses.fallen()
    if fallen < -SURE and seen.losses.count >= LOSSES:
        start, end = seen.losses.start()[0], seen.losses.quarter()[0]
        return Finding(
            "lr-too-high", "warning",
            "The loss rises",
            f"The loss began at {start:.4g} and its last quarter is at {end:.4g}, {-fallen:.3g} "
            f"standard errors above (rate {_lr(seen):.3g}).",
            where="recipe", measured=-fallen, threshold=SURE,
            evidence={"loss at the start": start, "loss of the last quarter": end},
            derivation="Descent ends below its start; four standard errors are seen by chance once "
            "in 30,000 times.",
            remedy="Lower the learning rate by a factor of 3 to 10.",
            settle="Losses that may rise (two players, a growing curriculum) are no fault. "
            "thalweg race finds the rate.",
        )  # fmt: skip
    ratio = update_ratio(seen)
    if not ratio > 0.1 or len(seen.looks) < 5 or seen.looks[-1].step < 20:
        return None
    return Finding(
        "lr-too-high", "info",
        "Every step rewrites much of the weights",
        f"A step changes a typical weight matrix by {ratio:.0%} of its size (rate "
        f"{_lr(seen):.3g}).",
        where="recipe", measured=ratio, threshold=0.1,
        derivation="At a tenth, ten steps replace the weights: what is learnt is at most ten "
        "batches old.",
        remedy="Lower the learning rate.", settle=TRIAL,
    )  # fmt: skip


def update_ratio(seen: History) -> float:
    """Update over weight of a typical matrix, a median over the last looks."""
    recent = seen.recent()
    typical = [median([r for r in k.ratios.values() if math.isfinite(r)]) for k in recent]
    return median(typical)


def _lr(seen: History) -> float:
    return seen.looks[-1].lr if seen.looks else math.nan


def lost_updates(seen: History) -> Finding | None:
    """Updates that are smaller than the spacing of the weights' numbers."""
    lost = median([k.lost for k in seen.recent()])
    norms = [k.norm for k in seen.looks]
    if not lost > LOST or not median(norms[-5:]) > ARRIVED * median(norms[:5]):
        return None  # where the gradient is gone, so are the updates
    return Finding(
        "lost-updates", "warning",
        "Updates are lost in rounding",
        f"{lost:.0%} of the weights that have a gradient did not change at a step: their updates "
        f"are below the spacing of {seen.precision or 'their'} numbers.",
        where="weights", measured=lost, threshold=LOST,
        evidence={"learning rate": _lr(seen)},
        derivation="w + d rounds to w where |d| < |w| · eps/2: relative to the weight 2^-9 in "
        "bfloat16, 2^-12 in float16, 2^-25 in float32.",
        remedy="Keep the weights in float32 (autocast the forward pass), or raise the rate.",
    )  # fmt: skip


def lr_too_low(seen: History) -> Finding | None:
    """Even if all steps led the same way, the weights would hardly move."""
    ratio = update_ratio(seen)
    steps = seen.total if seen.total is not None else seen.steps
    reach = ratio * steps
    if not 0 < reach < MOVES or len(seen.looks) < 3:  # 0: no gradient, another finding
        return None
    if seen.total is None and not (_long(seen) and seen.losses.fallen() < SURE):
        return None  # fine-tuning moves little and well: the loss must stand still, too
    if seen.total is not None and _long(seen) and seen.losses.fallen() > SURE:
        return None
    span = "planned" if seen.total is not None else "so far"
    return Finding(
        "lr-too-low", "info",
        "The learning rate is too low to arrive anywhere",
        f"A step changes a typical weight matrix by {ratio:.2g} of its size: {steps} steps {span} "
        f"come to {reach:.2g} even if all led the same way (rate {_lr(seen):.3g}).",
        where="recipe", measured=reach, threshold=MOVES,
        evidence={"update over weight": ratio, "steps": float(steps)},
        derivation="The length of the path bounds how far the weights get; one hundredth of their "
        "size leaves a network much as it was.",
        remedy="Raise the learning rate by 10 to 100.", settle=TRIAL,
    )  # fmt: skip


def _long(seen: History) -> bool:
    """Whether enough was seen of the loss to say that it stands still."""
    return seen.steps >= STEPS and seen.losses.count >= LOSSES


def noise_ratio(seen: History) -> tuple[float, float]:
    """Noise over signal of one step's gradient, and its upper signal bound in standard errors.

    Two gradients g, h of successive steps share the signal G and not the noise: E g·h = |G|²,
    E |g|² = |G|² + noise, as long as one step changes G little.
    """
    pairs = [(k.dot, k.square) for k in seen.looks[-32:] if math.isfinite(k.dot)
             and math.isfinite(k.square) and k.square > 0]  # fmt: skip
    if len(pairs) < 8:
        return math.nan, math.nan
    cosines = [dot / square for dot, square in pairs]
    mean = math.fsum(cosines) / len(cosines)
    spread = math.sqrt(math.fsum((c - mean) ** 2 for c in cosines) / (len(cosines) - 1))
    high = mean + 2 * spread / math.sqrt(len(cosines))
    return (1 / mean - 1 if mean > 0 else math.inf), (1 / high - 1 if high > 0 else math.inf)


def _stalled(seen: History) -> float:
    """Share of the whole fall that the last quarter brought; NaN before enough was seen."""
    losses = seen.losses
    if not _long(seen):
        return math.nan
    (start, _), (before, a), (last, b) = losses.start(), losses.quarter(2), losses.quarter()
    if not math.isfinite(before - last) or before - last > 2 * math.hypot(a, b):
        return math.nan
    return (before - last) / (start - last) if start > last else math.inf


def plateau_or_saddle(seen: History) -> Finding | None:
    """A loss that has not fallen at all, though nothing else is wrong."""
    fallen = seen.losses.fallen()
    broken = seen.broken is not None or seen.losses.bad
    if not _long(seen) or broken or not -SURE <= fallen < 2:
        return None
    start, end = seen.losses.start()[0], seen.losses.quarter()[0]
    if end < 0.9 * start:
        return None
    norm = median([k.norm for k in seen.recent()])
    return Finding(
        "plateau-or-saddle", "info",
        "The loss has not fallen",
        f"After {seen.steps} steps the last quarter of the losses is at {end:.4g}; it began at "
        f"{start:.4g}. The gradient's norm is {norm:.3g}.",
        measured=fallen, threshold=2.0,
        evidence={"gradient norm": norm, "update over weight": update_ratio(seen)},
        derivation="A fall below two standard errors of the difference cannot be told from none.",
        remedy="Give it momentum or an adaptive rate, another rate, or start elsewhere.",
        settle=TRIAL,
    )  # fmt: skip


def no_decay(seen: History) -> Finding | None:
    """A constant rate whose steps are mostly noise, on a loss that no longer falls."""
    share, (noise, least) = _stalled(seen), noise_ratio(seen)
    start, end = seen.losses.start()[0], seen.losses.quarter()[0]
    rates = {k.lr for k in seen.looks[-8:]}
    fell = seen.losses.fallen() > SURE
    if not share < STALL or not least > SPLIT or len(rates) != 1 or not fell:
        return None
    if not end > LEFT * start:
        return None
    return Finding(
        "no-decay", "info",
        "A constant rate hovers at its noise floor",
        f"The last quarter brought {max(0.0, share):.1%} of the whole fall of the loss, and the "
        f"noise of a step has {noise:.3g} times the square of its signal.",
        where="recipe", measured=share, threshold=STALL,
        evidence={"noise over signal": noise, "learning rate": _lr(seen), "loss": end},
        derivation="Steps of constant rate η end at an excess loss in proportion to η tr Σ. Noise "
        "and signal are those of two successive gradients; nine to one is a cosine of 0.1.",
        remedy="Let the rate fall towards the end (cosine), or take larger batches.",
        settle=TRIAL,
    )  # fmt: skip
