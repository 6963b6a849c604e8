"""The claim on sliding filters beside atoms of patches, and the measures it rests on."""

from __future__ import annotations

import numpy as np
import pytest

from thalweg.claims import sparse_filters
from thalweg.claims.sparse_filters import WAYS, convolutional, patchwise
from thalweg.sparse.convolution.diversity import mean_likeness, nearest_likeness


def test_the_claim_is_in_the_table(lectures_of) -> None:
    assert set(lectures_of(sparse_filters)) == {"convolutional-filters"}


def test_copies_count_by_the_nearest_and_hardly_by_the_mean() -> None:
    W = np.zeros((5, 1, 9, 9))
    rng = np.random.default_rng(0)
    W[:, :, :4, :4] = rng.standard_normal((5, 1, 4, 4))
    alone = nearest_likeness(W)
    W[1] = -np.roll(W[0], (3, 5), (1, 2))
    assert nearest_likeness(W) >= alone
    assert nearest_likeness(W[:2]) == pytest.approx(1)
    assert mean_likeness(W[:2]) == pytest.approx(1)
    assert mean_likeness(W) < 0.8
    assert np.isnan(nearest_likeness(W[:1]))


def test_both_ways_give_unit_filters_of_the_same_images() -> None:
    images = [np.random.default_rng(k).standard_normal((60, 60)) for k in range(2)]
    for learn in (convolutional, patchwise):
        W = learn(images, 2, 0)
        assert W.shape == (2, 1, 9, 9)
        np.testing.assert_allclose(np.square(W).sum((1, 2, 3)), 1, atol=1e-9)
        assert np.array_equal(W, learn(images, 2, 0))


@pytest.mark.slow
def test_the_claim_measures_both_ways_and_judges_by_the_mean_over_pairs(judged) -> None:
    claim = judged("convolutional-filters")
    found = {m.name: m.ours for m in claim.measures}
    mean = [found[f"mean likeness over shifts, {way}"] for way in WAYS]
    less = found["likeness over shifts, whole images less patches"]
    assert less == pytest.approx(mean[0] - mean[1])
    turns = [found[f"orientations of 12, {way}"] for way in WAYS]
    held = less <= 0 and turns[0] >= turns[1]
    assert claim.verdict == ("reduced" if held else "not reproduced")
    near = [found[f"likeness to the nearest filter, {way}"] for way in WAYS]
    assert near[0] < near[1]
    assert len(claim.charts) == len(claim.pictures) == 2
