import numpy as np
import pytest
from sklearn.decomposition import sparse_encode
from sklearn.linear_model import ElasticNet as SklearnElasticNet
from sklearn.linear_model import Lasso, orthogonal_mp

from thalweg.sparse import SOLVERS, ElasticNet, Group, KSparse, NonNegativeElasticNet, encode
from thalweg.sparse.solvers import working_set

N, M, B = 20, 40, 15
PENALTIES = {
    "l1": lambda: (0.1, None),
    "weighted-l1": lambda: (np.linspace(0.05, 0.3, M), None),
    "non-negative": lambda: (0.1, "non-negative"),
    "elastic-net": lambda: (None, ElasticNet(0.1, 0.5)),
    "non-negative-elastic-net": lambda: (None, NonNegativeElasticNet(0.1, 0.5)),
    "group": lambda: (None, Group(0.2, np.arange(M) % 10)),
    "k-sparse": lambda: (None, KSparse(5)),
}
PAIRS = [(solver.name, penalty) for solver in SOLVERS for penalty in solver.load().penalties]


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    D = rng.standard_normal((N, M))
    return rng.standard_normal((B, N)), D / np.linalg.norm(D, axis=0)


def energy(X, D, Z, l1):
    return 0.5 * ((X - Z @ D.T) ** 2).sum(1) + (l1 * abs(Z)).sum(1)


@pytest.mark.parametrize(("solver", "penalty"), PAIRS)
def test_solver_is_certified_for_every_penalty_it_names(data, solver, penalty):
    l1, kind = PENALTIES[penalty]()
    codes = encode(*data, l1, kind, solver=solver, tol=1e-6)
    assert codes.converged.all()
    assert codes.status == codes.status.replace("did not", "")
    if penalty != "k-sparse":
        assert codes.gap.max() <= 1e-6


@pytest.mark.parametrize("solver", [name for name, penalty in PAIRS if penalty == "l1"])
def test_energy_equals_sklearn_lasso(data, solver):
    X, D = data
    tight = {"working-set": 1e-10, "fista": 1e-10, "coordinate-descent": 1e-9, "ista": 1e-8}[solver]
    codes = encode(X, D, 0.1, solver=solver, tol=tight)
    Z = sparse_encode(X, D.T, algorithm="lasso_cd", alpha=0.1, max_iter=100_000)
    model = Lasso(alpha=0.1 / N, fit_intercept=False, tol=1e-13, max_iter=100_000).fit(D, X[0])
    assert codes.energy[0] == pytest.approx(energy(X, D, model.coef_[None], 0.1)[0], abs=1e-8)
    # sparse_encode stops at its own tolerance of 1e-4 on the gap
    assert (codes.energy <= energy(X, D, Z, 0.1) + 1e-8).all()
    assert (codes.energy >= energy(X, D, Z, 0.1) - 1e-3).all()


def test_working_set_code_equals_sklearn_lasso_code(data):
    X, D = data
    Z = encode(X, D, 0.1).z
    for x, z in zip(X, Z, strict=True):
        model = Lasso(alpha=0.1 / N, fit_intercept=False, tol=1e-14, max_iter=200_000).fit(D, x)
        np.testing.assert_allclose(z, model.coef_, atol=1e-6)


@pytest.mark.parametrize("kind", [ElasticNet, NonNegativeElasticNet])
@pytest.mark.parametrize("solver", ["working-set", "fista", "coordinate-descent"])
def test_elastic_net_equals_sklearn(data, solver, kind):
    X, D = data
    Z = encode(X, D, penalty=kind(0.1, 0.5), solver=solver, tol=1e-11).z
    positive = kind is NonNegativeElasticNet
    for x, z in zip(X, Z, strict=True):
        total = (0.1 + 0.5) / N
        model = SklearnElasticNet(
            alpha=total,
            l1_ratio=0.1 / 0.6,
            fit_intercept=False,
            positive=positive,
            tol=1e-13,
            max_iter=100_000,
        ).fit(D, x)
        np.testing.assert_allclose(z, model.coef_, atol=1e-5)


@pytest.mark.parametrize("solver", ["working-set", "fista", "coordinate-descent"])
def test_non_negative_equals_sklearn_positive_lasso(data, solver):
    X, D = data
    codes = encode(X, D, 0.1, "non-negative", solver=solver, tol=1e-11)
    assert codes.z.min() >= 0
    for x, value in zip(X, codes.energy, strict=True):
        model = Lasso(
            alpha=0.1 / N, fit_intercept=False, positive=True, tol=1e-13, max_iter=100_000
        ).fit(D, x)
        assert value == pytest.approx(energy(x[None], D, model.coef_[None], 0.1)[0], abs=1e-8)


@pytest.mark.parametrize("k", [1, 3, 8])
def test_omp_equals_sklearn(data, k):
    X, D = data
    Z = encode(X, D, k, "k-sparse").z
    np.testing.assert_allclose(Z, orthogonal_mp(D, X.T, n_nonzero_coefs=k).T, atol=1e-10)


def test_omp_with_and_without_a_gram_matrix_give_the_same_codes():
    rng = np.random.default_rng(5)
    D = rng.standard_normal((30, 90)) * rng.uniform(0.1, 10, 90)
    D[:, 7], D[:, 20] = 0.0, -3 * D[:, 21]
    X = rng.standard_normal((40, 30))
    together = encode(X, D, 12, "k-sparse")
    alone = [encode(x[None], D, 12, "k-sparse") for x in X]  # too few to repay a Gram matrix
    merged = [np.concatenate([c.z for c in codes]) for codes in ([together], alone)]
    for z in merged:  # which of the two atoms on one line is taken is open
        z[:, 21] -= 3 * z[:, 20]
        z[:, 20] = 0
    np.testing.assert_allclose(*merged, atol=1e-8)
    assert together.iterations.tolist() == [12] * 40
    assert not together.z[:, 7].any()
    assert not (together.z[:, 20] * together.z[:, 21]).any()
    np.testing.assert_array_equal(encode(X, D, 12, "k-sparse", threads=2).z, together.z)
    for x, z in zip(X, together.z, strict=True):
        on = z != 0
        np.testing.assert_allclose(z[on], np.linalg.lstsq(D[:, on], x, rcond=None)[0], atol=1e-9)


def test_omp_takes_every_atom_it_needs_and_no_more():
    rng = np.random.default_rng(6)
    D = rng.standard_normal((8, 20))
    X = rng.standard_normal((30, 8))
    codes = encode(X, D, 20, "k-sparse")
    assert codes.iterations.max() <= 8
    np.testing.assert_allclose(codes.z @ D.T, X, atol=1e-7)


def test_omp_stops_where_a_signal_is_explained_with_fewer_atoms():
    D = np.eye(6)
    X = np.array([[1.0, 0, 2, 0, 0, 0], [0, 0, 0, 0, 0, 0]])
    codes = encode(X, D, 4, "k-sparse")
    np.testing.assert_array_equal(codes.z, X)
    assert codes.iterations.tolist() == [2, 0]


@pytest.mark.parametrize("solver", [name for name, penalty in PAIRS if penalty == "l1"])
def test_orthonormal_dictionary_gives_the_soft_threshold(solver):
    rng = np.random.default_rng(1)
    D, _ = np.linalg.qr(rng.standard_normal((12, 12)))
    X = rng.standard_normal((9, 12))
    q = X @ D
    codes = encode(X, D, 0.3, solver=solver, tol=1e-12)
    np.testing.assert_allclose(codes.z, np.sign(q) * np.maximum(abs(q) - 0.3, 0), atol=1e-6)


@pytest.mark.parametrize("solver", ["fista", "block-coordinate-descent"])
def test_orthonormal_pools_give_the_block_threshold(solver):
    rng = np.random.default_rng(2)
    D, _ = np.linalg.qr(rng.standard_normal((12, 12)))
    X, pools = rng.standard_normal((9, 12)), np.arange(12) // 3
    q = (X @ D).reshape(9, 4, 3)
    norms = np.linalg.norm(q, axis=2, keepdims=True)
    exact = (q * np.maximum(1 - 0.9 / norms, 0)).reshape(9, 12)
    codes = encode(X, D, penalty=Group(0.9, pools), solver=solver, tol=1e-12)
    np.testing.assert_allclose(codes.z, exact, atol=1e-6)


@pytest.mark.parametrize("solver", [name for name, penalty in PAIRS if penalty == "l1"])
def test_optimality_conditions_hold(data, solver):
    X, D = data
    Z = encode(X, D, 0.1, solver=solver, tol=1e-9).z
    c = (X - Z @ D.T) @ D
    assert abs(c).max() <= 0.1 + 1e-4
    on = abs(Z) > 1e-4
    np.testing.assert_allclose(c[on], 0.1 * np.sign(Z[on]), atol=1e-4)


@pytest.mark.parametrize("solver", [name for name, penalty in PAIRS if penalty == "l1"])
def test_code_is_zero_exactly_when_l1_reaches_the_largest_correlation(data, solver):
    X, D = data
    edge = abs(X @ D).max(1)
    for x, largest in zip(X[:4], edge[:4], strict=True):
        assert not encode(x[None], D, 1.000001 * largest, solver=solver).z.any()
        assert encode(x[None], D, 0.99 * largest, solver=solver).z.any()


def energies_by_steps(X, D, solver, steps, l1=0.1, penalty=None):
    return np.array(
        [
            encode(X, D, l1, penalty, solver=solver, tol=1e-15, max_iterations=k).energy
            for k in steps
        ]
    )


@pytest.mark.parametrize("solver", ["ista", "coordinate-descent"])
def test_energy_never_rises(data, solver):
    found = energies_by_steps(*data, solver, range(1, 40))
    assert (np.diff(found, axis=0) <= 1e-13).all()
    assert (np.diff(found[:5], axis=0) < 0).all()


def test_block_descent_energy_never_rises(data):
    penalty = Group(0.2, np.arange(M) % 10)
    found = energies_by_steps(*data, "block-coordinate-descent", range(1, 40), None, penalty)
    assert (np.diff(found, axis=0) <= 1e-13).all()


def test_ista_and_fista_stay_below_their_bounds(data):
    X, D = data
    best = encode(X, D, 0.1, tol=1e-12)
    L = np.linalg.norm(D, 2) ** 2
    size = (best.z**2).sum(1)
    steps = np.array([1, 2, 3, 5, 9, 10, 20, 50, 100])
    ista = energies_by_steps(X, D, "ista", steps) - best.energy
    assert (ista <= L * size / (2 * steps[:, None]) + 1e-12).all()
    fista = energies_by_steps(X, D, "fista", steps) - best.energy
    assert (fista <= 2 * L * size / (steps[:, None] + 1.0) ** 2 + 1e-12).all()
    assert fista[-1].sum() < 0.1 * ista[-1].sum()


def test_ista_step_by_hand(data):
    X, D = data
    L = np.linalg.norm(D, 2) ** 2
    z = np.zeros((B, M))
    for _ in range(3):
        v = z - (z @ D.T - X) @ D / L
        z = np.sign(v) * np.maximum(abs(v) - 0.1 / L, 0)
    np.testing.assert_allclose(encode(X, D, 0.1, solver="ista", max_iterations=3).z, z, atol=1e-10)


def test_coordinate_descent_by_hand(data):
    X, D = data
    x, S = X[0], np.eye(M) - D.T @ D
    b, z = D.T @ x, np.zeros(M)
    for _ in range(7):
        zbar = np.sign(b) * np.maximum(abs(b) - 0.1, 0)
        k = np.argmax(abs(zbar - z))
        b += S[:, k] * (zbar[k] - z[k])
        z[k] = zbar[k]
    found = encode(x[None], D, 0.1, solver="coordinate-descent", max_iterations=7).z[0]
    np.testing.assert_allclose(found, z, atol=1e-12)


def test_coordinate_descent_finishes_orthonormal_problems_in_as_many_steps_as_non_zeros():
    rng = np.random.default_rng(3)
    D, _ = np.linalg.qr(rng.standard_normal((10, 10)))
    x = rng.standard_normal((1, 10))
    exact = encode(x, D, 0.4, tol=1e-12)
    steps = int((exact.z != 0).sum())
    done = encode(x, D, 0.4, solver="coordinate-descent", max_iterations=steps, tol=1e-12)
    np.testing.assert_allclose(done.z, exact.z, atol=1e-12)


@pytest.mark.parametrize("l1", [0.3, 0.03, 0.003])
@pytest.mark.parametrize("penalty", ["l1", "non-negative", "elastic-net"])
def test_working_set_without_a_gram_matrix_gives_the_same_energy(monkeypatch, data, l1, penalty):
    X, D = data
    how = (None, ElasticNet(l1, 0.2)) if penalty == "elastic-net" else (l1, penalty)
    with_gram = encode(X, D, *how, tol=1e-9)
    monkeypatch.setattr(working_set, "_GRAM_BYTES", 0)
    for held in (2**27, 2**12):  # the second makes batches split as supports grow
        monkeypatch.setattr(working_set, "_SET_BYTES", held)
        without = encode(X, D, *how, tol=1e-9)
        assert without.converged.all()
        np.testing.assert_allclose(without.energy, with_gram.energy, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("gram", [2**30, 0])
@pytest.mark.parametrize("l1", [1e-2, 1e-3, 1e-4])
def test_working_set_masters_nearly_full_supports_and_nearly_equal_atoms(monkeypatch, gram, l1):
    rng = np.random.default_rng(4)
    D = rng.standard_normal((30, 90))
    D[:, 60:] = D[:, :30] + 1e-6 * rng.standard_normal((30, 30))
    D /= np.linalg.norm(D, axis=0)
    X = rng.standard_normal((40, 30))
    monkeypatch.setattr(working_set, "_GRAM_BYTES", gram)
    codes = encode(X, D, l1, solver="working-set", tol=1e-6)
    assert codes.converged.all(), codes.status


@pytest.mark.parametrize("solver", [name for name, penalty in PAIRS if penalty == "l1"])
def test_warm_start_gives_the_same_answer(data, solver):
    X, D = data
    rng = np.random.default_rng(5)
    cold = encode(X, D, 0.1, solver=solver, tol=1e-7)
    for start in (cold.z, rng.standard_normal((B, M)), rng.standard_normal((B, M)) > 1.5):
        warm = encode(X, D, 0.1, solver=solver, tol=1e-6, start=start)
        assert warm.converged.all()
        np.testing.assert_allclose(warm.energy, cold.energy, rtol=2e-5)
    assert encode(X, D, 0.1, solver=solver, tol=1e-6, start=cold.z).iterations.max() <= 1


@pytest.mark.parametrize(("solver", "penalty"), PAIRS)
def test_atoms_of_any_length_are_welcome(data, solver, penalty):
    X, D = data
    scales = np.random.default_rng(6).uniform(0.3, 3.0, M)
    scales[5] = 0.0
    l1, kind = PENALTIES[penalty]()
    codes = encode(X, D * scales, l1, kind, solver=solver, tol=1e-4)
    assert codes.converged.all()
    assert not codes.z[:, 5].any()


def test_a_solver_that_does_not_apply_says_what_does(data):
    with pytest.raises(ValueError, match=r"omp.*only k-sparse.*auto"):
        encode(*data, 0.1, solver="omp")
    with pytest.raises(ValueError, match="Did you mean 'fista'"):
        encode(*data, 0.1, solver="fist")
