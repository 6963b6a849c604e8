"""What comes out: frozen records of numbers and strings, JSON in and JSON out.

Reports and terminals are drawn from these alone, so any of them can be redrawn without training.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from thalweg.registry import resolve


class Record:
    """Base of all records: ``to_dict`` and ``from_dict`` are exact inverses.

    Non-finite numbers travel as ``None`` in strict JSON would lose them, so they are written as the
    strings ``"nan"``, ``"inf"`` and ``"-inf"`` and read back as numbers where a float is declared.
    """

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON-ready dictionaries, lists, numbers and strings."""
        return {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}  # pyrefly: ignore

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild the record; unknown keys are an error that names them."""
        hints = typing.get_type_hints(cls)
        unknown = set(values) - {f.name for f in dataclasses.fields(cls)}  # pyrefly: ignore
        if unknown:
            raise ValueError(f"{cls.__name__} has no field {', '.join(sorted(unknown))}")
        return cls(**{name: _typed(hints[name], value) for name, value in values.items()})

    def to_json(self) -> str:
        """One strict JSON document."""
        return json.dumps(self.to_dict(), allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"a record cannot hold {type(value).__name__}: {value!r}")


def _typed(hint: Any, value: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        for choice in arguments:
            if choice is not type(None):
                return _typed(choice, value)
    if origin is tuple:
        return tuple(_typed(arguments[0], item) for item in value)
    if origin is dict:
        return {key: _typed(arguments[1], item) for key, item in value.items()}
    if isinstance(hint, type) and issubclass(hint, Record):
        return hint.from_dict(value)
    if hint is float and not isinstance(value, bool):
        return float(value)
    return value


@dataclass(frozen=True, slots=True)
class Trace(Record):
    """One training curve: after ``evaluations[i]`` gradients, what was measured."""

    evaluations: tuple[int, ...] = ()
    train_loss: tuple[float, ...] = ()
    held_out: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class SeedResult(Record):
    """One configuration trained under one seed."""

    seed: int
    status: str  # "finished", "diverged" or "culled"
    held_out: float  # the criterion on the selection part, higher is better
    loss: float  # held-out loss on the selection part
    train_loss: float  # mean over the last segment
    evaluations: int  # gradients executed
    trace: Trace


@dataclass(frozen=True, slots=True)
class Interval(Record):
    """An estimate with its standard error and 95 % bounds."""

    value: float
    stderr: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Entry(Record):
    """One configuration of a race: optimiser, hyperparameters, settings, and how it did."""

    optimizer: str
    hyperparameters: dict[str, Any]  # as the torch optimiser names them, lr among them
    settings: dict[str, Any]  # batch_size, schedule, clip: what is not the optimiser's
    held_out: float  # seed mean of the criterion on the selection part, higher is better
    stderr: float
    loss: float
    behind: Interval | None = None  # winner minus this one, paired, selection part
    tied: bool = False  # within noise of the winner, on selection and on confirmation
    default: bool = False  # the library's default settings
    confirmed: float | None = None  # the criterion on the confirmation part, scored once
    confirmation: Interval | None = None
    status: str = "finished"  # "finished", "diverged" (every seed) or "culled"
    seeds: tuple[SeedResult, ...] = ()
    line: str = ""  # paste-able: builds the torch optimiser

    @property
    def lr(self) -> float:
        """The learning rate."""
        return float(self.hyperparameters["lr"])

    def make(self, params: Any) -> Any:
        """Build this entry's ``torch.optim.Optimizer`` over ``params``."""
        make = resolve("thalweg.optim.methods:make")
        return make(self.optimizer, params, **self.hyperparameters)


@dataclass(frozen=True, slots=True)
class Sensitivity(Record):
    """How forgiving an optimiser is of its learning rate (other axes at their best)."""

    optimizer: str
    best_lr: float
    best_held_out: float
    low_lr: float  # lowest and highest tried rate that is within noise of the optimiser's best
    high_lr: float
    decades: float
    fails_above: float | None  # smallest tried rate at which training diverged


@dataclass(frozen=True, slots=True)
class Race(Record):
    """The answer to *which optimiser and which learning rate for this task*."""

    task: str
    criterion: str  # "accuracy", "loss" or the metric's name
    table: tuple[Entry, ...]  # best first
    sensitivity: tuple[Sensitivity, ...]
    seeds: int
    samples: dict[str, int]  # train, selection, confirmation
    budget: dict[str, Any]  # evaluations per run, epochs per run, seconds asked for
    executed: int  # gradients executed in all, the probe's not counted
    seconds: float
    plan: dict[str, Any]
    machine: dict[str, str]
    notes: tuple[str, ...] = ()
    command: str = ""
    run: str = ""
    unfinished: bool = False

    @property
    def best(self) -> Entry:
        """The winner: best held-out criterion on the selection part."""
        return self.table[0]

    @property
    def tied(self) -> tuple[Entry, ...]:
        """Entries within noise of the winner (the winner itself not among them)."""
        return tuple(entry for entry in self.table[1:] if entry.tied)

    @property
    def defaults(self) -> tuple[Entry, ...]:
        """The optimisers at the library's default settings."""
        return tuple(entry for entry in self.table if entry.default)

    def report(self, path: str | Path) -> Path:
        """Write one self-contained HTML page and return where it is."""
        return resolve("thalweg.report.page:write")([self], path)


@dataclass(frozen=True, slots=True)
class Progress(Record):
    """How far a race is: what its ``progress`` callback is called with."""

    phase: str  # "probing learning rates", "racing", "widening" or "confirming"
    done: int  # gradient evaluations so far
    total: int  # and expected in all; grows when the search widens
    seconds: float  # since the start
    left: float | None = None  # seconds, estimated; None where nothing is known yet
    leaders: tuple[Entry, ...] = ()  # best so far, at most eight
    message: str = ""
    criterion: str = ""  # what the leaders' ``held_out`` is, as in ``Race.criterion``


@dataclass(frozen=True, slots=True)
class Codes:
    """Sparse codes with their certificate; arrays follow the input's kind (numpy or torch).

    ``z (b, m)``, ``energy (b,)``, ``gap (b,)`` = duality gap / half squared norm of x (None where
    no dual exists), ``iterations`` an int or ``(b,)``, ``converged (b,)`` of bool.
    """

    z: Any
    energy: Any
    gap: Any
    iterations: Any
    converged: Any
    status: str = field(default="")


@dataclass(frozen=True, slots=True)
class Picture(Record):
    """A grey image: ``pixels`` is base64 of ``height · width`` bytes, row by row."""

    title: str
    width: int
    height: int
    pixels: str


@dataclass(frozen=True, slots=True)
class CodesReport(Record):
    """What a dictionary or a batch of sparse codes looks like, in plain numbers."""

    kind: str  # "dictionary" (it was learned) or "codes" (signals were encoded)
    source: str
    inputs: int
    atoms: int
    l1: float
    penalty: str
    preparation: str  # what was done to a signal first, in words
    samples: int  # coded for the numbers below
    energy: float  # mean of ½‖x − Dz‖² + penalty
    active: float  # mean number of atoms in a code
    explained: float  # 1 − Σ‖x − Dz‖² / Σ‖x‖²
    converged: int  # samples whose gap is at most tol
    tol: float
    gap: float | None = None  # worst relative duality gap
    gap_decades: tuple[int, ...] = ()  # 10^d <= gap < 10^(d+1), the lowest holds all below
    gap_counts: tuple[int, ...] = ()
    activity: tuple[int, ...] = ()  # activity[k]: samples with k active atoms
    use: tuple[float, ...] = ()  # share of samples that use an atom, most used first
    learned_seen: tuple[int, ...] = ()  # signals met so far
    learned_energy: tuple[float, ...] = ()  # mean energy since the point before
    reseeded: int = 0
    iterations: tuple[int, ...] = ()  # of the plain solvers below
    solver_gaps: dict[str, tuple[float, ...]] = field(default_factory=dict)  # median after those
    mosaic: Picture | None = None  # atoms, most used first
    examples: tuple[Picture, ...] = ()
    seconds: float = 0.0
    machine: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    command: str = ""

    def report(self, path: str | Path) -> Path:
        """Write one self-contained HTML page and return where it is."""
        return resolve("thalweg.report.page:write")([self], path)


# Records of one area alone live in a file of their own, one line each here: ``records.Claim``.
ELSEWHERE = {
    "Claim": "thalweg.records_claims:Claim",
    "Reproduction": "thalweg.records_claims:Reproduction",
    "Run": "thalweg.records_training:Run",
    "FiltersReport": "thalweg.records_filters:FiltersReport",
    "SpectrumReport": "thalweg.records_spectrum:SpectrumReport",
    "GapReport": "thalweg.records_gap:GapReport",
    "TopographyReport": "thalweg.records_gap:TopographyReport",
    "Diagnosis": "thalweg.records_diagnosis:Diagnosis",
}


def __getattr__(name: str) -> Any:
    if name in ELSEWHERE:
        return resolve(ELSEWHERE[name])
    raise AttributeError(f"module 'thalweg.records' has no attribute {name!r}")
