"""Faults seen on held-out data, and at the end of training."""

from __future__ import annotations

import math

from thalweg.diagnose.observation import Observation
from thalweg.diagnose.suspect import Suspicion, step

LOST, GAP = 0.1, 0.25
FEW = 100  # steps in all


def overfitting(seen: Observation) -> Suspicion | None:
    """Held-out loss that rises again while the training loss falls."""
    floor = seen.bench.judge.floor_loss
    rises = []
    for walk in seen.walks:
        losses = [s.loss for s in walk.looks]
        if len(losses) < 3 or walk.diverged or not all(map(math.isfinite, losses)):
            return None
        rises.append((losses[-1] - min(losses), min(losses), losses.index(min(losses))))
    if not rises or not math.isfinite(floor):
        return None
    lost = min(rise / max(1e-12, floor - low) for rise, low, _ in rises if floor > low) if all(
        floor > low for _, low, _ in rises
    ) else 0.0  # fmt: skip
    walk = seen.walks[0]
    train, held = walk.train[-1], walk.looks[-1].loss
    by_heart = train < LOST * floor and held - train > GAP * floor
    if not by_heart and (lost < LOST or not train < 0.5 * held):
        return None
    at = rises[0][2] + 1
    epochs = max(1, round(seen.epochs * at / len(walk.looks)))
    return Suspicion(
        "overfitting",
        "The model overfits",
        f"Held-out loss falls to {rises[0][1]:.4g} and rises again to {walk.looks[-1].loss:.4g}, "
        f"while the training loss is {train:.3g} (a constant answer: {floor:.3g}).",
        f"Stop after about {epochs} epochs, use weight decay or dropout, or more data.",
        (
            (step("recipe", "weight decay 0.01", weight_decay=0.01),),
            (step("recipe", f"{epochs} epochs", epochs=epochs),),
        ),
        plain=True,
        measured=(held - train) / floor if by_heart else lost,
        threshold=GAP if by_heart else LOST,
        derivation="More than a quarter of what the model knows about its training samples holds "
        "for no others."
        if by_heart
        else "Rise of the held-out loss over what it had fallen below a constant answer's: a "
        "tenth of what was learnt, in every run.",
        where="held_out",
        evidence={"training loss": walk.train[-1], "held-out loss": walk.looks[-1].loss},
    )


def too_few_epochs(seen: Observation) -> Suspicion | None:
    """A recipe that ends while the criterion still rises."""
    if not seen.whole or not seen.walks or seen.diverged or seen.recipe.epochs > 200:
        return None
    walk, judge = seen.walks[0], seen.bench.judge
    if len(walk.looks) < 4:
        return None
    now, earlier = judge.skill(walk.values[-1]), judge.skill(walk.values[-3])
    losses = [s.loss for s in walk.looks]
    falling = (losses[-3] - losses[-1]) / max(1e-12, abs(losses[0]))
    short = seen.evaluations < FEW and seen.skill < 0.95
    if now - earlier < 0.05 and falling < 0.05 and not short:
        return None
    epochs = 4 * seen.recipe.epochs
    return Suspicion(
        "too-few-epochs",
        "Training ends too early",
        f"Over the last quarter of the {seen.recipe.epochs} epochs ({seen.evaluations} steps) the "
        f"criterion still rises by {now - earlier:.1%} of the way from a constant answer to a "
        "perfect one.",
        f"Train longer ({epochs} epochs), or raise the rate.",
        ((step("recipe", f"{epochs} epochs", epochs=epochs),),),
        measured=max(now - earlier, falling),
        threshold=0.05,
        derivation="A twentieth of the way in the last quarter: at that pace another quarter would "
        "gain more than noise. Four times the time has to gain a tenth.",
        worth=0.1,
        where="recipe",
    )


def sharp_minimum(seen: Observation) -> Suspicion | None:
    """A sharp end of a run in large batches that fits training data only."""
    size, n = seen.bench.settings.batch_size or seen.bench.risk.train.n, seen.bench.risk.train.n
    if not seen.walks or size < n // 4 or n < 128 or not seen.sharp_end > 0:
        return None
    walk = seen.walks[0]
    if walk.diverged or not walk.train[-1] < 0.5 * walk.looks[-1].loss:
        return None
    smaller = max(8, min(64, size // 8))
    return Suspicion(
        "sharp-minimum",
        "Large batches end in a sharp minimum",
        f"Training ends at curvature {seen.sharp_end:.3g} with batches of {size} of {n} samples, "
        f"training loss {walk.train[-1]:.3g} and held-out loss {walk.looks[-1].loss:.3g}.",
        f"Use batches of {smaller}.",
        ((step("larger_batch", f"batches of {smaller}", batch_size=smaller),),),
        measured=seen.sharp_end,
        threshold=None,
        derivation="Whether it limits is decided by the trial.",
        evidence={"curvature at the start": seen.sharp_start},
    )
