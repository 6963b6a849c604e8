"""Is something wrong that no other detector names? What a plain model makes of the same data."""

from __future__ import annotations

import math

from thalweg.diagnose.observation import Observation
from thalweg.diagnose.reference import Reference, reference
from thalweg.diagnose.suspect import Suspicion, step

SHIFT = 0.25  # mean squared shift of a variable, in variances
UNITS = 4.0
MOST_LUCK = 0.1  # of skill
BEHIND = 0.8  # of a plain model's skill


def held_out_shift(seen: Observation) -> Suspicion | None:
    """Held-out inputs on another scale than those that are trained on."""
    shift = seen.data.shift
    if not shift > SHIFT:
        return None
    return Suspicion(
        "held-out-shift",
        "Held-out inputs are prepared differently",
        f"Means and deviations of held-out inputs differ from those of the training inputs by "
        f"{shift:.3g} (squared, in variances).",
        "Prepare both alike, by statistics of the training part.",
        ((step("aligned_held_out", "held-out inputs brought to the training inputs' scale"),),),
        measured=shift,
        threshold=SHIFT,
        derivation="Parts drawn alike differ by about 1/n + 1/m; half a deviation moves a tenth "
        "of the samples across a boundary. Whether it limits is decided by the trial; four "
        "variances and more are another unit.",
        where="held_out",
        plain=shift > UNITS,
    )


def below_reference(seen: Observation) -> Suspicion | None:
    """Asked last, where nothing else was found: a plain model on the same data."""
    judge = seen.bench.judge
    if seen.diverged or not seen.walks:
        return None
    chance = 0.02
    if seen.bench.risk.metric == "accuracy" and judge.floor < 1:
        n = min(seen.bench.risk.selection.n, 2048)
        luck = math.sqrt(judge.floor * (1 - judge.floor) / n)
        named = max((walk.looks[-1].renamed for walk in seen.walks if walk.looks), default=0.0)
        chance = min(MOST_LUCK, 2 * math.hypot(luck, named) / (1 - judge.floor))
    walk, floor = seen.walks[0], judge.floor_loss
    by_heart = bool(walk.train) and walk.train[-1] < 0.8 * floor
    nothing = seen.skill < chance and seen.epochs >= 1
    if not nothing and not (seen.whole and seen.skill < 0.9):
        return None
    ended = seen.whole or by_heart
    plain = reference(seen)
    if plain is None or not math.isfinite(plain.held_out):
        return _unrelated(seen, None, chance) if nothing and ended else None
    sure = min(plain.held_out, plain.inside)  # of a few held-out samples either may be luck
    if sure > max(chance, 0.05) and seen.skill < BEHIND * plain.held_out:
        return _behind(seen, plain) if ended or nothing else None
    if nothing and plain.inside > 0.2:
        return _strange(seen, plain)
    return _unrelated(seen, plain, chance) if nothing else None


def _evidence(plain: Reference | None) -> dict[str, float]:
    if plain is None:
        return {}
    return {"plain model, held-out": plain.held_out, "plain model, within training": plain.inside}


def _behind(seen: Observation, plain: Reference) -> Suspicion:
    return Suspicion(
        "below-reference",
        "A plain model does better",
        f"{plain.name} reaches skill {plain.held_out:.2f} on the held-out data, this training "
        f"{seen.skill:.2f} (0: a constant answer, 1: perfect); no remedy tried accounts for it.",
        "Look at how the model is built: its width, activations, reshapes, and what it is fed.",
        plain=True,
        measured=seen.skill,
        threshold=BEHIND * plain.held_out,
        derivation="Four fifths of what least squares or nearest neighbours reach on the same "
        "samples: a network that is trained well does not stay behind these.",
        evidence=_evidence(plain),
        severity="error" if seen.skill < 0.1 else "warning",
    )


def _strange(seen: Observation, plain: Reference) -> Suspicion:
    return Suspicion(
        "held-out-shift",
        "Held-out data are of another kind",
        f"Within the training data {plain.name} reaches skill {plain.inside:.2f}; on the held-out "
        f"data it reaches {plain.held_out:.2f}, and this training {max(0.0, seen.skill):.2f}.",
        "Check that held-out targets belong to their inputs and are prepared alike.",
        plain=True,
        severity="error",
        measured=plain.held_out,
        threshold=plain.inside,
        derivation="Parts drawn alike are answered alike.",
        where="held_out",
        evidence=_evidence(plain),
    )


def _unrelated(seen: Observation, plain: Reference | None, chance: float) -> Suspicion:
    other = "" if plain is None else (
        f", and neither does {plain.name} (skill {max(0.0, plain.held_out):.2f})"
    )  # fmt: skip
    return Suspicion(
        "label-noise" if plain is not None else "plateau-or-saddle",
        "Targets seem not to belong to their inputs" if plain is not None
        else "Nothing is learnt, and no remedy helps",
        f"On held-out data this training does not beat a constant answer{other}.",
        "Look at a few pairs: were inputs and targets shuffled, sorted or joined apart from each "
        "other?",
        plain=True,
        severity="error",
        measured=seen.skill,
        threshold=chance,
        derivation="Two standard errors of a constant answer's score, and of one that names the "
        "classes at random.",
        where="targets of train",
        evidence=_evidence(plain),
        settle="A model known to work on these data, or targets checked by hand.",
    )  # fmt: skip
