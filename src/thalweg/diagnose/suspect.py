"""A finding before its trial: what is suspected, and which changes would show it."""

from __future__ import annotations

from dataclasses import dataclass, field

from thalweg.records_diagnosis import Step


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What a detector answers.

    Attributes:
        code: A name of ``thalweg.diagnose.FINDINGS``.
        title: A few words for a headline.
        message: What was measured, one or two sentences.
        remedy: What to change, for a person.
        cures: Alternatives, each a sequence of steps; the one that gains most is kept.
        plain: Raised whatever the trial says: the fault is certain.
        severity: If raised.
        measured: The number that speaks.
        threshold: What it is held against.
        derivation: Why that threshold.
        where: A layer, a parameter, a part of the data.
        evidence: Further numbers.
        settle: What would settle it.
        measure: What the trial compares: empty for the task's criterion.
        worth: Of skill; what the remedy has to gain, as it costs something.
        aside: A sign that other faults leave behind too: it stands behind those that gain as much.
    """

    code: str
    title: str
    message: str
    remedy: str
    cures: tuple[tuple[Step, ...], ...] = ()
    plain: bool = False
    severity: str = "warning"
    measured: float | None = None
    threshold: float | None = None
    derivation: str = ""
    where: str = ""
    evidence: dict[str, float] = field(default_factory=dict)
    settle: str = ""
    measure: str = ""
    worth: float = 0.0
    aside: bool = False


def step(cure: str, says: str, **arguments: object) -> Step:
    """One change, with what it does in words."""
    return Step(cure, dict(arguments), says)
