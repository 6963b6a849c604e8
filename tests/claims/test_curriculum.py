"""Claims on the order of learning: verdicts, and that a wrong number would show."""

from __future__ import annotations

import math

import pytest

from thalweg.claims import (
    CLAIMS,
    continuation,
    curriculum,
    curriculum_mnist,
    curriculum_order,
    majorisers,
)
from thalweg.claims.base import Setting
from thalweg.claims.intervals import interval

VERDICTS = {
    "greedy-pretraining": "confirmed",
    "transfer-digits": "confirmed",
    "curriculum-on-the-way": "confirmed",
    "curriculum-at-the-end": "not reproduced",  # the lead of easy-first is lost by the end
    "curriculum-digits": "confirmed",
    "smoothed-forms": "confirmed",
    "smoothed-saddle": "confirmed",
    "continuation": "confirmed",
    "majorise-minimise": "confirmed",
}
SLOW = {"fitnets", "stochastic-curriculum", "greedy-mnist", "fitnets-mnist", "transfer-mnist"}
LONG = {"greedy-pretraining"}
MODULES = (continuation, majorisers, curriculum, curriculum_mnist, curriculum_order)
NAMES = [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in VERDICTS]


def test_every_claim_on_order_is_in_the_table(lectures_of) -> None:
    assert set(lectures_of(*MODULES)) == {*VERDICTS, *SLOW}


@pytest.mark.parametrize("name", sorted(SLOW))
def test_slow_claims_are_not_quick_and_those_on_mnist_ask_for_it(name) -> None:
    lecture = CLAIMS.load(name)
    assert not lecture.quick
    if "mnist" in name:
        with pytest.raises(FileNotFoundError, match="mnist"):
            lecture.run(Setting())


@pytest.mark.parametrize("name", NAMES)
def test_the_claim_on_order_gives_its_verdict(name, judged) -> None:
    claim = judged(name)
    assert claim.verdict == VERDICTS[name], claim.measures


@pytest.mark.parametrize("name", NAMES)
def test_one_number_beyond_its_tolerance_is_not_reproduced(name, judged, verdict_with) -> None:
    claim = judged(name)
    for measure in claim.measures:
        if measure.relation != "reported":
            assert verdict_with(name, claim, measure.name) == "not reproduced", measure.name


@pytest.mark.parametrize("name", ["smoothed-saddle", "majorise-minimise", "curriculum-on-the-way"])
def test_another_seed_gives_the_same_verdict(name) -> None:
    assert CLAIMS.load(name).run(Setting(seed=5)).verdict == VERDICTS[name]


def test_claims_on_training_state_their_seeds_and_intervals(judged) -> None:
    for name in ("transfer-digits", "curriculum-digits"):
        assert sum("95 % interval" in n and "5 seeds" in n for n in judged(name).notes) >= 3


def test_the_interval_is_students() -> None:
    values = [1.0, 4.0, 2.0, 7.0]
    found = interval(values)
    deviation = math.sqrt(sum((v - 3.5) ** 2 for v in values) / 3)
    assert found.value == 3.5
    assert found.high - 3.5 == pytest.approx(3.182446 * deviation / 2, rel=1e-6)
    assert found.high + found.low == pytest.approx(7.0)
    with pytest.raises(ValueError, match="at least two"):
        interval([1.0])
