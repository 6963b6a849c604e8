"""Dictionary learning: the atoms' step is exact, planted atoms come back, work resumes."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from thalweg.sparse import encode, learn_dictionary
from thalweg.sparse.learning import OnlineLearner
from thalweg.sparse.learning.atoms import (
    _inside,
    _inside_compiled,
    _remember,
    from_data,
    remember,
    sweep,
)


def statistics(m=70, n=12, seed=0):
    g = torch.Generator().manual_seed(seed)
    Z = torch.randn(200, m, generator=g, dtype=torch.float64)
    Z = Z * (torch.rand(200, m, generator=g) < 0.3)
    X = torch.randn(200, n, generator=g, dtype=torch.float64)
    atoms = torch.randn(m, n, generator=g, dtype=torch.float64)
    return atoms / atoms.norm(dim=1, keepdim=True), Z, X


def planted(n=16, m=24, N=4000, seed=0):
    rng = np.random.default_rng(seed)
    D = rng.standard_normal((n, m))
    D /= np.linalg.norm(D, axis=0)
    Z = rng.choice([-1.0, 1.0], (N, m)) * rng.uniform(1, 2, (N, m)) * (rng.random((N, m)) < 0.1)
    return D, Z @ D.T + 0.01 * rng.standard_normal((N, n))


def test_the_blocked_sweep_is_the_textbook_sweep():
    atoms, Z, X = statistics()
    A, B = Z.T @ Z, Z.T @ X
    expected = atoms.clone()
    for j in range(len(atoms)):  # Mairal et al. 2010, algorithm 2, with unit norms
        u = (B[j] - A[j] @ expected) / A[j, j] + expected[j]
        expected[j] = u / u.norm()
    sweep(atoms, A, B)
    torch.testing.assert_close(atoms, expected, atol=1e-12, rtol=0)


def test_the_compiled_block_equals_plain_tensor_operations():
    atoms, Z, X = statistics(m=20)
    A, B = Z.T @ Z, Z.T @ X
    A[3, 3] = 0.0  # an atom that must not move
    found = []
    for inside in (_inside, _inside_compiled):
        moved, pull = atoms.clone(), B - A @ atoms
        inside(moved, A, pull, 0.0)
        found.append(moved)
    torch.testing.assert_close(found[0], found[1], atol=1e-12, rtol=0)
    assert torch.equal(found[1][3], atoms[3])


def test_a_sweep_never_raises_the_error_at_fixed_codes():
    atoms, Z, X = statistics(m=10, n=8)
    A, B = Z.T @ Z, Z.T @ X
    errors = []
    for _ in range(30):
        errors.append(float((X - Z @ atoms).square().sum()))
        sweep(atoms, A, B)
    assert all(b <= a + 1e-9 for a, b in pairwise(errors))
    torch.testing.assert_close(atoms.norm(dim=1), torch.ones(10, dtype=torch.float64))


def test_full_batches_with_exact_codes_never_raise_the_energy():
    _, X = planted(N=400)
    learner = OnlineLearner(16, 24, 0.1, tol=1e-9, forgetting=math.inf, dead_after=10**9)
    energies = [learner.update(torch.from_numpy(X)) for _ in range(12)]
    assert all(b <= a + 1e-9 for a, b in pairwise(energies))


def test_planted_atoms_are_found_up_to_sign_and_order():
    D, X = planted(N=2000)
    learned = learn_dictionary(X, 24, 0.1, passes=100, batch_size=64, seed=1)
    overlap = np.abs(D.T @ learned.D).max(1)
    assert np.median(overlap) > 0.999
    assert (overlap > 0.99).mean() >= 22 / 24  # a local minimum may hold two atoms back
    np.testing.assert_allclose(np.linalg.norm(learned.D, axis=0), 1, atol=1e-12)


def test_the_curve_is_the_mean_energy_before_each_move():
    _, X = planted(N=512)
    init = np.random.default_rng(0).standard_normal((16, 24))
    learned = learn_dictionary(X, 24, 0.1, passes=1, batch_size=512, init=init, tol=1e-9)
    exact = encode(X, init / np.linalg.norm(init, axis=0), 0.1, tol=1e-9).energy.mean()
    assert learned.curve_seen == (512,)
    assert learned.curve_energy[0] == pytest.approx(exact, rel=1e-6)


def test_atoms_nobody_uses_are_replaced_by_the_worst_explained_signals():
    _, X = planted(N=256)
    init = np.zeros((16, 24))
    init[0] = 1.0  # 24 copies of one direction that explains next to nothing
    learner = OnlineLearner(16, 24, 0.5, init=init, dead_after=256)
    X[:, 0] = 0.0
    learner.update(torch.from_numpy(X))
    assert learner.reseeded == 24
    worst = np.argsort(-np.linalg.norm(X, axis=1))[:24]  # all codes were zero
    expected = X[worst] / np.linalg.norm(X[worst], axis=1, keepdims=True)
    np.testing.assert_allclose(learner.atoms.numpy(), expected, atol=1e-12)


def test_first_atoms_are_distinct_signals_and_random_directions_where_they_run_out():
    X = torch.zeros(5, 3, dtype=torch.float64)
    X[0, 0], X[1, 0], X[2, 1] = 2.0, -3.0, 1.0  # the first two are twins
    atoms = from_data(X, 4, np.random.default_rng(0))
    torch.testing.assert_close(atoms.norm(dim=1), torch.ones(4, dtype=torch.float64))
    gram = (atoms @ atoms.T).abs() - torch.eye(4)
    assert float(gram.max()) < 1 - 1e-6
    assert int((atoms.abs() == 1).any(1).sum()) == 2


@pytest.mark.parametrize("kind", ["numpy32", "numpy64", "torch32", "integers"])
def test_kind_and_dtype_follow_the_signals(kind):
    _, X = planted(N=300)
    given = {
        "numpy32": X.astype(np.float32),
        "numpy64": X,
        "torch32": torch.from_numpy(X).float(),
        "integers": np.round(8 * X).astype(int),
    }[kind]
    D = learn_dictionary(given, 5, 0.1, passes=1, batch_size=100).D
    assert type(D) is type(given)
    assert str(D.dtype).endswith("float32" if "32" in kind else "float64")
    assert D.shape == (16, 5)


def test_read_only_and_strided_arrays_give_the_same_answer():
    _, X = planted(N=600)
    locked = X[::2].copy()
    locked.flags.writeable = False
    a = learn_dictionary(X[::2], 6, 0.1, passes=1, batch_size=100).D
    assert np.array_equal(a, learn_dictionary(locked, 6, 0.1, passes=1, batch_size=100).D)


def test_another_penalty_is_respected():
    _, X = planted(N=512)
    learner = OnlineLearner(16, 24, 0.1, penalty="non-negative")
    learner.update(torch.from_numpy(X))
    assert float(learner.A.min()) >= 0  # sums of products of non-negative codes


class Cut(Exception):
    """Stands for a machine that went away."""


def test_learning_cut_off_resumes_to_the_same_bits(tmp_path):
    _, X = planted(N=1000)
    settings = {"passes": 3, "batch_size": 100, "every": 5, "seed": 3}
    whole = learn_dictionary(X, 24, 0.1, **settings)

    def cut(step, steps, energy):
        if step == 15:
            raise Cut

    with pytest.raises(Cut):
        learn_dictionary(X, 24, 0.1, **settings, checkpoint=tmp_path, progress=cut)
    resumed = learn_dictionary(X, 24, 0.1, **settings, checkpoint=tmp_path)
    assert np.array_equal(whole.D, resumed.D)
    assert whole.curve_energy == resumed.curve_energy
    with pytest.raises(ValueError, match="belongs to other work"):
        learn_dictionary(X + 1, 24, 0.1, **settings, checkpoint=tmp_path)


def test_seconds_end_the_work_early():
    _, X = planted(N=1000)
    learned = learn_dictionary(X, 24, 0.1, passes=10_000, seconds=0.2, batch_size=100)
    assert 0 < learned.seen < 10_000 * 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"X": np.zeros((0, 4))}, "nothing to learn from"),
        ({"X": np.full((9, 4), np.nan)}, "NaN or infinite"),
        ({"l1": 0.0}, "positive"),
        ({"atoms": 0}, "number of atoms, must be a whole number of at least 1, got 0"),
        ({"passes": 0}, "passes and seconds must be positive"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"forgetting": -1.0}, "forgetting must be 0 or more"),
        ({"dead_after": 0}, "dead_after counts signals"),
        ({"init": np.zeros((4, 3))}, "zero, NaN or infinite atom"),
        ({"init": np.ones((3, 4))}, r"init must have shape \(4, 3\)"),
    ],
)
def test_bad_input_is_refused_at_the_door(arguments, message):
    good = {"X": np.random.default_rng(0).standard_normal((9, 4)), "atoms": 3, "l1": 0.1}
    with pytest.raises(ValueError, match=message):
        learn_dictionary(**(good | arguments))


def test_statistics_from_non_zero_codes_equal_the_full_products():
    _, Z, X = statistics(m=20)
    A, B = torch.ones(20, 20, dtype=torch.float64), torch.ones(20, 12, dtype=torch.float64)
    expected_A, expected_B = A + 0.5 * Z.T @ Z, B + 0.5 * Z.T @ X
    for add in (remember, _remember):
        found_A, found_B = A.clone(), B.clone()
        add(found_A, found_B, Z, X, 0.5)
        torch.testing.assert_close(found_A, expected_A, atol=1e-11, rtol=0)
        torch.testing.assert_close(found_B, expected_B, atol=1e-11, rtol=0)
