"""How are inputs and weights prepared, so that descent starts on a round bowl?

Importing this package loads nothing heavy; names resolve on first use.
"""

from __future__ import annotations

from typing import Any

from thalweg.registry import Member, Registry, resolve

_LECUN = "LeCun, Bottou, Orr and Müller 1998"
_GLOROT = "Glorot and Bengio 2010"
_HE = "He, Zhang, Ren and Sun 2015"
_INPUTS = "thalweg.conditioning.inputs"
_WEIGHTS = "thalweg.conditioning.rules"

CONDITIONERS = Registry(
    "input conditioning",
    Member("centre", f"{_INPUTS}:Centre", "subtract the mean", _LECUN),
    Member("scale", f"{_INPUTS}:Standardizer", "mean 0 and variance 1 per variable", _LECUN),
    Member("whiten", f"{_INPUTS}:zca", "uncorrelated, nearest to the original (ZCA)", _LECUN),
    Member("whiten-pca", f"{_INPUTS}:pca", "uncorrelated, along the principal axes", _LECUN),
)

INITIALISATIONS = Registry(
    "initialisation",
    Member(
        "fan-in",
        f"{_WEIGHTS}:fan_in",
        "uniform within 1/sqrt(inputs): what torch's linear layers start as",
        _LECUN,
    ),
    Member("lecun", f"{_WEIGHTS}:lecun", "normal, variance 1/inputs", _LECUN),
    Member("glorot", f"{_WEIGHTS}:glorot", "uniform, variance 2/(inputs + outputs)", _GLOROT),
    Member(
        "glorot-normal",
        f"{_WEIGHTS}:glorot_normal",
        "normal, variance 2/(inputs + outputs)",
        _GLOROT,
    ),
    Member("he", f"{_WEIGHTS}:he", "normal, variance 2/inputs: keeps variance under ReLU", _HE),
    Member("he-uniform", f"{_WEIGHTS}:he_uniform", "uniform, variance 2/inputs", _HE),
    Member(
        "orthogonal",
        f"{_WEIGHTS}:orthogonal",
        "orthonormal rows or columns",
        "Saxe, McClelland and Ganguli 2014",
    ),
    Member("sparse", f"{_WEIGHTS}:sparse", "k normal weights per unit, the rest 0", "Martens 2010"),
    Member("zero", f"{_WEIGHTS}:zero", "every weight 0: units never come to differ"),
    Member(
        "lsuv",
        "thalweg.conditioning.lsuv:lsuv_",
        "orthonormal, then every layer's output scaled to variance 1 on a batch",
        "Mishkin and Matas 2016",
    ),
)

_PUBLIC = {
    "Centre": f"{_INPUTS}:Centre",
    "Standardizer": f"{_INPUTS}:Standardizer",
    "Whitener": f"{_INPUTS}:Whitener",
    "condition": "thalweg.conditioning.tasks:condition",
    "initialised": "thalweg.conditioning.tasks:initialised",
    "save": "thalweg.conditioning.saving:save",
    "load": "thalweg.conditioning.saving:load",
    "spectrum": "thalweg.conditioning.spectra:spectrum",
    "effect": "thalweg.conditioning.spectra:effect",
    "init_": "thalweg.conditioning.initialise:init_",
    "lsuv_": "thalweg.conditioning.lsuv:lsuv_",
    "forget_gate_bias_": "thalweg.conditioning.biases:forget_gate_bias_",
    "output_bias_": "thalweg.conditioning.biases:output_bias_",
    "activation_report": "thalweg.conditioning.activations:activation_report",
    "norm_statistics": "thalweg.conditioning.normalise:norm_statistics",
    "normalised": "thalweg.conditioning.normalise:normalised",
}

__all__ = ["CONDITIONERS", "INITIALISATIONS", *_PUBLIC]  # pyrefly: ignore


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'thalweg.conditioning' has no attribute {name!r}")
    return resolve(_PUBLIC[name])


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
