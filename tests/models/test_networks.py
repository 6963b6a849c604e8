"""The networks: shapes and parameter counts of the lectures, causality, closed-form surfaces."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from thalweg.models import (
    MLP,
    CharTransformer,
    LeNetD1,
    LinearUnit,
    QuadraticBowl,
    SmallConvNet,
    SmallLeNet,
    half_squared_error,
    token_cross_entropy,
)
from thalweg.models.losses import token_count

hessian_of = torch.autograd.functional.hessian  # torch.func's needs deprecated torch.jit


def count(model):
    return sum(p.numel() for p in model.parameters())


def seeded(build, *arguments, seed=0, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(*arguments, **options)


def test_lenet_has_the_parameters_of_the_lecture_layer_by_layer():
    model = LeNetD1()
    layers = [count(m) for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert layers == [104, 606, 19_328, 1_290]
    assert count(model) == 21_328


def test_lenet_has_the_shapes_of_the_lecture():
    x, shapes = torch.zeros(2, 1, 32, 32), []
    model = LeNetD1()
    for layer in [*model.features, *model.classifier]:
        x = layer(x)
        shapes.append(tuple(x.shape[1:]))
    assert shapes == [
        *[(4, 28, 28)] * 2,
        (4, 14, 14),
        *[(6, 10, 10)] * 2,
        (6, 5, 5),
        *[(150,)] * 2,
        *[(128,)] * 2,
        (10,),
    ]


@pytest.mark.parametrize(
    ("options", "size", "expected"),
    [
        ({}, 28, [260, 5_020, 41_088, 1_290]),
        ({"channels": (5, 10), "hidden": 32, "size": 14}, 14, [130, 1_260, 1_312, 330]),
    ],
)
def test_small_lenet_has_the_published_parameters_layer_by_layer(options, size, expected):
    model = SmallLeNet(**options)
    assert [count(m) for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)] == expected
    assert count(model) == sum(expected) in (47_658, 3_032)
    assert model(torch.zeros(2, 1, size, size)).shape == (2, 10)


def test_small_lenet_refuses_another_size():
    with pytest.raises(ValueError, match="28x28 or 14x14"):
        SmallLeNet(size=32)


def test_lenet_overfits_a_hundred_samples_to_zero_error():
    from thalweg.task import load_task

    x, y = (t[:100] for t in load_task("digits").train)
    model = seeded(LeNetD1, p_drop=0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    assert (model(x).argmax(1) == y).all()


def test_mlp_is_the_formula():
    model = seeded(MLP, (3, 5, 4, 2), "tanh").double()
    (w1, b1), (w2, b2), (w3, b3) = (
        (m.weight, m.bias) for m in model.modules() if isinstance(m, nn.Linear)
    )
    x = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(4, 3)
    expected = torch.tanh(torch.tanh(x @ w1.T + b1) @ w2.T + b2) @ w3.T + b3
    torch.testing.assert_close(model(x), expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(model(x.reshape(4, 3, 1)), expected, atol=1e-12, rtol=0)


def test_mlp_with_batch_norm_normalises_before_each_activation():
    model = MLP((3, 5, 4, 2), batch_norm=True)
    kinds = [type(m).__name__ for m in model.layers]
    assert kinds == [*["Linear", "BatchNorm1d", "ReLU"] * 2, "Linear"]
    assert [m.bias is None for m in model.layers if isinstance(m, nn.Linear)] == [True, True, False]


def test_mlp_of_two_widths_is_linear():
    model = seeded(MLP, (3, 2)).double()
    x = torch.ones(1, 3, dtype=torch.float64)
    torch.testing.assert_close(model(3 * x) - model(x), 2 * (model(x) - model(0 * x)))


@pytest.mark.parametrize("widths", [(3,), (), (3, 0, 2)])
def test_mlp_refuses_widths(widths):
    with pytest.raises(ValueError, match="widths"):
        MLP(widths)


def test_mlp_refuses_an_unknown_activation():
    with pytest.raises(ValueError, match="known: relu"):
        MLP((3, 2), "step")


def test_small_conv_net_maps_images_to_logits():
    model = SmallConvNet()
    assert count(model) == 16 * 28 + 32 * 145 + 64 * 289 + 10 * 1025
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_transformer_never_looks_ahead():
    model = seeded(CharTransformer, 11, 8, width=12, heads=3, layers=2).double()
    codes = torch.arange(8)[None] % 11
    changed = codes.clone()
    changed[0, 5] = 10
    before, after = model(codes), model(changed)
    torch.testing.assert_close(before[:, :5], after[:, :5], atol=1e-12, rtol=0)
    assert (before[:, 5:] - after[:, 5:]).abs().amax(-1).min() > 1e-6


def test_transformer_attention_equals_torchs_multihead_attention():
    model = seeded(CharTransformer, 11, 8, width=12, heads=3, layers=1).double()
    block = model.blocks[0]
    other = nn.MultiheadAttention(12, 3, batch_first=True).double()
    state = {
        "in_proj_weight": block.query_key_value.weight,
        "in_proj_bias": block.query_key_value.bias,
        "out_proj.weight": block.project.weight,
        "out_proj.bias": block.project.bias,
    }
    other.load_state_dict(copy.deepcopy(state))
    x = torch.sin(torch.arange(2 * 8 * 12, dtype=torch.float64)).reshape(2, 8, 12)
    mask = torch.ones(8, 8, dtype=torch.bool).triu(1)
    h = block.norm_attention(x)
    y = x + other(h, h, h, attn_mask=mask, need_weights=False)[0]
    expected = y + block.narrow(F.gelu(block.widen(block.norm_perceptron(y))))
    torch.testing.assert_close(block(x), expected, atol=1e-12, rtol=0)


def test_transformer_starts_as_documented():
    model = seeded(CharTransformer, 97, 64)
    expected = {
        "token.weight": 0.1,
        "place.weight": 0.1,
        "blocks.0.query_key_value.weight": 1 / 8,
        "blocks.1.widen.weight": 1 / 8,
        "blocks.0.project.weight": 0.01,
        "blocks.1.narrow.weight": 0.01,
        "head.weight": 1 / 8,
    }
    for name, deviation in expected.items():
        weight = model.get_parameter(name).detach()
        error = deviation / math.sqrt(2 * weight.numel())
        assert abs(float(weight.std()) - deviation) < 4 * error, name
    assert not model.blocks[0].widen.bias.any()


def test_transformer_refuses_heads_that_do_not_divide_its_width():
    with pytest.raises(ValueError, match="no multiple of 5"):
        CharTransformer(11, 8, width=12, heads=5)


def test_linear_unit_has_its_second_moment_as_hessian():
    from thalweg.data import linear_unit

    x, y = map(torch.from_numpy, linear_unit())
    hessian = hessian_of(lambda w: half_squared_error(x @ w, y), torch.ones(2).double())
    eigenvalues = torch.linalg.eigvalsh(hessian)
    torch.testing.assert_close(eigenvalues, torch.tensor([0.036, 0.84]).double())
    model = seeded(LinearUnit, 2).double()
    torch.testing.assert_close(model(x), x @ model.linear.weight[0], atol=1e-12, rtol=0)


def test_bias_adds_a_curvature_of_one():
    from thalweg.data import linear_unit

    x, y = map(torch.from_numpy, linear_unit(n=1000))
    model = LinearUnit(2, bias=True).double()
    names = [name for name, _ in model.named_parameters()]

    def risk(flat):
        values = dict(zip(names, (flat[None, :2], flat[2:]), strict=True))
        return half_squared_error(torch.func.functional_call(model, values, (x,)), y)

    hessian = hessian_of(risk, torch.zeros(3).double())
    torch.testing.assert_close(hessian[2, 2], torch.tensor(1.0).double())


def test_bowl_has_the_matrix_as_hessian_and_the_promised_minimum():
    from thalweg.data import quadratic

    bowl = quadratic((0.01, 0.3, 2.0), n=16)
    centres, matrix = torch.from_numpy(bowl.centres), torch.from_numpy(bowl.matrix)
    model = QuadraticBowl(torch.from_numpy(bowl.root))

    def risk(w):
        residuals = torch.func.functional_call(model, {"w": w}, (centres,))
        return half_squared_error(residuals, torch.zeros_like(residuals))

    w = torch.tensor([1.0, -2.0, 0.5]).double()
    torch.testing.assert_close(hessian_of(risk, w), matrix, atol=1e-12, rtol=0)
    torch.testing.assert_close(torch.func.grad(risk)(w), matrix @ w, atol=1e-12, rtol=0)
    assert abs(float(risk(0 * w)) - bowl.minimum) < 1e-12


def test_bowl_refuses_what_is_no_square():
    with pytest.raises(ValueError, match="square"):
        QuadraticBowl(torch.zeros(2, 3))


def test_half_squared_error_refuses_to_broadcast():
    with pytest.raises(ValueError, match="must agree"):
        half_squared_error(torch.zeros(3), torch.zeros(3, 1))


def test_token_loss_is_the_mean_over_real_tokens():
    logits = torch.sin(torch.arange(2.0 * 3 * 4, dtype=torch.float64)).reshape(2, 3, 4)
    target = torch.tensor([[1, 3, 0], [2, -100, -100]])
    rows = [(0, 0, 1), (0, 1, 3), (0, 2, 0), (1, 0, 2)]
    expected = -sum(float(logits[b, t].log_softmax(0)[c]) for b, t, c in rows) / 4
    assert abs(float(token_cross_entropy(logits, target)) - expected) < 1e-12
    assert int(token_count((logits, target))) == 4
