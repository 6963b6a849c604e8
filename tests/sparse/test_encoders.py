"""Encoders before training equal their solver; their gradients are right; their gap is honest."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from thalweg.linalg.power import gram_bound
from thalweg.sparse import encode
from thalweg.sparse.encoders import ENCODERS, LISTA, LCoD, Linear, Shrinkage, Tanh, TanhShrink

ALL = {
    "shrinkage": lambda D, l1: Shrinkage(D, l1),
    "lista": lambda D, l1: LISTA(D, l1, depth=3),
    "lista sparse": lambda D, l1: LISTA(D, l1, depth=3, S_form="sparse", keep=0.3),
    "lista lowrank": lambda D, l1: LISTA(D, l1, depth=3, S_form="lowrank", rank=4),
    "lcod": lambda D, l1: LCoD(D, l1, steps=5),
    "linear": Linear,
    "tanh": Tanh,
    "tanh-shrink": TanhShrink,
}


def problem(n=10, m=25, b=7, seed=0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    D = torch.randn(n, m, generator=g, dtype=torch.float64)
    X = torch.randn(b, n, generator=g, dtype=torch.float64)
    return (D / D.norm(dim=0)).to(dtype), X.to(dtype)


def threshold(v, t):
    return v.sign() * (v.abs() - t).clamp_min(0)


def ista(D, X, l1, iterations):
    L = gram_bound(D)
    z = X.new_zeros(len(X), D.shape[1])
    for _ in range(iterations):
        z = threshold(z - (z @ D.T - X) @ D / L, l1 / L)
    return z


def coordinate_descent(D, x, l1, steps):
    """Algorithm of Li and Osher for one sample, straight from the paper's table."""
    S = torch.eye(D.shape[1], dtype=D.dtype) - D.T @ D
    B, z = D.T @ x, torch.zeros(D.shape[1], dtype=D.dtype)
    for _ in range(steps):
        z_bar = threshold(B, l1)
        k = int((z_bar - z).abs().argmax())
        B = B + S[:, k] * (z_bar[k] - z[k])
        z[k] = z_bar[k]
    return threshold(B, l1)


def test_every_registered_encoder_loads_and_has_a_reference():
    assert ENCODERS.names()[:3] == ("shrinkage", "lista", "lcod")
    for member in ENCODERS:
        assert member.load().__name__.lower() == member.name.replace("-", "")
        assert member.reference


@pytest.mark.parametrize("depth", [0, 1, 3, 7])
@pytest.mark.parametrize("S_form", ["dense", "sparse", "lowrank"])
def test_untrained_lista_of_depth_T_is_iterate_T_plus_1_of_ista(depth, S_form):
    D, X = problem()
    z = LISTA(D, 0.1, depth, S_form)(X)
    torch.testing.assert_close(z, ista(D, X, 0.1, depth + 1), atol=1e-12, rtol=0)


def test_untrained_shrinkage_is_the_first_iterate_of_ista():
    D, X = problem()
    torch.testing.assert_close(Shrinkage(D, 0.1)(X), ista(D, X, 0.1, 1), atol=1e-12, rtol=0)


def test_lowrank_is_exact_when_the_rank_is_that_of_the_dictionary():
    g = torch.Generator().manual_seed(3)
    D = torch.randn(10, 4, generator=g, dtype=torch.float64) @ torch.randn(
        4, 25, generator=g, dtype=torch.float64
    )
    X = problem()[1]
    low = LISTA(D, 0.1, 3, "lowrank", rank=4)
    assert low.V.shape == (25, 4)
    torch.testing.assert_close(low(X), LISTA(D, 0.1, 3)(X), atol=1e-12, rtol=0)


def test_lowrank_below_the_rank_is_the_best_approximation_of_the_gram_matrix():
    D, _ = problem()
    low = LISTA(D, 0.1, 1, "lowrank", rank=3)
    gram = D.T @ D / gram_bound(D)
    tail = torch.linalg.svdvals(gram)[3:]
    torch.testing.assert_close(torch.linalg.norm(gram - low.V @ low.U), tail.norm())


def test_sparse_keeps_the_diagonal_and_the_largest_entries():
    D, _ = problem()
    lista = LISTA(D, 0.1, 1, "sparse", keep=0.2)
    full = LISTA(D, 0.1, 1).S.detach()
    kept = lista.mask.bool()
    assert int(kept.sum()) == 125
    assert bool(kept.diagonal().all())
    off = ~torch.eye(25, dtype=torch.bool)
    assert full[kept & off].abs().min() >= full[~kept].abs().max()


@pytest.mark.parametrize("steps", [0, 1, 6, 40])
def test_untrained_lcod_is_coordinate_descent(steps):
    D, X = problem()
    expected = torch.stack([coordinate_descent(D, x, 0.1, steps) for x in X])
    torch.testing.assert_close(LCoD(D, 0.1, steps)(X), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", ALL)
def test_gradients_pass_gradcheck(name):
    D, X = problem(n=6, m=9, b=4)
    encoder = ALL[name](D, 0.1)
    names = [key for key, _ in encoder.named_parameters()]

    def run(X, *values):
        return torch.func.functional_call(encoder, dict(zip(names, values, strict=True)), (X,))

    values = [p.detach().clone().requires_grad_() for p in encoder.parameters()]
    assert torch.autograd.gradcheck(run, (X.clone().requires_grad_(), *values))


@pytest.mark.parametrize(("steps", "distinct"), [(4, 4), (9, 5)])
def test_lcod_gradient_equals_plain_autograd_on_five_atoms(steps, distinct):
    g = torch.Generator().manual_seed(1)
    D = torch.eye(5, dtype=torch.float64) + 0.05 * torch.randn(5, 5, generator=g).double()
    D = D / D.norm(dim=0)
    x = (D @ torch.tensor([3.0, -2.5, 2.0, -1.5, 1.0], dtype=torch.float64))[None]
    lcod = LCoD(D, 0.2, steps)
    W, S, theta = (p.detach().clone().requires_grad_() for p in (lcod.W_e, lcod.S, lcod.theta))
    B, z, picks = (W @ x[0]), torch.zeros(5, dtype=torch.float64), []
    for _ in range(steps):  # the picked index is a constant, as in the paper
        z_bar = threshold(B, theta)
        k = int((z_bar - z).abs().argmax())
        picks.append(k)
        B = B + S[:, k] * (z_bar[k] - z[k])
        z = torch.where(torch.arange(5) == k, z_bar, z)
    assert len(set(picks)) == distinct
    weights = torch.arange(1.0, 6.0, dtype=torch.float64)
    expected = torch.autograd.grad((threshold(B, theta) * weights).sum(), (W, S, theta))
    found = torch.autograd.grad((lcod(x)[0] * weights).sum(), (lcod.W_e, lcod.S, lcod.theta))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", ALL)
def test_gap_bounds_the_distance_to_the_optimal_energy(name):
    D, X = problem()
    encoder = ALL[name](D, 0.1)
    z = encoder.encode(X)
    energy = 0.5 * (X - z @ D.T).square().sum(1) + 0.1 * z.abs().sum(1)
    best = encode(X, D, 0.1, tol=1e-10).energy
    excess = (energy - best) / (0.5 * X.square().sum(1))
    gap = encoder.gap(X)
    assert bool((gap >= excess - 1e-9).all())
    assert float(gap.min()) > 0


def test_certified_codes_meet_the_tolerance_and_keep_good_answers():
    D, X = problem(b=30)
    encoder = LISTA(D, 0.1, depth=120)
    own, before = encoder.encode(X), encoder.gap(X)
    tol = float(before.median())
    codes = encoder.certified(X, tol)
    assert bool(codes.converged.all())
    assert float(codes.gap.max()) <= tol
    kept = before <= tol
    assert 0 < int(kept.sum()) < 30
    assert torch.equal(codes.z[kept], own[kept])
    assert int(codes.iterations[kept].max()) == 0
    assert f"encoder: {int(kept.sum())} of 30" in codes.status


def test_numpy_in_numpy_out_and_torch_in_torch_out():
    D, X = problem(dtype=torch.float32)
    encoder = LISTA(D.numpy(), 0.1)
    for given, kind in ((X, torch.Tensor), (X.numpy(), np.ndarray)):
        codes = encoder.certified(given, 1e-3)
        for value in (encoder.encode(given), encoder.gap(given), codes.z, codes.converged):
            assert isinstance(value, kind)


def test_empty_batches_give_empty_codes():
    D, _ = problem()
    assert LISTA(D, 0.1).encode(np.zeros((0, 10))).shape == (0, 25)


def test_state_dict_round_trip_gives_the_same_codes():
    D, X = problem()
    a, b = LISTA(D, 0.1, 2), LISTA(torch.roll(D, 1, 1), 0.1, 2)
    assert not torch.equal(a(X), b(X))
    b.load_state_dict(a.state_dict())
    assert torch.equal(a(X), b(X))


def test_multiplications_are_counted():
    D, _ = problem()
    assert Shrinkage(D, 0.1).multiplies() == 250
    assert LISTA(D, 0.1, 3).multiplies() == 250 + 3 * 625
    assert LISTA(D, 0.1, 3, "lowrank", rank=4).multiplies() == 250 + 3 * 200
    assert LISTA(D, 0.1, 3, "sparse", keep=0.2).multiplies() == 250 + 3 * 125
    assert LCoD(D, 0.1, steps=8).multiplies() == 250 + 8 * 25


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda D: LISTA(D, 0.0), "l1 must be a positive"),
        (lambda D: LISTA(D, 0.1, depth=-1), "depth counts"),
        (lambda D: LISTA(D, 0.1, S_form="band"), "S_form must be one of"),
        (lambda D: LISTA(D, 0.1, keep=0.5), "asks for S_form='sparse'"),
        (lambda D: LISTA(D, 0.1, S_form="sparse", keep=0.0), "keep is a share"),
        (lambda D: LISTA(D, 0.1, rank=2), "asks for S_form='lowrank'"),
        (lambda D: LISTA(D, 0.1, S_form="lowrank", rank=11), r"rank must lie in 1 … n = 10"),
        (lambda D: LISTA(D * torch.tensor([0.0] + [1.0] * 24), 0.1), "atom 0 .* is zero"),
        (lambda D: LISTA(D * torch.nan, 0.1), "D has NaN"),
        (lambda D: LISTA(D[0], 0.1), "D must have two axes"),
        (lambda D: LCoD(2 * D, 0.1, 3), "atoms of norm 1"),
        (lambda D: LCoD(D, 0.1, -1), "steps counts"),
        (lambda D: LISTA.from_dictionary(D), "l1 is missing"),
        (lambda D: LISTA(D, 0.1).encode(np.zeros((2, 9))), r"shape \(b, 10\)"),
        (lambda D: LISTA(D, 0.1).encode(np.full((2, 10), np.nan)), "X has NaN"),
    ],
)
def test_bad_input_is_refused_at_the_door(make, message):
    with pytest.raises(ValueError, match=message):
        make(problem()[0])


@pytest.mark.parametrize("kind", ["read-only", "strided", "integers", "reversed", "float32"])
def test_any_real_array_is_read_right(kind):
    D, X = problem()
    X = (10 * X.numpy()).round()
    given = {
        "read-only": X.copy(),
        "strided": np.repeat(X, 2, axis=0)[::2],
        "integers": X.astype(np.int32),
        "reversed": X[::-1].copy()[::-1],
        "float32": X.astype(np.float32),
    }[kind]
    given.flags.writeable = kind != "read-only"
    encoder = LISTA(D, 0.1)
    np.testing.assert_array_equal(encoder.encode(given), encoder.encode(X))


def test_the_encoder_keeps_a_dictionary_of_its_own():
    D = problem()[0].numpy()
    encoder = LISTA(D, 0.1)
    before = encoder.D.clone()
    D[:] = 0
    assert torch.equal(encoder.D, before)


@pytest.mark.parametrize(
    "bad", [np.zeros((2, 10), complex), [["a"] * 10], torch.zeros(2, 10).half()]
)
def test_what_is_not_real_numbers_is_a_type_error(bad):
    with pytest.raises(TypeError):
        LISTA(problem()[0], 0.1).encode(bad)


def test_duplicate_and_unnormalised_atoms_are_encoded_and_certified():
    D, X = problem()
    D = torch.cat([D, D[:, :3], 5 * D[:, 3:6]], 1)
    codes = LISTA(D, 0.1, 3).certified(X, 1e-8)
    assert bool(codes.converged.all())
    residual = X - codes.z @ D.T
    assert float((residual @ D).abs().max()) <= 0.1 * (1 + 1e-3)  # dual feasible up to the gap
