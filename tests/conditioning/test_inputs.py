"""Centring, scaling and whitening against closed forms, scikit-learn and stated hazards."""

from __future__ import annotations

import doctest
import importlib
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from thalweg.conditioning import CONDITIONERS, Centre, Standardizer, Whitener, effect, spectrum

NAMES = CONDITIONERS.names()


def correlated(n=400, d=5, seed=0, shift=3.0):
    g = torch.Generator().manual_seed(seed)
    mixing = torch.randn(d, d, generator=g, dtype=torch.float64)
    return torch.randn(n, d, generator=g, dtype=torch.float64) @ mixing + shift


def covariance(x):
    x = x - x.mean(0)
    return x.mT @ x / len(x)


@pytest.mark.parametrize("name", NAMES)
def test_training_mean_becomes_zero(name):
    x = correlated()
    after = CONDITIONERS.load(name)().fit(x).transform(x)
    assert after.mean(0).abs().max() < 1e-10


@pytest.mark.parametrize("kind", ["zca", "pca"])
def test_exact_whitening_gives_the_identity_covariance(kind):
    x = correlated()
    after = Whitener(kind, eps=0.0).fit(x).transform(x)
    torch.testing.assert_close(covariance(after), torch.eye(5, dtype=x.dtype), atol=1e-10, rtol=0)


def test_eps_shrinks_every_direction_as_the_formula_says():
    x = correlated()
    values = torch.linalg.eigvalsh(covariance(x))
    after = torch.linalg.eigvalsh(covariance(Whitener(eps=0.3).fit(x).transform(x)))
    torch.testing.assert_close(after, values / (values + 0.3), atol=1e-10, rtol=0)


def test_zca_is_symmetric_and_pca_a_rotation_of_it():
    x = correlated()
    z, p = Whitener("zca", eps=0.0).fit(x), Whitener("pca", eps=0.0).fit(x)
    torch.testing.assert_close(z.factor, z.factor.mT)
    rotation = p.factor @ torch.linalg.inv(z.factor)
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(5, dtype=x.dtype))


def test_scaling_equals_scikit_learn_constant_columns_included():
    x = correlated()
    x[:, 2] = 0.1
    ours = Standardizer().fit(x)
    theirs = StandardScaler().fit(x.numpy())
    new = correlated(seed=1)
    np.testing.assert_allclose(ours.transform(new), theirs.transform(new.numpy()), atol=1e-10)


def test_principal_axes_equal_scikit_learn_up_to_sign_and_sample_convention():
    x = correlated()
    ours = Whitener("pca", eps=0.0, components=3).fit(x).transform(x)
    theirs = PCA(3, whiten=True).fit_transform(x.numpy()) * math.sqrt(400 / 399)  # theirs: 1/(n-1)
    np.testing.assert_allclose(ours.abs(), np.abs(theirs), atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_new_data_are_seen_through_old_statistics(name):
    x, new = correlated(), correlated(seed=1, shift=-1.0)
    fitted = CONDITIONERS.load(name)().fit(x)
    factor = fitted.factor if fitted.factor.ndim == 2 else fitted.factor.diag()
    torch.testing.assert_close(fitted.transform(new), (new - x.mean(0)) @ factor.mT)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=15)
@given(chunk=st.integers(1, 130), shift=st.sampled_from([0.0, 1e6]))
def test_chunks_do_not_change_the_statistics(name, chunk, shift):
    x = correlated(120, shift=shift)
    one, many = (CONDITIONERS.load(name)().fit(x, chunk=c) for c in (120, chunk))
    torch.testing.assert_close(many.mean, one.mean, rtol=1e-14, atol=0)
    torch.testing.assert_close(many.factor, one.factor, rtol=1e-6, atol=1e-6)


def test_an_iterable_of_chunks_is_read_once():
    x = correlated()
    torch.testing.assert_close(Centre().fit(iter(x.split(7))).mean, x.mean(0))


def test_directions_without_movement_are_silenced_not_amplified():
    x = correlated()
    x[:, 4] = x[:, 0] + x[:, 1]
    w = Whitener(eps=0.0).fit(x)
    null = torch.tensor([1.0, 1.0, 0, 0, -1.0], dtype=torch.float64)
    assert w.rank == 4
    assert w.transform(x.mean(0)[None] + null).abs().max() < 1e-6
    assert spectrum(w.transform(x)).rank == 4


@pytest.mark.parametrize("per", ["feature", "channel"])
def test_images_keep_their_shape_and_their_channels_are_scaled(per):
    x = torch.randn(300, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 5 + 2
    s = Standardizer(per).fit(x)
    after = s.transform(x)
    assert after.shape == x.shape
    axes = (0, 2, 3) if per == "channel" else 0
    torch.testing.assert_close(
        after.var(axes, correction=0), torch.ones_like(after.mean(axes)), atol=1e-4, rtol=0
    )
    assert s.mean.numel() == (3 if per == "channel" else 48)
    whitened = Whitener(per=per, eps=0.0).fit(x.double()).transform(x.double())
    assert whitened.shape == x.shape
    flat = whitened.flatten(1) if per == "feature" else whitened.movedim(1, -1).reshape(-1, 3)
    torch.testing.assert_close(
        covariance(flat), torch.eye(flat.shape[1]).double(), atol=1e-8, rtol=0
    )


def test_fewer_axes_leave_sequences_sequences():
    x = correlated(60).view(20, 3, 5)
    assert Whitener("pca", components=2, per="last").fit(x)(x).shape == (20, 3, 2)


def test_type_of_the_inputs_is_kept_and_float32_is_centred_first():
    x = (correlated() + 1e4).float()
    after = Whitener(eps=0.0).fit(x).transform(x)
    assert after.dtype == torch.float32
    torch.testing.assert_close(covariance(after), torch.eye(5), atol=1e-3, rtol=0)


def test_gradients_flow_to_the_inputs_but_nothing_is_learnt():
    x = correlated()
    w = Whitener().fit(x)
    assert not list(w.parameters())
    point = x[:3].clone().requires_grad_()
    w(point).sum().backward()
    torch.testing.assert_close(point.grad, w.factor.sum(0).expand(3, 5))


REFUSALS = {
    "integers": (torch.ones(5, 2, dtype=torch.int64), TypeError, r"int64; means and variances"),
    "bytes": (torch.ones(5, 1, 2, 2, dtype=torch.uint8), TypeError, r"uint8.*\.float\(\)"),
    "one axis": (torch.ones(5), ValueError, r"one row a sample"),
    "three axes": (torch.randn(5, 2, 2), ValueError, r"per='feature'"),
    "nan": (torch.tensor([[0.0], [1.0], [math.nan]]), ValueError, r"NaN.*row 2"),
    "infinite": (torch.tensor([[0.0], [math.inf]]), ValueError, r"first in row 1"),
    "one sample": (torch.ones(1, 2), ValueError, r"at least 2 samples"),
    "empty": (torch.ones(0, 2), ValueError, r"no samples"),
    "constants": (torch.full((9, 2), 0.1), ValueError, r"all 2 variables are constant"),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", REFUSALS)
def test_bad_inputs_are_refused_in_one_line(name, case):
    x, error, message = REFUSALS[case]
    with pytest.raises(error, match=message) as caught:
        CONDITIONERS.load(name)().fit(x)
    assert "\n" not in str(caught.value)


def test_whitening_needs_more_samples_than_directions():
    x = correlated(5)
    with pytest.raises(ValueError, match="needs more than 5 samples, got 5"):
        Whitener().fit(x)
    assert Whitener("pca", components=3).fit(x)(x).shape == (5, 3)


def test_scales_that_drown_each_other_are_refused_rather_than_silenced():
    x = correlated() * torch.tensor([1e9, 1, 1, 1, 1e-3])
    with pytest.raises(ValueError, match="Standardize first"):
        Whitener().fit(x)
    scaled = Standardizer().fit(x).transform(x)
    assert Whitener(eps=0.0).fit(scaled).rank == 5


def test_other_misuse_is_refused():
    x = correlated()
    with pytest.raises(RuntimeError, match="call fit first"):
        Centre()(x)
    with pytest.raises(ValueError, match=r"4 variables; the training data had 5"):
        Centre().fit(x)(x[:, :4])
    with pytest.raises(ValueError, match="known: zca, pca"):
        Whitener("cholesky")
    with pytest.raises(ValueError, match="only pca"):
        Whitener("zca", components=2)
    with pytest.raises(ValueError, match="no image"):
        Whitener("pca").fit(torch.randn(20, 1, 3, 3))
    with pytest.raises(ValueError, match="finite and >= 0"):
        Standardizer(eps=-1.0)


def test_effect_reports_the_second_moment_before_and_after():
    x = correlated(shift=2.0)
    second = torch.linalg.eigvalsh(x.mT @ x / len(x))
    found = effect(x, Whitener(eps=0.0).fit(x))
    assert found.before.largest == pytest.approx(float(second[-1]), rel=1e-12)
    assert found.before.condition == pytest.approx(float(second[-1] / second[0]), rel=1e-9)
    assert found.after.condition == pytest.approx(1, abs=1e-9)
    assert found.before.largest_rate == pytest.approx(2 / float(second[-1]))
    share = float(x.mean(0).square().sum() / second.sum())
    assert found.before.mean_share == pytest.approx(share)


def test_spectrum_of_zeros_is_refused():
    with pytest.raises(ValueError, match="all inputs are 0"):
        spectrum(torch.zeros(4, 2))


@pytest.mark.parametrize(
    "module",
    [
        *(f"conditioning.{m}" for m in ("moments", "inputs", "spectra", "normalise", "initialise")),
        "conditioning.biases",
        "mechanics.three_networks",
    ],
)
def test_examples_in_the_documentation_hold(module):
    found = importlib.import_module(f"thalweg.{module}")
    result = doctest.testmod(found, optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0
    assert result.failed == 0
