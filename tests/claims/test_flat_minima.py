"""Claims on wide valleys: run as the verb runs them, and checked by other means."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from thalweg.claims import CLAIMS
from thalweg.claims.base import Setting
from thalweg.claims.flat_minima import Lenet, two_wells


def entropy(x: float, scope: float) -> float:
    """Minus the local entropy up to a constant, by adaptive quadrature around both wells."""

    def f(u: float) -> float:
        return float(two_wells(torch.tensor([[u]], dtype=torch.float64)))

    value = quad(
        lambda u: np.exp(-f(u) - scope / 2 * (x - u) ** 2),
        -6,
        6,
        points=sorted({-2.1, -2.0, -1.9, 2.0, x}),
        limit=400,
    )[0]
    return -np.log(value)


def test_the_jump_lies_where_quadrature_by_scipy_puts_it() -> None:
    claim = CLAIMS.load("wide-well").run(Setting())
    assert claim.verdict == "confirmed"
    jump = claim.measures[0].ours
    lows = {}
    for scope in (jump - 2, jump + 2):
        narrow = min(entropy(x, scope) for x in np.linspace(-2.02, -1.98, 9))
        wide = min(entropy(x, scope) for x in np.linspace(1.93, 2.0, 15))
        lows[scope] = narrow - wide
    below, above = lows.values()
    assert below > 0 > above  # the wide well wins below the jump, the narrow one above


def test_the_step_of_entropy_sgd_is_the_gradient() -> None:
    claim = CLAIMS.load("entropy-gradient").run(Setting())
    assert claim.verdict == "confirmed"
    taken, formula = claim.charts[0].curves
    np.testing.assert_allclose(taken.y, formula.y, rtol=1e-9)


def test_a_number_that_is_off_is_not_confirmed() -> None:
    """The verdict follows from the measured numbers."""
    lecture = CLAIMS.load("entropy-gradient")
    wrong = dataclasses.replace(lecture, measure=lambda setting: dataclasses.replace(
        lecture.measure(setting),
        values={"largest error of the step": 1e-3,
                "largest effective curvature over the scope": 0.9},
    ))  # fmt: skip
    assert wrong.run(Setting()).verdict == "not reproduced"


@pytest.mark.slow
def test_entropy_sgd_and_sgd_end_within_a_point_of_each_other() -> None:
    claim = CLAIMS.load("entropy-sgd-parity").run(Setting())
    ours = {m.name: m.ours for m in claim.measures}
    assert claim.verdict == "confirmed"
    assert ours["SGD's test accuracy"] > 96  # both have learnt: parity of two failures is none
    assert ours["Entropy-SGD's test accuracy"] > 96


def test_the_network_for_mnist_is_that_of_the_released_code() -> None:
    net = Lenet().eval()
    assert net(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    assert sum(p.numel() for p in net.parameters()) == 20 * 26 + 40 + 50 * 501 + 100 + 200 * 500 + (
        500 + 1000 + 5010
    )


def test_mnist_is_asked_for_in_words_where_it_is_not() -> None:
    with pytest.raises(FileNotFoundError, match="THALWEG_DATA"):
        CLAIMS.load("entropy-sgd-mnist").run(Setting())
