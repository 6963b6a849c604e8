"""The whole survey against dense matrices: ends, shares, trace, rates, layers, slices."""

from __future__ import annotations

import json
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import thalweg as tw
from thalweg.curvature import advise_batch_size, classify, hessian, noise_scale, spectrum
from thalweg.curvature.problem import Problem
from thalweg.curvature.subset import affordable, sampling_errors, work
from thalweg.curvature.views import views
from thalweg.linalg import eigenvalues
from thalweg.records import SpectrumReport

F64 = torch.float64


def net(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


@pytest.fixture(scope="module")
def task():
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(60, 4, generator=g), torch.randint(0, 3, (60,), generator=g)
    return tw.Task("small", net, F.cross_entropy, train=(x, y), held_out=(x[:20], y[:20]))


@pytest.fixture(scope="module")
def matrix(task):
    op = hessian(task, dtype="float64")
    return (op @ torch.eye(op.shape[0], dtype=F64)).cpu()


@pytest.fixture(scope="module")
def whole(task):
    return spectrum(task, dtype="float64", tol=1e-8, landscape=True)


@pytest.fixture(scope="module")
def sampled(task):
    return spectrum(task, dtype="float64", dense=0, probes=8, steps=12)


def test_ends_trace_and_condition_are_those_of_the_dense_matrix(whole, matrix) -> None:
    values = torch.linalg.eigvalsh(matrix).flip(0)
    assert whole.exact == pytest.approx(values.tolist(), abs=1e-12)
    assert whole.largest == pytest.approx(values[:5].tolist(), rel=1e-6)
    assert whole.smallest == pytest.approx(values.flip(0)[:5].tolist(), rel=1e-6)
    assert whole.trace == pytest.approx(float(matrix.trace()), rel=1e-12)
    assert whole.trace_stderr == 0
    sizes = values.abs()[values.abs() > 1e-10]
    assert whole.condition_exact
    assert whole.condition == pytest.approx(float(sizes.max() / sizes.min()), rel=1e-5)


def test_rates_are_the_closed_forms_of_the_largest_eigenvalue(whole) -> None:
    top = whole.largest[0]
    rates = {rate.optimizer: rate.limit for rate in whole.rates}
    assert rates["sgd"] == pytest.approx(2 / top)
    assert rates["momentum"] == pytest.approx(2 * 1.9 / top)
    assert rates["adam"] == pytest.approx(3.8 / (0.1 * whole.preconditioned))
    assert not whole.quadratic


def test_layers_are_blocks_of_the_dense_matrix(whole, task, matrix) -> None:
    places = hessian(task).layout.layers
    for layer in whole.layers:
        block = matrix[places[layer.layer], places[layer.layer]]
        top = float(torch.linalg.eigvalsh(block)[-1])
        assert abs(layer.largest - top) <= layer.residual + 1e-9
        assert abs(layer.trace - float(block.trace())) <= 5 * layer.trace_stderr + 1e-9


def test_sampled_shares_and_trace_hold_the_exact_ones(sampled, whole, matrix) -> None:
    values = torch.linalg.eigvalsh(matrix)
    assert sampled.exact == ()
    for bounds in sampled.near_zero:
        share = float((values.abs() < bounds.below).double().mean())
        assert bounds.low - 1e-9 <= share <= bounds.high + 1e-9
    share = float((values < -sampled.negative.below).double().mean())
    assert sampled.negative.low - 1e-9 <= share <= sampled.negative.high + 1e-9
    assert abs(sampled.trace - whole.trace) <= 5 * sampled.trace_stderr + 1e-9
    assert not sampled.condition_exact
    assert sampled.condition <= whole.condition * (1 + 1e-6)


def test_a_quadratic_is_recognised_and_its_limit_is_the_textbook_one() -> None:
    found = spectrum(tw.load_task("linear-unit"), k=1)
    assert found.quadratic
    assert found.largest[0] == pytest.approx(0.84, rel=1e-4)
    assert found.rates[0].limit == pytest.approx(2.38, abs=0.005)
    assert found.condition == pytest.approx(23.33, rel=1e-3)


def test_a_linear_model_at_rest_has_the_same_three_matrices_but_for_sampling(task) -> None:
    linear = tw.Task("l", lambda: nn.Linear(4, 3), task.loss, train=task.train, held_out=task.train)
    full = spectrum(linear, dtype="float64", tol=1e-8)
    bent = spectrum(linear, operator="ggn", dtype="float64", tol=1e-8)
    assert full.exact == pytest.approx(bent.exact, abs=1e-12)
    fisher = spectrum(linear, operator="fisher", dtype="float64", tol=1e-8)
    assert min(fisher.exact) >= -1e-12


def test_the_record_comes_back_from_json(whole) -> None:
    assert SpectrumReport.from_dict(json.loads(whole.to_json())) == whole


def test_given_weights_are_looked_from_and_left_alone(task) -> None:
    model = net(7)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    found = spectrum(task, model=model, layers=False, k=1)
    assert found.weights == "given"
    x, y = task.train
    assert found.loss == pytest.approx(float(F.cross_entropy(model(x), y).detach()), rel=1e-6)
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_too_few_samples_are_said_to_fake_flatness(task) -> None:
    found = spectrum(task, samples=5, layers=False, k=1, dense=0)
    assert any("zero for want of samples" in note for note in found.notes)


# ---------------------------------------------------------------- slices


def test_every_slice_passes_through_the_weights_at_their_loss(whole) -> None:
    assert [line.title.split()[-2] for line in whole.lines] == ["random", "largest", "smallest"]
    for line in whole.lines:
        assert line.at[len(line.at) // 2] == pytest.approx(0, abs=1e-12)
        assert line.loss[len(line.at) // 2] == pytest.approx(whole.loss, rel=1e-12)
    assert whole.plane is not None
    middle = len(whole.plane.x) // 2
    assert whole.plane.loss[middle][middle] == pytest.approx(whole.loss, rel=1e-12)


def test_slices_of_a_quadratic_are_parabolas_of_the_eigenvalues() -> None:
    op = hessian(tw.load_task("linear-unit"), dtype="float64")
    ends = eigenvalues(op, 1, "both", 1e-10)
    lines, plane = views(op.problem, ends)
    length = None
    for line, value in zip(lines[1:], (0.84, 0.036), strict=True):
        (a, b, c), step = (line.loss[i] for i in (0, len(line.at) // 2, -1)), line.at[-1]
        bend = (a - 2 * b + c) / step**2  # λ times the direction's length squared
        length = bend / value if length is None else length
        assert bend / value == pytest.approx(length, rel=1e-6)
    z = torch.tensor(plane.loss, dtype=F64)
    for rows in (z, z.mT):
        assert float(rows.diff(n=3, dim=1).abs().max()) <= 1e-9 * float(z.abs().max())


def test_progress_ends_at_all_the_values(task) -> None:
    op, seen = hessian(task), []
    views(op.problem, eigenvalues(op, 1, "both"), tell=lambda done, of: seen.append((done, of)))
    assert seen[-1] == (232, 232)
    assert [done for done, _ in seen] == list(range(1, 233))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"operator": "kfac"}, "operator is 'kfac'"),
        ({"k": 0}, "k must be a whole number"),
        ({"probes": 1.5}, "probes must be a whole number"),
        ({"part": "test"}, "part is 'test'"),
        ({"mode": "none"}, "mode is 'none'"),
    ],
)
def test_bad_arguments_are_named(task, arguments, words) -> None:
    with pytest.raises(ValueError, match=words):
        spectrum(task, **arguments)


def test_weights_at_which_the_loss_is_not_finite_are_refused(task) -> None:
    broken = net()
    with torch.no_grad():
        broken[0].weight.fill_(math.inf)
    with pytest.raises(ValueError, match="NaN or infinite"):
        spectrum(task, model=broken)


# ---------------------------------------------------------------- verdict, noise, subsets


def test_the_verdict_is_that_of_classify_on_the_dense_matrix(whole, sampled, task) -> None:
    wanted = classify(task, dtype="float64", device="cpu").record
    for found in (whole.critical, sampled.critical):
        assert found is not None
        assert (found.kind, found.proved) == (wanted.kind, wanted.proved)
        assert found.gradient_norm == pytest.approx(wanted.gradient_norm, rel=1e-9)
        assert abs(found.lowest - wanted.lowest) <= found.lowest_residual + 1e-12
        assert found.index_low - 1e-9 <= wanted.index <= found.index_high + 1e-9
        assert found.drop == pytest.approx(wanted.drop, rel=1e-3)
    assert whole.critical.index == wanted.index
    assert whole.critical.method == "dense"


def test_a_proved_saddle_and_a_certain_minimum_are_told_by_their_signs() -> None:
    class Two(nn.Module):
        """The loss ½ w₀² + ½ s w₁² at the origin, whatever the input."""

        def __init__(self, sign: float) -> None:
            super().__init__()
            self.w, self.sign = nn.Parameter(torch.zeros(2)), sign

        def forward(self, x):
            return 0.5 * (self.w[0] ** 2 + self.sign * self.w[1] ** 2) + 0 * x.sum()

    x = torch.ones(20, 1)
    for sign, kind, index in ((-1.0, "saddle", 1), (1.0, "minimum", 0)):
        at = tw.Task(kind, lambda s=sign: Two(s), lambda z, y: z, train=(x, x), held_out=(x, x))
        found = spectrum(at, layers=False, noise=False, k=1).critical
        assert (found.kind, found.proved, found.index) == (kind, True, index)
        assert (found.drop is None) == (kind == "minimum")


def test_the_noise_scale_is_the_closed_form_over_all_samples(task) -> None:
    found = spectrum(task, dtype="float64", layers=False, k=1).batch
    x, y = (t.double() if t.is_floating_point() else t for t in task.train)
    model = net().double()
    rows = []
    for i in range(60):
        g = torch.autograd.grad(F.cross_entropy(model(x[i : i + 1]), y[i : i + 1]),
                                tuple(model.parameters()))  # fmt: skip
        rows.append(torch.cat([t.flatten() for t in g]))
    each = torch.stack(rows)
    mean = each.mean(0)
    scale = float((each - mean).square().sum() / 59 / mean.square().sum())
    assert found.noise.scale == pytest.approx(scale, rel=1e-9)
    assert found.noise == noise_scale(task, dtype="float64", device="cpu")
    assert found == advise_batch_size(found.noise)
    assert spectrum(task, noise=False, layers=False, k=1).batch is None


def test_too_few_samples_for_noise_are_said_and_no_error() -> None:
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    few = tw.Task("f", lambda: nn.Linear(2, 1), F.mse_loss, train=(x, x[:, :1]),
                  held_out=(x, x[:, :1]))  # fmt: skip
    found = spectrum(few, k=1)
    assert found.batch is None
    assert any("No gradient noise scale" in note for note in found.notes)


def test_the_error_of_a_subset_is_how_other_subsets_differ() -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2000, 3, generator=g, dtype=F64) * torch.tensor([3.0, 1.0, 0.5])
    line = nn.Linear(3, 1, bias=False).double()
    data = (x, torch.zeros(2000, 1, dtype=F64))
    ops = [hessian(line, F.mse_loss, data, samples=200, seed=s) for s in range(60)]
    tops = torch.tensor([float(eigenvalues(op, tol=1e-8).values[0]) for op in ops], dtype=F64)
    told = [sampling_errors(op, eigenvalues(op, tol=1e-8).vectors)[0] for op in ops[:20]]
    rms = math.sqrt(sum(t * t for t in told) / len(told))
    assert rms == pytest.approx(float(tops.std()), rel=0.35)  # 60 draws tell it to 9 %, 20 to 16 %
    everything = hessian(line, F.mse_loss, data)
    assert sampling_errors(everything, torch.eye(3, dtype=F64)) == [0.0, 0.0, 0.0]


def test_work_counts_a_matrix_product_exactly_and_decides_the_same_everywhere() -> None:
    def of(width: int, n: int) -> Problem:
        x = torch.zeros(n, width)
        return hessian(nn.Linear(width, 1, bias=False), F.mse_loss, (x, torch.ones(n, 1))).problem

    small, large = (work(of(width, 64)) for width in (1000, 2000))
    assert large - small == pytest.approx(3 * 2 * 1000 / 3e10, rel=1e-6)
    assert affordable(of(10, 500)) == 500
    big = of(200_000, 300)
    assert affordable(big) == affordable(big)
    assert 32 <= affordable(big) <= 300


def test_a_subset_is_drawn_by_itself_and_its_error_stands_in_the_record(task, monkeypatch) -> None:
    monkeypatch.setattr("thalweg.curvature.subset.WORK", 1e-9)
    found = spectrum(task, layers=False, k=1, noise=False, dense=0)
    assert (found.samples, found.of) == (32, 60)
    assert found.largest_stderr > 0
    assert spectrum(task, samples=None, layers=False, k=1, noise=False).largest_stderr == 0
    with pytest.raises(ValueError, match="samples is 'some'"):
        spectrum(task, samples="some")


def test_random_probes_are_fewer_where_there_are_many_weights() -> None:
    x = torch.randn(32, 64, generator=torch.Generator().manual_seed(0))
    y = torch.zeros(32, 500)
    wide = tw.Task("w", lambda: nn.Linear(64, 500), F.mse_loss, train=(x, y), held_out=(x, y))
    found = spectrum(wide, layers=False, k=1, noise=False, steps=3)
    assert found.probes == 2
    exact = 2 * float((x.square().sum(1) + 1).mean())  # 500 outputs, each 2/500 of it
    assert abs(found.trace - exact) <= 5 * found.trace_stderr
