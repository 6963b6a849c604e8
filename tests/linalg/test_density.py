"""Spectral densities: bounds that hold, moments within their errors, exact where steps allow."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.linalg import DenseOperator, spectral_density


def symmetric(values, seed=0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    q = torch.linalg.qr(torch.randn(len(values), len(values), generator=g, dtype=torch.float64)).Q
    return (q * torch.as_tensor(values, dtype=torch.float64)) @ q.mT


def peaked(p=400) -> torch.Tensor:
    """Most eigenvalues at zero, as in a trained network, and a tail up to 40."""
    g = torch.Generator().manual_seed(2)
    tail = 40 * torch.rand(p // 10, generator=g, dtype=torch.float64) ** 3 - 0.2
    near = 1e-5 * torch.randn(p - len(tail), generator=g, dtype=torch.float64)
    return torch.cat([tail, near])


VALUES = peaked()
OP = DenseOperator(symmetric(VALUES))


def share(x: float) -> float:
    return float((VALUES.abs() < x).double().mean())


@pytest.mark.parametrize("x", [1e-4, 1e-2, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_share_within_x_lies_between_its_bounds(x, seed) -> None:
    low, high = spectral_density(OP, probes=10, steps=40, seed=seed).fraction_within(x)
    assert low <= share(x) <= high
    assert high - low < (0.6 if x < 1e-3 else 0.2)  # a node every 1 or so cannot cut at 1e-4


def test_bounds_close_as_steps_grow() -> None:
    # the widths that sampling cannot close are those of the probes: compare one probe with itself
    few, many = (spectral_density(OP, probes=1, steps=n).jacobi[0] for n in (10, 60))
    gaps = [high - low for low, high in (probe.distribution(0.3) for probe in (few, many))]
    assert gaps[1] < gaps[0] / 5


@settings(deadline=None, max_examples=30)
@given(
    values=st.lists(st.floats(-10, 10), min_size=2, max_size=9),
    steps=st.integers(1, 6),
    x=st.floats(-12, 12),
)
def test_markov_stieltjes_bounds_hold_for_every_probe(values, steps, x) -> None:
    matrix = symmetric(values)
    found = spectral_density(DenseOperator(matrix), probes=2, steps=steps, seed=4)
    from thalweg.linalg.checks import sphere

    exact, vectors = torch.linalg.eigh(matrix)
    starts = sphere(len(values), 2, 4, DenseOperator(matrix))
    for i, probe in enumerate(found.jacobi):
        mass = (vectors.mT @ starts[:, i]).square()
        low, high = probe.distribution(x)
        slack = 1e-6
        assert low <= float(mass[exact < x + slack].sum()) + 1e-7
        assert high >= float(mass[exact <= x - slack].sum()) - 1e-7


def test_all_steps_give_the_measure_of_each_probe_exactly() -> None:
    values = torch.tensor([-2.0, -0.5, 0.1, 1.0, 3.0, 7.0])
    found = spectral_density(DenseOperator(symmetric(values)), probes=3, steps=50)
    torch.testing.assert_close(found.nodes, values.double().expand(3, 6), rtol=0, atol=1e-10)
    assert found.products == 18
    for probe, weights in zip(found.jacobi, found.weights, strict=True):
        low, high = probe.distribution(0.5)
        assert low == pytest.approx(high, abs=1e-12)
        assert low == pytest.approx(float(weights[:3].sum()), abs=1e-10)


def test_first_moments_are_those_of_dense_within_their_standard_errors() -> None:
    found = spectral_density(OP, probes=40, steps=20)
    for power in (1, 2, 3):
        mean, stderr = found.mean(lambda t, power=power: t**power)
        assert abs(mean - float((VALUES**power).mean())) < 4 * stderr
        assert stderr < 0.25 * abs(mean)


def test_the_density_integrates_to_one_and_peaks_at_the_bulk() -> None:
    found = spectral_density(OP, probes=4, steps=30)
    grid = torch.linspace(-10, 60, 7001, dtype=torch.float64)
    curve = found.density(grid, 0.5)
    assert float(torch.trapezoid(curve, grid)) == pytest.approx(1.0, abs=1e-6)
    assert abs(float(grid[curve.argmax()])) < 0.05
    exact = torch.exp(-0.5 * ((grid[:, None] - VALUES) / 0.5) ** 2).mean(1) / (
        0.5 * math.sqrt(2 * math.pi)
    )
    error = (curve - exact).abs() - 4 * found.density_stderr(grid, 0.5)
    assert float(error.max()) < 0.01 * float(exact.max())


def test_blocks_and_single_probes_agree_and_memory_is_bounded_by_at_once() -> None:
    together = spectral_density(OP, probes=5, steps=12)
    apart = spectral_density(OP, probes=5, steps=12, at_once=2)
    torch.testing.assert_close(together.nodes, apart.nodes, rtol=1e-8, atol=1e-8)
    assert together.products == apart.products == 60


def test_invariant_spaces_end_early_and_keep_exact_weights() -> None:
    found = spectral_density(DenseOperator(torch.eye(30, dtype=torch.float64)), probes=3, steps=9)
    assert found.products == 3
    torch.testing.assert_close(found.weights.sum(1), torch.ones(3, dtype=torch.float64))
    assert found.fraction_within(0.5) == (0.0, 0.0)
    assert found.fraction_within(1.5) == (1.0, 1.0)
    rank_one = torch.zeros(30, 30, dtype=torch.float64)
    rank_one[0, 0] = 5.0
    low, high = spectral_density(DenseOperator(rank_one), probes=20, steps=9).fraction_within(1.0)
    assert low <= 29 / 30 <= high


def test_float32_does_not_promise_what_rounding_hides() -> None:
    found = spectral_density(DenseOperator(OP.matrix.float()), probes=6, steps=30)
    assert found.resolution > 1e-6
    low, high = found.fraction_within(1e-4)
    assert low <= share(1e-4) <= high


def test_progress_counts_up_to_all_products() -> None:
    seen: list[tuple[int, int]] = []
    spectral_density(OP, probes=3, steps=5, at_once=2, progress=lambda *a: seen.append(a))
    assert seen[-1] == (15, 15)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"probes": 0}, "probes must be"), ({"steps": 2.5}, "steps must be")],
)
def test_bad_arguments_are_named(arguments, words) -> None:
    with pytest.raises(ValueError, match=words):
        spectral_density(OP, **arguments)
    found = spectral_density(OP, probes=1, steps=2)
    for call in (
        lambda: found.fraction_within(0.0),
        lambda: found.density([0.0], -1.0),
        lambda: found.fraction_below(math.nan),
    ):
        with pytest.raises(ValueError, match="must be a finite number"):
            call()


def test_asymmetric_and_random_operators_are_refused() -> None:
    g = torch.Generator().manual_seed(0)
    with pytest.raises(ValueError, match="not symmetric"):
        spectral_density(DenseOperator(torch.randn(40, 40, generator=g)), probes=2)
    assert bool(torch.isfinite(spectral_density(OP, probes=1, steps=1).nodes).all())
