"""Claims on momentum and adaptive rates: verdicts, and that a wrong library would be found out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from thalweg.claims import CLAIMS, acceleration, adam, adaptive, adaptive_failures, momentum
from thalweg.claims.adam import reference_adam
from thalweg.claims.adaptive_failures import wilson_data
from thalweg.claims.base import Setting

VERDICTS = {
    "momentum-rate": "confirmed",
    "momentum-forms": "corrected",
    "nesterov-forms": "corrected",
    "nesterov-rate": "confirmed",
    "delta-bar-delta": "confirmed",
    "nesterov-under-noise": "confirmed",
    "momentum-in-networks": "reduced",
    "adaptive-rates": "confirmed",
    "rmsprop-floor": "corrected",
    "moving-average": "corrected",
    "optimizer-memory": "confirmed",
    "adam-first-step": "confirmed",
    "adam-as-printed": "corrected",
    "adam-on-a-valley": "confirmed",
    "adaptive-generalisation": "confirmed",
    "adam-diverges": "confirmed",
}
MODULES = (momentum, acceleration, adaptive, adam, adaptive_failures)


def test_every_momentum_claim_of_these_files_is_in_the_table(lectures_of) -> None:
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


def test_the_loss_of_descent_is_that_of_its_sharpest_direction_at_the_best_contraction(
    judged,
) -> None:
    claim = judged("delta-bar-delta")
    weight = (1 - 2 / 1.001) ** 500  # of curvature 1; the flattest direction weighs a thousandth
    assert claim.measures[0].ours == pytest.approx(0.5 * weight**2 * 1.001, rel=1e-6)
    assert any("thousandth" in note for note in claim.notes)


def _forgetful(a, w, rates, scaled=True):
    """Heavy ball whose first step is lost."""
    return momentum._v(a, w, [0.0, *rates[1:]])


def _unaccelerated(a, start, lr, steps):
    return momentum.descend(a, np.zeros(len(start)), start, lr, steps)


def _plain(a, start, lr, steps, nesterov):
    """Heavy ball, whatever was asked for."""
    return momentum.descend(a, np.zeros(len(start)), start, lr, steps, momentum.BETA)


def _falling(way):
    """Acceleration that survives noise."""
    return np.arange(1.0, 1001.0) ** (-2 if way == "Nesterov" else -1)


WRONG = {
    "momentum-rate": (momentum, "_radius", lambda x, beta: abs(1 - x)),
    "momentum-forms": (momentum, "_heavy_ball", _forgetful),
    "nesterov-forms": (momentum, "_torch", _plain),
    "nesterov-rate": (acceleration, "_accelerated", _unaccelerated),
    "nesterov-under-noise": (acceleration, "_noisy", lambda c, way, noise, seed: _falling(way)),
    "adaptive-rates": (adaptive, "_steps", lambda name, g, **values: np.full(len(g), 0.01)),
    "moving-average": (adaptive, "_average", lambda x, beta: np.cumsum(x) / np.arange(1, 61)),
    "adam-on-a-valley": (adam, "_roughness", lambda path: -float(np.abs(path).sum())),
    "adam-diverges": (adaptive_failures, "_online", lambda amsgrad: [0.0] * 3001),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_library_is_found_out(name, monkeypatch) -> None:
    monkeypatch.setattr(*WRONG[name])
    assert CLAIMS.load(name).run(Setting()).verdict == "not reproduced"


def test_the_reference_is_torchs_adam_with_other_betas_too() -> None:
    gradients = np.random.default_rng(3).standard_normal((30, 4))
    w = torch.nn.Parameter(torch.zeros(4, dtype=torch.float64))
    optimizer = torch.optim.Adam([w], lr=1e-3, betas=(0.0, 0.9))
    for g in gradients:
        w.grad = torch.from_numpy(g)
        optimizer.step()
    ours = reference_adam(gradients, betas=(0.0, 0.9))[-1]
    np.testing.assert_allclose(ours, w.detach().numpy(), atol=1e-14)


def test_wilson_samples_own_their_features() -> None:
    data = wilson_data(40, 0.75, 30, seed=2)
    own = data.x[:, 3:]
    assert float((own @ own.mT).fill_diagonal_(0).abs().max()) == 0
    counts = own.sum(1)
    assert torch.equal(counts, torch.where(data.y > 0, 1.0, 5.0).double())
    assert float(data.x_test[:, 3:].abs().max()) == 0
    assert torch.equal(data.x[:, 0], data.y)
