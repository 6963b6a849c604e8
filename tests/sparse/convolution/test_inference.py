"""Convolutional codes: certified, equal to dense solvers' energies, and checked at the door."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from thalweg.records import Codes
from thalweg.sparse import encode
from thalweg.sparse.convolution import ConvDictionary, ConvEnergy, certify_images, encode_images

SOLVERS = ("greedy", "admm")


def problem(c=1, K=3, size=(9, 8), seed=0):
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((K, c, 3, 3))
    W /= np.sqrt(np.square(W).sum((1, 2, 3), keepdims=True))
    return rng.standard_normal((2, c, *size)), W


@pytest.mark.parametrize("non_negative", [False, True])
@pytest.mark.parametrize("boundary", ["full", "circular"])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("channels", [1, 2])
def test_energy_is_that_of_the_dense_problem(solver, boundary, channels, non_negative, dense):
    Y, W = problem(channels)
    codes = encode_images(
        Y, W, 0.3, boundary=boundary, solver=solver, non_negative=non_negative, tol=1e-9
    )
    matrix = dense(W, Y.shape[2:], boundary)
    penalty = "non-negative" if non_negative else "l1"
    expected = encode(Y.reshape(2, -1), matrix, 0.3, penalty=penalty, tol=1e-12)
    assert codes.converged.all()
    np.testing.assert_allclose(codes.energy, expected.energy, rtol=1e-8)
    assert (codes.gap <= 1e-9).all()
    if non_negative:
        assert codes.z.min() == 0


def test_the_certificate_bounds_the_true_distance_for_any_codes(dense):
    Y, W = problem()
    best = encode(Y.reshape(2, -1), dense(W, Y.shape[2:], "full"), 0.3, tol=1e-12).energy
    half = 0.5 * np.square(Y).sum((1, 2, 3))
    rng = np.random.default_rng(1)
    for scale in (0.0, 0.05, 1.0):
        z = scale * rng.standard_normal((2, 3, 7, 6))
        found = certify_images(Y, W, z, 0.3)
        assert ((found.energy - best) / half <= found.gap + 1e-12).all()
    near = encode_images(Y, W, 0.3, tol=1e-7)
    assert ((near.energy - best) / half <= near.gap + 1e-12).all()


def test_codes_are_optimal_coefficient_by_coefficient():
    Y, W = problem(size=(20, 21))
    z = torch.from_numpy(encode_images(Y, W, 0.5, tol=1e-12).z)
    energy = ConvEnergy(ConvDictionary(torch.from_numpy(W), (20, 21)), torch.full((3,), 0.5))
    slope = energy.grad(torch.from_numpy(Y), z)
    assert float(slope.abs().max()) <= 0.5 + 1e-5
    on = z != 0
    torch.testing.assert_close(slope[on], -0.5 * z[on].sign(), atol=1e-5, rtol=0)


def test_one_patch_gives_the_codes_of_plain_sparse_coding():
    Y, W = problem(size=(3, 3), K=14)
    codes = encode_images(Y, W, 0.2, tol=1e-12)
    expected = encode(Y.reshape(2, 9), W.reshape(14, 9).T.copy(), 0.2, tol=1e-12)
    np.testing.assert_allclose(codes.z[..., 0, 0], expected.z, atol=1e-5)
    np.testing.assert_allclose(codes.energy, expected.energy, rtol=1e-10)


@pytest.mark.parametrize("solver", SOLVERS)
def test_weights_above_every_correlation_leave_no_code(solver):
    Y, W = problem()
    D = ConvDictionary(torch.from_numpy(W), (9, 8))
    top = float(D.correlate(torch.from_numpy(Y)).abs().max())
    assert not encode_images(Y, W, top * 1.001, solver=solver).z.any()
    assert encode_images(Y, W, top * 0.9, solver=solver, tol=1e-8).z.any()


def test_filters_of_any_norm_and_a_weight_per_filter_are_the_same_problem_rescaled():
    Y, W = problem()
    norms, l1 = np.array([0.5, 1.0, 3.0]), np.array([0.2, 0.4, 0.3])
    scaled = encode_images(Y, W * norms[:, None, None, None], l1 * norms, tol=1e-11)
    plain = encode_images(Y, W, l1, tol=1e-11)
    np.testing.assert_allclose(scaled.energy, plain.energy, rtol=1e-9)
    np.testing.assert_allclose(scaled.z * norms[:, None, None], plain.z, atol=1e-4)


def test_dense_codes_are_handed_over_and_certified():
    Y, W = problem(K=8, size=(30, 30))
    found = encode_images(Y, W, 0.02, tol=1e-4)
    assert found.converged.all()
    assert (found.z != 0).mean() > 0.05
    assert encode_images(Y, W, 0.02, tol=1e-2, solver="greedy").converged.all()


def test_a_shifted_image_has_the_shifted_code_on_a_torus():
    Y, W = problem(size=(12, 12))
    first = encode_images(Y, W, 0.5, boundary="circular", tol=1e-12)
    second = encode_images(np.roll(Y, (3, 5), (2, 3)), W, 0.5, boundary="circular", tol=1e-12)
    np.testing.assert_allclose(second.z, np.roll(first.z, (3, 5), (2, 3)), atol=1e-4)


@pytest.mark.parametrize("kind", ["numpy32", "numpy64", "torch32"])
def test_kind_and_dtype_follow_the_images(kind):
    Y, W = problem()
    given = {
        "numpy32": Y.astype(np.float32),
        "numpy64": Y,
        "torch32": torch.from_numpy(Y).float(),
    }[kind]
    codes = encode_images(given, W, 0.3)
    assert isinstance(codes, Codes)
    assert type(codes.z) is type(given)
    assert codes.z.dtype == given.dtype
    assert bool(codes.converged.all())


def test_images_without_axes_and_an_empty_batch():
    Y, W = problem()
    one = encode_images(Y[0, 0], W[:, 0], 0.3)
    assert one.z.shape == (1, 3, 7, 6)
    np.testing.assert_array_equal(one.z, encode_images(Y[:1], W, 0.3).z)
    none = encode_images(Y[:0], W, 0.3)
    assert (none.z.shape, none.energy.shape) == ((0, 3, 7, 6), (0,))
    zero = encode_images(np.zeros((1, 9, 8)), W, 0.3)
    assert not zero.z.any()
    assert zero.gap[0] == 0


def test_threads_and_a_start_change_the_time_not_the_answer():
    Y, W = problem(size=(70, 75))
    alone = encode_images(Y, W, 0.8, threads=1)
    np.testing.assert_array_equal(alone.z, encode_images(Y, W, 0.8, threads=2).z)
    np.testing.assert_array_equal(alone.z[:1], encode_images(Y[:1], W, 0.8, threads=2).z)
    again = encode_images(Y, W, 0.8, start=alone.z)
    assert again.converged.all()
    assert again.iterations.max() <= alone.iterations.max()


def test_too_few_iterations_are_told():
    Y, W = problem(size=(30, 30))
    codes = encode_images(Y, W, 0.1, tol=1e-12, max_iterations=1)
    assert not codes.converged.any()
    assert "stopped above the gap" in codes.status


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"images": np.ones((2, 2, 9, 8))}, ValueError, "2 channels and filters 1"),
        ({"images": np.full((9, 8), np.nan)}, ValueError, "NaN"),
        ({"images": np.ones(9)}, ValueError, "images must be"),
        ({"images": np.ones((9, 8), complex)}, TypeError, "real numbers"),
        ({"images": np.ones((2, 2))}, ValueError, "do not fit"),
        ({"filters": np.zeros((1, 3, 3))}, ValueError, "filter 0 is zero"),
        ({"filters": np.ones((3, 3))}, ValueError, "filters must be"),
        ({"l1": 0.0}, ValueError, "positive and finite"),
        ({"l1": None}, ValueError, "is missing"),
        ({"l1": [1.0, 2.0]}, ValueError, r"shape \(3,\)"),
        ({"l1": "much"}, TypeError, "must be a number"),
        ({"tol": -1.0}, ValueError, "tol must be positive"),
        ({"boundary": "same"}, ValueError, "boundary must be one of"),
        ({"solver": "ista"}, ValueError, "unknown solver 'ista'"),
        ({"start": np.ones((1, 3, 2, 2))}, ValueError, "codes must have shape"),
        ({"max_iterations": 0}, ValueError, "max_iterations must be at least 1"),
    ],
)
def test_bad_input_is_refused_at_the_door(changes, error, message):
    Y, W = problem()
    good = {"images": Y, "filters": W, "l1": 0.3}
    with pytest.raises(error, match=message):
        encode_images(**(good | changes))
