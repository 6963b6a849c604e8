"""What is the curvature here, and what learning rates does it admit?"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from thalweg.records import Record
from thalweg.records_landscape import BatchAdvice, CriticalPoint, LineSlice, PlaneSlice
from thalweg.registry import resolve


@dataclass(frozen=True, slots=True)
class Rate(Record):
    """What one optimiser may take at these weights."""

    optimizer: str
    settings: str  # such as "momentum 0.9"; empty for none
    curvature: float  # the λmax that enters: of the matrix, or of the preconditioned one
    limit: float  # first steps are stable below it (on a quadratic: all steps)
    note: str = ""


@dataclass(frozen=True, slots=True)
class LayerCurvature(Record):
    """The diagonal block of one layer."""

    layer: str
    parameters: int
    largest: float
    residual: float  # an eigenvalue of the block lies within it
    trace: float
    trace_stderr: float  # 0: exact


@dataclass(frozen=True, slots=True)
class Share(Record):
    """A share of the eigenvalues, as bounds: |λ| < below, or λ < −below."""

    below: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class SpectrumReport(Record):
    """The spectrum of one curvature matrix at one set of weights."""

    task: str
    source: str | None
    operator: str  # hessian, ggn or fisher
    weights: str  # "fresh, seed 0", or the file they came from
    part: str
    mode: str
    samples: int
    of: int  # samples there are
    parameters: int
    dtype: str
    loss: float
    gradient_norm: float
    largest: tuple[float, ...]
    largest_residuals: tuple[float, ...]  # certified: an eigenvalue lies within
    largest_errors: tuple[float, ...]  # estimated
    smallest: tuple[float, ...]
    smallest_residuals: tuple[float, ...]
    smallest_errors: tuple[float, ...]
    converged: bool
    trace: float
    trace_stderr: float
    condition: float | None  # largest |λ| to smallest non-zero |λ|; None: not even a bound
    condition_exact: bool  # else ``condition`` is a lower bound
    condition_reason: str
    near_zero: tuple[Share, ...]
    negative: Share
    rates: tuple[Rate, ...]
    quadratic: bool  # the loss is a quadratic of the weights: limits are exact
    layers: tuple[LayerCurvature, ...] = ()
    preconditioned: float | None = None  # λmax that Adam feels
    preconditioned_residual: float | None = None
    exact: tuple[float, ...] = ()  # all eigenvalues, where all were computed
    grid: tuple[float, ...] = ()
    density: tuple[float, ...] = ()
    density_stderr: tuple[float, ...] = ()
    sigma: float = 0.0
    probes: int = 0
    steps: int = 0
    lines: tuple[LineSlice, ...] = ()  # through these weights; equal lengths mean equal distances
    plane: PlaneSlice | None = None
    critical: CriticalPoint | None = None  # of the Hessian: what kind of place these weights are
    batch: BatchAdvice | None = None  # with the gradient noise scale
    largest_stderr: float = 0.0  # over the choice of samples; 0: all were looked at
    smallest_stderr: float = 0.0
    products: int = 0
    engine: str = ""
    chunk: int | None = None
    seed: int = 0
    device: str = "cpu"
    seconds: float = 0.0
    machine: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    command: str = ""
    run: str = ""

    def report(self, path: str | Path) -> Path:
        """Write one self-contained HTML page and return where it is."""
        return resolve("thalweg.report.page:write")([self], path)


@dataclass(frozen=True, slots=True)
class AdmissibleRates(Record):
    """How large a first step may be at the initial weights of a task."""

    largest: float  # λmax of the Hessian
    residual: float  # certified
    samples: int
    products: int
    seconds: float
    rates: dict[str, float]  # by optimiser: the limit of its first steps; "greedy": 1/λmax
    notes: tuple[str, ...] = ()
