"""What a report needs of an amortisation gap: means, quantiles and histograms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from thalweg.records_gap import CodeKind, GapReport
from thalweg.rundir.machine import machine
from thalweg.sparse.amortisation.result import Gap

KINDS = ("encoder", "refit", "optimal", "optimal_refit")
_LOWEST = -12  # decade that holds everything below it too


def summarise(
    gap: Gap,
    *,
    inputs: int,
    weights: str = "",
    layout: str = "",
    activations: str = "",
    seconds: float = 0.0,
    seed: int = 0,
    notes: Sequence[str] = (),
    command: str = "",
) -> GapReport:
    """The record of a gap.

    Args:
        gap: As measured.
        inputs: Length of an activation.
        weights: What the autoencoder is called.
        layout: Whose files its weights are in.
        activations: What the samples are called.
        seconds: How long it took.
        seed: What drew the samples.
        notes: Sentences to show.
        command: The command line that made it.
    """
    total = float(gap.excess.sum())
    optimal = float(gap.optimal.energy.sum())
    decades, counts = _decades(gap.excess, gap.half)
    return GapReport(
        weights=weights,
        layout=layout,
        activations=activations,
        samples=len(gap.excess),
        inputs=inputs,
        atoms=gap.atoms,
        problem=gap.problem,
        kinds=tuple(_kind(gap, name) for name in KINDS),
        excess=float(gap.excess.mean()),
        relative_excess=total / optimal if optimal > 0 else (0.0 if total == 0 else float("inf")),
        support_share=float(gap.excess_of_support.sum()) / total if total else 0.0,
        wrong=float(gap.wrong.mean()),
        missed=float(gap.missed.mean()),
        extra=float(gap.extra.mean()),
        l1=gap.l1,
        k=None if gap.k is None else str(gap.k),
        certificate=None if gap.certificate is None else float(gap.certificate.max()),
        over_budget=gap.over_budget,
        excess_decades=decades,
        excess_counts=counts,
        missed_counts=tuple(int(n) for n in np.histogram(gap.missed, 10, (0.0, 1.0))[0]),
        seconds=seconds,
        seed=seed,
        machine=machine(),
        notes=(*notes, *_remarks(gap)),
        command=command,
    )


def _remarks(gap: Gap) -> list[str]:
    remarks = []
    if gap.problem == "k-sparse":
        remarks.append(
            "The best support of k atoms is NP-hard to find: optimal means the best code found "
            "(pursuit, refit of the encoder's support, exchange of atoms), so the gap shown is a "
            "lower bound on the true one."
        )
    if gap.over_budget:
        remarks.append(
            f"On {gap.over_budget} samples the encoder uses more than k atoms; there its energy is "
            "not comparable and the excess may be negative. k = same compares at equal L0."
        )
    return remarks


def _kind(gap: Gap, name: str) -> CodeKind:
    one = getattr(gap, name)
    finite = one.fvu[np.isfinite(one.fvu)]
    quantiles = np.quantile(finite, np.linspace(0, 1, 101)) if len(finite) else ()
    return CodeKind(
        name,
        float(one.energy.mean()),
        gap.total_fvu(name),
        float(one.l0.mean()),
        tuple(float(q) for q in quantiles),
    )


def _decades(excess: np.ndarray, half: np.ndarray) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Samples by power of ten of ``excess / half``; what is not positive falls into the lowest."""
    share = np.divide(excess, half, out=np.zeros(len(excess)), where=half > 0)
    if not len(share):
        return (), ()
    power = np.floor(np.log10(np.maximum(share, 10.0**_LOWEST))).astype(int).clip(_LOWEST, None)
    low, high = int(power.min()), int(power.max())
    counts = np.bincount(power - low, minlength=high - low + 1)
    return tuple(range(low, high + 1)), tuple(int(n) for n in counts)
