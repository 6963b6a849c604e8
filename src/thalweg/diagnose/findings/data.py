"""Faults of the data: numbers, scales, order, balance."""

from __future__ import annotations

import math

from thalweg.diagnose.observation import Observation
from thalweg.diagnose.suspect import Suspicion, step

SECOND_MOMENT = 10.0  # factor by which the first layer's curvature may differ from standard inputs
OFFSET = 4.0  # |μ|² / tr Cov
SPREAD = 100.0  # ratio of variances
NARROW = 100.0  # condition number of the correlation matrix
DUPLICATES = 0.01
RARE = 5.0
MANY, LOST = 10.0, 0.2  # from there on no trial is needed: rare classes are not answered


def nonfinite_data(seen: Observation) -> Suspicion | None:
    """NaN or infinite numbers anywhere."""
    bad = seen.data.nonfinite
    if not bad:
        return None
    return Suspicion(
        "nonfinite-data",
        "The data hold NaN or infinite numbers",
        f"{bad} samples hold NaN or infinite numbers, the first of them in {seen.data.where}. "
        "One such sample in a batch makes every weight NaN.",
        "Remove or replace those samples.",
        ((step("finite_samples", "samples with NaN or infinite numbers left out"),),),
        plain=True,
        severity="error",
        measured=float(bad),
        threshold=0.0,
        derivation="The mean of numbers of which one is NaN is NaN.",
        where=seen.data.where,
    )


def _ratios(square: float, share: float, spread: float) -> dict[str, float]:
    """How far beyond its threshold each of the three is."""
    far = max(square, 1 / max(square, 1e-30)) if math.isfinite(square) else 0.0
    # near-constant variables, as border pixels, make any spread: alone it says little
    return {
        "second moment": far / SECOND_MOMENT,
        "offset": (share if share == share else 0.0) / OFFSET,
        "spread of variances": (spread if math.isfinite(spread) else 0.0) / SPREAD,
    }


def input_scale(seen: Observation) -> Suspicion | None:
    """Second moments of the inputs far from those of standard inputs, or made so in the model."""
    data = seen.data
    if not math.isfinite(data.mean_square):
        return None
    moments = (data.mean_square, data.mean_share, data.spread)
    inner = (data.entry_mean_square, data.entry_mean_share, data.entry_spread)
    ratios, within = _ratios(*moments), _ratios(*inner)
    cures = [(step("standardised_inputs", "inputs standardised"),)]
    where, what = "inputs", "the inputs"
    if max(within.values()) > max(1.0, 2 * max(ratios.values())):
        ratios, moments, where = within, inner, data.entry or "model"
        what = f"what reaches the first layer ('{where}')"
        cures.insert(0, (step("standardised_entry", "what the first layer gets standardised"),))
    worst = max(ratios, key=ratios.__getitem__)
    if ratios[worst] <= 1:
        return None
    square, share, spread = moments
    said = {
        "second moment": f"The mean square of {what} is {square:.3g} (standard: 1).",
        "offset": f"The centre of {what} is far from zero: squared mean over variance is "
        f"{share:.3g}.",
        "spread of variances": f"Variances of {what} differ by a factor {spread:.3g}.",
    }[worst]
    threshold = {"second moment": SECOND_MOMENT, "offset": OFFSET}.get(worst, SPREAD)
    remedy = "Subtract the mean and divide by the deviation of each input (of the training part)."
    if where != "inputs":
        remedy = "Look at what the model does to its inputs before that layer; standardise there."
    return Suspicion(
        "input-scale",
        "Inputs are not standardised",
        said + " The first layer's curvature grows with it, so one rate fits no direction.",
        remedy,
        tuple(cures),
        measured=ratios[worst] * threshold,
        threshold=threshold,
        derivation="The Hessian of the first layer is proportional to E[x xᵀ]: second moment, "
        "offset and ratio of variances multiply its condition number one to one.",
        where=where,
        evidence={
            "mean square of inputs": square,
            "squared mean over variance": share,
            "largest over small variance": spread,
        },
        aside=worst.startswith("spread") and max(ratios["second moment"], ratios["offset"]) <= 1,
    )


def target_scale(seen: Observation) -> Suspicion | None:
    """Real targets far from zero mean and unit variance."""
    data = seen.data
    if not data.real_targets or not math.isfinite(data.target_std) or not data.target_std > 0:
        return None
    if data.target_low >= 0 and data.target_high <= 1:  # probabilities
        return None
    size = math.hypot(data.target_mean, data.target_std)
    ratio = max(size, 1 / max(size, 1e-30))
    if ratio < 5:
        return None
    return Suspicion(
        "target-scale",
        "Targets are far from unit scale",
        f"Targets have mean {data.target_mean:.3g} and deviation {data.target_std:.3g}, while a "
        "fresh network answers numbers near 1 or below.",
        "Train on standardised targets and put the units back afterwards.",
        ((step("standardised_targets", "targets standardised for the loss"),),),
        measured=size,
        threshold=5.0,
        derivation="With squared errors gradients grow with the targets' size: beyond 5, the rate "
        "that suits the size is off by more than 25 for the shape.",
        where="targets",
        evidence={"mean of targets": data.target_mean, "deviation of targets": data.target_std},
    )


def unshuffled_data(seen: Observation) -> Suspicion | None:
    """Neighbours in the visiting order agree more than chance allows."""
    data = seen.data
    if not math.isfinite(data.runs):
        return None
    p = data.runs_expected
    sigma = math.sqrt(max(p * (1 - p), 0.0 if p else 1.0) / max(2, min(data.samples, 4096)))
    threshold = p + 4 * sigma + 0.05
    if data.runs <= threshold:
        return None
    return Suspicion(
        "unshuffled-data",
        "Samples come in a sorted order",
        f"Neighbours in the visiting order agree in {data.runs:.0%} of cases; in a random order it "
        f"would be {p:.0%}. A batch then shows one kind of sample only.",
        "Shuffle the training data in every epoch.",
        ((step("shuffled", "reshuffled every epoch"),),),
        measured=data.runs,
        threshold=threshold,
        derivation="Agreement by chance plus four standard deviations of a proportion and 0.05.",
        where="order of the training data",
    )


def imbalanced_targets(seen: Observation) -> Suspicion | None:
    """Rare classes that are not found."""
    counts = [c for c in seen.data.counts if c]
    if len(counts) == 1 and not seen.data.real_targets:
        return Suspicion(
            "imbalanced-targets",
            "All targets are of one class",
            f"All {counts[0]} training targets are of the same class: any constant answer is "
            "perfect and nothing can be learnt.",
            "Check how targets are made; collect samples of another class.",
            plain=True,
            severity="error",
            measured=1.0,
            threshold=2.0,
            derivation="Telling apart needs two classes.",
            where="targets",
        )
    if len(counts) < 2 or not seen.walks or not seen.walks[0].looks:
        return None
    ratio = max(counts) / min(counts)
    last = seen.walks[0].looks[-1]
    if ratio < RARE or not math.isfinite(last.balanced) or seen.bench.risk.metric != "accuracy":
        return None
    return Suspicion(
        "imbalanced-targets",
        "Rare classes are not learnt",
        f"The commonest class has {ratio:.0f} times the samples of the rarest. Accuracy is "
        f"{last.value:.1%}, but the mean over classes only {last.balanced:.1%}.",
        "Weight the loss by class (or sample rare classes more often) and judge by balanced "
        "accuracy.",
        ((step("class_weights", "loss weighted by class"),),),
        measured=ratio,
        threshold=RARE,
        derivation="The gradient of a class is proportional to its share: at a fifth and below it "
        "is noise beside the others'. Whether that limits is decided by balanced accuracy.",
        where="targets",
        evidence={"accuracy": last.value, "balanced accuracy": last.balanced},
        measure="balanced accuracy",
        # of letters or words most are rare by nature: fewer samples than there are classes
        plain=ratio >= MANY and last.value - last.balanced > LOST and min(counts) >= len(counts),
        settle="Held-out data with at least thirty samples of every class.",
    )


def leaked_samples(seen: Observation) -> Suspicion | None:
    """Held-out inputs that stand in the training part."""
    share = seen.data.duplicated
    if share <= DUPLICATES:
        return None
    return Suspicion(
        "leaked-samples",
        "Held-out samples are trained on",
        f"{share:.1%} of the held-out inputs stand, number for number, in the training part: "
        "held-out scores say too much.",
        "Take duplicates out before splitting.",
        plain=True,
        severity="warning" if share >= 0.05 else "info",
        measured=share,
        threshold=DUPLICATES,
        derivation="Measured inputs coincide in all numbers with probability zero.",
        where="held_out",
    )


def input_correlation(seen: Observation) -> Suspicion | None:
    """A narrow valley because inputs repeat each other."""
    narrow = seen.data.narrowness
    if not math.isfinite(narrow) or narrow < NARROW:
        return None
    return Suspicion(
        "input-correlation",
        "Inputs repeat each other",
        f"The correlation matrix of the inputs has condition number {narrow:.3g} or more: the loss "
        "is a narrow valley along their common directions.",
        "Whiten the inputs (decorrelate them).",
        ((step("whitened_inputs", "inputs whitened"),),),
        measured=narrow,
        threshold=NARROW,
        derivation="Descent needs a number of steps in proportion to the condition number of "
        "E[x xᵀ]; a hundred is what a few epochs of common size allow.",
        where="inputs",
        evidence={"largest eigenvalue of correlations": seen.data.correlation},
    )
