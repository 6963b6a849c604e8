"""The rules of elastic averaging against closed forms, matrices and torch's own optimisers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from thalweg.parallel import METHODS, ElasticAveraging, MemoryCenter, simulate
from thalweg.parallel.centers.base import NonFinite
from thalweg.parallel.elastic import (
    centre_variance,
    centre_variance_limit,
    stable_alpha,
    stable_alpha_synchronous,
    synchronous_update,
)
from thalweg.parallel.worker import EASGD, Downpour, MomentumDownpour, default_alpha

F64 = torch.float64


def bowl(n: int = 3) -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    root = torch.randn(n, n, generator=g, dtype=F64)
    return root @ root.T / n + 0.1 * torch.eye(n, dtype=F64)


@settings(deadline=None, max_examples=50)
@given(alpha=st.floats(0, 1), seed=st.integers(0, 1000))
def test_an_exchange_conserves_worker_plus_centre(alpha, seed) -> None:
    g = torch.Generator().manual_seed(seed)
    x, start = torch.randn(5, generator=g, dtype=F64), torch.randn(5, generator=g, dtype=F64)
    center = MemoryCenter(start)
    pull = center.elastic(x, alpha, 0)
    torch.testing.assert_close(x - pull + center.read(), x + start, atol=1e-15, rtol=1e-15)


@pytest.mark.parametrize("eta", [0.05, 0.5, 1.0, 1.7])
@pytest.mark.parametrize("p", [2, 5])
def test_a_round_robin_sweep_is_the_product_of_its_exchange_maps(eta, p) -> None:
    alpha, h = 0.6 * stable_alpha(eta), 1.0
    found = simulate(
        lambda i, t, x: h * x,
        torch.ones(1, dtype=F64),
        "easgd",
        p,
        steps=6,
        lr=eta,
        tau=1,
        alpha=alpha,
        schedule="round_robin",
    )
    sweep = np.eye(p + 1)
    for i in range(p):
        one = np.eye(p + 1)
        one[i, i], one[i, p], one[p, i], one[p, p] = 1 - eta * h - alpha, alpha, alpha, 1 - alpha
        sweep = one @ sweep
    wanted = np.linalg.matrix_power(sweep, 6) @ np.ones(p + 1)
    np.testing.assert_allclose(found.workers[:, 0].numpy(), wanted[:p], atol=1e-13)
    np.testing.assert_allclose(found.centre.numpy(), wanted[p:], atol=1e-13)


@pytest.mark.parametrize("eta", [0.1, 1.0, 1.9])
def test_the_round_robin_bound_is_where_the_exchange_stops_being_non_expansive(eta) -> None:
    for share, inside in ((0.999, True), (1.001, False)):
        alpha = share * stable_alpha(eta)
        exchange = np.array([[1 - eta - alpha, alpha], [alpha, 1 - alpha]])
        assert (np.linalg.norm(exchange, 2) <= 1 + 1e-12) == inside


@pytest.mark.parametrize(("eta", "p"), [(0.1, 4), (1.0, 8), (1.5, 2)])
def test_the_synchronous_bound_is_where_its_matrix_becomes_unstable(eta, p) -> None:
    for share, inside in ((0.999, True), (1.001, False)):
        alpha = share * stable_alpha_synchronous(eta, p)
        full = np.eye(p + 1) * (1 - eta - alpha)
        full[:p, p], full[p, :p], full[p, p] = alpha, alpha, 1 - p * alpha
        assert (np.abs(np.linalg.eigvals(full)).max() <= 1 + 1e-9) == inside


def test_the_variance_of_the_centre_is_what_a_simulation_shows_and_tends_to_the_limit() -> None:
    eta, p, alpha, sigma = 0.3, 4, 0.15, 1.0
    wanted = centre_variance(eta, alpha, p, sigma)
    g = torch.Generator().manual_seed(0)
    x, centre = torch.zeros(p, 20_000, dtype=F64), torch.zeros(20_000, dtype=F64)
    for _ in range(300):
        noise = torch.randn(p, 20_000, generator=g, dtype=F64)
        gradient = x + sigma * noise
        x, centre = synchronous_update(x, centre, alpha)
        x = x - eta * gradient
        # the update uses values of one time: the gradient was taken before the exchange
    assert float(centre.var()) == pytest.approx(wanted, rel=0.03)
    beta = 0.9
    many = 100_000
    assert many * centre_variance(eta, beta / many, many, sigma) == pytest.approx(
        centre_variance_limit(eta, beta, sigma), rel=1e-4
    )
    with pytest.raises(ValueError, match="not stable"):
        centre_variance(2.5, 0.1, 4, 1.0)


def test_one_worker_without_springs_is_sgd() -> None:
    a = bowl()
    start = torch.ones(3, dtype=F64)
    found = simulate(lambda i, t, x: a @ x, start, "easgd", 1, 20, lr=0.3, tau=1, alpha=0.0)
    x = start.clone()
    for _ in range(20):
        x = x - 0.3 * a @ x
    torch.testing.assert_close(found.workers[0], x, atol=1e-14, rtol=1e-13)
    assert torch.equal(found.centre, start)


@pytest.mark.parametrize("tau", [1, 3, 10])
def test_downpour_with_one_worker_is_sgd_for_any_period(tau) -> None:
    a, start = bowl(), torch.ones(3, dtype=F64)
    found = simulate(lambda i, t, x: a @ x, start, "downpour", 1, 30, lr=0.3, tau=tau)
    x = start.clone()
    for _ in range(30):
        x = x - 0.3 * a @ x
    torch.testing.assert_close(found.centre, x, atol=1e-13, rtol=1e-12)


def test_mdownpour_with_one_worker_is_torchs_nesterov() -> None:
    a, start = bowl(), torch.ones(3, dtype=F64)
    found = simulate(lambda i, t, x: a @ x, start, "mdownpour", 1, 40, lr=0.2, tau=1, momentum=0.9)
    w = nn.Parameter(start.clone())
    optimizer = torch.optim.SGD([w], lr=0.2, momentum=0.9, nesterov=True)
    for _ in range(40):
        w.grad = a @ w.detach()
        optimizer.step()
    torch.testing.assert_close(found.centre, w.detach(), atol=1e-12, rtol=1e-12)


def test_eamsgd_is_the_papers_recursion() -> None:
    a, eta, delta, alpha, tau = bowl(), 0.1, 0.9, 0.2, 2
    start = torch.tensor([1.0, -1.0, 2.0], dtype=F64)
    center = MemoryCenter(torch.zeros(3, dtype=F64))
    w = nn.Parameter(start.clone())
    optimizer = torch.optim.SGD([w], lr=eta, momentum=delta, nesterov=True)
    worker = ElasticAveraging(optimizer, center, tau, alpha, start=False)
    x, v, centre = start.clone(), torch.zeros(3, dtype=F64), torch.zeros(3, dtype=F64)
    for t in range(15):
        g = a @ (x + delta * v)
        if t % tau == 0:
            d = alpha * (x - centre)
            x, centre = x - d, centre + d
        v = delta * v - eta * g
        x = x + v
        w.grad = a @ w.detach()
        worker.step()
        torch.testing.assert_close(center.read(), centre, atol=1e-13, rtol=1e-12)
        torch.testing.assert_close(w.detach(), x + delta * v, atol=1e-13, rtol=1e-12)


def test_frozen_reads_make_downpour_a_step_of_summed_gradients() -> None:
    # p workers that all read before anyone pushes: the centre moves by p eta h, unstable above 2
    p, eta = 5, 0.5
    center = MemoryCenter(torch.ones(1, dtype=F64))
    for k in range(6):
        team = []
        for i in range(p):
            w = nn.Parameter(center.read())
            optimizer = torch.optim.SGD([w], lr=eta)
            team.append((w, Downpour(optimizer, center, 1, 0.0, i, start=True, sequence=k)))
        for w, _ in team:
            w.grad = w.detach().clone()
        for _, worker in team:
            worker.step()
        assert float(center.read()) == pytest.approx((1 - p * eta) ** (k + 1), rel=1e-12)


def test_a_push_sent_twice_counts_once() -> None:
    center = MemoryCenter(torch.zeros(2))
    center.push(torch.ones(2), 0, 0)
    center.push(torch.ones(2), 0, 0)
    center.push(torch.ones(2), 1, 0)
    assert torch.equal(center.read(), torch.full((2,), 2.0))


def test_averaged_centres_are_the_means_of_their_path() -> None:
    a, start = bowl(), torch.ones(3, dtype=F64)
    seen = []
    for average in ("running", "moving"):
        found = simulate(
            lambda i, t, x: a @ x, start, "downpour", 1, 12, lr=0.2, tau=1, average=average
        )
        seen.append(found.mean)
        path = found.path
    torch.testing.assert_close(seen[0], path.mean(0), atol=1e-13, rtol=1e-12)
    moving = start.clone()
    for point in path:
        moving = 0.999 * moving + 0.001 * point
    torch.testing.assert_close(seen[1], moving, atol=1e-13, rtol=1e-12)


def test_a_worker_of_nan_is_refused_and_put_back_to_the_centre() -> None:
    center = MemoryCenter(torch.zeros(2))
    w = nn.Parameter(torch.ones(2))
    worker = ElasticAveraging(torch.optim.SGD([w], lr=0.1, momentum=0.9), center, 1, 0.5)
    w.grad = torch.ones(2)
    worker.step()
    with torch.no_grad():
        w.fill_(torch.nan)
    w.grad = torch.zeros(2)
    worker.step()
    assert worker.traffic.refused == 1
    assert torch.equal(w.detach(), center.read())
    assert bool(torch.isfinite(center.read()).all())
    with pytest.raises(NonFinite, match="1 of 2 weights"):
        center.push(torch.tensor([1.0, torch.inf]), 0, 9)


def test_a_failed_exchange_is_counted_and_the_worker_goes_on_alone() -> None:
    class Broken(MemoryCenter):
        def elastic(self, x, alpha, worker):
            raise OSError("gone")

        def push(self, delta, worker, sequence, hyper=None):
            raise OSError("gone")

    for kind in (EASGD, Downpour, MomentumDownpour):
        w = nn.Parameter(torch.ones(2))
        worker = kind(torch.optim.SGD([w], lr=0.1), Broken(torch.ones(2)), 1, 0.5)
        w.grad = torch.ones(2)
        worker.step()
        assert worker.traffic.failed == 1
        wanted = 1.0 if kind is MomentumDownpour else 0.9
        assert torch.allclose(w.detach(), torch.full((2,), wanted))


@pytest.mark.parametrize("method", METHODS.names())
def test_the_same_seed_gives_the_same_bits(method) -> None:
    a, start = bowl(), torch.ones(3, dtype=F64)
    runs = [
        simulate(lambda i, t, x: a @ x + 0.01 * i, start, method, 3, 10, lr=0.05, tau=1, seed=4)
        for _ in range(2)
    ]
    assert torch.equal(runs[0].centre, runs[1].centre)


def test_bad_arguments_are_named() -> None:
    w = nn.Parameter(torch.ones(2))
    sgd, center = torch.optim.SGD([w], lr=0.1), MemoryCenter(torch.ones(2))
    for options, message in (
        ({"tau": 0}, "tau must be"),
        ({"alpha": 1.5}, "alpha must be in"),
        ({"center": MemoryCenter(torch.ones(3))}, "centre has 3 weights, the optimiser 2"),
    ):
        with pytest.raises(ValueError, match=message):
            ElasticAveraging(**{"optimizer": sgd, "center": center, **options})
    with pytest.raises(ValueError, match="tau must be 1"):
        MomentumDownpour(sgd, center, 4)
    with pytest.raises(ValueError, match="Did you mean 'easgd'"):
        simulate(lambda i, t, x: x, torch.ones(1), "easdg")
    with pytest.raises(ValueError, match="of easgd alone"):
        simulate(lambda i, t, x: x, torch.ones(1), "downpour", schedule="sync")
    with pytest.raises(ValueError, match="known are none, running, moving"):
        MemoryCenter(torch.ones(1), "mean")
    assert default_alpha(4) == pytest.approx(0.225)
