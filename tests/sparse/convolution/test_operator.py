"""A convolutional dictionary is the matrix of its shifted filters; its adjoint, the transpose."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.sparse.convolution import ConvDictionary

BOUNDARIES = ("full", "circular")
CASES = [((3, 1, 3, 2), (7, 6)), ((2, 3, 4, 4), (5, 9)), ((4, 2, 1, 1), (3, 3))]


def draw(*shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g, dtype=torch.float64)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(("shape", "size"), CASES)
def test_it_is_the_matrix_of_its_shifted_filters(shape, size, boundary, dense):
    W = draw(*shape)
    D = ConvDictionary(W, size, boundary)
    matrix = torch.from_numpy(dense(W, size, boundary))
    assert D.shape == tuple(matrix.shape)
    z, y = draw(D.shape[1], 3), draw(D.shape[0], 3)
    torch.testing.assert_close(D @ z, matrix @ z, atol=1e-12, rtol=0)
    torch.testing.assert_close(D.adjoint @ y, matrix.T @ y, atol=1e-12, rtol=0)
    torch.testing.assert_close(D @ z[:, 0], matrix @ z[:, 0], atol=1e-12, rtol=0)
    assert D.adjoint.adjoint is D


@settings(deadline=None, max_examples=30)
@given(
    boundary=st.sampled_from(BOUNDARIES),
    filters=st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)),
    more=st.tuples(st.integers(0, 7), st.integers(0, 7)),
)
def test_products_with_the_adjoint_agree_to_rounding(boundary, filters, more):
    size = (filters[2] + more[0], filters[3] + more[1])
    D = ConvDictionary(draw(*filters), size, boundary)
    z, y = draw(D.shape[1], seed=1), draw(D.shape[0], seed=2)
    left, right = float((D @ z) @ y), float(z @ (D.adjoint @ y))
    assert abs(left - right) <= 1e-12 * float((D @ z).norm() * y.norm() + 1)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(("shape", "size"), CASES)
def test_the_lipschitz_bound_is_above_the_largest_eigenvalue_and_near(shape, size, boundary, dense):
    W = draw(*shape)
    exact = np.linalg.norm(dense(W, size, boundary), 2) ** 2
    bound = ConvDictionary(W, size, boundary).lipschitz()
    assert exact * (1 - 1e-9) <= bound <= 1.05 * exact


def test_shifting_a_code_shifts_its_image():
    W = draw(2, 1, 3, 3)
    code = torch.zeros(1, 2, 8, 8, dtype=torch.float64)
    code[0, :, 2:5, 2:5] = draw(2, 3, 3, seed=1)
    for boundary, size in (("full", (10, 10)), ("circular", (8, 8))):
        D = ConvDictionary(W, size, boundary)
        moved = D.decode(code.roll((2, 1), (2, 3)))
        torch.testing.assert_close(moved, D.decode(code).roll((2, 1), (2, 3)), atol=1e-14, rtol=0)


def test_on_an_image_of_one_filters_size_it_is_a_plain_dictionary():
    W = draw(5, 2, 3, 4)
    D = ConvDictionary(W, (3, 4))
    z = draw(5, seed=1)
    assert D.code_shape == (5, 1, 1)
    torch.testing.assert_close(D @ z, W.reshape(5, -1).T @ z, atol=1e-14, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.ones(2, 3, 3), (5, 5)), "filters must be"),
        ((torch.ones(1, 1, 6, 3), (5, 5)), "do not fit into an image of 5 x 5"),
        ((torch.ones(1, 1, 3, 3), (5, 5), "same"), "boundary must be one of full, circular"),
    ],
)
def test_what_cannot_be_a_dictionary_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ConvDictionary(*arguments)
