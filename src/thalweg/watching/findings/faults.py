"""Faults that need no trial: numbers that are none, weights that cannot move, stale gradients."""

from __future__ import annotations

import math

from thalweg.records_diagnosis import Finding
from thalweg.watching.history import History, Look, median

SHARE = 0.01  # of all weights: fewer without a gradient (a pooler, a mask token) are common
ENOUGH = 3


def nonfinite_data(seen: History) -> Finding | None:
    """NaN or infinite numbers in the model's input."""
    bad = next((k for k in seen.looks if not k.finite_inputs), None)
    if bad is None:
        return None
    return Finding(
        "nonfinite-data", "error",
        "The model was given NaN or infinite numbers",
        f"At step {bad.step} an input of the model held NaN or infinite numbers.",
        where="input", measured=float(bad.step),
        derivation="Every weight that such a number reaches becomes NaN in one step.",
        remedy="Find the samples with torch.isfinite and leave them out or repair them.",
    )  # fmt: skip


def nonfinite_values(seen: History) -> Finding | None:
    """NaN or infinite numbers in the loss, the gradients or the weights."""
    bad = seen.broken
    if bad is None and not seen.losses.bad:
        return None
    if bad is not None and not bad.finite_inputs:
        return None  # the data are the cause
    kind, where = "loss", "loss"
    if bad is not None:
        kind, where = _first(bad)
    before = seen.sound
    at = f"At step {bad.step}" if bad is not None else f"By step {seen.steps}"
    said = f"{at} {kind} {'are' if kind.endswith('s') and kind != 'loss' else 'is'} NaN or infinite"
    said += f", first in '{where}'." if where not in ("loss", kind) else "."
    evidence: dict[str, float] = {}
    if before is not None and before.gradients:
        early = median([k.norm for k in seen.looks if k.step <= before.step][:5])
        growth = before.norm / early if early > 0 else math.nan
        evidence = {"gradient norm before": before.norm, "growth until then": growth}
        said += f" At step {before.step} the gradient's norm was still {before.norm:.3g}"
        said += f", {growth:.3g} times that of the first looks." if growth > 10 else "."
    return Finding(
        "nonfinite-values", "error",
        "Training has become NaN or infinite", said,
        where=where, measured=float(seen.losses.bad or 1), threshold=0.0, evidence=evidence,
        derivation="No step leads back from NaN weights.",
        remedy="Start again with a tenth of the learning rate and clipped gradients; in half "
        "precision use a GradScaler or bfloat16; guard logarithms, roots and divisions.",
        settle="thalweg diagnose on this task says whether the rate, the start or the data do it.",
    )  # fmt: skip


def _first(bad: Look) -> tuple[str, str]:
    """The first thing on the way from input to weights that is not finite."""
    for name, size in bad.outputs.items():
        if not math.isfinite(size):
            return "outputs", name
    for name, norm in bad.gradients.items():
        if not math.isfinite(norm):
            return "gradients", name
    return "weights", "weights"


def frozen_parameters(seen: History) -> Finding | None:
    """Weights that get no gradient, or that the optimiser does not hold."""
    recent = seen.recent(ENOUGH)
    whole = sum(seen.parameters.values())
    if not recent or not whole:
        return None
    if not seen.owned & set(seen.parameters):
        return _plain(
            "The optimiser holds none of the model's weights",
            f"The model has {len(seen.parameters)} trainable weight tensors; none of them is in "
            "the optimiser.", 1.0, "optimizer",
            "Make the optimiser from model.parameters() after the model is built and moved.",
        )  # fmt: skip
    never = set.intersection(*(set(k.unreached) for k in recent))
    held = {n for n in never if n in seen.parameters}
    if held and all(not k.gradients for k in recent):
        return _plain(
            "No weight gets a gradient",
            f"At the last {len(recent)} looks no weight of the optimiser had a gradient.",
            1.0, "whole model",
            "Call loss.backward() before step(), on a loss without detach() or no_grad() on its "
            "way.",
        )  # fmt: skip
    cut = [n for n in seen.parameters if n in held and _ran(n, recent)]
    share = sum(seen.parameters[n] for n in cut) / whole
    if cut and share >= SHARE:
        return _plain(
            "Some layers get no gradient",
            f"{', '.join(cut[:4])}{' …' if len(cut) > 4 else ''} take part in the forward pass but "
            f"get no gradient: {share:.0%} of all weights stay as they are.",
            share, cut[0],
            "Look for detach(), no_grad() or .data between these layers and the loss.",
        )  # fmt: skip
    if all(k.gradients and not any(k.gradients.values()) for k in recent):
        return _plain(
            "All gradients are exactly zero",
            f"At the last {len(recent)} looks every gradient was exactly zero.", 1.0, "whole model",
            "The loss does not depend on the weights where they stand (all units off, or a "
            "rounded or compared output): start elsewhere, or use a loss with a slope.",
        )  # fmt: skip
    still = sorted(seen.still)
    share = sum(seen.parameters.get(n, 0) for n in still) / whole
    if still and share >= SHARE:
        return Finding(
            "frozen-parameters", "warning",
            "Weights get gradients but nothing moves them",
            f"{', '.join(still[:4])}{' …' if len(still) > 4 else ''} ({share:.0%} of all weights) "
            "get gradients, are in no group of this optimiser and have not changed.",
            where=still[0], measured=share, threshold=SHARE,
            derivation="A gradient is computed for them at every step and thrown away.",
            remedy="Add them to the optimiser (add_param_group), or set requires_grad=False: that "
            "saves the time of their gradients.",
        )  # fmt: skip
    return None


def _ran(name: str, recent: list[Look]) -> bool:
    """Whether the module that holds a weight took part in the forward pass."""
    return all(name.rpartition(".")[0] in k.used for k in recent)


def _plain(title: str, message: str, share: float, where: str, remedy: str) -> Finding:
    return Finding(
        "frozen-parameters", "error", title, message, where=where, measured=share, threshold=0.0,
        derivation="Descent needs a gradient.", remedy=remedy,
    )  # fmt: skip


def stale_gradients(seen: History) -> Finding | None:
    """Gradients of earlier steps that are still there when the next are added."""
    if seen.stale < 2 or seen.stale < seen.checked:
        return None
    return Finding(
        "stale-gradients", "error",
        "Gradients are never set back to zero",
        f"At {seen.stale} of {seen.checked} looks the gradient of the step before was still there "
        "when the next was added: each step repeats all earlier ones.",
        where="training loop", measured=float(seen.stale), threshold=0.0,
        derivation="backward() adds to .grad. After t steps the sum holds t gradients: the step "
        "grows with t, as if by momentum 1.",
        remedy="Call optimizer.zero_grad() once a step, before backward().",
    )  # fmt: skip
