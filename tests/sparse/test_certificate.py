import numpy as np
import pytest
import torch

from thalweg.sparse import ElasticNet, Group, KSparse, NonNegativeElasticNet, certify, encode


def problem(seed=0, b=12, n=15, m=30):
    rng = np.random.default_rng(seed)
    D = rng.standard_normal((n, m))
    X = rng.standard_normal((b, n))
    X[2] = 0.0
    return X, D / np.linalg.norm(D, axis=0), rng


def gap_by_hand(x, D, z, weight, *, beta=0.0, sided=False, pools=None):
    """The certificate once more, from the textbook, for one sample."""
    m = D.shape[1]
    A, y = np.vstack([D, np.sqrt(beta) * np.eye(m)]), np.append(x, np.zeros(m))  # the lasso it is
    r = y - A @ z
    c, cost = A.T @ r, weight * abs(z)
    polar = np.max(np.maximum(c, 0) / weight) if sided else np.max(abs(c) / weight)
    if pools is not None:
        norms = lambda v: np.sqrt(np.bincount(pools, v**2))  # noqa: E731
        polar, cost = np.max(norms(c) / weight), weight * norms(z)
    s = min(max(y @ r / (r @ r), 0), 1 / polar) if r @ r > 0 else 0.0
    gap = 0.5 * r @ r + cost.sum() - (0.5 * y @ y - 0.5 * (y - s * r) @ (y - s * r))
    return gap / (0.5 * x @ x) if x @ x > 0 else 0.0, 0.5 * r @ r + cost.sum()


W = np.linspace(0.1, 0.3, 30)
POOLS = np.arange(30) // 3
CASES = {
    "l1": ((0.2, None), {"weight": 0.2}),
    "weighted-l1": ((W, None), {"weight": W}),
    "non-negative": ((W, "non-negative"), {"weight": W, "sided": True}),
    "elastic-net": ((None, ElasticNet(W, 0.4)), {"weight": W, "beta": 0.4}),
    "non-negative-elastic-net": (
        (None, NonNegativeElasticNet(W, 0.4)),
        {"weight": W, "beta": 0.4, "sided": True},
    ),
    "group": ((None, Group(0.3, POOLS)), {"weight": 0.3, "pools": POOLS}),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("tol", [1e-6, 1e-2])
@pytest.mark.parametrize("name", CASES)
def test_certificate_is_rederived_from_the_returned_codes(name, tol, dtype):
    (l1, penalty), settings = CASES[name]
    X, D, _ = problem()
    X, D = X.astype(dtype), D.astype(dtype)
    codes = encode(X, D, l1, penalty, tol=tol)
    assert codes.z.dtype == dtype
    assert codes.gap.dtype == codes.energy.dtype == np.float64
    rows = zip(X.astype(float), codes.z.astype(float), strict=True)
    gaps, energies = zip(
        *(gap_by_hand(x, D.astype(float), z, **settings) for x, z in rows), strict=True
    )
    np.testing.assert_allclose(codes.gap, gaps, atol=1e-13)
    np.testing.assert_allclose(codes.energy, energies, rtol=1e-12)
    np.testing.assert_array_equal(codes.converged, codes.gap <= tol)
    assert codes.converged.all()


@pytest.mark.parametrize("name", CASES)
def test_gap_bounds_the_suboptimality_of_any_code_and_vanishes_at_the_optimum(name):
    (l1, penalty), _ = CASES[name]
    X, D, rng = problem(1)
    best = encode(X, D, l1, penalty, tol=1e-12)
    half = 0.5 * (X**2).sum(1)
    assert best.gap.max() <= 1e-12
    for scale in (1e-6, 1e-3, 1e-1, 1.0):
        Z = best.z + scale * rng.standard_normal(best.z.shape) * (rng.random(best.z.shape) < 0.3)
        Z = abs(Z) if name == "non-negative" else Z
        judged = certify(X, D, Z, l1, penalty)
        some = half > 0
        assert (
            judged.gap[some] * half[some] >= judged.energy[some] - best.energy[some] - 1e-12
        ).all()


def test_gap_of_a_negative_code_under_the_non_negative_penalty_is_infinite():
    X, D, _ = problem()
    judged = certify(X, D, -np.ones((12, 30)), 0.1, "non-negative")
    assert np.isinf(judged.gap).all()
    assert not judged.converged.any()


def test_zero_signal_has_gap_zero_at_the_zero_code_only():
    X, D, _ = problem()
    Z = np.zeros((12, 30))
    assert certify(X, D, Z, 0.1).gap[2] == 0.0
    Z[:] = 1.0
    assert certify(X, D, Z, 0.1).gap[2] == np.inf


def test_k_sparse_codes_have_no_gap_and_converge_where_they_are_stationary():
    X, D, _ = problem()
    codes = encode(X, D, penalty=KSparse(4))
    assert codes.gap is None
    assert codes.converged.all()
    worse = certify(X, D, 1.1 * codes.z, penalty=KSparse(4))
    assert worse.converged.tolist() == [not row.any() for row in X]


def test_verdict_on_k_sparse_codes_is_that_of_the_gradients_by_hand():
    X, D, rng = problem(b=60)
    D *= rng.uniform(0.5, 2.0, D.shape[1])
    Z = encode(X, D, penalty=KSparse(4)).z.copy()
    Z[10:20] *= 1 + 1e-7 * rng.standard_normal((10, 1))  # still within a tolerance of 1e-6
    Z[20:30] *= 1.01  # not stationary on its support
    for row in Z[30:45]:  # refitted on fewer atoms than allowed: others would help
        row[np.flatnonzero(row)[2:]] = 0
        on = np.flatnonzero(row)
        row[on] = np.linalg.lstsq(D[:, on], X[30], rcond=None)[0]
    Z[45:50, rng.permutation(30)[:6]] = 0.3  # over the budget
    Z[50:55] = 0
    expected = []
    for x, z in zip(X, Z, strict=True):
        c, used = abs(D.T @ (x - D @ z)), np.count_nonzero(z)
        steep = c.max() if used < 4 else c[z != 0].max()
        expected.append(bool(used <= 4 and steep <= 1e-6 * abs(D.T @ x).max()))
    assert 0 < sum(expected) < len(expected)
    for kind in (np.asarray, torch.tensor):
        found = certify(kind(X), kind(D), kind(Z), penalty=KSparse(4), tol=1e-6).converged
        np.testing.assert_array_equal(np.asarray(found), expected)


def test_float32_codes_that_lose_the_tolerance_to_rounding_say_so():
    X, D, _ = problem()
    codes = encode(X.astype(np.float32), D, 0.2, tol=1e-12)
    assert not codes.converged[[0, 1, 3]].all()
    assert (codes.gap[~codes.converged] > 1e-12).all()
    assert "rounding to float32" in codes.status


def test_stopping_early_is_reported_and_not_called_converged():
    X, D, _ = problem()
    codes = encode(X, D, 0.01, solver="ista", max_iterations=3)
    assert not codes.converged[np.arange(12) != 2].any()
    assert "did not reach" in codes.status
    assert (codes.gap[~codes.converged] > 1e-6).all()


def test_certificate_of_torch_codes_equals_that_of_numpy():
    X, D, _ = problem()
    there, here = encode(X, D, 0.2), encode(torch.tensor(X), torch.tensor(D), 0.2)
    np.testing.assert_allclose(here.gap.numpy(), there.gap, atol=1e-15)
    np.testing.assert_allclose(here.energy.numpy(), there.energy, rtol=1e-14)
