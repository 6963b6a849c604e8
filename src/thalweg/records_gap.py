"""What sparse autoencoders and topographic maps come to, in plain numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from thalweg.records import Picture, Record
from thalweg.registry import resolve


@dataclass(frozen=True, slots=True)
class CodeKind(Record):
    """One kind of codes on a batch: how much they explain, with how many atoms."""

    name: str  # "encoder", "refit", "optimal" or "optimal_refit"
    energy: float  # mean
    fvu: float  # Σ‖x − x̂‖² / Σ‖x − x̄‖²
    l0: float  # mean number of atoms
    quantiles: tuple[float, ...] = ()  # of the fvu per sample, at 0, 1 %, … 100 %


@dataclass(frozen=True, slots=True)
class GapReport(Record):
    """The amortisation gap of an encoder: one pass against the best codes of its decoder."""

    weights: str
    layout: str
    activations: str
    samples: int
    inputs: int
    atoms: int
    problem: str  # "l1" or "k-sparse"
    kinds: tuple[CodeKind, ...]
    excess: float  # mean energy of the encoder's codes above the optimal ones
    relative_excess: float  # the same as a share of the mean optimal energy
    support_share: float  # share of the excess that its supports, not its amplitudes, cost
    wrong: float  # share of samples whose support differs from the optimal one
    missed: float  # mean share of the optimal atoms that the encoder leaves out
    extra: float  # mean share of the encoder's atoms that the optimal code does without
    l1: float | None = None
    k: str | None = None  # "32", or "same" for the encoder's own number of atoms
    certificate: float | None = None  # worst duality gap of an optimal code ÷ ½‖x − b‖²
    over_budget: int = 0  # samples on which the encoder uses more than k atoms
    excess_decades: tuple[int, ...] = ()  # 10^d <= excess ÷ ½‖x − b‖² < 10^(d+1)
    excess_counts: tuple[int, ...] = ()
    missed_counts: tuple[int, ...] = ()  # samples by share of missed atoms, ten bins
    seconds: float = 0.0
    seed: int = 0
    machine: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    command: str = ""

    def report(self, path: str | Path) -> Path:
        """Write one self-contained HTML page and return where it is."""
        return resolve("thalweg.report.page:write")([self], path)


@dataclass(frozen=True, slots=True)
class TopographyReport(Record):
    """A dictionary laid out on a torus: how alike neighbours are, and how orientation runs."""

    source: str
    grid: tuple[int, ...]  # (a, b) units
    patch: tuple[int, ...]  # (height, width) of a filter
    pool: str  # in words, as "6 x 6, every 2, uniform"
    mosaic: Picture  # filters at their places on the torus
    orientation: tuple[float, ...]  # radians in [0, π), row by row
    coherence: tuple[float, ...]  # how clearly each filter has one, 0 … 1
    windings: tuple[float, ...]  # of each 2 x 2 plaquette, row by row: 0, +½ or −½
    trusted: tuple[float, ...]  # 1 where a plaquette turns and its four filters are clear
    neighbours: float  # mean |cos| of adjacent filters
    strangers: float  # mean |cos| of all pairs
    pinwheels: int  # how many are trusted
    roughness: float  # median angle between the orientations of neighbours, degrees; 45 is chance
    unit_shift: float  # mean correlation of unit responses under shifts of one pixel
    pool_shift: float  # the same of pools
    unit_rotation: float  # the same under rotation by 10 degrees
    pool_rotation: float
    seconds: float = 0.0
    seed: int = 0
    machine: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    command: str = ""

    def report(self, path: str | Path) -> Path:
        """Write one self-contained HTML page and return where it is."""
        return resolve("thalweg.report.page:write")([self], path)
