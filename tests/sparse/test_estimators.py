"""The estimators keep scikit-learn's contract, and give the same codes as `encode`."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.decomposition import sparse_encode
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from thalweg.sparse import (
    DictionaryLearner,
    ListaEncoder,
    SparseCoder,
    encode,
    learn_dictionary,
)
from thalweg.sparse.storage import Dictionary


@parametrize_with_checks(  # pyrefly: ignore
    [
        SparseCoder(n_components=5, random_state=0, n_jobs=1),
        DictionaryLearner(5, max_iter=3, random_state=0, n_jobs=1),
        ListaEncoder(n_components=5, steps=20, random_state=0, n_jobs=1),
    ]
)
def test_scikit_learn_checks(estimator, check, monkeypatch):
    # the array-API check asks for this variable; our arrays are numpy's, which satisfies it
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    check(estimator)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    W = rng.standard_normal((12, 8))
    W /= np.linalg.norm(W, axis=1, keepdims=True)
    return W, rng.standard_normal((60, 8))


def test_codes_are_those_of_encode_in_the_other_orientation(data):
    W, X = data
    coder = SparseCoder(W, l1=0.2, tol=1e-10).fit(X)
    expected = encode(X, W.T.copy(), 0.2, tol=1e-10)
    np.testing.assert_array_equal(coder.transform(X), expected.z)
    assert coder.score(X) == pytest.approx(-expected.energy.mean(), rel=1e-12)


def test_energy_is_not_above_that_of_scikit_learns_lasso(data):
    W, X = data
    Z = sparse_encode(X, W, algorithm="lasso_cd", alpha=0.2, max_iter=10_000)
    theirs = (0.5 * ((X - Z @ W) ** 2).sum(1) + 0.2 * np.abs(Z).sum(1)).mean()
    assert -SparseCoder(W, l1=0.2, tol=1e-10).fit(X).score(X) <= theirs + 1e-9


def test_n_jobs_changes_nothing_but_the_threads(data):
    W, X = data
    expected = SparseCoder(W, n_jobs=1).fit_transform(X)
    np.testing.assert_array_equal(SparseCoder(W, n_jobs=-1).fit_transform(X), expected)


def test_non_negative_codes_are_non_negative(data):
    W, X = data
    Z = SparseCoder(W, l1=0.1, penalty="non-negative").fit_transform(X)
    assert Z.min() == 0
    assert Z.max() > 0


def test_inverse_transform_multiplies_by_the_components(data):
    W, X = data
    coder = SparseCoder(W).fit(X)
    Z = coder.transform(X)
    np.testing.assert_allclose(coder.inverse_transform(Z), Z @ W, atol=1e-14)
    with pytest.raises(ValueError, match=r"codes must have shape \(b, 12\)"):
        coder.inverse_transform(Z[:, :5])
    with pytest.raises(NotFittedError):
        SparseCoder(W).inverse_transform(Z)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "estimator",
    [
        SparseCoder(n_components=6),
        DictionaryLearner(6, max_iter=2),
        ListaEncoder(n_components=6, steps=5),
        ListaEncoder(n_components=6, steps=5, tol=1e-4),
    ],
)
def test_dtype_is_kept_from_signals_to_codes_and_back(data, estimator, dtype):
    X = data[1].astype(dtype)
    fitted = clone(estimator).fit(X)
    Z = fitted.transform(X)
    assert Z.dtype == dtype
    assert fitted.components_.dtype == dtype
    assert fitted.inverse_transform(Z).dtype == dtype


def test_pandas_in_and_named_columns_out(data):
    frame = pd.DataFrame(data[1], columns=[f"x{i}" for i in range(8)])
    coder = SparseCoder(data[0]).set_output(transform="pandas").fit(frame)
    codes = coder.transform(frame)
    assert list(codes.columns) == [f"sparsecoder{i}" for i in range(12)]
    assert list(coder.get_feature_names_out()) == list(codes.columns)
    assert coder.n_features_in_ == 8
    assert list(coder.feature_names_in_) == list(frame.columns)


def test_pipeline_and_grid_search_choose_the_weight_of_least_energy(data):
    X = data[1]
    search = GridSearchCV(
        SparseCoder(n_components=6, random_state=0), {"l1": [0.1, 0.5]}, cv=2, error_score="raise"
    ).fit(X)
    assert search.best_params_ == {"l1": 0.1}  # energy grows with l1
    pipe = make_pipeline(
        StandardScaler(), DictionaryLearner(6, max_iter=2, random_state=0), LogisticRegression()
    )
    assert pipe.fit(X, X[:, 0] > 0).score(X, X[:, 0] > 0) > 0.5


def test_partial_fit_learns_batch_by_batch_and_survives_pickling(data):
    X = data[1]
    a, b = (DictionaryLearner(6, random_state=0) for _ in range(2))
    a.partial_fit(X[:30])
    first = a.components_.copy()
    a = pickle.loads(pickle.dumps(a.partial_fit(X[30:])))
    b.partial_fit(X[:30]).partial_fit(X[30:])
    np.testing.assert_array_equal(a.components_, b.components_)
    assert not np.array_equal(first, a.components_)
    assert a.n_iter_ == 2
    a.partial_fit(X[:30])
    b.partial_fit(X[:30])
    np.testing.assert_array_equal(a.components_, b.components_)


def test_partial_fit_goes_on_from_fitted_atoms(data):
    X = data[1]
    learner = DictionaryLearner(6, max_iter=5, random_state=0).fit(X)
    fitted, score = learner.components_.copy(), learner.score(X)
    learner.partial_fit(X)
    assert 0 < np.abs(learner.components_ - fitted).max() < 0.5
    assert learner.score(X) > 1.2 * score  # scores are negative: not 20 % worse


def test_learned_atoms_do_better_than_random_ones(data):
    X = data[1]
    rng = np.random.default_rng(1).standard_normal((6, 8))
    rng /= np.linalg.norm(rng, axis=1, keepdims=True)
    learned = DictionaryLearner(6, l1=0.2, random_state=0).fit(X)
    assert learned.score(X) > SparseCoder(rng, l1=0.2).fit(X).score(X)
    np.testing.assert_allclose(np.linalg.norm(learned.components_, axis=1), 1, atol=1e-12)


def test_lista_transform_is_the_networks_or_certified(data):
    W, X = data
    own = ListaEncoder(W, l1=0.2, steps=50, random_state=0).fit(X)
    exact = ListaEncoder(W, l1=0.2, steps=50, random_state=0, tol=1e-8).fit(X)
    np.testing.assert_array_equal(own.transform(X), own.encoder_.encode(X))
    assert own.gap(X).min() > 1e-8
    expected = SparseCoder(W, l1=0.2, tol=1e-10).fit(X)
    np.testing.assert_allclose(exact.transform(X), expected.transform(X), atol=1e-3)


def test_lista_is_scored_by_the_energy_of_its_codes_and_searched_over(data):
    W, X = data
    own = ListaEncoder(W, l1=0.2, steps=50, random_state=0).fit(X)
    Z = own.transform(X)
    energy = 0.5 * ((X - Z @ W) ** 2).sum(1) + 0.2 * np.abs(Z).sum(1)
    assert own.score(X) == pytest.approx(-energy.mean(), rel=1e-12)
    exact = ListaEncoder(W, l1=0.2, steps=50, random_state=0, tol=1e-10).fit(X)
    assert exact.score(X) == pytest.approx(SparseCoder(W, l1=0.2).fit(X).score(X), rel=1e-8)
    search = GridSearchCV(
        ListaEncoder(W, l1=0.2, steps=1, random_state=0),
        {"depth": [0, 5]},
        cv=2,
        error_score="raise",
    ).fit(X)
    assert search.best_params_ == {"depth": 5}  # all but untrained: more steps of ISTA are better


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (SparseCoder(np.ones((8, 12))), "looks transposed"),
        (SparseCoder(np.eye(9)), r"must have shape \(atoms, 8\)"),
        (SparseCoder(np.eye(8), l1=0.0), "positive"),
        (SparseCoder(np.eye(8), penalty="l3"), "l3"),
        (SparseCoder(np.full((3, 8), np.nan)), "NaN"),
        (SparseCoder(n_components=0), "number of atoms.*got 0"),
        (DictionaryLearner(-1), "number of atoms.*got -1"),
        (ListaEncoder(np.eye(8), steps=0), "steps must be a whole number"),
    ],
)
def test_bad_settings_are_refused(data, estimator, message):
    with pytest.raises(ValueError, match=message):
        estimator.fit(data[1]).transform(data[1])


def test_a_learned_dictionary_knows_its_orientation(data, tmp_path):
    X = data[1]
    learned = learn_dictionary(X, 8, 0.2, passes=1, seed=0)  # square: its shape would not tell
    learned.save(tmp_path / "d.safetensors")
    coder = clone(SparseCoder(Dictionary.load(tmp_path / "d.safetensors"), l1=0.2)).fit(X)
    np.testing.assert_array_equal(coder.components_, learned.D.T)
    np.testing.assert_array_equal(coder.transform(X), encode(X, learned.D, 0.2).z)


def test_a_square_transposed_dictionary_is_caught(data):
    W = data[0][:8]
    with pytest.raises(ValueError, match="looks transposed"):
        SparseCoder(W.T).fit(data[1])
