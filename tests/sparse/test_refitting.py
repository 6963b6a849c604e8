"""Refitted codes are least squares on the support, whatever the support looks like."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import nnls

from thalweg.sparse import SparseCoder, encode, refit


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    D = rng.standard_normal((20, 50)) * rng.uniform(0.2, 5, 50)
    X = rng.standard_normal((60, 20))
    return X, D, encode(X, D, 0.5 * np.linalg.norm(D, axis=0)).z


def test_each_code_is_least_squares_on_its_support(problem):
    X, D, Z = problem
    U = refit(X, D, Z)
    assert len({int((z != 0).sum()) for z in Z}) > 4
    for x, z, u in zip(X, Z, U, strict=True):
        on = z != 0
        assert not u[~on].any()
        np.testing.assert_allclose(u[on], np.linalg.lstsq(D[:, on], x, rcond=None)[0], atol=1e-10)


def test_the_residual_never_grows_and_a_planted_code_is_found_again(problem):
    X, D, Z = problem
    left = np.square(X - refit(X, D, Z) @ D.T).sum(1)
    assert (left <= np.square(X - Z @ D.T).sum(1) + 1e-12).all()
    rng = np.random.default_rng(1)
    planted = np.zeros((30, 50))
    for row in planted:
        row[rng.permutation(50)[:3]] = rng.choice([-1, 1], 3) * rng.uniform(2, 4, 3)
    unit = D / np.linalg.norm(D, axis=0)
    shrunk = 0.3 * np.sign(planted)
    np.testing.assert_allclose(refit(planted @ unit.T, unit, shrunk), planted, atol=1e-12)


def test_dependent_atoms_give_the_smallest_code(problem):
    X, D, _ = problem
    D = D.copy()
    D[:, 1] = D[:, 0]
    Z = np.zeros((len(X), 50))
    Z[:, :4] = 1
    for x, u in zip(X, refit(X, D, Z), strict=True):
        # atoms of equal norm share alike; the fit is that of least squares
        assert u[0] == pytest.approx(u[1], abs=1e-9)
        best = D[:, :4] @ np.linalg.lstsq(D[:, :4], x, rcond=None)[0]
        np.testing.assert_allclose(D @ u, best, atol=1e-9)


def test_more_atoms_than_inputs_explain_all_and_empty_codes_stay_empty(problem):
    X, D, _ = problem
    Z = np.ones((len(X), 50))
    Z[5] = 0
    U = refit(X, D, Z)
    assert not U[5].any()
    np.testing.assert_allclose(np.delete(U @ D.T - X, 5, 0), 0, atol=1e-9)
    assert refit(X[:0], D, Z[:0]).shape == (0, 50)


def test_non_negative_refits_solve_non_negative_least_squares(problem):
    X, D, _ = problem
    Z = encode(X, D, 0.5, penalty="non-negative").z
    U = refit(X, D, Z, non_negative=True)
    assert U.min() >= 0
    assert (refit(X, D, Z) < 0).any(), "the constraint must matter for this test to say anything"
    for x, z, u in zip(X, Z, U, strict=True):
        on = z != 0
        np.testing.assert_allclose(
            np.square(x - D @ u).sum(), nnls(D[:, on], x)[1] ** 2, rtol=1e-9, atol=1e-12
        )
    assert encode(X, D, 0.5, penalty="non-negative", refit=True).z.min() >= 0


def test_encode_and_the_estimator_return_it_and_keep_the_certificate(problem):
    X, D, Z = problem
    l1 = 0.5 * np.linalg.norm(D, axis=0)
    plain, again = encode(X, D, l1), encode(X, D, l1, refit=True)
    np.testing.assert_allclose(again.z, refit(X, D, Z), atol=1e-9)
    np.testing.assert_array_equal(again.gap, plain.gap)
    assert again.converged.all()
    rows = encode(X, D, l1, refit=True, output="csr")
    np.testing.assert_allclose(rows.z.toarray(), again.z, atol=1e-12)
    coder = SparseCoder(D.T, l1=0.4, refit=True).fit(X)
    np.testing.assert_allclose(coder.transform(X), refit(X, D, encode(X, D, 0.4).z), atol=1e-9)
    assert coder.score(X) == SparseCoder(D.T, l1=0.4).fit(X).score(X)


def test_kinds_and_dtypes_follow_the_codes(problem):
    X, D, Z = problem
    as32 = refit(X.astype(np.float32), D.astype(np.float32), Z.astype(np.float32))
    assert as32.dtype == np.float32
    np.testing.assert_allclose(as32, refit(X, D, Z), rtol=1e-3, atol=1e-4)
    tensors = [torch.from_numpy(a) for a in (X, D, Z)]
    torch.testing.assert_close(refit(*tensors), torch.from_numpy(refit(X, D, Z)))
    with pytest.raises(TypeError, match="same kind"):
        refit(X, D, tensors[2])
    with pytest.raises(ValueError, match="shape"):
        refit(X, D, Z[:, :3])
