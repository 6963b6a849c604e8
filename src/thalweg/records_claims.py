"""What a lecture claim comes to: ours beside the published number, with a verdict."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from thalweg.records import Picture, Record
from thalweg.registry import resolve

VERDICTS = ("confirmed", "corrected", "reduced", "not reproduced")
DECKS = {  # the five lectures
    "D0": "Optimization (NYU, spring 2023), Yann LeCun with material of Aaron Defazio",
    "D1": "Special Topics in Advanced Machine Learning, lecture 3 (NYU Tandon), Anna Choromanska",
    "D2": "Optimization (NYU, fall 2020), Yann LeCun",
    "D3": "Optimization II, Intro to Autoencoders (CU Boulder, March 2020), Adam Bloniarz",
    "D4": "Deep Feedforward Networks: Optimization, Paolo Favaro",
}


@dataclass(frozen=True, slots=True)
class Curve(Record):
    """One line, or one set of points or bars, of a chart."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    kind: str = "line"  # "line", "points", "both" or "bars"
    low: tuple[float, ...] = ()  # a band around y, where it is known
    high: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Chart(Record):
    """A figure as data: the report draws it."""

    title: str
    x_label: str
    y_label: str
    curves: tuple[Curve, ...]
    x_log: bool = False
    y_log: bool = False
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Measure(Record):
    """One number of ours beside the published one; ``relation`` says when it holds.

    "equal": |ours - published| <= tolerance; "at most" / "at least": ours beyond published by no
    more than the tolerance on the wrong side; "reported": no number to compare with.
    """

    name: str
    ours: float
    published: float | None = None
    tolerance: float = 0.0
    relation: str = "equal"
    unit: str = ""
    source: str = ""  # where the published number stands, with the spec's tag

    @property
    def holds(self) -> bool:
        """Whether ours agrees with the published number; ``reported`` ones always do."""
        if self.relation == "reported" or self.published is None:
            return True
        gap = self.ours - self.published
        if self.relation == "at most":
            return gap <= self.tolerance
        if self.relation == "at least":
            return gap >= -self.tolerance
        return abs(gap) <= self.tolerance


@dataclass(frozen=True, slots=True)
class Claim(Record):
    """A claim or figure of the lectures, measured."""

    name: str
    title: str
    decks: tuple[str, ...]
    section: str  # of the theme, as "gradient#g2"
    says: str  # the claim in a sentence
    verdict: str  # one of VERDICTS
    measures: tuple[Measure, ...]
    charts: tuple[Chart, ...] = ()
    pictures: tuple[Picture, ...] = ()
    correction: str = ""  # what the slide says and what is right, for an erratum
    reduced: str = ""  # what was made smaller than in the original, "" when nothing was
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    seed: int = 0
    machine: dict[str, str] = field(default_factory=dict)
    command: str = ""

    def report(self, path: str | Path) -> Path:
        """Write one self-contained HTML page and return where it is."""
        return resolve("thalweg.report.page:write")([self], path)


@dataclass(frozen=True, slots=True)
class Reproduction(Record):
    """Several claims, measured in one go or in parts."""

    claims: tuple[Claim, ...]
    skipped: dict[str, str] = field(default_factory=dict)  # name: what it lacks
    failed: dict[str, str] = field(default_factory=dict)  # name: the error it ended in
    seconds: float = 0.0
    command: str = ""

    def count(self, verdict: str) -> int:
        """How many claims came to this verdict."""
        return sum(claim.verdict == verdict for claim in self.claims)

    def report(self, path: str | Path) -> Path:
        """Write one self-contained HTML page and return where it is."""
        return resolve("thalweg.report.page:write")([self], path)
