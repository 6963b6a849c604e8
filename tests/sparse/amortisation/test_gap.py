"""The amortisation gap against brute force, closed forms and independent solvers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls
from sklearn.linear_model import Lasso

from thalweg.sparse.amortisation import amortisation_gap, kernels
from thalweg.sparse.amortisation.rows import from_csr, from_dense, shared


def decoder(m=12, n=7, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(m, n)) * rng.uniform(0.5, 2, (m, 1)), rng.normal(size=n), rng


def top(k, W, b):
    def encode(X):
        a = np.maximum((X - b) @ (W / (W**2).sum(1, keepdims=True)).T, 0)
        kept = np.argsort(-a, 1)[:, :k]
        z = np.zeros_like(a)
        np.put_along_axis(z, kept, np.take_along_axis(a, kept, 1), 1)
        return z

    return encode


def brute(W, y, k):
    """The least energy over every support of k atoms with non-negative amplitudes."""
    supports = itertools.combinations(range(len(W)), k)
    return min(0.5 * nnls(W[list(s)].T, y)[1] ** 2 for s in supports)


def test_l1_optimum_is_that_of_scikit_learn_in_energy_for_weighted_non_negative_codes():
    W, b, rng = decoder()
    X = rng.normal(size=(20, 7)) + b
    gap = amortisation_gap(top(3, W, b), W, b, X, l1=0.3, tol=1e-10)
    norms = np.linalg.norm(W, axis=1)
    for y, energy in zip(X - b, gap.optimal.energy, strict=True):
        solver = Lasso(0.3 / 7, fit_intercept=False, positive=True, tol=1e-12, max_iter=100_000)
        z = solver.fit((W / norms[:, None]).T, y).coef_
        assert energy == pytest.approx(
            0.5 * ((y - z @ (W / norms[:, None])) ** 2).sum() + 0.3 * z.sum(), abs=1e-8
        )
    assert gap.certificate is not None
    assert gap.certificate.max() <= 1e-10
    assert (gap.excess >= -1e-12).all()
    assert (gap.excess_of_support >= -1e-9).all()
    assert (gap.excess_of_support <= gap.excess + 1e-12).all()


def test_moving_scale_from_decoder_to_encoder_changes_nothing():
    W, b, rng = decoder()
    X, scale = rng.normal(size=(10, 7)), rng.uniform(0.2, 5, 12)
    one = amortisation_gap(top(3, W, b), W, b, X, l1=0.2, tol=1e-10)
    other = amortisation_gap(
        lambda x: top(3, W, b)(x) * scale, W / scale[:, None], b, X, l1=0.2, tol=1e-10
    )
    np.testing.assert_allclose(other.excess, one.excess, atol=1e-9)


def test_orthonormal_decoder_and_its_own_exact_encoder_have_no_gap():
    Q = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]
    X = np.random.default_rng(2).normal(size=(30, 6))
    exact = amortisation_gap(lambda x: np.maximum(x @ Q.T - 0.4, 0), Q, None, X, l1=0.4)
    np.testing.assert_allclose(exact.excess, 0, atol=1e-6)
    assert not exact.wrong.any()

    def best(x):
        a = np.maximum(x @ Q.T, 0)
        return a * (a >= np.sort(a, 1)[:, -2:-1])

    same = amortisation_gap(best, Q, None, X, k=2)
    np.testing.assert_allclose(same.excess, 0, atol=1e-12)
    assert not same.wrong.any()


@pytest.mark.parametrize("codes", ["non-negative", "signed"])
def test_best_known_codes_lie_between_brute_force_and_the_encoder_and_usually_reach_it(codes):
    k = 2 if codes == "signed" else 3
    W, b, rng = decoder(m=10, n=6)
    X = rng.normal(size=(60, 6)) + b
    gap = amortisation_gap(top(k, W, b), W, b, X, k=k, codes=codes)
    if codes == "signed":
        supports = [list(s) for s in itertools.combinations(range(10), k)]
        least = [
            min(0.5 * ((y - W[s].T @ np.linalg.lstsq(W[s].T, y)[0]) ** 2).sum() for s in supports)
            for y in X - b
        ]
    else:
        least = [brute(W, y, k) for y in X - b]
    assert (gap.optimal.energy >= np.array(least) - 1e-10).all()
    assert (gap.optimal.energy <= gap.refit.energy + 1e-12).all()
    assert (gap.refit.energy <= gap.encoder.energy + 1e-12).all()
    assert np.mean(gap.optimal.energy <= np.array(least) + 1e-9) >= 0.8
    assert (gap.optimal.l0 <= k).all()


def test_planted_codes_are_found_and_the_bias_is_taken_off():
    rng = np.random.default_rng(3)
    W, b = rng.normal(size=(80, 40)), rng.normal(size=40)
    Z = np.zeros((50, 80))
    for row in Z:
        row[rng.choice(80, 4, replace=False)] = rng.uniform(0.5, 2, 4)
    gap = amortisation_gap(top(4, W, b), W, b, Z @ W + b, k=4)
    np.testing.assert_allclose(gap.optimal.codes.dense(80), Z, atol=1e-8)
    assert gap.total_fvu("optimal") < 1e-12


def test_statistics_of_supports_by_hand():
    W = np.eye(3)
    X = np.array([[3.0, 2.0, 0.0], [0.0, 0.0, 5.0]])
    codes = np.array([[1.0, 0.0, 1.0], [0.0, 0.0, 4.0]])
    gap = amortisation_gap(lambda x: codes[: len(x)], W, None, X, k=2)
    np.testing.assert_array_equal(gap.wrong, [True, False])
    np.testing.assert_allclose(gap.missed, [0.5, 0])
    np.testing.assert_allclose(gap.extra, [0.5, 0])
    np.testing.assert_allclose(gap.encoder.energy, [0.5 * (4 + 4 + 1), 0.5])
    np.testing.assert_allclose(gap.refit.energy, [2.0, 0.0])
    np.testing.assert_allclose(gap.excess_of_support, [2.0, 0.0])
    np.testing.assert_allclose(gap.encoder.fvu, [9 / 9.5, 1 / 9.5])
    assert gap.total_fvu("encoder") == pytest.approx(10 / 19)


def test_same_budget_follows_the_encoder_and_a_larger_one_is_counted():
    W, b, rng = decoder()
    X = rng.normal(size=(15, 7)) + b

    def relu(x):
        return np.maximum((x - b) @ W.T - 1.0, 0)

    same = amortisation_gap(relu, W, b, X, k="same")
    assert (same.optimal.l0 <= same.encoder.l0).all()
    assert (same.excess >= -1e-12).all()
    assert same.over_budget == 0
    few = amortisation_gap(relu, W, b, X, k=1)
    assert few.over_budget == int((few.encoder.l0 > 1).sum()) > 0


def test_torch_and_numpy_agree_and_chunks_do_not_matter(monkeypatch):
    W, b, rng = decoder()
    X = rng.normal(size=(30, 7))
    one = amortisation_gap(top(3, W, b), W, b, X, k=3)
    tensors = [torch.from_numpy(v) for v in (W, b, X)]
    encode = top(3, W, b)
    monkeypatch.setattr("thalweg.sparse.amortisation.gap._ENCODE_BYTES", 8 * 12 * 7)
    monkeypatch.setattr("thalweg.sparse.amortisation.pursuit._STATE_BYTES", 8 * 16 * 5)
    other = amortisation_gap(lambda x: torch.from_numpy(encode(x.numpy())), *tensors, k=3)
    np.testing.assert_array_equal(one.optimal.codes.atoms, other.optimal.codes.atoms)
    np.testing.assert_allclose(one.excess, other.excess, atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 9), st.booleans())
def test_amplitudes_on_a_support_are_those_of_nnls_even_with_twin_atoms(seed, s, twins):
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(6, s))
    if twins:
        A = np.concatenate([A, A[:, :1]], 1)
    y, u = rng.normal(size=6), np.maximum(rng.normal(size=A.shape[1]), 0)
    kernels.amplitudes(A.T @ A, A.T @ y, u, False)
    assert (u >= 0).all()
    assert np.linalg.norm(y - A @ u) == pytest.approx(nnls(A, y)[1], abs=1e-7)


def test_compressed_rows_round_trip_and_count_shared_atoms():
    z = torch.tensor([[0.0, 2.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, -3.0]])
    rows = from_dense(z)
    np.testing.assert_array_equal(rows.dense(3), z.numpy())
    np.testing.assert_array_equal(from_csr(z.to_sparse_csr()).dense(3), z.numpy())
    other = from_dense(torch.tensor([[1.0, 1, 0], [0, 0, 0], [0, 0, 1]]))
    np.testing.assert_array_equal(shared(rows, other), [1, 0, 1])


def test_a_wide_decoder_is_measured_without_its_gram_matrix():
    rng = np.random.default_rng(5)
    W = rng.normal(size=(13_000, 16)).astype(np.float32)  # its Gram matrix: 1.35 GB
    X = rng.normal(size=(6, 16)).astype(np.float32)
    gap = amortisation_gap(top(4, W, np.zeros(16)), W, None, X, l1=0.2)
    assert gap.certificate is not None
    assert gap.certificate.max() <= 1e-6
    assert (amortisation_gap(top(4, W, np.zeros(16)), W, None, X, k=4).excess >= 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"l1": None}, "either l1"),
        ({"k": 2}, "either l1"),
        ({"l1": -1.0}, "positive"),
        ({"l1": None, "k": "some"}, "'same'"),
        ({"l1": None, "k": 0}, "at least 1"),
        ({"codes": "positive"}, "codes must be"),
        ({"weights": "unit"}, "weights must be"),
        ({"W_dec": np.ones((7, 12))}, "transposed"),
        ({"W_dec": np.zeros((12, 7))}, "zero"),
        ({"b_dec": np.ones(3)}, "b_dec"),
        ({"X": np.ones((0, 7))}, "at least one"),
        ({"encode": lambda x: np.ones((len(x), 3))}, "one code per atom"),
        ({"encode": lambda x: -np.ones((len(x), 12))}, "signed"),
        ({"encode": lambda x: np.full((len(x), 12), np.nan)}, "NaN"),
    ],
)
def test_bad_input_is_refused_with_a_reason(change, message):
    W, b, rng = decoder()
    given = {"encode": top(2, W, b), "W_dec": W, "b_dec": b, "X": rng.normal(size=(5, 7))}
    with pytest.raises(ValueError, match=message):
        amortisation_gap(**(given | {"l1": 0.1} | change))
