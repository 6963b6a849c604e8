"""The strong Wolfe search: its two conditions, parabolas exactly, and hostile functions."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.steps.linesearch import Probe, strong_wolfe

FUNCTIONS = {
    "parabola": (lambda t: (t - 3) ** 2, lambda t: 2 * (t - 3)),
    "quartic": (lambda t: (t - 2) ** 4 - t, lambda t: 4 * (t - 2) ** 3 - 1),
    "ripples": (
        lambda t: -t / (t * t + 2) + 0.02 * math.sin(20 * t),
        lambda t: (t * t - 2) / (t * t + 2) ** 2 + 0.4 * math.cos(20 * t),
    ),
    "steep": (lambda t: math.exp(-50 * t) + t, lambda t: -50 * math.exp(-50 * t) + 1),
    "logistic": (
        lambda t: math.log1p(math.exp(-t)) + 0.01 * t * t,
        lambda t: -1 / (1 + math.exp(t)) + 0.02 * t,
    ),
}


def search(name: str, first: float, c2: float = 0.1, **options):
    f, df = FUNCTIONS[name]
    start = Probe(0.0, f(0.0), df(0.0))
    return start, strong_wolfe(lambda t: Probe(t, f(t), df(t)), start, first, c2=c2, **options)


@pytest.mark.parametrize("name", FUNCTIONS)
@settings(deadline=None, max_examples=40)
@given(first=st.floats(1e-4, 50), c2=st.sampled_from([0.01, 0.1, 0.9]))
def test_the_step_satisfies_both_conditions(name, first, c2) -> None:
    start, found = search(name, first, c2, max_evaluations=80)
    assert found.satisfied
    probe = found.probe
    assert probe.step > 0
    assert probe.value <= start.value + 1e-4 * probe.step * start.slope
    assert abs(probe.slope) <= c2 * abs(start.slope)


def test_a_parabola_is_solved_by_its_first_interpolation() -> None:
    _, found = search("parabola", 10.0, c2=1e-3)
    assert found.probe.step == pytest.approx(3.0, rel=1e-12)
    assert found.evaluations == 2
    _, outwards = search("parabola", 0.5, c2=1e-3)
    assert outwards.probe.step == pytest.approx(3.0, rel=1e-12)


def test_the_edge_of_the_function_is_stepped_back_from() -> None:
    def phi(t: float) -> Probe:
        inside = t < 1
        return Probe(t, -math.log(1 - t) - 3 * t if inside else math.inf, 1 / (1 - t) - 3)

    found = strong_wolfe(lambda t: phi(t) if t < 1 else Probe(t, math.nan, math.nan), phi(0), 64.0)
    assert found.satisfied
    assert found.probe.step == pytest.approx(2 / 3, rel=0.2)


def test_without_time_the_best_decrease_is_given_and_never_a_rise() -> None:
    start, found = search("steep", 30.0, max_evaluations=2)
    assert not found.satisfied
    assert found.evaluations == 2
    assert found.probe.value <= start.value


def test_a_line_without_end_uses_up_its_evaluations() -> None:
    found = strong_wolfe(lambda t: Probe(t, -t, -1.0), Probe(0.0, 0.0, -1.0), 1.0)
    assert not found.satisfied
    assert found.probe.step > 1e6


def test_what_came_with_the_probe_comes_back() -> None:
    found = strong_wolfe(
        lambda t: Probe(t, (t - 1) ** 2, 2 * (t - 1), f"at {t}"), Probe(0, 1, -2), 1
    )
    assert found.probe.extra == "at 1"


@pytest.mark.parametrize(
    ("start", "first", "options", "message"),
    [
        (Probe(0, 1, 2.0), 1.0, {}, "does not descend"),
        (Probe(0, math.nan, -1.0), 1.0, {}, "starts at value nan"),
        (Probe(0, 1, -1.0), 0.0, {}, "first step > 0"),
        (Probe(0, 1, -1.0), 1.0, {"c1": 0.5, "c2": 0.1}, "0 < c1 < c2 < 1"),
    ],
)
def test_bad_arguments_are_named(start, first, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        strong_wolfe(lambda t: Probe(t, 0, 0), start, first, **options)
