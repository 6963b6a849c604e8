"""What is done to photographs: contrast is evened out, frequencies are made equal."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from thalweg.sparse.convolution.preparation import KINDS, Preparation


def texture(side=96, seed=0):
    return gaussian_filter(np.random.default_rng(seed).standard_normal((side, side)), 1.0)


@pytest.mark.parametrize("kind", ["contrast", "whiten", "both"])
def test_brightness_and_contrast_of_the_whole_image_do_not_matter(kind):
    image = texture()
    prepared = Preparation(kind).apply(image)
    np.testing.assert_allclose(Preparation(kind).apply(5 * image + 3), prepared, atol=1e-9)
    assert np.square(prepared).mean() == pytest.approx(1, rel=1e-12)


def test_contrast_normalisation_makes_a_dim_half_as_strong_as_a_bright_one():
    image = texture()
    # a level of one must not pull the dim half below the floor: a quarter of the contrast left
    image[:, 48:] *= 0.5
    prepared = Preparation("contrast").apply(image)
    bright, dim = prepared[:, 8:40].std(), prepared[:, 56:88].std()
    assert dim / bright > 0.6  # the floor is the mean deviation, 0.75 of the bright one's
    assert image[:, 56:88].std() / image[:, 8:40].std() < 0.6


def test_contrast_normalisation_is_its_formula():
    image = texture()
    rest = image - gaussian_filter(image, 3.0, mode="reflect")
    local = np.sqrt(gaussian_filter(rest**2, 3.0, mode="reflect"))
    expected = rest / np.maximum(local, local.mean())
    expected /= np.sqrt((expected**2).mean())
    np.testing.assert_allclose(Preparation("contrast", 3.0).apply(image), expected, atol=1e-12)


def test_whitening_flattens_a_spectrum_that_falls_with_the_frequency():
    side = 128
    f = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side))
    noise = np.fft.rfft2(np.random.default_rng(0).standard_normal((side, side)))
    image = np.fft.irfft2(noise / np.maximum(f, 1 / side), s=(side, side))
    power = np.abs(np.fft.rfft2(Preparation("whiten").apply(image))) ** 2
    low, middle = power[(f > 0.05) & (f < 0.1)].mean(), power[(f > 0.15) & (f < 0.2)].mean()
    assert 0.5 < low / middle < 2  # before: the square of the ratio of frequencies, about 5.4
    assert power[f > 0.6].mean() < 0.02 * middle


@pytest.mark.parametrize("kind", KINDS)
def test_flat_images_become_zero_and_records_come_back(kind):
    preparation = Preparation(kind, 2.5, 0.3)
    if kind != "none":
        assert not preparation.apply(np.full((20, 30), 7.0)).any()
    assert Preparation.from_dict(preparation.to_dict()) == preparation
    assert preparation.words()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("zca",), "kind must be one of"), (("contrast", 0.0), "must be positive")],
)
def test_nonsense_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Preparation(*arguments)
    with pytest.raises(ValueError, match="a grey image"):
        Preparation().apply(np.zeros((3, 4, 4)))
