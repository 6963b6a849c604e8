"""Claims on curvature and saddles: verdicts, and that a wrong library would be found out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from thalweg.claims import CLAIMS, curvature, depth, hyperbola, saddles, spectrum, weight_paths
from thalweg.claims.base import Setting

VERDICTS = {
    "ill-conditioning-monitor": "confirmed",
    "gradient-norm-rises": "reduced",
    "saddle-escape": "confirmed",
    "saddle-counts": "confirmed",
    "saddles-lie-high": "confirmed",
    "linear-autoencoder": "corrected",
    "one-one-one": "confirmed",
    "vanishing-gradients": "confirmed",
    "activation-slopes": "corrected",
    "weight-symmetry": "confirmed",
    "path-sums": "confirmed",
    "hessian-spectrum-reduced": "reduced",
    "mnistfc-width": "corrected",
}
SLOW = {"hessian-spectrum", "hessian-spectrum-at-the-end"}  # half an hour of one core, on MNIST
MODULES = (curvature, saddles, hyperbola, depth, weight_paths, spectrum)


def test_every_curvature_claim_of_these_files_is_in_the_table(lectures_of) -> None:
    assert set(lectures_of(*MODULES)) == set(VERDICTS) | SLOW


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


def test_the_whole_spectrum_needs_mnist_and_is_not_quick() -> None:
    for name in sorted(SLOW):
        lecture = CLAIMS.load(name)
        assert not lecture.quick
        with pytest.raises(FileNotFoundError, match="mnist"):
            lecture.run(Setting())
    with pytest.raises(FileNotFoundError, match="mnist"):
        CLAIMS.load("hessian-spectrum-reduced").run(Setting(full=True))


@pytest.mark.parametrize("adam", [False, True])
def test_training_ends_where_it_is_told_and_walks_the_same_way_up_to_there(adam) -> None:
    x = torch.randn(512, 1, 14, 14, generator=torch.Generator().manual_seed(0))
    y = torch.arange(512) % 10
    asked = []

    def enough(model):
        asked.append([p.detach().clone() for p in model.parameters()])
        return len(asked) == 11

    def train(steps, until=None):
        net = spectrum.SmallLeNet((2, 5), 12, 14)
        return spectrum._trained(net, x, y, steps, Setting(), until=until, adam=adam)

    model, epochs = train(None, enough)
    assert epochs == 11 * 2 / 16  # sixteen steps an epoch, asked after every second
    plain, _ = train(22)
    for a, b, c in zip(model.parameters(), plain.parameters(), asked[-1], strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)


class _Doubled(curvature.ConditioningMonitor):
    """Measures gᵀHg twice as large."""

    def record(self, step, loss, parameters, lr, actual=math.nan):
        return super().record(step, loss, parameters, 2 * lr, actual)


def _uncorrelated(n, seed, waves=200):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(500), rng.integers(0, n + 1, 500) / n


WRONG = {
    "ill-conditioning-monitor": (curvature, "ConditioningMonitor", _Doubled),
    "saddle-escape": (curvature, "newton_step", lambda at, w=None, *, method: -at.grad(w) / 3),
    "saddle-counts": (saddles, "_positive_share", lambda n, draws, rng: 0.5**n),
    "saddles-lie-high": (saddles, "_critical_points", _uncorrelated),
    "one-one-one": (hyperbola, "one_one_one_hessian", lambda w: torch.diag_embed(w)),
    "linear-autoencoder": (saddles, "_end", lambda loss, generator: 5.0),
    "vanishing-gradients": (depth, "_first_gradient", lambda name, way, d, seed: 3.0**-d),
    "weight-symmetry": (weight_paths, "rescale_units", lambda net, layer, scales: net),
    "path-sums": (weight_paths, "active_path_sum", None),
}


def _halved(net, x):
    from thalweg.mechanics.paths import active_path_sum

    found = active_path_sum(net, x)
    return found._replace(output=found.output / 2)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_library_is_found_out(name, monkeypatch) -> None:
    module, attribute, wrong = WRONG[name]
    monkeypatch.setattr(module, attribute, wrong or _halved)
    assert CLAIMS.load(name).run(Setting()).verdict == "not reproduced"


def test_pivots_count_the_same_matrices_as_eigenvalues() -> None:
    for n in (2, 3, 4):
        share = saddles._positive_share(n, 3000, np.random.default_rng(5))
        a = np.random.default_rng(5).standard_normal((n, n, 3000), dtype=np.float32).astype(float)
        a = (a + a.swapaxes(0, 1)) / 2**0.5
        lowest = np.linalg.eigvalsh(a.transpose(2, 0, 1))[:, 0]
        assert share == pytest.approx(np.mean(lowest > 0), abs=1e-12)


def test_critical_points_come_in_every_kind_with_minima_below_maxima() -> None:
    height, index = saddles._critical_points(2, 4)
    assert set(np.round(index * 2)) == {0, 1, 2}
    assert np.mean(height[index == 0]) < np.mean(height[index == 0.5]) < np.mean(height[index == 1])


def test_the_recipe_is_the_released_scripts_averaged_momentum() -> None:
    # v ← 0.9 v - 0.1 g, w ← w + 0.001 v on the loss summed over 32, by hand
    task = spectrum.load_task("small-lenet-14")
    x, y = task.train[0][:128], task.train[1][:128]
    ours, _ = spectrum._trained(spectrum.SmallLeNet((2, 5), 12, 14), x, y, 3, Setting())
    model = spectrum.SmallLeNet((2, 5), 12, 14)
    generator = torch.Generator().manual_seed(0)
    for p in model.parameters():
        torch.nn.init.normal_(p, 0, 0.1, generator=generator)
    order = torch.randperm(128, generator=generator)
    velocity = [torch.zeros_like(p) for p in model.parameters()]
    for batch in order.split(32)[:3]:
        loss = torch.nn.functional.cross_entropy(model(x[batch]), y[batch], reduction="sum")
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for p, v, g in zip(model.parameters(), velocity, gradients, strict=True):
                v.mul_(0.9).sub_(0.1 * g)
                p.add_(1e-3 * v)
    for p, q in zip(ours.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(p, q, atol=1e-6, rtol=1e-5)
