"""Windows, fields, true convolution, shared weights, pooling and what layers cost."""

from __future__ import annotations

from fractions import Fraction

import pytest
import scipy.signal
import torch
from torch import nn
from torch.nn import functional as F

from thalweg.mechanics.convolution import (
    conv_true,
    gradients_by_use,
    output_size,
    receptive_field,
    seen_inputs,
)
from thalweg.mechanics.cost import layer_costs
from thalweg.mechanics.pooling import invariant_share, pool_shift_invariance
from thalweg.models import MLP, CharTransformer, LeNetD1


def normal(*shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g, dtype=torch.float64)


@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 2])
def test_output_size_is_torchs(kernel, stride, padding):
    out = F.conv1d(torch.zeros(1, 1, 11), torch.zeros(1, 1, kernel), None, stride, padding)
    assert output_size(11, kernel, stride, padding) == out.shape[-1]


def test_the_slide_example_is_28_not_half_of_it():
    assert output_size(32, 5) == 28
    with pytest.raises(ValueError, match="does not fit"):
        output_size(3, 5)


def test_receptive_field_is_the_support_of_the_input_gradient():
    cases = [
        (nn.Sequential(nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3)), 5, (3, 5)),
        (nn.Sequential(nn.Conv2d(1, 1, 5), nn.AvgPool2d(2), nn.Conv2d(1, 1, 3)), 10, (5, 6, 10)),
        (nn.Sequential(nn.Conv2d(1, 1, 3, stride=2), nn.Conv2d(1, 1, 3, dilation=2)), 11, (3, 11)),
    ]
    for model, size, fields in cases:
        assert receptive_field(model) == fields
        x = normal(1, 1, 20, 20)
        seen = seen_inputs(model.double(), x, (0, 0, 1, 1))[0, 0]
        for axis in (0, 1):
            places = seen.any(axis).nonzero()
            assert places.max() - places.min() + 1 == size  # a dilated window has holes


def test_two_layers_of_width_three_see_three_then_five():
    assert receptive_field([(3, 1), (3, 1)]) == (3, 5)
    with pytest.raises(ValueError, match="square"):
        receptive_field(nn.Conv2d(1, 1, (3, 5)))


def test_true_convolution_equals_scipy_and_correlation_does_not():
    x, k = normal(7, 9), normal(3, 2, seed=1)
    expected = scipy.signal.convolve2d(x.numpy(), k.numpy(), mode="valid")
    torch.testing.assert_close(conv_true(x, k), torch.from_numpy(expected), atol=1e-12, rtol=0)
    assert not torch.allclose(F.conv2d(x[None, None], k[None, None])[0, 0], conv_true(x, k))
    line = scipy.signal.convolve(x[0].numpy(), k[:, 0].numpy(), mode="valid")
    torch.testing.assert_close(conv_true(x[0], k[:, 0]), torch.from_numpy(line))
    with pytest.raises(ValueError, match="axis"):
        conv_true(x, k[0])


def test_convolution_is_translation_equivariant():
    x, k = normal(12, 12), normal(3, 3, seed=1)
    shifted = torch.roll(x, (1, 2), (0, 1))
    torch.testing.assert_close(conv_true(shifted, k)[1:, 2:], conv_true(x, k)[:-1, :-2])


def test_shared_weights_gradient_is_the_sum_over_positions():
    x, weight = normal(2, 3, 6, 7), normal(4, 3, 2, 3, seed=1).requires_grad_()
    out = F.conv2d(x, weight)
    by_output = normal(*out.shape, seed=2)
    (expected,) = torch.autograd.grad((out * by_output).sum(), weight)
    uses = gradients_by_use(x, weight.detach(), by_output)
    assert uses.shape == (25, 4, 3, 2, 3)
    torch.testing.assert_close(uses.sum(0), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
def test_pool_invariance_enumerated_equals_its_formula(k):
    assert pool_shift_invariance(k).mean == invariant_share(k)


def test_pool_invariance_of_the_lectures():
    two, three = pool_shift_invariance(2), pool_shift_invariance(3)
    assert two.mean == Fraction(12, 32)
    assert {count for row in two.table for count in row} == {3}
    assert three.mean == Fraction(40, 72) != Fraction(5, 8)
    assert three.table == ((3, 5, 3), (5, 8, 5), (3, 5, 3))
    with pytest.raises(ValueError, match="at least one"):
        pool_shift_invariance(0)


def test_lenet_costs_158880_multiply_adds():
    cost = layer_costs(LeNetD1(), (1, 32, 32))
    macs = {line.name: line.macs for line in cost.layers if line.macs}
    assert list(macs.values()) == [78_400, 60_000, 19_200, 1_280]
    assert cost.macs == cost.counted == 158_880
    assert cost.parameters == 21_328 == sum(line.parameters for line in cost.layers)


def test_costs_equal_torchs_counter_on_other_networks():
    net = nn.Sequential(
        nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(72, 5)
    )
    for model, shape in ((net, (4, 6, 6)), (MLP((6, 9, 4)), (6,))):
        cost = layer_costs(model, shape)
        assert cost.macs == cost.counted > 0
    assert model.training


def test_products_outside_layers_show_as_a_difference():
    cost = layer_costs(CharTransformer(11, 8, width=12, heads=3, layers=1), (8,))
    assert cost.counted >= cost.macs > 0


def test_a_wrong_shape_is_one_line():
    with pytest.raises(ValueError, match="refuses a sample"):
        layer_costs(LeNetD1(), (1, 28, 28))
