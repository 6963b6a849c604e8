"""How is a lecture claim written down? Targets first, then a function that measures them.

The published numbers and tolerances stand in the decorator, so they are fixed before a run and
``thalweg reproduce --list`` can print them without one::

    @claim(
        name="linear-unit",
        title="Single linear unit: admissible rates",
        decks=("D0", "D2"),
        section="gradient#g2",
        says="Plain gradient descent converges below 2/lambda_max = 2.38 and diverges above.",
        targets=(Target("largest rate", 2.38, within=0.01, source="[D]"),),
        seconds=1,
    )
    def linear_unit(setting: Setting) -> Outcome:
        return Outcome(values={"largest rate": 2 / 0.84})
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from thalweg.records import Picture
from thalweg.records_claims import Chart, Claim, Measure
from thalweg.rundir.machine import machine


@dataclass(frozen=True, slots=True)
class Target:
    """A published number and how near ours must come.

    ``relation`` is "equal", "at most", "at least" or "reported" (no number to compare with).
    ``within`` is absolute, in the number's own unit.
    """

    name: str
    published: float | None = None
    within: float = 0.0
    relation: str = "equal"
    unit: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if self.relation not in ("equal", "at most", "at least", "reported"):
            raise ValueError(f"target '{self.name}' has the unknown relation '{self.relation}'")

    def beside(self, ours: float = math.nan) -> Measure:
        """The published number with ours beside it."""
        return Measure(
            name=self.name,
            ours=float(ours),
            published=self.published,
            tolerance=self.within,
            relation=self.relation,
            unit=self.unit,
            source=self.source,
        )


@dataclass(frozen=True, slots=True)
class Setting:
    """What a claim may use: seed, data folder, size and a way to say how far it is."""

    seed: int = 0
    data: Path | None = None  # the folder with mnist/, cifar10/ ...; needed by some claims
    full: bool = False  # the published size instead of the quick one
    progress: Callable[[str], None] = field(default=lambda message: None)

    def folder(self, name: str) -> Path:
        """``data/name``, checked."""
        if self.data is None:
            raise FileNotFoundError(
                f"this claim needs the folder '{name}': name the folder that holds it with "
                "--data or the environment variable THALWEG_DATA"
            )
        path = self.data / name
        if not path.is_dir():
            raise FileNotFoundError(f"this claim needs the folder '{name}'; {path} is not there")
        return path


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a claim measured: a value for each target, and figures as data."""

    values: Mapping[str, float]
    charts: tuple[Chart, ...] = ()
    pictures: tuple[Picture, ...] = ()
    notes: tuple[str, ...] = ()
    reduced: str = ""  # what was made smaller than in the original, "" when nothing was


@dataclass(frozen=True, slots=True)
class Lecture:
    """A claim with its targets, ready to be run."""

    name: str
    title: str
    decks: tuple[str, ...]
    section: str
    says: str
    targets: tuple[Target, ...]
    measure: Callable[[Setting], Outcome]
    seconds: float  # about how long it takes on two cores
    full_seconds: float | None  # the same at the published size, None where there is one size
    needs: tuple[str, ...]  # folders of the data directory
    correction: str

    @property
    def quick(self) -> bool:
        """Whether ``reproduce --all`` runs it: up to half a minute at its small size."""
        return self.seconds <= 30

    def run(self, setting: Setting | None = None) -> Claim:
        """Measure, compare and judge.

        Raises:
            FileNotFoundError: Data that the claim needs is not there.
            ValueError: The function gave no value, or an unasked one, for a target.
        """
        setting = setting or Setting()
        for name in self.needs:
            setting.folder(name)
        start = time.perf_counter()
        outcome = self.measure(setting)
        seconds = time.perf_counter() - start
        if set(outcome.values) != {target.name for target in self.targets}:
            raise ValueError(
                f"claim '{self.name}' measured {sorted(outcome.values)}, its targets are "
                f"{sorted(target.name for target in self.targets)}"
            )
        measures = tuple(target.beside(outcome.values[target.name]) for target in self.targets)
        return Claim(
            name=self.name,
            title=self.title,
            decks=self.decks,
            section=self.section,
            says=self.says,
            verdict=self._verdict(measures, outcome),
            measures=measures,
            charts=outcome.charts,
            pictures=outcome.pictures,
            correction=self.correction,
            reduced=outcome.reduced,
            notes=outcome.notes,
            seconds=seconds,
            seed=setting.seed,
            machine=machine(),
            command=f"thalweg reproduce {self.name} --seed {setting.seed}"
            + (" --full" if setting.full else ""),
        )

    def _verdict(self, measures: tuple[Measure, ...], outcome: Outcome) -> str:
        if not all(measure.holds for measure in measures):
            return "not reproduced"
        if outcome.reduced:
            return "reduced"
        return "corrected" if self.correction else "confirmed"


def claim(
    *,
    name: str,
    title: str,
    decks: tuple[str, ...],
    section: str,
    says: str,
    targets: tuple[Target, ...],
    seconds: float,
    full_seconds: float | None = None,
    needs: tuple[str, ...] = (),
    correction: str = "",
) -> Callable[[Callable[[Setting], Outcome]], Lecture]:
    """Turn a measuring function into a claim; see the module's example.

    Args:
        name: As in the table of ``thalweg.claims``.
        title: A few words for the list.
        decks: Which lectures make it, such as ``("D0", "D2")``.
        section: Theme and label, such as ``"gradient#g2"``.
        says: The claim in one sentence.
        targets: Published numbers with tolerances, fixed before anything is run.
        seconds: About how long the quick size takes on two cores.
        full_seconds: The same for the published size; None where there is only one size.
        needs: Folders of the data directory without which it cannot run.
        correction: For a slip of the slides: what they say and what is right.
    """
    if not targets:
        raise ValueError(f"claim '{name}' has no target: say what is compared")
    if len({target.name for target in targets}) != len(targets):
        raise ValueError(f"claim '{name}' names a target twice")

    def bind(measure: Callable[[Setting], Outcome]) -> Lecture:
        return Lecture(
            name,
            title,
            decks,
            section,
            says,
            targets,
            measure,
            seconds,
            full_seconds,
            needs,
            correction,
        )

    return bind
