"""The shape of the loss around given weights: matrices, noise, critical points, slices."""

from __future__ import annotations

from typing import Any

from thalweg.registry import Member, Registry, resolve

OPERATORS = Registry(
    "curvature operator",
    Member(
        "hessian",
        "thalweg.curvature.hessians:hessian",
        "second derivatives of the mean loss",
        "Pearlmutter 1994",
    ),
    Member(
        "ggn",
        "thalweg.curvature.gauss_newton:ggn",
        "generalised Gauss-Newton matrix: the loss's curvature seen through the model",
        "Schraudolph 2002",
    ),
    Member(
        "fisher",
        "thalweg.curvature.fishers:fisher",
        "second moments of per-sample gradients: empirical, or at targets drawn from the model",
        "Martens 2020",
    ),
)

_OTHERS = {
    "gradient_covariance": "thalweg.curvature.fishers:gradient_covariance",
    "mean_gradient": "thalweg.curvature.fishers:mean_gradient",
    "admissible_rates": "thalweg.curvature.admissible:admissible_rates",
    "adaptive": "thalweg.curvature.admissible:adaptive",
    "spectrum": "thalweg.curvature.survey:spectrum",
    "layer_blocks": "thalweg.curvature.blocks:layer_blocks",
    "open_problem": "thalweg.curvature.problem:open_problem",
    "CurvatureOperator": "thalweg.curvature.matrix:CurvatureOperator",
    "surface_of": "thalweg.curvature.surfaces:surface",
    "of_function": "thalweg.curvature.surface:of_function",
    "Surface": "thalweg.curvature.surface:Surface",
    "noise_scale": "thalweg.curvature.noise:noise_scale",
    "noise_floor": "thalweg.curvature.floor:noise_floor",
    "advise_batch_size": "thalweg.curvature.floor:advise_batch_size",
    "stationary_variance": "thalweg.curvature.floor:stationary_variance",
    "minibatch_errors": "thalweg.curvature.noise:minibatch_errors",
    "per_sample_gradients": "thalweg.curvature.samples:per_sample_gradients",
    "classify": "thalweg.curvature.critical:classify",
    "newton_step": "thalweg.curvature.newton:newton_step",
    "newton_descent": "thalweg.curvature.newton:newton_descent",
    "flatness": "thalweg.curvature.probes:flatness",
    "line_slice": "thalweg.curvature.landscape:line_slice",
    "plane_slice": "thalweg.curvature.landscape:plane_slice",
    "interpolate": "thalweg.curvature.landscape:interpolate",
    "landscape_along_gradient": "thalweg.curvature.smoothness:landscape_along_gradient",
    "covariate_shift": "thalweg.curvature.smoothness:covariate_shift",
    "ConditioningMonitor": "thalweg.curvature.monitors:ConditioningMonitor",
    "GradientNormMonitor": "thalweg.curvature.monitors:GradientNormMonitor",
}
_LAZY = {member.name: member.target for member in OPERATORS} | _OTHERS

__all__ = ["OPERATORS", *sorted(_LAZY)]  # pyrefly: ignore


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return resolve(_LAZY[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
