"""Traces and diagonals: exact where they can be, elsewhere within their standard errors."""

from __future__ import annotations

import pytest
import torch

from thalweg.linalg import DenseOperator, ScaledOperator, ShiftedOperator, diagonal, trace


def spiked(p=300, seed=0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    q = torch.linalg.qr(torch.randn(p, p, generator=g, dtype=torch.float64)).Q
    values = 100.0 * torch.arange(1, p + 1, dtype=torch.float64) ** -1.5
    return (q * values) @ q.mT


A = spiked()


@pytest.mark.parametrize("method", ["hutch++", "hutchinson"])
def test_errors_in_standard_errors_are_those_of_a_standard_normal(method) -> None:
    true = float(A.trace())
    scores = []
    for seed in range(60):
        found = trace(DenseOperator(A), products=60, method=method, seed=seed)
        scores.append((float(found.value) - true) / float(found.stderr))
        assert found.products == 60
    scores = torch.tensor(scores)
    assert abs(float(scores.mean())) < 4 / 60**0.5
    assert 0.7 < float(scores.std()) < 1.5


def test_hutch_plus_plus_beats_hutchinson_where_values_decay() -> None:
    true = float(A.trace())
    errors = {}
    for method in ("hutch++", "hutchinson"):
        found = [trace(DenseOperator(A), method=method, seed=s) for s in range(20)]
        errors[method] = sum(abs(float(f.value) - true) for f in found)
    assert errors["hutch++"] < errors["hutchinson"] / 4


def test_a_relative_tolerance_goes_on_until_it_is_met() -> None:
    found = trace(DenseOperator(A), rtol=0.002, method="hutchinson", max_products=100_000)
    assert float(found.stderr) <= 0.002 * float(found.value)
    assert found.products > 60
    stopped = trace(DenseOperator(A), rtol=1e-9, max_products=80)
    assert stopped.products == 80
    assert float(stopped.stderr) > 1e-9 * float(stopped.value)


def test_small_operators_are_traced_exactly() -> None:
    matrix = torch.tensor([[1.0, 2.0], [2.0, -5.0]])
    found = trace(DenseOperator(matrix))
    assert (float(found.value), float(found.stderr)) == (-4.0, 0.0)
    torch.testing.assert_close(diagonal(DenseOperator(matrix)).value, matrix.diag().double())


def test_the_diagonal_lies_within_its_standard_errors() -> None:
    found = diagonal(DenseOperator(A), products=200)
    scores = (found.value - A.diag()) / found.stderr
    assert 0.85 < float(scores.std()) < 1.15
    assert abs(float(scores.mean())) < 0.3


def test_a_diagonal_matrix_has_no_error_at_all() -> None:
    d = torch.linspace(-1, 1, 150, dtype=torch.float64)
    found = diagonal(DenseOperator(torch.diag(d)), products=10)
    torch.testing.assert_close(found.value, d)
    assert float(found.stderr.max()) < 1e-8


def test_scaled_and_shifted_operators_equal_their_matrices() -> None:
    g = torch.Generator().manual_seed(0)
    matrix = torch.randn(6, 6, generator=g, dtype=torch.float64)
    scale = torch.rand(6, generator=g, dtype=torch.float64)
    v = torch.randn(6, 3, generator=g, dtype=torch.float64)
    scaled = ScaledOperator(DenseOperator(matrix), scale)
    expect = torch.diag(scale) @ matrix @ torch.diag(scale)
    torch.testing.assert_close(scaled @ v, expect @ v)
    torch.testing.assert_close(scaled @ v[:, 0], expect @ v[:, 0])
    torch.testing.assert_close(scaled.adjoint @ v, expect.mT @ v)
    shifted = ShiftedOperator(DenseOperator(matrix), 0.3)
    torch.testing.assert_close(shifted @ v, matrix @ v + 0.3 * v)
    torch.testing.assert_close(shifted.adjoint @ v, matrix.mT @ v + 0.3 * v)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda op: trace(op, method="hutch"), "known: hutch"),
        (lambda op: trace(op, products=3), "6 <= products"),
        (lambda op: trace(op, rtol=2.0), "rtol must be"),
        (lambda op: diagonal(op, products=1), "at least 2"),
        (lambda op: ScaledOperator(op, torch.ones(3)), "cannot be scaled"),
        (lambda op: ShiftedOperator(op, float("nan")), "finite"),
        (lambda op: trace(DenseOperator(op.matrix * float("nan"))), "NaN"),
        (lambda op: trace(DenseOperator(torch.triu(torch.ones(20, 20)))), "not symmetric"),
    ],
)
def test_bad_arguments_are_named(call, words) -> None:
    with pytest.raises(ValueError, match=words):
        call(DenseOperator(A))
