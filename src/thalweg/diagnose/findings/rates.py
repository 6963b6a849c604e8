"""Faults of the recipe: rate, batch, schedule, and the valley they walk in."""

from __future__ import annotations

import math

from thalweg.diagnose.observation import Observation
from thalweg.diagnose.suspect import Suspicion, step
from thalweg.diagnose.sweep import STEP

APART = 2.5  # the sweep's neighbours are a factor 3.2 apart


def _rate(lr: float) -> float:
    return float(f"{lr:.2g}")


def _bound(seen: Observation) -> dict[str, float]:
    evidence = {"learning rate": seen.recipe.lr}
    if seen.sweep is not None:
        evidence |= {"best rate tried": seen.sweep.best, "failing rate": seen.sweep.failing}
    if seen.recipe.optimizer in ("sgd", "momentum", "nesterov") and seen.sharp_start > 0:
        momentum = seen.recipe.momentum
        evidence["2(1+momentum)/curvature at the start"] = 2 * (1 + momentum) / seen.sharp_start
    return evidence


def lr_too_high(seen: Observation) -> Suspicion | None:
    """Divergence, or a lower rate that ends far lower."""
    found = seen.sweep
    if found is None:
        return None
    lr, own = seen.recipe.lr, found.loss_at(seen.recipe.lr)
    fails = seen.diverged or not math.isfinite(own)
    lower = [r for r in found.rates if r < lr / APART and math.isfinite(found.loss_at(r))]
    if not lower:
        return None
    best = min(lower, key=found.loss_at)
    if not fails and not found.loss_at(best) < own:
        return None
    rates = dict.fromkeys((_rate(best), _rate(best / STEP), _rate(best / 10)))
    said = "the loss stays higher than at lower rates"
    if fails:
        ends = "becomes NaN or infinite" if seen.diverged else "ends above where it starts"
        said = f"the loss {ends}"
    return Suspicion(
        "lr-too-high",
        "The learning rate is too high",
        f"At rate {lr:.3g} {said}. "
        + (f"The smallest rate that fails is about {found.failing:.2g}." if found.failing < lr * 3
           else f"Rate {best:.2g} ends lower."),
        f"Lower the rate to about {_rate(best):g}.",
        tuple((step("recipe", f"learning rate {r:g}", lr=r),) for r in rates),
        severity="error" if seen.diverged else "warning",
        measured=lr,
        threshold=found.failing if math.isfinite(found.failing) else None,
        derivation="Smallest rate of a geometric ladder of short runs that gains on a constant "
        "answer less than a tenth of what the best one does; 2/λ is the same for the first steps "
        "on a quadratic.",
        where="recipe",
        evidence=_bound(seen),
    )  # fmt: skip


def lr_too_low(seen: Observation) -> Suspicion | None:
    """A higher rate that ends lower."""
    found = seen.sweep
    if found is None or seen.diverged:
        return None
    lr, own = seen.recipe.lr, found.loss_at(seen.recipe.lr)
    higher = [r for r in found.rates if r > lr * APART and math.isfinite(found.loss_at(r))]
    if not higher or not math.isfinite(own):
        return None
    best = min(higher, key=found.loss_at)
    if not found.loss_at(best) < own:
        return None
    return Suspicion(
        "lr-too-low",
        "The learning rate is too low",
        f"At rate {lr:.3g} a short run ends at loss {own:.4g}, at rate {best:.2g} at "
        f"{found.loss_at(best):.4g}.",
        f"Raise the rate to about {_rate(best):g}.",
        tuple((step("recipe", f"learning rate {r:g}", lr=r),) for r in
              dict.fromkeys((_rate(best), _rate(best / STEP))) if r > lr * 1.5),
        measured=lr,
        threshold=best,
        derivation="Best rate of a geometric ladder of short runs. These favour high rates: where "
        "runs are shorter than the recipe, a tenth of skill has to be gained.",
        where="recipe",
        worth=0.0 if seen.whole else 0.1,
        evidence=_bound(seen),
    )  # fmt: skip


def batch_noise(seen: Observation) -> Suspicion | None:
    """Batches far below the gradient noise scale."""
    size, n = seen.bench.settings.batch_size, seen.bench.risk.train.n
    if size is None or size >= 16 or n < 64:
        return None
    scale = max((s for s in (seen.noise_start, seen.noise_end) if s == s), default=math.nan)
    ratio = scale / size
    if not ratio > 8:
        return None
    larger = min(64, n // 4)
    sizes = dict.fromkeys((larger, min(larger, 8 * size)))
    return Suspicion(
        "batch-noise",
        "Small batches make steps noisy",
        f"The gradient noise scale is {'beyond measure' if math.isinf(scale) else f'{scale:.3g}'} "
        f"samples, batches hold {size}: a step is mostly noise.",
        f"Use batches of about {larger} (or lower the rate).",
        tuple((step("larger_batch", f"batches of {b}", batch_size=b),) for b in sizes),
        measured=size,
        threshold=scale / 8 if math.isfinite(scale) else None,
        derivation="Noise and signal of a step are equal at a batch of tr Σ/|G|²; at an eighth of "
        "that the noise has 8 times the signal's square.",
        where="recipe",
        evidence={"noise scale at the start": seen.noise_start, "at the end": seen.noise_end},
    )


def no_decay(seen: Observation) -> Suspicion | None:
    """A constant rate that hovers above what a falling one would reach."""
    walk = seen.walks[0] if seen.walks else None
    if walk is None or seen.recipe.schedule or walk.diverged or len(walk.losses) < 40:
        return None
    quarter = len(walk.losses) // 4
    third = sum(walk.losses[-2 * quarter : -quarter]) / quarter
    last = sum(walk.losses[-quarter:]) / quarter
    start = sum(walk.losses[:4]) / 4
    falls = (third - last) / max(1e-12, start - last)
    if falls > 0.05 or last >= start:
        return None
    return Suspicion(
        "no-decay",
        "A constant rate hovers at its noise floor",
        f"Over the last quarter of the run the loss falls by {max(0.0, falls):.1%} of what it fell "
        "in all: it has stopped where the noise of its steps balances their progress.",
        "Let the rate fall towards the end (cosine).",
        ((step("recipe", "the rate falls as a cosine", schedule="cosine"),),),
        measured=falls,
        threshold=0.05,
        derivation="Steps of constant rate η end at an excess loss in proportion to η tr Σ; it "
        "falls with the rate and with nothing else.",
        where="recipe",
        evidence={"learning rate": seen.recipe.lr},
    )


def plateau_or_saddle(seen: Observation) -> Suspicion | None:
    """The run stays where it began, or at a constant answer, though it does not diverge."""
    if not seen.walks or seen.diverged or not seen.skill < 0.1:
        return None
    walk = seen.walks[0]
    norm = sorted(walk.norms)[len(walk.norms) // 2] if walk.norms else math.nan
    evidence = {"median gradient norm": norm, "smallest curvature": seen.bent_end}
    lr = seen.recipe.lr
    best = seen.sweep.best if seen.sweep is not None else lr
    from thalweg.diagnose.findings.initial import restart

    return Suspicion(
        "plateau-or-saddle",
        "Training does not leave a plateau",
        f"After {walk.evaluations} gradients the model has gone {max(0, seen.skill):.1%} of the "
        f"way from a constant answer to a perfect one; the gradient's norm is {norm:.2g}.",
        "Give it momentum or an adaptive rate, or start elsewhere.",
        (
            *restart(seen),
            (step("recipe", "momentum 0.9", optimizer="momentum", momentum=0.9, lr=_rate(best)),),
            (step("recipe", "Adam at 0.001", optimizer="adam", lr=1e-3),),
        ),
        measured=seen.skill,
        threshold=0.1,
        derivation="A tenth of the way from a constant answer to a perfect one.",
        evidence=evidence,
    )


def ill_conditioned(seen: Observation) -> Suspicion | None:
    """Plain descent in a narrow valley, where an adaptive method walks on."""
    if seen.recipe.optimizer not in ("sgd", "momentum", "nesterov") or not seen.walks:
        return None
    lr, top = seen.recipe.lr, max((s for s in (seen.sharp_start, seen.sharp_end) if s == s),
                                  default=math.nan)  # fmt: skip
    narrow = max((v for v in (seen.data.narrowness, seen.data.spread) if v == v), default=0.0)
    steep = top * lr > 0.5  # the rate cannot be raised much
    if not (steep or narrow > 1000) or not seen.skill < 0.95:
        return None
    return Suspicion(
        "ill-conditioned",
        "One rate does not fit all directions",
        f"The largest curvature is {top:.3g}: the rate {lr:.3g} can hardly be raised, while flat "
        "directions hardly move.",
        "Use an adaptive method, momentum, or standardised and normalised layers.",
        (
            (step("recipe", "Adam at 0.003", optimizer="adam", lr=3e-3),),
            (step("recipe", "momentum 0.9", optimizer="momentum", momentum=0.9, lr=_rate(lr)),),
        ),
        measured=top * lr,
        threshold=0.5,
        derivation="Steps along the steepest direction overshoot at rate · λ = 2; flat directions "
        "then move by λ_flat/λ_max of the way a step.",
        evidence={"largest curvature": top, "condition number of inputs": narrow},
    )
