"""Linear algebra that needs nothing but matrix–vector products."""

from __future__ import annotations

from typing import Any

from thalweg.registry import resolve

_LAZY = {
    "LinearOperator": "thalweg.linalg.operator:LinearOperator",
    "DenseOperator": "thalweg.linalg.operator:DenseOperator",
    "ScaledOperator": "thalweg.linalg.compose:ScaledOperator",
    "ShiftedOperator": "thalweg.linalg.compose:ShiftedOperator",
    "power_iteration": "thalweg.linalg.power:power_iteration",
    "gram_bound": "thalweg.linalg.power:gram_bound",
    "eigenvalues": "thalweg.linalg.lanczos:eigenvalues",
    "Eigenpairs": "thalweg.linalg.lanczos:Eigenpairs",
    "spectral_density": "thalweg.linalg.quadrature:spectral_density",
    "Density": "thalweg.linalg.quadrature:Density",
    "trace": "thalweg.linalg.estimates:trace",
    "diagonal": "thalweg.linalg.estimates:diagonal",
    "Estimate": "thalweg.linalg.estimates:Estimate",
    "conjugate_gradients": "thalweg.linalg.solve:conjugate_gradients",
    "minres": "thalweg.linalg.solve:minres",
    "Solution": "thalweg.linalg.solve:Solution",
}

__all__ = sorted(_LAZY)  # pyrefly: ignore


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return resolve(_LAZY[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
