import doctest
import importlib

import numpy as np
import pytest
import torch

from thalweg.linalg import DenseOperator, gram_bound, power_iteration
from thalweg.sparse import L1
from thalweg.sparse.datafits import Quadratic
from thalweg.sparse.energy import Energy


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_energy_by_hand():
    # x = (1, 2), D = [[1, 0], [0, 1]], z = (1, 1): half of 1 plus 0.5 times 2
    energy = Energy(Quadratic(DenseOperator(torch.eye(2))), L1(0.5))
    assert energy.value(torch.tensor([[1.0, 2.0]]), torch.ones(1, 2)).tolist() == [1.5]


def test_gradient_is_autograds():
    fit = Quadratic(DenseOperator(draw(5, 7)))
    x, z = draw(3, 5, seed=1), draw(3, 7, seed=2).requires_grad_()
    (grad,) = torch.autograd.grad(fit.value(x, z).sum(), z)
    torch.testing.assert_close(fit.grad(x, z.detach()), grad)


def test_operator_and_adjoint_agree():
    op = DenseOperator(draw(5, 7))
    v, u = draw(7, seed=1), draw(5, seed=2)
    torch.testing.assert_close((op @ v) @ u, v @ (op.adjoint @ u))
    assert op.adjoint.shape == (7, 5)
    torch.testing.assert_close(op @ draw(7, 3), op.matrix @ draw(7, 3))


def test_operator_refuses_vectors_of_the_wrong_length():
    with pytest.raises(ValueError, match=r"\(5, 7\).*\(4,\)"):
        DenseOperator(draw(5, 7)) @ draw(4)


def test_power_iteration_finds_the_eigenvalue_of_largest_magnitude():
    basis, _ = torch.linalg.qr(draw(20, 20))
    values = torch.linspace(-5, 3, 20, dtype=torch.float64)
    found = power_iteration(DenseOperator(basis @ torch.diag(values) @ basis.T), tol=1e-8)
    assert found.value == pytest.approx(-5.0, abs=1e-7)
    assert found.residual <= 1e-8 * 5.0
    with pytest.raises(ValueError, match="square"):
        power_iteration(DenseOperator(draw(3, 4)))


@pytest.mark.parametrize("shape", [(6, 9), (9, 6), (1, 4), (40, 50)])
@pytest.mark.parametrize("exact_below", [1500, 0])
def test_gram_bound_is_tight_and_never_below(shape, exact_below):
    for seed in range(5):
        matrix = draw(*shape, seed=seed)
        largest = float(np.linalg.norm(matrix.numpy(), 2) ** 2)
        bound = gram_bound(matrix, exact_below=exact_below)
        assert largest * (1 - 1e-14) <= bound <= largest * 1.02


def test_distance_is_zero_only_at_the_minimiser():
    energy = Energy(Quadratic(DenseOperator(torch.eye(3, dtype=torch.float64))), L1(1.0))
    x = torch.tensor([[3.0, 0.5, -2.0]], dtype=torch.float64)
    best = torch.tensor([[2.0, 0.0, -1.0]], dtype=torch.float64)
    assert float(energy.distance(x, best)) == 0.0
    # at best + 1/4 the second entry is on: c = 1/4 must be 1, it misses by 3/4
    assert float(energy.distance(x, best + 0.25)) == 0.75
    assert float(energy.certificate(x, best).gap) == pytest.approx(0.0, abs=1e-15)


@pytest.mark.parametrize(
    "module",
    [
        "linalg.operator",
        "linalg.power",
        "sparse.inference",
        "sparse.penalties.base",
        "sparse.penalties.l1",
        "sparse.penalties.elastic_net",
        "sparse.penalties.group",
        "sparse.penalties.k_sparse",
    ],
)
def test_examples_in_docstrings_are_true(module):
    found = doctest.testmod(importlib.import_module(f"thalweg.{module}"))
    assert found.attempted > 0
    assert found.failed == 0
