"""Eigenvalues at both ends: against dense float64, with residuals that hold, and without ghosts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import eigsh

from thalweg.linalg import DenseOperator, LinearOperator, eigenvalues


def symmetric(values, seed=0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    q = torch.linalg.qr(torch.randn(len(values), len(values), generator=g, dtype=torch.float64)).Q
    return (q * torch.as_tensor(values, dtype=torch.float64)) @ q.mT


def like_a_network(p=300) -> torch.Tensor:
    """A few outliers, a bulk around zero, a short negative tail."""
    g = torch.Generator().manual_seed(1)
    bulk = 0.05 * torch.randn(p - 8, generator=g, dtype=torch.float64)
    tail = torch.tensor([40.0, 20.0, 20.0, 11.0, 6.0, 3.0, -0.46, -0.9], dtype=torch.float64)
    return torch.cat([tail, bulk])


VALUES = like_a_network()
MATRIX = symmetric(VALUES)
SORTED = VALUES.sort().values


def wanted(which: str, k: int) -> torch.Tensor:
    top, low = SORTED.flip(0)[:k], SORTED[:k]
    return {"largest": top, "smallest": low, "both": torch.cat([top, low])}[which]


@pytest.mark.parametrize("which", ["largest", "smallest", "both"])
@pytest.mark.parametrize("block", [1, 4])
@pytest.mark.parametrize("basis", [None, 60])
def test_both_ends_equal_dense_values_and_residuals_hold(which, block, basis) -> None:
    op = DenseOperator(MATRIX)
    found = eigenvalues(op, k=4, which=which, tol=1e-6, block=block, basis=basis)
    assert found.converged
    torch.testing.assert_close(found.values, wanted(which, 4), rtol=1e-5, atol=1e-7)
    measured = (MATRIX @ found.vectors - found.vectors * found.values).norm(dim=0)
    assert (measured <= found.residuals).all()
    torch.testing.assert_close(found.vectors.norm(dim=0), torch.ones_like(measured))


def test_values_agree_with_arpack_through_to_scipy() -> None:
    op = DenseOperator(MATRIX)
    theirs = eigsh(op.to_scipy(), k=6, which="LA", v0=np.ones(300), return_eigenvectors=False)
    found = eigenvalues(op, k=6, tol=1e-6)
    np.testing.assert_allclose(found.values, np.sort(theirs)[::-1], rtol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_ghost_appears_however_long_it_runs(dtype) -> None:
    # without reorthogonalisation the top value returns again and again after so many products
    values = torch.cat([torch.tensor([100.0]), torch.linspace(0, 1, 399)]).double()
    op = DenseOperator(symmetric(values).to(dtype))
    found = eigenvalues(op, k=120, tol=1e-6 if dtype == torch.float64 else 1e-4, basis=400)
    assert int((found.values > 50).sum()) == 1
    torch.testing.assert_close(found.values, values.sort().values.flip(0)[:120], rtol=0, atol=1e-3)


def test_float32_products_give_values_to_a_few_ulp_of_the_norm() -> None:
    found = eigenvalues(DenseOperator(MATRIX.float()), k=3, which="both", tol=1e-6)
    assert found.values.dtype == torch.float64
    torch.testing.assert_close(found.values, wanted("both", 3), rtol=0, atol=40 * 1e-6)
    true = (MATRIX @ found.vectors.double() - found.vectors.double() * found.values).norm(dim=0)
    assert (true <= found.residuals).all()


def test_errors_shrink_with_the_tolerance_and_products_grow() -> None:
    op = DenseOperator(MATRIX)
    loose, tight = (eigenvalues(op, k=6, tol=tol) for tol in (1e-2, 1e-8))
    assert loose.products < tight.products
    assert (loose.values - wanted("largest", 6)).abs().max() <= 1e-2 * 40
    assert (tight.values - wanted("largest", 6)).abs().max() <= 1e-8 * 40


@pytest.mark.parametrize("seed", range(6))
def test_a_faint_start_does_not_hide_the_top_value_from_a_tight_tolerance(seed) -> None:
    # no gaps at all; start vectors of some seeds hardly contain the top one
    found = eigenvalues(
        DenseOperator(symmetric(torch.linspace(0, 1, 400) ** 0.5)), 1, tol=1e-5, seed=seed
    )
    assert float(found.values[0]) == pytest.approx(1.0, abs=1e-5)


def test_a_block_finds_every_copy_of_a_multiple_value() -> None:
    values = torch.cat([torch.full((4,), 5.0), torch.linspace(0, 1, 200)])
    found = eigenvalues(DenseOperator(symmetric(values)), k=5, tol=1e-8, block=4)
    torch.testing.assert_close(
        found.values, torch.tensor([5.0, 5, 5, 5, 1], dtype=torch.float64), rtol=1e-6, atol=0
    )


def test_a_warm_start_saves_products_and_a_wrong_one_does_no_harm() -> None:
    slow = symmetric(torch.linspace(0, 1, 400) ** 0.5)
    op = DenseOperator(slow)
    cold = eigenvalues(op, tol=1e-5)
    g = torch.Generator().manual_seed(3)
    nudged = slow + 1e-4 * symmetric(torch.randn(400, generator=g, dtype=torch.float64), 5)
    warm = eigenvalues(DenseOperator(nudged), tol=1e-5, start=cold.vectors)
    assert warm.products < cold.products
    assert float(warm.values[0]) == pytest.approx(
        float(torch.linalg.eigvalsh(nudged)[-1]), abs=1e-5
    )
    exact = torch.linalg.eigh(MATRIX).eigenvectors
    wrong = eigenvalues(DenseOperator(MATRIX), start=exact[:, 5])  # an eigenvector, not the top one
    assert float(wrong.values[0]) == pytest.approx(40.0, rel=1e-3)


@settings(deadline=None, max_examples=25)
@given(
    values=st.lists(st.floats(-100, 100), min_size=1, max_size=12),
    k=st.integers(1, 5),
    which=st.sampled_from(["largest", "smallest", "both"]),
    block=st.integers(1, 3),
)
@example(values=[0.0, 8.3e-227], k=1, which="largest", block=1)
@example(values=[0.0, 3e-155, 2e-148], k=2, which="both", block=1)
def test_small_spectra_come_out_whole(values, k, which, block) -> None:
    matrix = symmetric(values)
    found = eigenvalues(DenseOperator(matrix), k=k, which=which, tol=1e-9, block=block)
    exact = torch.linalg.eigvalsh(matrix)
    n = len(values)
    if which == "both" and 2 * k >= n:
        expect = torch.cat([exact.flip(0)[: (n + 1) // 2], exact[: n // 2]])
    else:
        top, low = exact.flip(0)[:k], exact[:k]
        expect = {"largest": top, "smallest": low, "both": torch.cat([top, low])}[which]
    scale = float(exact.abs().max()) + 1e-300
    torch.testing.assert_close(found.values / scale, expect / scale, rtol=0, atol=1e-7)


@pytest.mark.parametrize("values", [[0.0] * 20, [1.0] * 20, [2.0] + [0.0] * 19])
def test_flat_and_low_rank_operators_end_by_themselves(values) -> None:
    found = eigenvalues(DenseOperator(symmetric(values)), k=3, tol=1e-8)
    assert found.converged
    torch.testing.assert_close(found.values, torch.tensor(sorted(values)[::-1][:3]).double())


class Counted(LinearOperator):
    """A matrix that counts its products and spoils one of them."""

    def __init__(self, matrix, spoil=None):
        self.matrix, self.spoil, self.products = matrix, spoil, 0

    shape = property(lambda self: tuple(self.matrix.shape))
    dtype = property(lambda self: self.matrix.dtype)
    device = property(lambda self: self.matrix.device)
    adjoint = property(lambda self: self)

    def apply(self, v):
        self.products += 1 if v.ndim == 1 else v.shape[1]
        out = self.matrix @ v
        return out if self.products != self.spoil else out * math.nan


@pytest.mark.parametrize("block", [1, 3])
def test_products_are_counted_truly(block) -> None:
    op = Counted(MATRIX)
    assert eigenvalues(op, k=3, block=block).products == op.products


def test_an_operator_that_is_not_symmetric_is_refused() -> None:
    skew = MATRIX.clone()
    skew[3, 100] += 5.0
    with pytest.raises(ValueError, match="not symmetric"):
        eigenvalues(DenseOperator(skew), tol=1e-8)
    g = torch.Generator().manual_seed(0)
    with pytest.raises(ValueError, match="not symmetric"):
        eigenvalues(DenseOperator(torch.randn(50, 50, generator=g)))


def test_a_product_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match=r"product 4 .* NaN"):
        eigenvalues(Counted(MATRIX, spoil=4))


def test_out_of_products_is_said_and_the_residuals_still_hold() -> None:
    found = eigenvalues(DenseOperator(MATRIX), k=10, tol=1e-8, max_products=12)
    assert not found.converged
    assert len(found.values) == 10
    measured = (MATRIX @ found.vectors - found.vectors * found.values).norm(dim=0)
    assert (measured <= found.residuals).all()


def test_same_seed_same_bits_and_the_global_generator_is_left_alone() -> None:
    state = torch.get_rng_state()
    one, two = (eigenvalues(DenseOperator(MATRIX), seed=7) for _ in range(2))
    assert torch.equal(one.vectors, two.vectors)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"which": "LM"}, "known: largest"),
        ({"k": 0}, "k must be"),
        ({"tol": 0.0}, "tol must be"),
        ({"start": torch.zeros(300, dtype=torch.float64)}, "zero vector"),
        ({"start": torch.ones(5)}, "start has shape"),
        ({"k": 20, "basis": 30}, "at least 48"),
    ],
)
def test_bad_arguments_are_named(arguments, words) -> None:
    with pytest.raises(ValueError, match=words):
        eigenvalues(DenseOperator(MATRIX), **arguments)


def test_other_things_than_square_float_operators_are_refused() -> None:
    with pytest.raises(TypeError, match="DenseOperator"):
        eigenvalues(torch.eye(3))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not square"):
        eigenvalues(DenseOperator(torch.ones(3, 4)))
    with pytest.raises(TypeError, match="too coarse"):
        eigenvalues(DenseOperator(torch.eye(3, dtype=torch.bfloat16)))


def test_a_second_copy_of_the_largest_is_hardly_ever_missed() -> None:
    """A start sees one copy only; the second vector has a few steps to show the other."""
    generator = torch.Generator().manual_seed(0)
    missed = 0
    for trial in range(200):
        p = int(torch.randint(40, 200, (1,), generator=generator))
        q = torch.linalg.qr(torch.randn(p, p, generator=generator, dtype=torch.float64)).Q
        true = torch.randn(p, generator=generator, dtype=torch.float64)
        true = (true.abs() ** 4 if trial % 2 else true).sort(descending=True).values
        true[1] = true[0]
        op = DenseOperator(q @ torch.diag(true) @ q.mT)
        found = eigenvalues(op, k=2 + trial % 3, tol=1e-3 if trial % 2 else 1e-6, seed=trial)
        missed += not torch.allclose(found.values, true[: len(found.values)], rtol=1e-2)
    assert missed <= 3
