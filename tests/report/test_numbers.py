"""How numbers are written."""

from __future__ import annotations

import math

import pytest

from thalweg.records import Interval
from thalweg.report.numbers import Criterion, clean, duration, plural, rate, significant


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (0.0, "0"),
        (0.031622, "0.032"),
        (0.3, "0.3"),
        (1.0, "1"),
        (123.0, "120"),
        (9.99e-4, "0.001"),
        (1.04e-4, "0.0001"),
        (9.96e-6, "1e-5"),
        (3.2e-7, "3.2e-7"),
        (1e6, "1e6"),
        (math.inf, "∞"),
        (math.nan, "not a number"),
    ],
)
def test_rates_are_written_in_two_digits(x, said):
    assert rate(x) == said


def test_significant_keeps_trailing_zeros_on_request_and_signs_in_typography():
    assert significant(0.29, trim=False) == "0.290"
    assert significant(-1234567.0) == "−1.23e6"


def test_accuracy_just_below_one_is_not_rounded_up_to_it():
    criterion = Criterion("accuracy")
    assert criterion.show(0.9997) == "99.97\u00a0%"
    assert criterion.show(1.0) == "100.0\u00a0%"


@pytest.mark.parametrize("value", [None, math.nan])
def test_missing_values_are_a_dash(value):
    for name in ("accuracy", "loss", "f1"):
        criterion = Criterion(name)
        assert {criterion.show(value), criterion.spread(value), criterion.points(value)} == {"–"}


def test_bounds_of_a_loss_turn_round():
    assert Criterion("loss").bounds(Interval(-0.5, 0.1, -0.7, -0.3)) == "0.3 to 0.7"


def test_infinite_bounds_are_written():
    assert Criterion("accuracy").bounds(Interval(0.5, 0.1, -math.inf, math.inf)) == "−∞ to ∞"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.44, "0.4 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (7500, "2 h 5 min"), (None, "–")],
)
def test_durations_are_said_as_people_say_them(seconds, said):
    assert duration(seconds).replace("\u00a0", " ") == said


def test_clean_shows_control_and_direction_characters_instead_of_obeying_them():
    assert clean("a\x1b[31mb\u202ec\nd") == "a\\u001b[31mb\\u202ec\\u000ad"
    assert clean("é漢字🙂") == "é漢字🙂"


def test_clean_shortens_in_the_middle():
    short = clean("x" * 300 + "end", 40)
    assert len(short) == 40
    assert short.endswith("end")


def test_plurals():
    assert [plural(1, "entry"), plural(2, "entry"), plural(1200, "seed")] == [
        "1 entry",
        "2 entries",
        "1,200 seeds",
    ]


def test_bounds_of_an_accuracy_stay_between_nothing_and_all():
    assert Criterion("accuracy").bounds(Interval(0.5, 0.5, -0.3, 1.3)) == "0.0 to 100.0\u00a0%"
