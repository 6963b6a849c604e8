"""Faults of normalisation."""

from __future__ import annotations

import math

from torch import nn

from thalweg.diagnose.observation import Observation
from thalweg.diagnose.suspect import Suspicion, step
from thalweg.records_diagnosis import Step

MODES = 0.1  # of the loss of a constant answer
STALE = 0.5  # of the initial statistics left after the whole recipe: no run can be long enough
FEW = 8  # samples that statistics are taken over


def norm_misuse(seen: Observation) -> Suspicion | None:
    """Stored statistics that do not fit the data."""
    train, held = seen.train_mode_loss, seen.eval_mode_loss
    model = seen.walks[0].model if seen.walks else None
    if model is None:
        return None
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    scale = abs(seen.bench.judge.floor_loss)
    scale = scale if math.isfinite(scale) and scale > 0 else max(abs(train), 1e-6)
    gap = (held - train) / scale
    size = seen.bench.settings.batch_size or seen.bench.risk.train.n
    few = size < FEW and any(isinstance(m, nn.BatchNorm1d) for m in norms)
    if not norms or not (gap > MODES or few):
        return None
    cures: list[tuple[Step, ...]] = []
    if any(m.momentum is not None and not 0.02 <= m.momentum <= 0.5 for m in norms) or any(
        m.eps > 1e-2 for m in norms
    ):
        cures.append((step("batch_statistics", "running averages at rate 0.1"),))
    cures.append((step("group_norm", "group normalisation"),))
    if size < 16 and seen.bench.risk.train.n >= 64:
        cures.append((step("larger_batch", "batches of 32", batch_size=32),))
    where = next((n for n, m in model.named_modules() if m is norms[0]), "")
    if not gap > MODES:
        error = math.sqrt(2 / max(1, size - 1))
        return Suspicion(
            "norm-misuse",
            "Batch normalisation over very few samples",
            f"Statistics are taken over batches of {size}: their variance is off by {error:.0%}.",
            "Use larger batches, or a normalisation that does not mix samples.",
            tuple(cures),
            measured=error,
            threshold=math.sqrt(2 / (FEW - 1)),
            derivation="The variance of m normal numbers has relative error sqrt(2/(m − 1)).",
            where=where,
            evidence={"batch size": float(size)},
        )
    steps = seen.bench.gradients(seen.recipe.epochs)
    stale = max(((1 - m.momentum) ** steps for m in norms if m.momentum is not None), default=0.0)
    old = (
        f" After all of the recipe's {steps} gradients the stored ones would still be to "
        f"{stale:.0%} what they were before the first."
    )
    return Suspicion(
        "norm-misuse",
        "Batch normalisation answers differently when evaluated",
        f"With statistics of the batch the held-out loss is {train:.4g}, with the stored ones "
        f"{held:.4g}." + old * (stale > STALE),
        "Use larger batches or another normalisation, and let stored statistics follow the data.",
        tuple(cures),
        measured=gap,
        threshold=MODES,
        derivation="Difference over the loss of a constant answer: a tenth of all there is to gain "
        "is lost by changing the mode.",
        where=where,
        evidence={"batch size": float(size), "share of the initial statistics at the end": stale},
        plain=stale > STALE,
    )
