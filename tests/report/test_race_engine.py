"""The page and the terminal say which engine trained the runs, and why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from thalweg.report.sections.race import draw, engine

CHOICE = {
    "engine": "stacked",
    "chunk": 8,
    "gradients_per_second": {"looped": 100.0, "stacked": 310.0},
    "reasons": {"stacked": "3.10 times the gradients per second of looped, taken"},
}


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        ({}, ""),
        ({"engines": {"64": 3}}, ""),
        (
            {"engines": {"64": CHOICE}},
            "stacked, runs stacked into one pass (3.10 times the gradients per second of looped)",
        ),
        (
            {"engines": {"64": CHOICE | {"engine": "looped"}}, "workers": 2},
            "looped, one run after another (no other was faster); 2 worker processes",
        ),
        (
            {"engines": {"8": {"engine": "looped", "reasons": {"looped": "too short"}}}},
            "looped, one run after another (too short)",
        ),
    ],
)
def test_the_engine_is_named_with_its_reason(race, plan, told):
    assert engine(replace(race, plan=plan)) == told


def test_the_page_shows_it(race):
    page = draw(replace(race, plan={"engines": {"64": CHOICE}})).body
    assert "runs stacked into one pass" in page
    assert "Engine" in page
