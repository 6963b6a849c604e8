"""Every number computed for the lectures, and every slip in them, is a claim of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from thalweg.claims import CLAIMS

NUMBERS = json.loads((Path(__file__).parent / "numbers.json").read_text("utf-8"))
COMPUTED, SLIPS = NUMBERS["computed"], NUMBERS["slips"]


def test_none_of_the_numbers_and_slips_is_missing() -> None:
    assert len(COMPUTED) == 49
    assert [slip["number"] for slip in SLIPS] == list(range(1, 43))


@pytest.mark.parametrize("entry", COMPUTED, ids=lambda e: f"{e['section']} {e['what']}")
def test_a_claim_has_it_as_a_target_with_a_tolerance(entry) -> None:
    sections = set()
    for name in entry["claims"]:
        lecture = CLAIMS.load(name)
        sections.add(lecture.section)
        compared = [t for t in lecture.targets if t.relation != "reported"]
        assert compared, name
        assert all(t.published is not None for t in compared)
    assert any(section.split("#")[0] == entry["section"].split("#")[0] for section in sections)


@pytest.mark.parametrize("slip", SLIPS, ids=lambda s: f"{s['number']} {s['what']}")
def test_a_slip_is_a_claim_that_says_what_is_right_or_nothing_to_measure(slip) -> None:
    if "words" in slip:
        assert slip["words"].endswith("nothing to measure")
        return
    for name in slip["claims"]:
        assert CLAIMS.load(name).correction, f"{name} does not say what is right"


def test_every_claim_says_deck_section_number_tolerance_and_cost() -> None:
    for member in CLAIMS:
        lecture = member.load()
        assert lecture.name == member.name
        assert lecture.section == member.reference
        assert lecture.decks
        assert set(lecture.decks) <= {"D0", "D1", "D2", "D3", "D4"}
        assert "#" in lecture.section
        assert lecture.targets
        assert lecture.seconds > 0
        for target in lecture.targets:
            assert target.within >= 0
            assert target.relation == "reported" or target.published is not None, lecture.name


def test_there_are_more_than_a_hundred_claims_and_the_quick_ones_cost_minutes() -> None:
    lectures = [member.load() for member in CLAIMS]
    assert len(lectures) >= 100
    assert sum(lecture.seconds for lecture in lectures if lecture.quick) < 450
