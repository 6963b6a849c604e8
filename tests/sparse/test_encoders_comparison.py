"""The yardstick of encoders: errors of plain solvers by iteration, and where they cross."""

from __future__ import annotations

import pytest
import torch

from thalweg.sparse import encode
from thalweg.sparse.encoders import LISTA
from thalweg.sparse.encoders.comparison import code_error, crossover, fista_errors


def problem(seed=0):
    g = torch.Generator().manual_seed(seed)
    D = torch.randn(10, 20, generator=g, dtype=torch.float64)
    X = torch.randn(15, 10, generator=g, dtype=torch.float64)
    return D / D.norm(dim=0), X


def test_an_orthonormal_dictionary_needs_one_iteration():
    X = torch.tensor([[3.0, -0.5]], dtype=torch.float64)
    exact = torch.tensor([[2.0, 0.0]], dtype=torch.float64)
    errors = fista_errors(X, torch.eye(2, dtype=torch.float64), 1.0, exact, 3)
    assert max(errors) < 1e-20


def test_without_acceleration_the_errors_are_those_of_untrained_lista():
    D, X = problem()
    exact = encode(X, D, 0.1, tol=1e-12).z
    errors = fista_errors(X, D, 0.1, exact, 6, accelerate=False)
    for depth in (0, 2, 5):
        own = code_error(LISTA(D, 0.1, depth).encode(X), exact)
        assert errors[depth] == pytest.approx(own, rel=1e-10)


def test_fista_converges_to_the_exact_codes():
    D, X = problem()
    exact = encode(X, D, 0.1, tol=1e-14).z
    assert fista_errors(X, D, 0.1, exact, 5000)[-1] < 1e-10  # measured 4.9e-12, slow at the end


def test_crossover_is_the_first_iteration_that_is_as_good():
    assert crossover([0.5, 0.2, 0.3, 0.1], 0.25) == 2
    assert crossover([0.5, 0.2], 0.2) == 2
    assert crossover([0.5, 0.2], 0.1) is None
