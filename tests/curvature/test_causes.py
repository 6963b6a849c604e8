"""What is refused, and how the cause is named; what the door of the operators takes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import thalweg as tw
from thalweg.curvature import fisher, ggn, hessian
from thalweg.curvature.condition import exact_condition
from thalweg.curvature.outputs import CrossEntropyHessian

F64 = torch.float64
G = torch.Generator


def assert_close(found, wanted, tol=1e-9):
    assert float((found - wanted).abs().max()) <= tol * max(1.0, float(wanted.abs().max()))


def vectors(n=7, seed=0):
    g = G().manual_seed(seed)
    return torch.randn(n, 4, generator=g, dtype=F64), torch.randint(0, 3, (n,), generator=g)


def net(*layers, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 5), *layers, nn.Linear(5, 3)).double()


# ---------------------------------------------------------------- causes, by name


class Drawing(nn.Module):
    """Noise from a generator of its own."""

    def __init__(self):
        super().__init__()
        self.noise = G().manual_seed(0)

    def forward(self, x):
        return x + torch.randn(x.shape, generator=self.noise, dtype=x.dtype)

    def __deepcopy__(self, memo):
        return Drawing()


class Counting(nn.Module):
    """Another answer each time, by a counter."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return x * self.calls


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda: net(Drawing()), "module '1' .Drawing.*its own generator 'noise'"),
        (
            lambda: net(Counting()),
            "module '1' .Counting.*changes its 'calls'|changes its '1.calls'",
        ),
    ],
    ids=["generator", "counter"],
)
def test_a_module_that_is_not_deterministic_is_named(model, words) -> None:
    with pytest.raises(ValueError, match="(?s)not deterministic.*" + words):
        hessian(model(), F.cross_entropy, vectors())


def test_a_loss_that_is_not_deterministic_is_named() -> None:
    rng = np.random.default_rng(0)

    def noisy(output, target):
        return F.cross_entropy(output, target) * (1 + rng.normal())

    with pytest.raises(ValueError, match=r"loss function '.*noisy' itself.*own generator 'rng'"):
        hessian(net(nn.Tanh()), noisy, vectors())


def test_a_draw_from_the_global_generator_is_held_fixed_and_said(dense) -> None:
    class Noise(nn.Module):
        def forward(self, x):
            return x + 0.1 * torch.randn_like(x)

    with pytest.warns(UserWarning, match=r"module '1' \(Noise\) draws random numbers"):
        op = hessian(net(Noise(), nn.Tanh()), F.cross_entropy, vectors())
    matrix = dense(op)
    assert_close(matrix, matrix.mT)
    assert any("draws random numbers" in note for note in op.notes)


def test_a_penalty_on_the_models_own_weights_behind_its_back_is_refused() -> None:
    model = net(nn.Tanh())

    def penal(output, target):
        return F.cross_entropy(output, target) + model[0].weight.square().sum()

    with pytest.raises(ValueError, match=r"reads '0\.weight' of the model itself"):
        hessian(model, penal, vectors())

    def whole(model, batch):
        return F.cross_entropy(model(batch[0]), batch[1]) + model[0].weight.square().sum()

    op = hessian(model, whole, vectors(), forward="batch")
    plain = hessian(model, F.cross_entropy, vectors())
    v = torch.ones(op.shape[0], dtype=F64)
    place = op.layout.slices["0.weight"]
    extra = torch.zeros_like(v)
    extra[place] = 2
    assert_close(op @ v, plain @ v + extra)
    with pytest.raises(ValueError, match="hides the model's outputs"):
        ggn(model, whole, vectors(), forward="batch")


# ---------------------------------------------------------------- the door


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"params": "nowhere"}, "no parameter or module is called 'nowhere'"),
        ({"params": []}, "params is empty"),
        ({"engine": "warp"}, "engine is 'warp'"),
        ({"chunk": 0}, "chunk must be a whole number"),
        ({"mode": "test"}, "mode is 'test'"),
        ({"samples": 0}, "samples must be a whole number"),
    ],
)
def test_bad_arguments_are_named(arguments, words) -> None:
    with pytest.raises(ValueError, match=words):
        hessian(net(nn.Tanh()), F.cross_entropy, vectors(), **arguments)


def test_broken_losses_and_weights_are_refused() -> None:
    model = net(nn.Tanh())
    with pytest.raises(ValueError, match="wanted one number"):
        hessian(model, nn.CrossEntropyLoss(reduction="none"), vectors())
    model[0].bias.data[0] = float("nan")
    with pytest.raises(ValueError, match=r"weights of '0\.bias' hold NaN"):
        hessian(model, F.cross_entropy, vectors())


def test_some_parameters_give_the_block_of_the_whole(dense) -> None:
    model, data = net(nn.Tanh()), vectors()
    op = hessian(model, F.cross_entropy, data)
    whole, places = dense(op), op.layout.slices
    for asked in ("2", ["2.weight", "2.bias"], [model[2].weight, model[2].bias]):
        found = hessian(model, F.cross_entropy, data, asked)
        place = slice(places["2.weight"].start, places["2.bias"].stop)
        assert_close(dense(found), whole[place, place])


def test_a_random_part_of_the_samples_is_their_own_problem(dense) -> None:
    model, (x, y) = net(nn.Tanh()), vectors(20)
    op = hessian(model, F.cross_entropy, (x, y), samples=8, seed=3)
    (chosen,) = op.problem.chunks.order
    assert len(set(chosen.tolist())) == 8
    assert_close(dense(op), dense(hessian(model, F.cross_entropy, (x[chosen], y[chosen]))))


def test_a_task_brings_everything(dense) -> None:
    x, y = vectors(12)
    made = tw.Task("t", net(nn.Tanh()), F.cross_entropy, train=(x, y), held_out=vectors(6, 1))
    found = dense(hessian(made, dtype="float64"))
    assert_close(found, dense(hessian(made.model, F.cross_entropy, (x, y))))


def test_large_vocabularies_use_the_closed_form_of_cross_entropy() -> None:
    op = ggn(net(nn.Tanh()), F.cross_entropy, vectors())
    assert isinstance(op.product.metric, CrossEntropyHessian)


def test_the_smallest_non_zero_eigenvalue_is_not_rounding() -> None:
    values = torch.tensor([4.0, 1.0, 0.5, 1e-17, 0.0, -1e-18], dtype=F64)
    found = exact_condition(values, F64)
    assert (found.value, found.exact) == (8.0, True)
    assert "3 of 6 eigenvalues are zero" in found.reason


# ---------------------------------------------------------------- no second derivative


class Once(torch.autograd.Function):
    """A square whose author allowed one derivative only."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        return 2 * ctx.saved_tensors[0] * grad


class Square(nn.Module):
    def forward(self, x):
        return Once.apply(x)


@pytest.mark.parametrize("product", [hessian, ggn, fisher])
@pytest.mark.parametrize("engine", ["auto", "graph", "split", "recompute"])
def test_a_function_without_second_derivative_is_refused_by_name(product, engine):
    x, y = vectors()
    with pytest.raises(ValueError, match=r"'Once'.*once_differentiable"):
        product(net(Square()), F.cross_entropy, (x, y), engine=engine)
