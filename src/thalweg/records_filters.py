"""What learned filters, or code maps over them, come to in plain numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from thalweg.records import Picture, Record
from thalweg.registry import resolve


@dataclass(frozen=True, slots=True)
class FiltersReport(Record):
    """Filters that slide over images, and how well few of their copies explain some of these.

    What is listed per filter stands in the order of the mosaic: most used first.
    """

    kind: str  # "dictionary" (filters were learned) or "codes" (images were coded)
    source: str
    filters: int
    size: tuple[int, ...]  # height and width of a filter
    l1: float
    boundary: str
    preparation: str  # in words
    images: tuple[str, ...]  # names of those coded for the numbers below
    pixels: int  # of these
    energy: float  # ½‖Y − ΣW*Z‖² + l1‖Z‖₁, a pixel
    coefficients: int  # not zero
    share: float  # of all coefficients that are not zero
    explained: float  # 1 − Σ‖Y − ΣW*Z‖² / Σ‖Y‖²
    tol: float
    gaps: tuple[float, ...]  # relative duality gap of each image
    use: tuple[float, ...]  # share of Σ|Z| that each filter holds
    orientation: tuple[float, ...]  # of each filter's edges, degrees in [0, 180)
    coherence: tuple[float, ...]  # how clearly it has one, 0 … 1
    frequency: tuple[float, ...]  # mean, cycles a pixel
    likeness: float  # mean over pairs of the largest |product| over all shifts
    non_negative: bool = False
    learned_steps: tuple[int, ...] = ()
    learned_energy: tuple[float, ...] = ()  # a pixel, mean since the point before
    reseeded: int = 0
    mosaic: Picture | None = None
    examples: tuple[Picture, ...] = ()  # in threes: prepared, from its code, difference
    parts: tuple[Picture, ...] = ()  # what single filters say of the first image
    seconds: float = 0.0
    machine: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    command: str = ""

    @property
    def converged(self) -> bool:
        """Whether every image was coded as exactly as was asked."""
        return all(gap <= self.tol for gap in self.gaps)

    def report(self, path: str | Path) -> Path:
        """Write one self-contained HTML page and return where it is."""
        return resolve("thalweg.report.page:write")([self], path)
