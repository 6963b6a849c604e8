"""Which networks predict sparse codes? One member a line; torch is imported on first use."""

from __future__ import annotations

from typing import Any

from thalweg.registry import Member, Registry

_HERE = "thalweg.sparse.encoders"

ENCODERS = Registry(
    "encoder",
    Member(
        "shrinkage",
        f"{_HERE}.shrinkage:Shrinkage",
        "one layer: soft threshold of a linear map",
        "Gregor and LeCun 2010, section 1",
    ),
    Member(
        "lista",
        f"{_HERE}.lista:LISTA",
        "unrolled ISTA with learned weights; dense, sparse or low-rank mutual inhibition",
        "Gregor and LeCun 2010, algorithm 2; Daubechies et al. 2004 for ISTA",
    ),
    Member(
        "lcod",
        f"{_HERE}.lcod:LCoD",
        "unrolled greedy coordinate descent with learned weights",
        "Gregor and LeCun 2010, algorithms 3 and 4; Li and Osher 2009",
    ),
    Member(
        "linear",
        f"{_HERE}.feedforward:Linear",
        "a linear map: how far does no threshold at all get?",
        "Kavukcuoglu, Ranzato and LeCun 2008",
    ),
    Member(
        "tanh",
        f"{_HERE}.feedforward:Tanh",
        "a gain times the tanh of a linear map",
        "Kavukcuoglu, Ranzato and LeCun 2008",
    ),
    Member(
        "tanh-shrink",
        f"{_HERE}.feedforward:TanhShrink",
        "a gain times a − tanh(a) of a linear map",
        "Kavukcuoglu et al. 2010",
    ),
    Member(
        "smooth-shrink",
        f"{_HERE}.smoothed:SmoothShrink",
        "sh: a smooth threshold of a linear map, its knee and sharpness learned",
        "Kavukcuoglu et al. 2010",
    ),
)

_NAMES = {
    "Encoder": f"{_HERE}.base:Encoder",
    "Shrinkage": f"{_HERE}.shrinkage:Shrinkage",
    "LISTA": f"{_HERE}.lista:LISTA",
    "LCoD": f"{_HERE}.lcod:LCoD",
    "Linear": f"{_HERE}.feedforward:Linear",
    "Tanh": f"{_HERE}.feedforward:Tanh",
    "TanhShrink": f"{_HERE}.feedforward:TanhShrink",
    "SmoothShrink": f"{_HERE}.smoothed:SmoothShrink",
    "smooth_shrink": f"{_HERE}.smoothed:smooth_shrink",
    "Training": f"{_HERE}.training:Training",
}

__all__ = ["ENCODERS", *_NAMES]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        from thalweg.registry import resolve

        return resolve(_NAMES[name])
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
