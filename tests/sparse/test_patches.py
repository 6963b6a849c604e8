"""Patches: preparation is undone exactly, positions are distinct, every pixel is covered."""

from __future__ import annotations

import numpy as np
import pytest

from thalweg.sparse.patches import (
    Preprocessing,
    from_grid,
    grey,
    grid_patches,
    sample_patches,
)


@pytest.mark.parametrize("scale", ["none", "unit"])
@pytest.mark.parametrize("center", [True, False])
def test_preparation_is_undone(center, scale):
    X = np.random.default_rng(0).random((20, 9)) + 1
    preparation = Preprocessing((3, 3), center, scale)
    Y, mean, norm = preparation.apply(X)
    np.testing.assert_allclose(preparation.undo(Y, mean, norm), X, atol=1e-14)
    if center:
        np.testing.assert_allclose(Y.mean(1), 0, atol=1e-14)
    if scale == "unit":
        np.testing.assert_allclose(np.linalg.norm(Y, axis=1), 1, atol=1e-14)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e15])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constant_signals_become_zero_and_come_back(value, dtype):
    X = np.full((2, 50), value, dtype)
    preparation = Preprocessing(None, True, "unit")
    Y, mean, norm = preparation.apply(X)
    assert not Y.any()
    np.testing.assert_allclose(preparation.undo(Y, mean, norm), X, rtol=1e-6)


def test_preparation_does_not_write_to_its_input():
    X = np.random.default_rng(0).random((4, 9))
    before = X.copy()
    Preprocessing(None, False, "unit").apply(X)
    assert np.array_equal(X, before)


def test_sampled_patches_are_distinct_and_stand_in_the_images():
    image = np.random.default_rng(0).random((12, 11))
    every = np.lib.stride_tricks.sliding_window_view(image, (4, 4)).reshape(-1, 16)
    found = sample_patches([image], 4, 10**6, seed=1)
    assert found.shape == every.shape  # asked for more than there are: all, once
    assert np.array_equal(np.unique(found, axis=0), np.unique(every, axis=0))
    assert np.array_equal(sample_patches([image], 4, 10, 1), found[:10])


def test_flat_patches_are_left_out():
    image = np.zeros((20, 40))
    image[:, 20:] = np.random.default_rng(0).random((20, 20))
    assert sample_patches([image], 4, 5000).std(1).min() > 0.02 * image.max()
    with pytest.raises(ValueError, match="flat"):
        sample_patches([np.ones((20, 20))], 4, 10)
    with pytest.raises(ValueError, match="no image is as large"):
        sample_patches([np.ones((3, 20))], 4, 10)


@pytest.mark.parametrize("stride", [1, 3, 4])
def test_the_grid_covers_every_pixel_and_gives_the_image_back(stride):
    image = np.random.default_rng(0).random((13, 10))
    patches = grid_patches(image, 4, stride)
    np.testing.assert_allclose(from_grid(patches, image.shape, 4, stride), image, atol=1e-14)


def test_grey_weighs_colours_and_scales_bytes():
    assert grey(np.array([[[255, 0, 0], [0, 255, 0]]], np.uint8)).tolist() == [[0.299, 0.587]]
    assert grey(np.full((1, 2, 4), 255, np.uint8)).tolist() == [[1.0, 1.0]]
    assert grey(np.array([[0.5]])).tolist() == [[0.5]]
    with pytest.raises(ValueError, match="an image is"):
        grey(np.zeros((2, 2, 5)))


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="scale must be one of"):
        Preprocessing(scale="max")
    with pytest.raises(ValueError, match="stride must lie"):
        grid_patches(np.zeros((9, 9)), 3, 4)
    with pytest.raises(ValueError, match="smaller than one"):
        grid_patches(np.zeros((9, 2)), 3, 3)
