"""What a diagnosis comes to: findings with their evidence, trials of remedies, and the cure."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thalweg.records import Interval, Record, Trace
from thalweg.registry import resolve

SEVERITIES = ("error", "warning", "info")


@dataclass(frozen=True, slots=True)
class Step(Record):
    """One change of a task: a function of ``thalweg.diagnose.cures``, its arguments, and why."""

    cure: str
    arguments: dict[str, Any] = field(default_factory=dict)
    says: str = ""  # what it does, in words
    why: str = ""  # the finding that asks for it


@dataclass(frozen=True, slots=True)
class Trial(Record):
    """A remedy tried on a copy, beside the task as it is, under equal seeds and batches."""

    change: str  # what was changed, in words
    steps: tuple[Step, ...]
    seeds: tuple[int, ...]
    evaluations: int  # gradients of each run
    measure: str  # what ``before`` and ``after`` are: "accuracy", "balanced accuracy", "loss" …
    before: tuple[float, ...]  # at the end of the run, one per seed; higher is better
    after: tuple[float, ...]
    gain: Interval  # mean of after - before over the seeds, with its 95 % interval
    skill_before: float  # 0: as good as a constant answer; 1: perfect
    skill_after: float
    verdict: str  # "helps", "no difference", "harms" or "fails"
    trace_before: Trace = field(default_factory=Trace)
    trace_after: Trace = field(default_factory=Trace)


@dataclass(frozen=True, slots=True)
class Finding(Record):
    """One thing that limits a training: how it is known, what to change, and what that did."""

    code: str
    severity: str  # "error", "warning" or "info"
    title: str
    message: str  # one or two sentences: what was measured
    where: str = ""  # a layer, a parameter, a part of the data
    measured: float | None = None
    threshold: float | None = None
    derivation: str = ""  # where the threshold comes from
    evidence: dict[str, float] = field(default_factory=dict)
    remedy: str = ""
    settle: str = ""  # what would settle it, where evidence is short
    trial: Trial | None = None


@dataclass(frozen=True, slots=True)
class LayerFacts(Record):
    """One layer at the first batch: sizes of what flows forward and back."""

    name: str
    kind: str
    parameters: int
    output_rms: float
    gradient_rms: float  # of the loss in this layer's weights
    update_ratio: float  # size of the first updates relative to the weights
    silent: float | None = None  # share of rectified units at zero on every sample
    saturated: float | None = None  # share of outputs of a squashing unit at its ends


@dataclass(frozen=True, slots=True)
class Ladder(Record):
    """Short runs at a few learning rates."""

    rates: tuple[float, ...] = ()
    losses: tuple[float, ...] = ()  # mean of the last quarter; inf where it failed
    steps: int = 0


@dataclass(frozen=True, slots=True)
class Cured(Record):
    """The compatible cures together, against the task as it is."""

    steps: tuple[Step, ...]
    trial: Trial
    file: str = ""  # the task file that was written


@dataclass(frozen=True, slots=True)
class Diagnosis(Record):
    """The answer to *what limits this training*.

    ``findings`` come in order of severity, then of what their remedy gained.
    """

    task: str
    recipe: dict[str, Any]
    criterion: str
    findings: tuple[Finding, ...]
    numbers: dict[str, float]  # what was measured, findings or not
    layers: tuple[LayerFacts, ...] = ()
    trace: Trace = field(default_factory=Trace)  # the recipe as it is, first seed
    ladder: Ladder = field(default_factory=Ladder)
    considered: tuple[str, ...] = ()  # suspected and then cleared by a trial, one line each
    seeds: int = 0
    evaluations: int = 0  # gradients of each run
    samples: dict[str, int] = field(default_factory=dict)
    cured: Cured | None = None
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    machine: dict[str, str] = field(default_factory=dict)
    source: str | None = None
    command: str = ""
    run: str = ""

    @property
    def healthy(self) -> bool:
        """Whether nothing was found that limits this training."""
        return all(finding.severity == "info" for finding in self.findings)

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes of the findings, the first matters most."""
        return tuple(finding.code for finding in self.findings)

    def report(self, path: str | Path) -> Path:
        """Write one self-contained HTML page and return where it is."""
        return resolve("thalweg.report.page:write")([self], path)
