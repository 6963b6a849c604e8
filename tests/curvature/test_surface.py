"""A loss as a function of flat weights, against autograd on the model itself."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from thalweg.curvature.surface import of_function
from thalweg.curvature.surfaces import surface
from thalweg.models import MLP, SmallLeNet
from thalweg.models.losses import token_count, token_cross_entropy
from thalweg.task import Task

F64 = torch.float64


def flat(tensors) -> torch.Tensor:
    return torch.cat([t.flatten() for t in tensors])


def case(name):
    """A model, a loss and data, all float64."""
    torch.manual_seed(3)
    x, y = torch.randn(12, 5), torch.randint(0, 3, (12,))
    if name == "tied":
        net = nn.Sequential(nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 5), nn.Linear(5, 3))
        net[2].weight = net[0].weight
    elif name == "unused":
        net = nn.Sequential(nn.Linear(5, 3))
        net.extra = nn.Parameter(torch.randn(4))
    elif name == "frozen":
        net = MLP((5, 4, 3), activation="tanh")
        net.layers[0].weight.requires_grad_(False)
    elif name == "batch norm":
        net = MLP((5, 4, 3), activation="tanh", batch_norm=True)
    elif name == "lstm":

        class Last(nn.Module):
            def __init__(self):
                super().__init__()
                self.rnn, self.out = nn.LSTM(5, 4, batch_first=True), nn.Linear(4, 3)

            def forward(self, x):
                return self.out(self.rnn(x)[0][:, -1])

        net, x = Last(), torch.randn(12, 6, 5)
    elif name == "attention":

        class Attending(nn.Module):
            def __init__(self):
                super().__init__()
                self.map, self.out = nn.Linear(5, 5), nn.Linear(5, 3)

            def forward(self, x):
                z = self.map(x)[:, None]
                return self.out(F.scaled_dot_product_attention(z, z, z)[:, 0].mean(1))

        net, x = Attending(), torch.randn(12, 4, 5)
    else:
        net = MLP((5, 4, 3), activation="tanh")
    return net.double(), x.double(), y


CASES = ("plain", "tied", "unused", "frozen", "batch norm", "lstm", "attention")


@pytest.mark.parametrize("name", CASES)
def test_gradient_and_hessian_equal_autograds_on_the_model_itself(name) -> None:
    net, x, y = case(name)
    twin = copy.deepcopy(net).eval()
    at = surface(net, F.cross_entropy, (x, y))
    named = {k: p for k, p in twin.named_parameters() if p.requires_grad}
    assert at.names == tuple(named)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        loss = F.cross_entropy(twin(x), y)
        params = list(named.values())
        grads = torch.autograd.grad(loss, params, create_graph=True, allow_unused=True)
        g = flat([torch.zeros_like(p) if h is None else h for p, h in zip(params, grads)])  # noqa: B905
        rows = [
            flat(
                [
                    torch.zeros_like(p) if h is None else h
                    for p, h in zip(
                        params,
                        torch.autograd.grad(e, params, retain_graph=True, allow_unused=True),
                        strict=True,
                    )
                ]
            )
            if e.requires_grad
            else torch.zeros(len(g), dtype=F64)
            for e in g
        ]
    torch.testing.assert_close(at.grad(), g.detach(), atol=1e-12, rtol=0)
    torch.testing.assert_close(at.dense_hessian(), torch.stack(rows), atol=1e-10, rtol=0)
    v = torch.randn(at.p, generator=torch.Generator().manual_seed(0), dtype=F64)
    torch.testing.assert_close(at.hvp(v), at.dense_hessian() @ v, atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_the_model_is_left_bit_for_bit_as_found(name, mode) -> None:
    net, x, y = case(name)
    net.train()
    before = {k: t.clone() for k, t in net.state_dict().items()}
    random = torch.get_rng_state()
    at = surface(net, F.cross_entropy, (x, y), mode=mode)
    at.grad(at.w + 0.1)
    at.hvp(at.w)
    at.values(torch.stack([at.w, at.w + 1]))
    assert all(torch.equal(t, before[k]) for k, t in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    assert all(m.training for m in net.modules())
    assert torch.equal(random, torch.get_rng_state())


@pytest.mark.parametrize("name", CASES)
def test_values_of_many_points_are_those_of_one_at_a_time(name) -> None:
    net, x, y = case(name)
    at = surface(net, F.cross_entropy, (x, y))
    points = at.w + 0.1 * torch.randn(
        5, at.p, dtype=F64, generator=torch.Generator().manual_seed(1)
    )
    one = torch.tensor([at.value(w) for w in points], dtype=F64)
    torch.testing.assert_close(at.values(points), one, atol=1e-12, rtol=0)


def test_train_mode_reads_the_statistics_of_the_data() -> None:
    net, x, y = case("batch norm")
    at = surface(net, F.cross_entropy, (x, y), mode="train")
    twin = copy.deepcopy(net).train()
    assert at.value() == pytest.approx(F.cross_entropy(twin(x), y).item(), abs=1e-12)
    assert at.couples


def test_chunks_are_weighted_by_what_the_mean_runs_over() -> None:
    torch.manual_seed(0)
    x = torch.randint(0, 5, (1300, 4))
    y = torch.where(torch.rand(1300, 4) < 0.5, -100, x)
    y[:, 0] = x[:, 0]
    net = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5)).double()
    task = Task("t", net, token_cross_entropy, weight=token_count, train=(x, y), held_out=(x, y))
    at = surface(task, device="cpu")
    assert at.samples == 1300  # more than one chunk
    assert at.value() == pytest.approx(token_cross_entropy(net(x), y).item(), abs=1e-12)


def test_a_batch_task_and_a_pair_task_are_the_same_function() -> None:
    net, x, y = case("plain")
    pair = surface(net, F.cross_entropy, (x, y))
    whole = surface(
        net, lambda model, b: F.cross_entropy(model(b[0]), b[1]), (x, y), forward="batch"
    )
    torch.testing.assert_close(pair.grad(), whole.grad(), atol=1e-14, rtol=0)


def test_plain_functions_have_values_gradients_and_curvature() -> None:
    at = of_function(lambda w: (w**3).sum(), torch.tensor([1.0, 2.0], dtype=F64))
    assert at.value() == 9.0
    assert at.grad().tolist() == [3.0, 12.0]
    assert at.dense_hessian().tolist() == [[6.0, 0.0], [0.0, 12.0]]


def test_a_linear_function_has_no_curvature() -> None:
    at = of_function(lambda w: w.sum(), torch.ones(3, dtype=F64))
    assert not at.dense_hessian().any()
    assert not at.hvp(torch.ones(3, dtype=F64)).any()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (lambda n, x, y: ((n,), {}), "pass its loss and data"),
        (lambda n, x, y: ((n, F.cross_entropy, (x, y)), {"mode": "both"}), "known: eval, train"),
        (lambda n, x, y: ((n.half(), F.cross_entropy, (x, y)), {}), "dtype='float32'"),
        (lambda n, x, y: ((n.requires_grad_(False), F.cross_entropy, (x, y)), {}), "trainable"),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments, words) -> None:
    positional, named = arguments(*case("plain"))
    with pytest.raises(ValueError, match=words):
        surface(*positional, **named)
    with pytest.raises(TypeError, match="pass a Task"):
        surface(3)  # pyrefly: ignore


def test_small_lenet_has_the_published_number_of_weights() -> None:
    assert sum(p.numel() for p in SmallLeNet().parameters()) == 47_658
    small = SmallLeNet((5, 10), 32, 14)
    assert sum(p.numel() for p in small.parameters()) == 3_032
    assert small(torch.zeros(2, 1, 14, 14)).shape == (2, 10)
    with pytest.raises(ValueError, match="28x28 or 14x14"):
        SmallLeNet(size=20)
