"""The curvature an adaptive optimiser feels, and sharpness along training."""

from __future__ import annotations

import pytest
import torch

from thalweg.linalg import DenseOperator, eigenvalues
from thalweg.steps import Sharpness, max_learning_rate, preconditioned
from thalweg.steps.adaptive import mean_square_scale, scale_of


def quadratic(seed=0, n=5):
    g = torch.Generator().manual_seed(seed)
    q = torch.linalg.qr(torch.randn(n, n, generator=g, dtype=torch.float64)).Q
    values = torch.tensor([0.1, 0.5, 1.0, 3.0, 20.0], dtype=torch.float64)
    return (q * values) @ q.mT


BUILDERS = {
    "adam": lambda p: torch.optim.Adam(p, lr=1e-3),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=1e-3, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-3, weight_decay=0.0),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=1e-3),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=1e-3),
}


@pytest.mark.parametrize("name", BUILDERS)
def test_the_scale_is_what_the_next_step_divides_by(name) -> None:
    a, b = torch.nn.Parameter(torch.ones(2, 2).double()), torch.nn.Parameter(torch.ones(3).double())
    optimizer = BUILDERS[name]([a, b])
    g = torch.Generator().manual_seed(0)
    for _ in range(7):
        for p in (a, b):
            p.grad = torch.randn(p.shape, generator=g, dtype=torch.float64)
        before = torch.cat([a.detach().reshape(-1), b.detach()]).clone()
        optimizer.step()
    moved = before - torch.cat([a.detach().reshape(-1), b.detach()])
    state = [optimizer.state[p] for p in (a, b)]
    if "exp_avg" in state[0]:
        pushed = torch.cat([s["exp_avg"].reshape(-1) for s in state]) / (1 - 0.9**7)
    else:
        pushed = torch.cat([p.grad.reshape(-1) for p in (a, b)])
    torch.testing.assert_close(1e-3 * pushed / scale_of(optimizer, [a, b]), moved)


def test_the_largest_eigenvalue_is_that_of_the_preconditioned_matrix() -> None:
    matrix = quadratic()
    w = torch.nn.Parameter(torch.ones(5, dtype=torch.float64))
    optimizer = torch.optim.Adam([w], lr=1e-3)
    for _ in range(3):
        w.grad = matrix @ w.detach()
        optimizer.step()
    op = preconditioned(DenseOperator(matrix), optimizer, [w])
    scale = scale_of(optimizer, [w])
    exact = torch.linalg.eigvals(matrix / scale[:, None]).real.max()
    assert float(eigenvalues(op).values[0]) == pytest.approx(float(exact), rel=1e-6)


def test_adam_crosses_its_limit_where_the_preconditioned_curvature_says() -> None:
    matrix = quadratic()
    eps = 50.0  # far above the root of v all along: the preconditioner stands still
    for share, shrinks in ((0.97, True), (1.03, False)):
        w = torch.nn.Parameter(torch.full((5,), 1e-20, dtype=torch.float64))
        optimizer = torch.optim.Adam([w], lr=1e-3, eps=eps)
        w.grad = matrix @ w.detach()
        optimizer.step()
        top = eigenvalues(preconditioned(DenseOperator(matrix), optimizer, [w])).values[0]
        optimizer.param_groups[0]["lr"] = share * max_learning_rate(top, "adam")
        sizes = []
        for _ in range(120):
            w.grad = matrix @ w.detach()
            optimizer.step()
            sizes.append(float(w.detach().norm()))
        assert (max(sizes[-40:]) < max(sizes[:40])) is shrinks


def test_mean_squares_of_gradients_give_the_scale_of_adam_at_rest() -> None:
    g = torch.tensor([[3.0, 0.0], [4.0, 0.0]])
    torch.testing.assert_close(mean_square_scale(g), torch.tensor([12.5**0.5 + 1e-8, 1e-8]))


def test_optimisers_without_a_root_and_without_a_step_are_refused() -> None:
    w = torch.nn.Parameter(torch.ones(5, dtype=torch.float64))
    op = DenseOperator(quadratic())
    with pytest.raises(ValueError, match="take a step"):
        preconditioned(op, torch.optim.Adam([w]), [w])
    with pytest.raises(ValueError, match="not trained"):
        preconditioned(op, torch.optim.Adam([w]), [torch.ones(5)])
    optimizer = torch.optim.SGD([w], lr=0.1, momentum=0.9)
    w.grad = torch.ones_like(w)
    optimizer.step()
    with pytest.raises(TypeError, match="SGD keeps no root"):
        preconditioned(op, optimizer, [w])


class Bowl(torch.nn.Module):
    def __init__(self, factor=1.0):
        super().__init__()
        self.factor = factor


def test_sharpness_follows_the_curvature_and_starts_from_the_last_vector() -> None:
    g = torch.Generator().manual_seed(1)
    q = torch.linalg.qr(torch.randn(200, 200, generator=g, dtype=torch.float64)).Q
    values = torch.cat([torch.linspace(0, 4, 199), torch.tensor([5.0])]).double()
    matrix = (q * values) @ q.mT
    watch = Sharpness(lambda m: DenseOperator(m.factor * matrix), every=2, tol=1e-3)
    for step in range(6):
        if step % watch.every == 0:
            watch.measure(step, Bowl(1 + step), lr=0.1)
    assert [s.step for s in watch.history] == [0, 2, 4]
    for s in watch.history:
        assert s.value == pytest.approx(5.0 * (1 + s.step), rel=1e-3)
        assert s.stability == pytest.approx(0.1 * s.value)
    assert watch.history[1].products < watch.history[0].products
    with pytest.raises(ValueError, match="every must be"):
        Sharpness(lambda m: DenseOperator(matrix), every=0)
