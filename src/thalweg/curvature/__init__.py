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
)

_LAZY = {member.name: member.target for member in OPERATORS} | {
    "CurvatureOperator": "thalweg.curvature.matrix:CurvatureOperator",
}

__all__ = ["OPERATORS", *sorted(_LAZY)]  # pyrefly: ignore


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return resolve(_LAZY[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
