"""The estimator keeps scikit-learn's contract; its codes are those of `encode_images`."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks

from thalweg.sparse import ConvDictionaryLearner
from thalweg.sparse.convolution import encode_images, learn_filters

SMALL = {"n_filters": 3, "filter_shape": (3, 4), "max_iter": 3, "random_state": 0, "n_jobs": 1}


@parametrize_with_checks(  # pyrefly: ignore
    [ConvDictionaryLearner(3, (1, 2), max_iter=3, random_state=0, n_jobs=1)]
)
def test_scikit_learn_checks(estimator, check, monkeypatch):
    # the array-API check asks for this variable; our arrays are numpy's, which satisfies it
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    check(estimator)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).standard_normal((5, 2, 8, 9))


def test_it_learns_and_codes_as_the_functions_do(images):
    learner = ConvDictionaryLearner(**SMALL).fit(images)
    expected = learn_filters(images, 3, (3, 4), 1.0, steps=3, seed=0)
    np.testing.assert_array_equal(learner.filters_, expected.W)
    codes = encode_images(images, expected.W, 1.0)
    assert learner.code_shape_ == codes.z.shape[1:] == (3, 6, 6)
    np.testing.assert_array_equal(learner.transform(images), codes.z.reshape(5, -1))
    assert learner.score(images) == pytest.approx(-codes.energy.mean(), rel=1e-12)
    assert len(learner.get_feature_names_out()) == 3 * 6 * 6


def test_rows_and_images_are_the_same_and_codes_give_images_back(images):
    rows = images.reshape(5, -1)
    folded = ConvDictionaryLearner(**SMALL).fit(images)
    flat = ConvDictionaryLearner(**SMALL, image_shape=(2, 8, 9)).fit(rows)
    np.testing.assert_array_equal(folded.filters_, flat.filters_)
    Z = flat.transform(rows)
    np.testing.assert_array_equal(folded.transform(rows), Z)
    back = flat.inverse_transform(Z)
    error = 0.5 * np.square(rows - back).sum(1) + np.abs(Z).sum(1)
    assert error.mean() == pytest.approx(-flat.score(rows), rel=1e-12)
    np.testing.assert_array_equal(folded.inverse_transform(Z.reshape(5, 3, 6, 6)), back)


def test_signals_are_pictures_one_pixel_high():
    X = np.zeros((4, 30))
    for row, place in zip(X, (4, 10, 14, 21), strict=True):
        row[place : place + 3] = [1, -2, 1]
    learner = ConvDictionaryLearner(1, (1, 5), l1=1.0, max_iter=40, random_state=5).fit(X)
    match = np.correlate(learner.filters_[0, 0, 0], [1, -2, 1], "full")
    assert np.abs(match).max() == pytest.approx(6**0.5, rel=1e-3)  # the filter is the pattern
    assert (learner.transform(X) != 0).sum() == 4


@pytest.mark.parametrize("boundary", ["full", "circular"])
def test_settings_reach_the_codes(images, boundary):
    learner = ConvDictionaryLearner(**SMALL, boundary=boundary, non_negative=True).fit(images)
    Z = learner.transform(images)
    assert Z.shape[1] == 3 * (8 * 9 if boundary == "circular" else 6 * 6)
    assert Z.min() == 0
    assert Z.max() > 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_is_kept(images, dtype):
    learner = ConvDictionaryLearner(**SMALL).fit(images.astype(dtype))
    Z = learner.transform(images.astype(dtype))
    assert {Z.dtype, learner.filters_.dtype, learner.inverse_transform(Z).dtype} == {
        np.dtype(dtype)
    }


def test_partial_fit_learns_batch_by_batch_and_survives_pickling(images):
    a, b = (ConvDictionaryLearner(**SMALL) for _ in range(2))
    a = pickle.loads(pickle.dumps(a.partial_fit(images[:3]))).partial_fit(images[3:])
    b.partial_fit(images[:3])
    first = b.filters_.copy()
    b.partial_fit(images[3:])
    np.testing.assert_array_equal(a.filters_, b.filters_)
    assert not np.array_equal(first, b.filters_)
    assert a.n_iter_ == 2
    fitted = ConvDictionaryLearner(**SMALL).fit(images)
    before = fitted.filters_.copy()
    fitted.partial_fit(images)
    assert 0 < np.abs(fitted.filters_ - before).max() < 1


def test_grid_search_prefers_the_weight_of_least_energy(images):
    search = GridSearchCV(
        ConvDictionaryLearner(**SMALL), {"l1": [0.5, 2.0]}, cv=2, error_score="raise"
    ).fit(images)
    assert search.best_params_ == {"l1": 0.5}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_shape": (8, 9)}, "they must agree"),
        ({"filter_shape": (9, 3)}, "do not fit into images"),
        ({"filter_shape": (3,)}, "filter_shape must be"),
        ({"l1": 0.0}, "positive"),
        ({"boundary": "same"}, "boundary"),
        ({"n_filters": 0}, "filters must be a whole number"),
    ],
)
def test_bad_settings_are_refused(images, changes, message):
    learner = clone(ConvDictionaryLearner(**SMALL)).set_params(**changes)
    with pytest.raises(ValueError, match=message):
        learner.fit(images)


def test_other_images_and_codes_are_refused(images):
    learner = ConvDictionaryLearner(**SMALL)
    with pytest.raises(NotFittedError):
        learner.transform(images)
    learner.fit(images)
    with pytest.raises(ValueError, match="images must have shape"):
        learner.transform(images.transpose(0, 1, 3, 2))
    with pytest.raises(ValueError, match="codes must have shape"):
        learner.inverse_transform(np.zeros((2, 7)))
