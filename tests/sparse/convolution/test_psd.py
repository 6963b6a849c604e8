"""Convolutional PSD: its energy, its inference, its encoder and what learning finds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from thalweg.sparse import encode
from thalweg.sparse.convolution import ConvDictionary, ConvEncoder, ConvPSD, encode_images
from thalweg.sparse.encoders.smoothed import SmoothShrink, smooth_shrink

CURVES = ("linear", "tanh", "tanh-shrink", "sh")


@pytest.fixture
def small():
    """Filters (3, 2, 3, 2) and images (2, 2, 7, 6), float64."""
    g = torch.Generator().manual_seed(0)
    W = torch.randn(3, 2, 3, 2, generator=g, dtype=torch.float64)
    W /= W.flatten(1).norm(dim=1)[:, None, None, None]
    return W, torch.randn(2, 2, 7, 6, generator=g, dtype=torch.float64)


def model(W, beta, l1=0.4, boundary="full", encoder="sh", tol=1e-10):
    side = W.shape[2:]
    assert side[0] == side[1]
    return ConvPSD(
        len(W), side[0], W.shape[1], l1, beta, encoder, boundary=boundary, tol=tol, init=W
    )


@pytest.mark.parametrize("boundary", ["full", "circular"])
@pytest.mark.parametrize("curve", CURVES)
def test_codes_of_an_encoder_have_the_shape_of_the_dictionarys(small, curve, boundary):
    W, Y = small
    encoder = ConvEncoder(W, 0.3, curve, boundary)
    for size in ((7, 6), (3, 2), (11, 5)):
        images = Y.new_ones(2, 2, *size)
        assert encoder(images).shape[1:] == ConvDictionary(W, size, boundary).code_shape


@pytest.mark.parametrize("curve", CURVES)
def test_gradients_of_an_encoder_pass_a_check_by_differences(small, curve):
    W, Y = small
    encoder = ConvEncoder(W, 0.3, curve)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    names = [name for name, _ in encoder.named_parameters()]

    def codes(*values):
        return torch.func.functional_call(encoder, dict(zip(names, values, strict=True)), (Y[:1],))

    assert torch.autograd.gradcheck(codes, tuple(encoder.parameters()))


def test_every_curve_is_what_its_line_of_the_table_says(small):
    W, Y = small
    for curve in CURVES:
        encoder = ConvEncoder(W, 0.3, curve)
        with torch.no_grad():
            for parameter in encoder.parameters():
                parameter.mul_(1.1).add_(0.01)
        s = torch.nn.functional.conv2d(Y, encoder.V)
        own = {k: v.detach()[:, None, None] for k, v in encoder.named_parameters() if k != "V"}
        if curve == "sh":
            b = torch.nn.functional.softplus(own["raw_threshold"]) * encoder.unit
            beta = torch.nn.functional.softplus(own["raw_sharpness"]) / encoder.unit
            size = torch.log(torch.exp(beta * b) + torch.exp(beta * s.abs()) - 1) / beta - b
            wanted = s.sign() * size
        else:
            a = s + own["shift"]
            wanted = {
                "linear": lambda a=a: a,
                "tanh": lambda a=a, own=own: own["gain"] * torch.tanh(a),
                "tanh-shrink": lambda a=a, own=own: own["gain"] * (a - torch.tanh(a)),
            }[curve]()
        torch.testing.assert_close(encoder(Y), wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("boundary", ["full", "circular"])
def test_untrained_it_is_the_first_step_of_ista_with_round_corners(small, dense, boundary):
    W, Y = small
    encoder = ConvEncoder(W, 0.5, "sh", boundary)
    own = ConvDictionary(W, (7, 6), boundary)
    b = float(encoder.unit)
    bound = np.linalg.norm(dense(W.numpy(), (7, 6), boundary), 2) ** 2
    assert 0.95 * bound < 0.5 / b < 1.5 * bound
    s = own.correlate(Y) * (b / 0.5)
    soft = s.sign() * (s.abs() - b).clamp_min(0)
    apart = float((encoder(Y) - soft).detach().abs().max())
    assert 0 < apart <= math.log(2) / 10 * b + 1e-12


def test_on_one_patch_it_is_the_encoder_of_signals(small):
    W, Y = small
    patch = Y[:, :, :3, :2]
    ours = ConvEncoder(W, 0.3)
    plain = SmoothShrink(W.flatten(1).T.contiguous(), 0.3)
    with torch.no_grad():  # their first bounds on the curvature differ
        for to, of in (
            (plain.W_e, ours.V.flatten(1)),
            (plain.raw_threshold, ours.raw_threshold),
            (plain.raw_sharpness, ours.raw_sharpness),
            (plain.unit, ours.unit),
        ):
            to.copy_(of)
    torch.testing.assert_close(ours(patch)[:, :, 0, 0], plain(patch.flatten(1)))
    assert smooth_shrink(torch.zeros(3), 10.0, 0.3).tolist() == [0, 0, 0]


@pytest.mark.parametrize("boundary", ["full", "circular"])
@pytest.mark.parametrize("beta", [0.0, 0.3, 2.0])
def test_inference_is_plain_sparse_coding_of_the_stacked_problem(small, dense, boundary, beta):
    W, Y = small
    W = W[:, :, :2]
    psd = model(W, beta, boundary=boundary)
    found = psd.infer(Y)
    D = torch.from_numpy(dense(psd.W.numpy(), (7, 6), boundary))
    guess = psd.encode(Y).flatten(1)
    root = math.sqrt(2 * beta)
    stacked = torch.cat([D, root * torch.eye(D.shape[1], dtype=D.dtype)])
    best = encode(torch.cat([Y.flatten(1), root * guess], 1), stacked, 0.4, tol=1e-12)
    torch.testing.assert_close(found.z.flatten(1), best.z, rtol=0, atol=1e-4)
    torch.testing.assert_close(psd.energy(Y, found.z), best.energy, rtol=1e-9, atol=1e-9)
    early = psd.infer(Y, max_iterations=3)
    half = 0.5 * (Y.square().sum((1, 2, 3)) + 2 * beta * guess.square().sum(1))
    missing = (psd.energy(Y, early.z) - best.energy) / half
    assert bool((missing <= early.gap + 1e-12).all())
    assert bool((found.gap <= 1e-10).all())


def test_a_heavy_prediction_is_obeyed_and_none_is_sparse_coding(small):
    W, Y = small
    W = W[:, :, :2]
    heavy = model(W, 1e6, tol=1e-14)
    torch.testing.assert_close(heavy.infer(Y).z, heavy.encode(Y), rtol=0, atol=1e-5)
    free = model(W, 0.0).infer(Y)
    plain = encode_images(Y, heavy.W, 0.4, tol=1e-11)
    torch.testing.assert_close(free.z, plain.z, rtol=0, atol=1e-4)


def test_planted_filters_are_found_together_with_an_encoder(planted):
    rng = np.random.default_rng(1)
    W = rng.standard_normal((2, 1, 4, 4))
    W /= np.sqrt(np.square(W).sum((1, 2, 3), keepdims=True))
    shape = (6, 2, 24, 24)
    z = rng.choice([-1.0, 1.0], shape) * rng.uniform(1, 2, shape) * (rng.random(shape) < 0.01)
    Y = torch.nn.functional.conv_transpose2d(torch.from_numpy(z), torch.from_numpy(W))
    psd = ConvPSD(2, 5, l1=0.1, beta=0.1, seed=0)
    psd.fit(Y, steps=80, crop=None, follow=3, lr=0.02)
    found = planted.similarity(W, psd.W.numpy())
    assert found.max(1).min() > 0.97
    assert sorted(found.argmax(1)) == [0, 1]
    quick = psd.one_shot(Y[:3])
    assert quick.encoder == pytest.approx(quick.optimal * (1 + quick.excess))


def test_for_one_filter_of_one_pixel_the_trained_encoder_is_the_soft_threshold():
    Y = np.random.default_rng(0).standard_normal((2, 24, 24))
    psd = ConvPSD(1, 1, l1=0.5, beta=0.1, init=np.ones((1, 1, 1)), seed=0)
    psd.fit(Y, steps=100, batch_size=2, crop=None, lr=0.05)
    assert psd.one_shot(Y).excess < 2e-3
    soft = np.sign(Y) * np.maximum(np.abs(Y) - 0.5, 0)
    assert np.abs(psd.encode(Y)[:, 0] - soft).max() < 0.06
    assert psd.encode(Y.astype(np.float32)).dtype == np.float32


def test_the_same_seed_learns_the_same_and_another_one_does_not(planted):
    def learned(seed):
        psd = ConvPSD(3, 5, l1=0.2, seed=seed)
        psd.fit(planted.images, steps=3, crop=20)
        return psd.W, psd.encode(torch.from_numpy(planted.images[:1]))

    first, again, other = learned(0), learned(0), learned(1)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="beta must be 0 or more"):
        ConvPSD(2, 3, beta=-1.0)
    with pytest.raises(ValueError, match="unknown curve 'relu'"):
        ConvPSD(2, 3, encoder="relu")
    with pytest.raises(ValueError, match="no filters yet"):
        ConvPSD(2, 3).encode(np.ones((5, 5)))
    with pytest.raises(ValueError, match="no images"):
        ConvPSD(2, 3).fit([])
    with pytest.raises(ValueError, match="channels"):
        ConvPSD(2, 3, channels=3).fit(np.ones((1, 5, 5)))
    with pytest.raises(ValueError, match="smaller than a filter"):
        ConvPSD(2, 6).fit(np.random.default_rng(0).standard_normal((1, 5, 5)))
