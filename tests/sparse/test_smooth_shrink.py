"""The smooth threshold: its identities, its limit, its slope; the encoder that ends in it."""

from __future__ import annotations

import math

import pytest
import torch

from thalweg.sparse.encoders import SmoothShrink, smooth_shrink
from thalweg.sparse.psd import PSD

S = torch.linspace(-3, 3, 601, dtype=torch.float64)


def test_it_is_odd_and_zero_at_zero():
    y = smooth_shrink(S, 7.0, 0.5)
    torch.testing.assert_close(y, -y.flip(0), atol=1e-14, rtol=0)
    assert float(smooth_shrink(torch.zeros(1), 7.0, 0.5)) == 0


@pytest.mark.parametrize(("sharpness", "published"), [(20.0, 3.5e-2), (100.0, 7e-3)])
def test_it_tends_to_the_soft_threshold_as_the_specification_says(sharpness, published):
    soft = S.sign() * (S.abs() - 0.5).clamp_min(0)
    apart = float((smooth_shrink(S, sharpness, 0.5) - soft).abs().max())
    assert apart == pytest.approx(math.log(2) / sharpness, rel=1e-3)
    assert apart == pytest.approx(published, rel=0.02)


def test_it_is_the_printed_formula_where_that_does_not_overflow():
    b, beta = 0.7, 3.0
    plain = S.sign() * ((math.exp(beta * b) + (beta * S.abs()).exp() - 1).log() / beta - b)
    torch.testing.assert_close(smooth_shrink(S, beta, b), plain, atol=1e-14, rtol=0)
    far = smooth_shrink(torch.tensor([1e4, -1e4], dtype=torch.float64), 1e3, 5.0)
    torch.testing.assert_close(far, torch.tensor([9995.0, -9995.0], dtype=torch.float64))


def test_its_derivatives_are_right_at_zero_too():
    s = torch.tensor([-1.3, -0.2, 0.0, 0.4, 2.0], dtype=torch.float64, requires_grad=True)
    beta = torch.full((5,), 4.0, dtype=torch.float64, requires_grad=True)
    b = torch.full((5,), 0.5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(smooth_shrink, (s, beta, b))
    (slope,) = torch.autograd.grad(smooth_shrink(s, beta, b).sum(), s)
    assert float(slope[2]) == pytest.approx(math.exp(-2))


def test_untrained_it_is_a_rounded_first_step_of_ista_and_training_keeps_it_positive():
    g = torch.Generator().manual_seed(0)
    D = torch.randn(12, 20, generator=g, dtype=torch.float64)
    D = D / D.norm(dim=0)
    X = torch.randn(300, 12, generator=g, dtype=torch.float64)
    encoder = SmoothShrink(D, 0.3)
    a = X @ encoder.W_e.detach().T
    soft = a.sign() * (a.abs() - encoder.unit).clamp_min(0)
    apart = float((encoder.encode(X) - soft).abs().max())
    assert apart <= math.log(2) / 10 * float(encoder.unit) + 1e-12
    psd = PSD(encoder, beta=0.5)
    before = encoder.gap(X).median()
    psd.fit(X, steps=60, lr_encoder=1e-2, batch_size=100)
    assert float(encoder.gap(X).median()) < 0.9 * float(before)
    assert float(encoder.threshold.detach().min()) > 0
    assert float(encoder.sharpness.detach().min()) > 0
