"""The table of normalisations equals torch's layers and keeps its limits."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from thalweg.conditioning import norm_statistics
from thalweg.conditioning.normalise import NORMALISATIONS, normalised

SHAPES = {"images": (5, 6, 4, 3), "sequences": (5, 6, 7), "vectors": (5, 6)}


def data(shape):
    g = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=g, dtype=torch.float64) * 3 + 1


def layer(kind, x):
    dims = x.ndim - 2
    if kind == "batch":
        return (nn.BatchNorm2d if dims == 2 else nn.BatchNorm1d)(x.shape[1], affine=False)
    if kind == "layer":
        return nn.LayerNorm(x.shape[1:], elementwise_affine=False)
    if kind == "instance":
        return (nn.InstanceNorm2d if dims == 2 else nn.InstanceNorm1d)(x.shape[1])
    return nn.GroupNorm(3, x.shape[1], affine=False)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", NORMALISATIONS)
def test_the_equation_equals_torchs_layer(kind, shape):
    x = data(SHAPES[shape])
    if kind == "instance" and shape == "vectors":
        with pytest.raises(ValueError, match="single number"):
            norm_statistics(x, kind)
        return
    groups = 3 if kind == "group" else None
    torch.testing.assert_close(normalised(x, kind, groups), layer(kind, x).double()(x))


@pytest.mark.parametrize("kind", NORMALISATIONS)
def test_statistics_run_over_the_axes_of_the_table(kind):
    x = data(SHAPES["images"])
    found = norm_statistics(x, kind, 3 if kind == "group" else None)
    sizes = {"N": 5, "C": 6, "C/G": 2, "H": 4, "W": 3, "G": 3}
    count = 1
    for axis in NORMALISATIONS[kind].reduces:
        count *= sizes[axis]
    assert found.count == count
    per = 1
    for axis in NORMALISATIONS[kind].statistic_per:
        per *= sizes[axis]
    assert len(found.mean.unique()) == per


def test_one_group_is_the_layer_and_a_group_per_channel_the_instance():
    x = data(SHAPES["images"])
    for groups, kind in ((1, "layer"), (6, "instance")):
        torch.testing.assert_close(normalised(x, "group", groups), normalised(x, kind))


def test_only_batch_statistics_look_at_other_samples():
    x = data(SHAPES["images"])
    for kind in NORMALISATIONS:
        groups = 2 if kind == "group" else None
        alone = normalised(x[:2], kind, groups)[0]
        assert torch.allclose(alone, normalised(x, kind, groups)[0]) == (kind != "batch")


def test_batch_normalisation_forgets_the_scale_of_the_weights():
    x, w = data((40, 3)), data((3, 5)).requires_grad_()
    torch.testing.assert_close(
        normalised(x @ (7 * w), "batch", eps=1e-12), normalised(x @ w, "batch", eps=1e-12)
    )
    target = data((40, 5)) - 2
    gradients = []
    for a in (1.0, 4.0):
        loss = (normalised(x @ (a * w), "batch", eps=1e-12) - target).pow(3).mean()
        gradients.append(torch.autograd.grad(loss, w)[0] / a)  # by a·w
    assert (gradients[0] * w).sum(0).abs().max() < 1e-9
    torch.testing.assert_close(gradients[1], gradients[0] / 4, atol=1e-9, rtol=1e-6)


def test_misuse_is_refused():
    x = data(SHAPES["images"])
    with pytest.raises(ValueError, match="known: batch"):
        norm_statistics(x, "spectral")
    with pytest.raises(ValueError, match="must divide the 6 channels"):
        norm_statistics(x, "group", 4)
    with pytest.raises(ValueError, match="'group' needs it"):
        norm_statistics(x, "group")
    with pytest.raises(ValueError, match="single number"):
        norm_statistics(data((1, 3)), "batch")
