"""How sharp are the bounds of elastic averaging? Above the asynchronous one, at the other."""

from __future__ import annotations

import numpy as np

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.claims.curves import curve
from thalweg.claims.distributed import _easgd, _radius
from thalweg.parallel.elastic import stable_alpha, stable_alpha_synchronous
from thalweg.records_claims import Chart


@claim(
    name="easgd-beyond-bound",
    title="Elastic averaging's bound suffices; it is not needed",
    decks=("D1",),
    section="flat-minima#f5",
    says="With eight workers and rate 1 a sweep is still stable just above (4 - 2η)/(4 - η).",
    targets=(
        Target("the bound at rate 1", 2 / 3, 1e-12, source="[P]"),
        Target("spectral radius of a sweep at 1.001 of the bound", 1.0, 0.0, "at most", "", "[C]"),
        Target("largest stretch of one exchange there", 1.0, 0.0, "at least", source="[C]"),
        Target("rate at which the sweep loses stability, over the bound", relation="reported"),
    ),
    correction=(
        "The paper states the condition as one of stability. Each exchange expands beyond it, but "
        "a sweep over several workers need not: it is sufficient, not necessary."
    ),
    seconds=1,
)
def easgd_beyond_bound(setting: Setting) -> Outcome:
    """Eigenvalues of one round over (workers, centre) on x²/2."""
    bound = stable_alpha(1.0)
    above = 1.001 * bound
    exchange = np.array([[-above, above], [above, 1 - above]])
    low, high = bound, 2.0
    for _ in range(50):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if _radius(_easgd(8, 1.0, middle)) <= 1 else (low, middle)
    alphas = np.linspace(0.02, 1.2, 60)
    return Outcome(
        {
            "the bound at rate 1": bound,
            "spectral radius of a sweep at 1.001 of the bound": _radius(_easgd(8, 1.0, above)),
            "largest stretch of one exchange there": float(
                np.abs(np.linalg.eigvalsh(exchange)).max()
            ),
            "rate at which the sweep loses stability, over the bound": low / bound,
        },
        (
            Chart(
                "One round at rate 1",
                "elastic rate",
                "spectral radius",
                tuple(
                    curve(f"{p} workers", alphas, [_radius(_easgd(p, 1.0, a)) for a in alphas])
                    for p in (1, 2, 8)
                ),
            ),
        ),
    )


@claim(
    name="easgd-synchronous",
    title="Where synchronous elastic averaging is stable",
    decks=("D1",),
    section="flat-minima#f4",
    says=(
        "Differences between workers shrink by |1 - ηh - α|; the mean is stable up to "
        "α = (4 - 2ηh)/(2 + p(2 - ηh))."
    ),
    targets=(
        Target("bound found numerically over the formula, worst", 1.0, 1e-6, source="[C]"),
        Target("largest error of the modes of difference", 0.0, 1e-12, source="[C]"),
    ),
    seconds=1,
)
def easgd_synchronous(setting: Setting) -> Outcome:
    """Bisect the spectral radius of the whole map, two to sixteen workers, three rates."""
    ratios, errors = [], []
    for p in (2, 4, 16):
        for eta in (0.05, 0.5, 1.5):
            low, high = 0.0, 2.0
            for _ in range(60):
                middle = 0.5 * (low + high)
                stable = _mean_radius(p, eta, middle) <= 1 + 1e-12
                low, high = (middle, high) if stable else (low, middle)
            ratios.append(low / stable_alpha_synchronous(eta, p))
            values = np.linalg.eigvals(_together(p, eta, 0.1))
            wanted = 1 - eta - 0.1
            errors.append(np.sort(np.abs(values - wanted))[: p - 1].max())
    return Outcome(
        {
            "bound found numerically over the formula, worst": max(
                ratios, key=lambda ratio: abs(ratio - 1)
            ),
            "largest error of the modes of difference": float(max(errors)),
        }
    )


def _together(p: int, eta: float, alpha: float) -> np.ndarray:
    """One step of all workers and the centre on x²/2."""
    step = (1 - eta - alpha) * np.eye(p + 1)
    step[:p, p] = alpha
    step[p] = alpha
    step[p, p] = 1 - p * alpha
    return step


def _mean_radius(p: int, eta: float, alpha: float) -> float:
    """Spectral radius on (mean of the workers, centre)."""
    return _radius(np.array([[1 - eta - alpha, alpha], [p * alpha, 1 - p * alpha]]))
