"""Nonlinear conjugate gradients against linear CG, scipy and closed forms."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import scipy.optimize
import torch
from scipy.sparse.linalg import cg
from torch import nn

from thalweg.optim.nonlinear_cg import NonlinearCG

F64 = torch.float64


def bowl(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    root = torch.randn(n, 2 * n, generator=g, dtype=F64)
    return root @ root.T / n, torch.randn(n, generator=g, dtype=F64)


def closure_of(optimizer, f):
    def closure():
        optimizer.zero_grad()
        loss = f()
        loss.backward()
        return loss

    return closure


@pytest.mark.parametrize("beta", ["polak-ribiere", "fletcher-reeves"])
def test_a_quadratic_of_ten_unknowns_ends_in_ten_steps_with_the_iterates_of_linear_cg(beta) -> None:
    a, b = bowl(10)
    iterates: list[np.ndarray] = []
    cg(
        a.numpy(),
        b.numpy(),
        x0=np.zeros(10),
        rtol=1e-14,
        callback=lambda x: iterates.append(x.copy()),
    )
    w = nn.Parameter(torch.zeros(10, dtype=F64))
    optimizer = NonlinearCG([w], beta=beta, c1=1e-13, c2=1e-12, max_evaluations=60)
    closure = closure_of(optimizer, lambda: 0.5 * w @ a @ w - b @ w)
    moves = []
    for step in range(10):
        before = w.detach().clone()
        optimizer.step(closure)
        moves.append(w.detach() - before)
        if step < min(8, len(iterates)):
            np.testing.assert_allclose(w.detach().numpy(), iterates[step], atol=1e-7)
    assert float((a @ w.detach() - b).norm()) < 1e-8
    for i in range(4):
        for j in range(i):
            scale = moves[i].norm() * moves[j].norm() * torch.linalg.matrix_norm(a, 2)
            assert abs(float(moves[i] @ a @ moves[j] / scale)) < 1e-6


@pytest.mark.parametrize("beta", ["polak-ribiere", "fletcher-reeves"])
def test_rosenbrocks_valley_is_walked_to_its_end_as_by_scipy(beta) -> None:
    w = nn.Parameter(torch.tensor([-1.2, 1.0], dtype=F64))
    optimizer = NonlinearCG([w], beta=beta, tolerance_grad=1e-9, restart=2)
    f = lambda: 100 * (w[1] - w[0] ** 2) ** 2 + (1 - w[0]) ** 2  # noqa: E731
    closure = closure_of(optimizer, f)
    for _ in range(150):
        optimizer.step(closure)
    assert float((w.detach() - 1).abs().max()) < 1e-6
    theirs = scipy.optimize.fmin_cg(
        scipy.optimize.rosen, [-1.2, 1.0], scipy.optimize.rosen_der, gtol=1e-9, disp=False
    )
    np.testing.assert_allclose(w.detach().numpy(), theirs, atol=1e-6)


def test_it_never_goes_up_and_beats_gradient_descent_on_a_network() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    x = torch.randn(60, 5, dtype=F64)
    y = torch.sin(x.sum(1, keepdim=True))
    twin = copy.deepcopy(model)
    optimizer = NonlinearCG(model.parameters())
    closure = closure_of(optimizer, lambda: nn.functional.mse_loss(model(x), y))
    losses = [optimizer.step(closure).item() for _ in range(60)]
    assert all(b <= a for a, b in itertools.pairwise(losses))
    sgd = torch.optim.SGD(twin.parameters(), lr=0.2)
    for _ in range(optimizer.evaluations):
        sgd.zero_grad()
        loss = nn.functional.mse_loss(twin(x), y)
        loss.backward()
        sgd.step()
    assert losses[-1] < 0.2 * loss.item()


def test_evaluations_are_counted_and_the_point_arrived_at_is_not_evaluated_again() -> None:
    a, b = bowl(4)
    w, calls = nn.Parameter(torch.zeros(4, dtype=F64)), []
    optimizer = NonlinearCG([w])

    def f():
        calls.append(w.detach().clone())
        return 0.5 * w @ a @ w - b @ w

    closure = closure_of(optimizer, f)
    for _ in range(4):
        optimizer.step(closure)
    assert optimizer.evaluations == len(calls)
    distinct = {tuple(c.tolist()) for c in calls}
    assert len(distinct) == len(calls) - 1  # twice at the start only: the check


def test_a_resumed_run_takes_the_same_steps() -> None:
    a, b = bowl(6)
    w = nn.Parameter(torch.zeros(6, dtype=F64))
    one = NonlinearCG([w])
    f = closure_of(one, lambda: 0.5 * w @ a @ w - b @ w)
    for _ in range(3):
        one.step(f)
    v = nn.Parameter(w.detach().clone())
    two = NonlinearCG([v])
    two.load_state_dict(copy.deepcopy(one.state_dict()))
    g = closure_of(two, lambda: 0.5 * v @ a @ v - b @ v)
    for _ in range(2):
        one.step(f)
        two.step(g)
    assert torch.equal(w, v)
    assert one.evaluations == two.evaluations


def test_a_closure_that_is_not_deterministic_is_refused() -> None:
    w = nn.Parameter(torch.ones(3))
    optimizer = NonlinearCG([w])
    noise = torch.Generator().manual_seed(0)
    closure = closure_of(optimizer, lambda: (w * torch.rand(3, generator=noise)).sum())
    with pytest.raises(ValueError, match="deterministic loss"):
        optimizer.step(closure)


def test_where_the_gradient_is_zero_or_the_loss_nan_nothing_moves() -> None:
    w = nn.Parameter(torch.zeros(3))
    optimizer = NonlinearCG([w])
    optimizer.step(closure_of(optimizer, lambda: (w * w).sum()))
    assert torch.equal(w.detach(), torch.zeros(3))
    bad = NonlinearCG([w])
    bad.step(closure_of(bad, lambda: (w / 0.0).sum()))
    assert torch.equal(w.detach(), torch.zeros(3))


def test_frozen_and_unused_parameters_stay() -> None:
    w, idle = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = NonlinearCG([w, idle])
    for _ in range(3):
        optimizer.step(closure_of(optimizer, lambda: (w**2).sum()))
    assert torch.equal(idle.detach(), torch.ones(2))
    assert float(w.detach().abs().max()) < 1e-5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0.0}, "lr must be > 0"),
        ({"beta": "dai-yuan"}, "known: polak-ribiere"),
        ({"c1": 0.2}, "0 < c1 < c2 < 1"),
        ({"restart": 0}, "restart must be"),
        ({"max_evaluations": 0}, "max_evaluations >= 1"),
    ],
)
def test_values_out_of_range_are_named(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        NonlinearCG([nn.Parameter(torch.ones(2))], **options)
    with pytest.raises(ValueError, match="one group"):
        NonlinearCG(
            [{"params": [nn.Parameter(torch.ones(1))]}, {"params": [nn.Parameter(torch.ones(1))]}]
        )
