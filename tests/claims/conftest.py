"""What every claim is held to: it runs once, gives its verdict, and a wrong number would show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

import pytest

from thalweg.claims import CLAIMS
from thalweg.claims.base import Lecture, Outcome, Setting, Target
from thalweg.records_claims import Claim

DEAR = 10.0  # seconds; `make reproduce` runs every claim, its table shows the verdicts
MARGIN = 1e-9  # beyond the tolerance, relative to the published number


@pytest.fixture(scope="session")
def judged(pytestconfig: pytest.Config) -> Callable[[str], Claim]:
    """A claim by name, measured once a session at its quick size; dear ones with --long only."""
    kept: dict[str, Claim] = {}

    def of(name: str) -> Claim:
        lecture = CLAIMS.load(name)
        if lecture.seconds > DEAR and not pytestconfig.getoption("--long"):
            pytest.skip(f"{name} takes {lecture.seconds:g} s: run with --long")
        if name not in kept:
            kept[name] = lecture.run(Setting())
        return kept[name]

    return of


@pytest.fixture(scope="session")
def verdict_with() -> Callable[[str, Claim, str], str]:
    """The verdict if one target had come out just beyond its tolerance, the rest as measured."""

    def of(name: str, claim: Claim, wrong: str) -> str:
        lecture: Lecture = CLAIMS.load(name)
        values = {measure.name: measure.ours for measure in claim.measures}
        values[wrong] = _beyond(next(t for t in lecture.targets if t.name == wrong))
        outcome = Outcome(values, reduced=claim.reduced)
        return replace(lecture, measure=lambda setting: outcome, needs=()).run(Setting()).verdict

    return of


def _beyond(target: Target) -> float:
    assert target.published is not None
    gap = target.within + MARGIN * (1 + abs(target.published))
    return target.published - gap if target.relation == "at least" else target.published + gap


@pytest.fixture(scope="session")
def lectures_of() -> Callable[..., tuple[str, ...]]:
    """Names of the claims that modules define, each checked against its line of the table."""

    def of(*modules: ModuleType) -> tuple[str, ...]:
        found = []
        for module in modules:
            for lecture in vars(module).values():
                if isinstance(lecture, Lecture):
                    member = CLAIMS[lecture.name]
                    assert member.load() is lecture
                    assert (member.summary, member.reference) == (lecture.title, lecture.section)
                    found.append(lecture.name)
        return tuple(found)

    return of
