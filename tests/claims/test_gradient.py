"""Claims on gradient descent: verdicts, and that a wrong library would be found out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from thalweg.claims import (
    CLAIMS,
    gradient,
    gradient_averages,
    gradient_methods,
    gradient_noise,
    gradient_risk,
)
from thalweg.claims.base import Setting
from thalweg.claims.curves import MOST, curve, slope

VERDICTS = {
    "descent-rate": "confirmed",
    "linear-unit": "confirmed",
    "half-in-the-loss": "corrected",
    "linear-unit-bias": "corrected",
    "update-sign": "corrected",
    "linear-unit-sgd": "confirmed",
    "redundant-data": "confirmed",
    "noise-escapes": "confirmed",
    "minibatch-noise": "confirmed",
    "noise-floor": "confirmed",
    "iterate-averaging": "confirmed",
    "exponential-averaging": "corrected",
    "sgd-rates": "confirmed",
    "shuffling": "confirmed",
    "schedules": "confirmed",
    "surrogate-loss": "corrected",
    "empirical-risk": "corrected",
    "conjugate-gradients": "confirmed",
    "coordinate-descent": "confirmed",
    "bounded-dictionary": "corrected",
}
MODULES = (gradient, gradient_averages, gradient_methods, gradient_noise, gradient_risk)


def test_every_gradient_claim_of_these_files_is_in_the_table(lectures_of) -> None:
    assert set(lectures_of(*MODULES)) == set(VERDICTS)


@pytest.mark.parametrize("name", VERDICTS)
def test_the_claim_gives_its_verdict_with_figures(name, judged) -> None:
    claim = judged(name)
    assert claim.verdict == VERDICTS[name], claim.measures
    assert claim.charts


@pytest.mark.parametrize("name", VERDICTS)
def test_one_number_beyond_its_tolerance_is_not_reproduced(name, judged, verdict_with) -> None:
    claim = judged(name)
    for measure in claim.measures:
        if measure.relation != "reported":
            assert verdict_with(name, claim, measure.name) == "not reproduced", measure.name


def _slower(matrix, b, start, lr, steps, momentum=0.0):
    """Descent at a rate 3 % below the one asked for."""
    w, path = np.array(start, float), [np.array(start, float)]
    for _ in range(steps):
        w = w - 0.97 * lr * (matrix @ w - b)
        path.append(w)
    return np.stack(path)


WRONG = {
    "descent-rate": (gradient, "descend", _slower),
    "linear-unit": (gradient, "descend", _slower),
    "update-sign": (gradient, "descend", _slower),
    "linear-unit-bias": (gradient, "max_learning_rate", lambda top: 2.02 / top),
    "linear-unit-sgd": (gradient_noise, "_loss", lambda x, y, w: 0.5 * float(np.mean(y - x @ w))),
    "noise-floor": (
        gradient_averages,
        "stationary_variance",
        lambda c, lr, variance=1.0, momentum=0.0: lr * variance / (2 * c) * 1.1,
    ),
    "iterate-averaging": (gradient_averages, "slope", lambda x, y: slope(x, np.sqrt(y))),
    "shuffling": (gradient_risk, "Order", lambda n, size, kind: _Ordered(n, size, kind)),
    "schedules": (gradient_risk, "linear", lambda k, tau: max(0.02, 1 - k / tau)),
    "surrogate-loss": (
        gradient_risk,
        "_margin",
        lambda scores, y: 1 / float(scores.abs().max() + 1),
    ),
    "conjugate-gradients": (gradient_methods, "_exact", lambda w: torch.optim.SGD([w], lr=1.0)),
}


class _Ordered:
    """Turns orders round: what is asked to be reshuffled is sorted, and the other way about."""

    def __init__(self, n: int, size: int, kind: str) -> None:
        from thalweg.risk.order import Order

        swapped = {"reshuffle": "ordered", "ordered": "reshuffle"}
        self._order = Order(n, size, swapped.get(kind, kind))

    def batches(self, seed: int, epoch: int):
        return self._order.batches(seed, epoch)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_library_is_found_out(name, monkeypatch) -> None:
    monkeypatch.setattr(*WRONG[name])
    assert CLAIMS.load(name).run(Setting()).verdict == "not reproduced"


@pytest.mark.parametrize("name", ["linear-unit-sgd", "shuffling", "noise-escapes"])
def test_another_seed_gives_the_same_verdict(name) -> None:
    assert CLAIMS.load(name).run(Setting(seed=7)).verdict == VERDICTS[name]


def test_long_curves_are_thinned_and_keep_their_ends() -> None:
    drawn = curve("parabola", range(5000), np.arange(5000.0) ** 2)
    assert len(drawn.x) == MOST
    assert (drawn.x[0], drawn.x[-1], drawn.y[-1]) == (0.0, 4999.0, 4999.0**2)
    with pytest.raises(ValueError, match="3 places and 2 values"):
        curve("uneven", [1, 2, 3], [1, 2])
    assert slope([1, 2, 4], [3, 0.75, 0.1875]) == pytest.approx(-2)
