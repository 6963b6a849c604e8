"""Orientations of known filters, windings of known fields, and a small learned map."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from thalweg.sparse.patches import sample_patches
from thalweg.sparse.reading import builtin
from thalweg.sparse.topographic import (
    TopographicPSD,
    TorusPools,
    Whitening,
    neighbour_similarity,
    orientation_map,
    pinwheels,
    summarise,
    windings,
)
from thalweg.sparse.topographic.maps import roughness


def gabor(theta, size=15, wavelength=6.0):
    """A grating whose stripes run at ``theta``, counter-clockwise as seen (rows downwards)."""
    line = np.arange(size) - size // 2
    x, up = np.meshgrid(line, -line)
    across = -x * np.sin(theta) + up * np.cos(theta)
    return np.exp(-(x**2 + up**2) / (2 * (size / 5) ** 2)) * np.cos(
        2 * np.pi * across / wavelength + 0.7
    )


@pytest.mark.parametrize(("wavelength", "degrees"), [(6.0, 4.0), (10.0, 2.0)])
def test_orientation_of_gratings_is_theirs_up_to_the_bias_of_finite_differences(
    wavelength, degrees
):
    angles = np.linspace(0, np.pi, 24, endpoint=False)
    found = orientation_map(np.stack([gabor(angle, 15, wavelength) for angle in angles])[None])
    apart = np.abs(found.theta[0] - angles)
    apart = np.minimum(apart, np.pi - apart)
    assert np.degrees(apart.max()) < degrees  # measured: 3.6 at six pixels a wave
    assert found.coherence.min() > 0.5


def test_a_round_filter_has_no_orientation():
    line = np.arange(11) - 5
    x, y = np.meshgrid(line, line)
    assert orientation_map(np.exp(-(x**2 + y**2) / 8.0)[None, None]).coherence[0, 0] < 1e-6
    assert orientation_map(np.zeros((1, 1, 5, 5))).coherence[0, 0] == 0


@pytest.mark.parametrize("sign", [1, -1])
def test_a_synthetic_pinwheel_winds_by_one_half(sign):
    line = np.arange(8) - 3.5
    x, y = np.meshgrid(line, line)  # rows along y
    theta = (sign * np.arctan2(y, x) / 2) % np.pi
    found = windings(theta)[:-1, :-1]  # without the seam of the torus
    assert found[3, 3] == 0.5 * sign
    assert np.abs(found).sum() == 0.5


def test_windings_of_any_torus_sum_to_zero():
    for seed in range(20):
        theta = np.random.default_rng(seed).uniform(0, np.pi, (7, 9))
        assert windings(theta).sum() == 0
        assert set(np.unique(windings(theta))) <= {-0.5, 0.0, 0.5}


def test_filters_without_orientation_make_no_pinwheels():
    theta = np.random.default_rng(0).uniform(0, np.pi, (6, 6))
    assert pinwheels(theta).sum() == (windings(theta) != 0).sum() > 0
    assert pinwheels(theta, np.zeros((6, 6))).sum() == 0
    one = np.ones((6, 6))
    one[2, 3] = 0
    masked = pinwheels(theta, one)
    assert not masked[1:3, 2:4].any()
    assert masked.sum() == (windings(theta) != 0).sum() - (windings(theta) != 0)[1:3, 2:4].sum()


def test_similarity_and_roughness_of_sheets_made_by_hand():
    same = np.ones((4, 4, 3, 3))
    assert neighbour_similarity(same) == pytest.approx((1.0, 1.0))
    board = np.zeros((4, 4, 2))
    board[(np.indices((4, 4)).sum(0) % 2) == 0, 0] = 1
    board[(np.indices((4, 4)).sum(0) % 2) == 1, 1] = 1
    near, far = neighbour_similarity(board)
    assert near == 0
    assert far == pytest.approx(7 / 15)
    assert roughness(np.zeros((3, 3))) == 0
    random = np.random.default_rng(0).uniform(0, np.pi, (60, 60))
    assert roughness(random) == pytest.approx(45, abs=2)


def test_whitened_patches_have_unit_covariance_and_atoms_keep_their_angles():
    X = np.random.default_rng(0).normal(size=(500, 20)) * np.linspace(1, 5, 20)
    whitening = Whitening.fit(X, 12)
    Y = whitening.apply(X, unit=False)
    torch.testing.assert_close(
        (Y.T @ Y) / 500, torch.eye(12, dtype=torch.float64), atol=1e-10, rtol=0
    )
    D = torch.randn(12, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pixels = whitening.pixels(D)
    np.testing.assert_allclose(pixels @ pixels.T, (D.T @ D).numpy(), atol=1e-12)
    with pytest.raises(ValueError, match="span 19"):
        Whitening.fit(X, 20)


@pytest.fixture(scope="module")
def learned():
    """A torus of 8 x 8 units after 150 steps on photographs."""
    images = builtin("photographs").images
    patches = sample_patches(images, 8, 5000, 0)
    whitening = Whitening.fit(patches, 32)
    model = TopographicPSD(32, TorusPools(8, 8, 4, 1), 0.1, seed=1)
    curve = model.fit(whitening.apply(patches), steps=150)
    return model, whitening, images, curve


def test_neighbours_on_the_torus_become_alike_and_pools_stand_shifts_better(learned):
    model, whitening, images, _ = learned
    record = summarise(model, whitening, images, 8, samples=200, source="photographs")
    assert record.neighbours > record.strangers + 0.1
    X = whitening.apply(sample_patches(images, 8, 5000, 0))
    alone = TopographicPSD(32, TorusPools(8, 8, 1, 1), 0.1, seed=1)
    alone.fit(X, steps=60)
    near, far = neighbour_similarity(whitening.pixels(alone.D).reshape(8, 8, -1))
    assert abs(near - far) < 0.04  # pools of one unit: neighbours are strangers
    assert record.roughness < 40
    assert record.pool_shift > record.unit_shift + 0.05
    assert sum(record.windings) == 0
    assert record.mosaic.width == 8 * 9 + 1
    assert type(record).from_dict(record.to_dict()) == record


def test_the_same_seed_learns_the_same_bits_and_atoms_keep_norm_one(learned):
    model, whitening, images, _ = learned
    X = whitening.apply(sample_patches(images, 8, 5000, 0))
    again = TopographicPSD(32, TorusPools(8, 8, 4, 1), 0.1, seed=1)
    curve = again.fit(X, steps=150)
    assert curve == learned[3]
    assert torch.equal(again.D, model.D)
    torch.testing.assert_close(model.D.norm(dim=0), torch.ones(64, dtype=torch.float64))


def test_an_encoder_learns_to_predict_the_codes(learned):
    _, whitening, images, _ = learned
    X = whitening.apply(sample_patches(images, 8, 4000, 0))
    model = TopographicPSD(32, TorusPools(8, 8, 4, 1), 0.1, encoder="tanh", seed=1)
    model.fit(X, steps=150, lr_encoder=5e-3)
    assert model.encoder is not None
    z = model.coder().encode(X[:300], tol=1e-4).z
    guess = model.encoder.encode(X[:300])
    error = (guess - z).square().sum() / z.square().sum()
    assert float(error) < 0.6
    torch.testing.assert_close(model.encoder.D, model.D)


def test_bad_signals_and_settings_are_refused():
    model = TopographicPSD(6, TorusPools(4, 4, 2, 1))
    with pytest.raises(ValueError, match="length 6"):
        model.fit(np.ones((5, 7)))
    with pytest.raises(ValueError, match="at least 1"):
        model.fit(np.ones((5, 6)), steps=0)
    with pytest.raises(ValueError, match="beta"):
        TopographicPSD(6, TorusPools(4, 4, 2, 1), beta=-1)
