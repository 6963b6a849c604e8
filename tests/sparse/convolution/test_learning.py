"""Learning filters: planted ones come back, the energy falls by certificate, work resumes."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from thalweg.sparse.convolution import encode_images, learn_filters
from thalweg.sparse.convolution.online import FilterLearner


def pictures(count=3, side=20, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, side, side))


def test_planted_filters_are_found_up_to_shift_sign_and_order(planted):
    learned = learn_filters(planted.images, 6, 9, 0.1, steps=60, seed=0)
    found = planted.similarity(planted.W, learned.W)
    assert found.max(1).min() > 0.99
    assert sorted(found.argmax(1)) == list(range(6))
    norms = np.sqrt(np.square(learned.W).sum((1, 2, 3)))
    np.testing.assert_allclose(norms, 1, atol=1e-12)
    assert len(learned.curve_steps) == len(learned.curve_energy) == 6


@pytest.mark.parametrize("boundary", ["full", "circular"])
def test_whole_batches_with_exact_codes_never_raise_the_energy(boundary):
    images = torch.from_numpy(pictures())[:, None]
    learner = FilterLearner(
        4, (1, 4, 4), 0.5, boundary=boundary, tol=1e-8, forgetting=math.inf, dead_after=10**9
    )
    learner.update([images])
    learner.age += 50  # from now on nothing but sweeps moves a filter
    energies, filters = [], []
    for _ in range(12):
        filters.append(learner.filters.clone())
        energies.append(learner.update([images]) * images.numel())
    half = 0.5 * float(images.square().sum())
    for before, after in itertools.pairwise(energies):
        assert after <= before + 2 * 1e-8 * half  # each is certified to 1e-8 of half
    exact = encode_images(images, filters[-1], 0.5, boundary=boundary, tol=1e-10).energy.sum()
    assert energies[-1] == pytest.approx(float(exact), abs=1e-8 * half)
    assert energies[-1] < 0.98 * energies[0]


def test_the_curve_is_the_energy_a_pixel_before_each_move():
    images = pictures()
    init = np.random.default_rng(5).standard_normal((4, 3, 3))
    learned = learn_filters(images, 4, 3, 0.5, steps=1, batch_size=3, init=init, tol=1e-9)
    unit = init / np.sqrt(np.square(init).sum((1, 2), keepdims=True))
    exact = encode_images(images, unit, 0.5, tol=1e-10).energy.sum() / images.size
    assert learned.curve_steps == (1,)
    assert learned.curve_energy[0] == pytest.approx(exact, rel=1e-7)
    assert learned.seen == images.size


def test_filters_nobody_uses_become_the_piece_explained_worst():
    images = 0.01 * pictures(1, 30)
    images[0, 11:15, 20:24] = [[3, -3, 3, -3]] * 4
    init = np.zeros((1, 1, 4, 4))
    init[0, 0, 0, 0] = 1.0
    learner = FilterLearner(1, (1, 4, 4), 20.0, init=init, dead_after=2)
    stack = torch.from_numpy(images)[:, None]
    learner.update([stack])
    assert learner.reseeded == 0
    learner.update([stack])
    assert learner.reseeded == 1
    piece = images[0, 11:15, 20:24]
    np.testing.assert_allclose(learner.filters[0, 0], piece / np.linalg.norm(piece), atol=1e-12)
    learner.l1 = 1.0
    learner.update([stack])
    assert float(learner.amount[0]) > 0


def test_images_of_any_sizes_and_channels_are_learned_from():
    rng = np.random.default_rng(0)
    images = [rng.standard_normal((2, h, w)) for h, w in ((9, 30), (12, 7), (9, 30))]
    learned = learn_filters(images, 3, (4, 5), 0.5, steps=4, batch_size=3, crop=8)
    assert learned.W.shape == (3, 2, 4, 5)
    assert learned.seen == 2 * 4 * (8 * 8 * 2 + 8 * 7)


def test_flat_images_give_filters_and_no_nan():
    learned = learn_filters(np.zeros((2, 9, 9)), 3, 4, 0.5, steps=3, dead_after=1)
    assert np.isfinite(learned.W).all()
    assert learned.use == (0.0, 0.0, 0.0)


def test_use_is_the_mean_absolute_coefficient_a_pixel():
    images = pictures()
    init = np.random.default_rng(2).standard_normal((4, 1, 3, 3))
    init /= np.sqrt(np.square(init).sum((1, 2, 3), keepdims=True))
    learned = learn_filters(images, 4, 3, 0.5, steps=1, batch_size=3, tol=1e-8, init=init)
    codes = encode_images(images, init, 0.5, tol=1e-10).z
    expected = np.abs(codes).sum((0, 2, 3)) / images.size
    np.testing.assert_allclose(learned.use, expected, rtol=1e-3)


@pytest.mark.parametrize("kind", ["numpy32", "numpy64", "torch32", "integers", "list"])
def test_kind_and_dtype_follow_the_images(kind):
    images = pictures()
    given = {
        "numpy32": images.astype(np.float32),
        "numpy64": images,
        "torch32": torch.from_numpy(images).float(),
        "integers": np.round(8 * images).astype(int),
        "list": list(images),
    }[kind]
    W = learn_filters(given, 2, 3, 0.5, steps=2).W
    assert type(W) is (np.ndarray if kind == "list" else type(given))
    assert str(W.dtype).endswith("float32" if "32" in kind else "float64")


class Cut(Exception):
    """Stands for a machine that went away."""


def test_learning_cut_off_resumes_to_the_same_bits(tmp_path):
    images = pictures(4, 24)
    settings = {"steps": 16, "batch_size": 2, "every": 4, "seed": 3, "crop": 16, "dead_after": 3}

    def cut(step, steps, energy):
        if step == 8:
            raise Cut

    whole = learn_filters(images, 5, 4, 0.8, **settings)
    with pytest.raises(Cut):
        learn_filters(images, 5, 4, 0.8, **settings, checkpoint=tmp_path, progress=cut)
    resumed = learn_filters(images, 5, 4, 0.8, **settings, checkpoint=tmp_path)
    assert np.array_equal(whole.W, resumed.W)
    for name in ("curve_energy", "use", "seen", "steps", "reseeded"):
        assert getattr(whole, name) == getattr(resumed, name)
    with pytest.raises(ValueError, match="belongs to other work"):
        learn_filters(images, 5, 4, 0.7, **settings, checkpoint=tmp_path)
    other = learn_filters(images, 5, 4, 0.8, **(settings | {"seed": 4}))
    assert not np.array_equal(other.W, whole.W)


def test_threads_do_not_change_the_answer():
    images = pictures(4, 24)
    one, two = (
        learn_filters(images, 5, 4, 0.8, steps=3, batch_size=2, threads=t).W for t in (1, 2)
    )
    assert np.array_equal(one, two)


def test_seconds_end_the_work_early():
    learned = learn_filters(pictures(), 4, 4, 0.8, steps=10**6, seconds=0.2)
    assert 0 < learned.steps < 10**6


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"images": []}, ValueError, "the list is empty"),
        ({"images": np.zeros((0, 9, 9))}, ValueError, "the array holds none"),
        ({"images": [np.zeros(9)]}, ValueError, "image 0 has shape"),
        ({"images": [np.zeros((9, 9)), np.zeros((2, 9, 9))]}, ValueError, "same channels"),
        ({"images": [np.zeros((9, 9)), np.zeros((2, 9))]}, ValueError, "image 1 is"),
        ({"filters": 0}, ValueError, "filters must be a whole number"),
        ({"size": 0}, ValueError, "size must be at least 1"),
        ({"size": (3, 3, 3)}, ValueError, "size must be a number"),
        ({"l1": -1.0}, ValueError, "l1 must be positive"),
        ({"steps": 0}, ValueError, "steps must be at least 1"),
        ({"steps": None}, TypeError, "steps must be a positive integer"),
        ({"crop": 2}, ValueError, "must hold a filter"),
        ({"seconds": 0}, ValueError, "seconds must be positive"),
        ({"forgetting": -1}, ValueError, "forgetting must be 0 or more"),
        ({"init": np.ones((1, 3, 3))}, ValueError, "init must have shape"),
        ({"boundary": "same"}, ValueError, "boundary must be one of"),
    ],
)
def test_bad_input_is_refused_at_the_door(changes, error, message):
    good = {"images": pictures(2, 9), "filters": 2, "size": 3, "l1": 0.5, "steps": 1}
    with pytest.raises(error, match=message):
        learn_filters(**(good | changes))
