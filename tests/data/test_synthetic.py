"""Generators: every number they promise, in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from thalweg.data.synthetic import linear_unit, quadratic


@pytest.mark.parametrize("seed", range(5))
def test_exact_linear_unit_has_the_printed_curvatures(seed):
    x, y = linear_unit("exact", seed)
    assert x.shape == (100, 2)
    assert sorted(y) == [-1.0] * 50 + [1.0] * 50
    found = np.linalg.eigvalsh(x.T @ x / 100)
    np.testing.assert_allclose(found, [0.036, 0.84], rtol=0, atol=1e-12)
    assert round(2 / found[1], 2) == 2.38


def test_gaussian_linear_unit_has_its_expected_moments():
    n = 200_000
    x, y = linear_unit("gaussian", seed=1, n=n)
    for sign in (-1, 1):
        mine = x[y == sign]
        error = 0.2 / np.sqrt(n / 2)
        np.testing.assert_allclose(mine.mean(0), sign * np.array([0.4, 0.8]), atol=4 * error)
        np.testing.assert_allclose(mine.std(0), 0.2, atol=4 * error)
    expected = np.linalg.eigvalsh(np.outer((0.4, 0.8), (0.4, 0.8)) + 0.04 * np.eye(2))
    np.testing.assert_allclose(expected, [0.04, 0.84], atol=1e-12)
    np.testing.assert_allclose(np.linalg.eigvalsh(x.T @ x / n), expected, rtol=0.01)


@pytest.mark.parametrize(
    ("lr", "factor"), [(1.5, 0.946), (1 / 0.84, 0.957), (2 / 0.876, 0.918), (2.5, 1.10)]
)
def test_batch_descent_on_the_linear_unit_contracts_as_printed(lr, factor):
    x, y = linear_unit("exact")
    best = np.linalg.lstsq(x, y, rcond=None)[0]
    w, errors = best + np.array([1.0, -0.3]), []
    for _ in range(200):
        w = w - lr * x.T @ (x @ w - y) / len(y)
        errors.append(np.linalg.norm(w - best))
    assert abs(errors[-1] / errors[-2] - factor) < 1e-3


def test_linear_unit_refuses():
    with pytest.raises(ValueError, match="kind"):
        linear_unit("uniform")
    for n in (2, 5):
        with pytest.raises(ValueError, match="even number"):
            linear_unit(n=n)


SPECTRUM = (0.0, 0.01, 0.5, 3.0)


def test_quadratic_has_the_given_spectrum_and_exact_noise():
    bowl = quadratic(SPECTRUM, n=32, noise=0.3, seed=2)
    np.testing.assert_allclose(np.linalg.eigvalsh(bowl.matrix), SPECTRUM, atol=1e-12)
    np.testing.assert_allclose(bowl.root @ bowl.root, bowl.matrix, atol=1e-12)
    np.testing.assert_allclose(bowl.centres.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(bowl.centres.T @ bowl.centres / 32, 0.09 * np.eye(4), atol=1e-12)
    values = np.einsum("ni,ij,nj->n", bowl.centres, bowl.matrix, bowl.centres) / 2
    assert abs(values.mean() - bowl.minimum) < 1e-12


def test_gradient_noise_of_the_quadratic_is_as_promised():
    bowl = quadratic(SPECTRUM, n=32, noise=0.3, seed=2)
    gradients = -bowl.centres @ bowl.matrix  # of each sample at w = 0
    np.testing.assert_allclose(gradients.mean(0), 0, atol=1e-12)
    covariance = gradients.T @ gradients / 32
    np.testing.assert_allclose(covariance, 0.09 * bowl.matrix @ bowl.matrix, atol=1e-12)


def test_other_draws_are_other_samples_of_the_same_problem():
    first, second = (quadratic(SPECTRUM, draw=draw) for draw in (0, 1))
    assert np.array_equal(first.matrix, second.matrix)
    assert not np.allclose(first.centres, second.centres)
    assert not np.allclose(first.matrix, quadratic(SPECTRUM, seed=1).matrix)


def test_quadratic_without_noise_has_its_minimum_at_zero():
    bowl = quadratic(SPECTRUM, n=1, noise=0)
    assert bowl.minimum == 0
    assert not bowl.centres.any()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"spectrum": (-1.0, 1.0)}, "curvatures"),
        ({"spectrum": (np.inf,)}, "curvatures"),
        ({"spectrum": ()}, "curvatures"),
        ({"spectrum": (1.0, 2.0), "n": 2}, "n > 2"),
        ({"spectrum": (1.0,), "noise": -1.0}, "noise"),
    ],
)
def test_quadratic_refuses(arguments, words):
    with pytest.raises(ValueError, match=words):
        quadratic(**arguments)
