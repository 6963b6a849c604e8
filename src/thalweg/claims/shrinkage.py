"""Thresholds with round corners, and how slow ISTA is where atoms outnumber dimensions."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.claims.curves import curve
from thalweg.claims.sparse import descend
from thalweg.records_claims import Chart
from thalweg.sparse.encoders.smoothed import smooth_shrink


@claim(
    name="smooth-shrinkage",
    title="The smooth threshold is odd only with its bracket",
    decks=("D0",),
    section="sparse#s10",
    says="sh(s) = sign(s) (log(e^βb + e^β|s| - 1)/β - b) is odd and tends to the soft threshold.",
    targets=(
        Target("largest gap to the soft threshold, β = 20, b = 0.5", 3.5e-2, 5e-4, source="[C]"),
        Target("the same, β = 100", 7e-3, 1e-4, source="[C]"),
        Target("largest sh(s) + sh(-s)", 0.0, 1e-12, source="[C]"),
        Target("the same without the bracket", 1.0, 1e-9, source="[C]"),
        Target("sh(0)", 0.0, 0.0, source="[C]"),
    ),
    correction=(
        "The paper typesets the formula without the bracket around the last - b; that form is off "
        "by 2b between s and -s."
    ),
    seconds=1,
)
def smooth_shrinkage(setting: Setting) -> Outcome:
    """4001 points of [-2, 2], float64."""
    s, b = torch.linspace(-2, 2, 4001, dtype=torch.float64), 0.5
    soft = s.sign() * (s.abs() - b).clamp(min=0)
    at = {beta: smooth_shrink(s, beta, b) for beta in (5.0, 20.0, 100.0)}

    def printed(x: Tensor) -> Tensor:
        return x.sign() * torch.log(np.exp(20 * b) + torch.exp(20 * x.abs()) - 1) / 20 - b

    return Outcome(
        {
            "largest gap to the soft threshold, β = 20, b = 0.5": _gap(at[20.0], soft),
            "the same, β = 100": _gap(at[100.0], soft),
            "largest sh(s) + sh(-s)": _gap(at[20.0], -at[20.0].flip(0)),
            "the same without the bracket": _gap(printed(s), -printed(-s)),
            "sh(0)": float(smooth_shrink(torch.zeros(1, dtype=torch.float64), 20.0, b)),
        },
        (
            Chart(
                "Thresholds of 0.5",
                "s",
                "sh(s)",
                (
                    curve("soft threshold", s.tolist(), soft.tolist()),
                    *(curve(f"β = {k:g}", s.tolist(), v.tolist()) for k, v in at.items()),
                ),
            ),
        ),
    )


def _gap(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


@claim(
    name="ista-overcomplete",
    title="ISTA is slow where atoms outnumber dimensions",
    decks=("D0", "D1"),
    section="sparse#s2",
    says="With 40 atoms in 20 dimensions ISTA is far from the least energy after 600 steps.",
    targets=(
        Target("log10 of ISTA's mean excess of twenty", -2.4, 1.0, source="[C]"),
        Target("log10 of FISTA's mean excess of twenty", -6.5, 1.5, source="[C]"),
    ),
    seconds=1,
)
def ista_overcomplete(setting: Setting) -> Outcome:
    """Twenty normal signals, random atoms of norm 1, l1 0.1; the least energy is certified."""
    from thalweg.sparse import encode

    rng = np.random.default_rng(setting.seed)
    D, X = rng.standard_normal((20, 40)), rng.standard_normal((20, 20))
    D = D / np.linalg.norm(D, axis=0)
    least = np.asarray(encode(X, D, 0.1, tol=1e-14).energy)
    seen = {n: descend(X, D, 0.1, 600, n == "FISTA")[0] for n in ("ISTA", "FISTA")}
    excess = {n: np.maximum(v - least, 1e-16).mean(1) for n, v in seen.items()}
    steps = np.arange(601)
    return Outcome(
        {
            f"log10 of {name}'s mean excess of twenty": float(np.log10(values[-1]))
            for name, values in excess.items()
        },
        (
            Chart(
                "Mean excess of twenty signals",
                "iteration",
                "energy above the least",
                tuple(curve(n, steps[: len(v)], v) for n, v in excess.items()),
                y_log=True,
            ),
        ),
    )
