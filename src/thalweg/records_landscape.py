"""What does the loss surface look like from here? Noise, critical points, slices, smoothness."""

from __future__ import annotations

from dataclasses import dataclass, field

from thalweg.records import Record


@dataclass(frozen=True, slots=True)
class NoiseScale(Record):
    """How noisy the gradient of one sample is against the gradient of the whole risk.

    With G the mean gradient and Σ the covariance of single-sample gradients: a batch of m samples
    has a gradient of squared error ``trace / m``; at m = ``scale`` error and signal are equal.
    """

    scale: float  # trace / gradient_square, in samples; inf where nothing is left but noise
    stderr: float  # jackknife over groups of samples: how another data set would differ
    trace: float  # tr Σ, convention 1/(n - 1)
    trace_stderr: float
    gradient_square: float  # |G|², bias removed where only part of the samples was looked at
    gradient_square_stderr: float
    samples: int  # looked at
    of: int  # samples there are
    parameters: int
    method: str  # "samples" (one gradient per sample) or "batches" (differences between batches)
    loss: float  # mean over those looked at
    layers: dict[str, tuple[float, float]] = field(default_factory=dict)  # name: tr Σ, |G|²

    @property
    def resolved(self) -> bool:
        """Whether the gradient stands out of the noise: two standard errors above nothing."""
        return self.gradient_square > 2 * self.gradient_square_stderr


@dataclass(frozen=True, slots=True)
class MinibatchErrors(Record):
    """Measured root-mean-square error of minibatch gradients against the whole gradient."""

    sizes: tuple[int, ...]
    errors: tuple[float, ...]
    stderrs: tuple[float, ...]
    predicted: tuple[float, ...]  # σ/√m, with the finite-population factor where it applies
    slope: float  # of log error against log m, over sizes that are not the whole set
    replace: bool
    repeats: int
    population: int


@dataclass(frozen=True, slots=True)
class BatchAdvice(Record):
    """Which batch size, and why."""

    batch_size: int
    low: int  # the same advice at the ends of the noise scale's 95 % interval
    high: int
    reason: str
    sizes: tuple[int, ...]  # for the table below
    steps: tuple[float, ...]  # updates relative to a batch without noise: 1 + scale / m
    samples: tuple[float, ...]  # gradients relative to the smallest batch: 1 + m / scale
    noise: NoiseScale


@dataclass(frozen=True, slots=True)
class CriticalPoint(Record):
    """What kind of place the weights are at."""

    kind: str  # "not critical", "saddle", "minimum", "maximum", "degenerate" or "plateau"
    proved: bool  # by a full spectrum, or for a saddle by a negative Ritz value
    reason: str
    loss: float
    gradient_norm: float
    tol_gradient: float
    tol_curvature: float
    parameters: int
    lowest: float  # algebraically smallest curvature found
    lowest_residual: float
    highest: float
    highest_residual: float
    index: float  # estimated number of directions with curvature below -tol_curvature
    index_low: float  # bounds, where the spectrum was only sampled up to chance
    index_high: float
    near_zero: float  # share of |λ| <= tol_curvature
    method: str  # "dense", "lanczos" or "lanczos and quadrature"
    drop: float | None = None  # how far the loss fell along the escaping direction
    drop_step: float | None = None  # and after what length
    products: int = 0


@dataclass(frozen=True, slots=True)
class ConditioningRecord(Record):
    """The second-order model of one gradient step against what happened, over a training."""

    steps: tuple[int, ...]
    loss: tuple[float, ...]
    gradient_square: tuple[float, ...]  # gᵀg
    gradient_curvature: tuple[float, ...]  # gᵀHg
    lr: tuple[float, ...]
    ratio: tuple[float, ...]  # lr gᵀHg / (2 gᵀg): above 1 a gradient step raises the loss
    predicted: tuple[float, ...]  # -lr gᵀg + ½ lr² gᵀHg
    actual: tuple[float, ...]  # change of the loss of the same batch, nan where not measured
    greedy_lr: tuple[float, ...]  # gᵀg / gᵀHg, inf where the curvature along g is not positive
    largest_lr: tuple[float, ...]  # twice that


@dataclass(frozen=True, slots=True)
class GradientNorms(Record):
    """Gradient norms along a training, in all and by layer."""

    steps: tuple[int, ...]
    total: tuple[float, ...]
    smooth: tuple[float, ...]  # exponential average, bias removed
    layers: dict[str, tuple[float, ...]]
    look_steps: tuple[int, ...] = ()  # when held-out data were looked at
    looks: dict[str, tuple[float, ...]] = field(default_factory=dict)  # what was seen


@dataclass(frozen=True, slots=True)
class LineSlice(Record):
    """The loss along one direction."""

    title: str
    at: tuple[float, ...]
    loss: tuple[float, ...]
    data: str  # which part the loss was measured on
    samples: int
    normalise: str
    seed: int | None = None
    barrier: float | None = None  # between two solutions: highest point above the chord
    barrier_at: float | None = None


@dataclass(frozen=True, slots=True)
class PlaneSlice(Record):
    """The loss over a plane: ``loss[i][j]`` at ``(x[j], y[i])``."""

    title: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    loss: tuple[tuple[float, ...], ...]
    data: str
    samples: int
    normalise: str
    seed: int | None = None
    path_x: tuple[float, ...] = ()  # a trajectory laid over it
    path_y: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Smoothness(Record):
    """How the loss changes along the gradient, over a grid of step lengths."""

    steps: tuple[float, ...]  # s
    loss: float  # at the point itself
    losses: tuple[float, ...]  # L(w - s g)
    predictiveness: tuple[float, ...]  # |g - ∇L(w - s g)|
    beta: float  # max over s of |g - ∇L(w - s g)| / (s |g|)
    gradient_norm: float
    weight_norm: float

    @property
    def variation(self) -> float:
        """Highest minus lowest loss over the grid."""
        return max(self.losses) - min(self.losses)

    @property
    def scaled_beta(self) -> float:
        """β ‖w‖², which does not change where weights are scaled without effect."""
        return self.beta * self.weight_norm**2


@dataclass(frozen=True, slots=True)
class CovariateShift(Record):
    """By layer: its gradient before and after the layers below it took their step."""

    layers: tuple[str, ...]
    distance: tuple[float, ...]
    cosine: tuple[float, ...]
