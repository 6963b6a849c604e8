"""What is an optimiser called and how is it coloured? The same in every figure and terminal."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from thalweg.report.numbers import clean, rate, significant

LABELS = {
    "sgd": "SGD",
    "momentum": "SGD with momentum",
    "nesterov": "SGD with Nesterov momentum",
    "adagrad": "AdaGrad",
    "rmsprop": "RMSProp",
    "adadelta": "AdaDelta",
    "adam": "Adam",
    "adamw": "AdamW",
    "amsgrad": "AMSGrad",
    "delta-bar-delta": "delta-bar-delta",
    "entropy-sgd": "Entropy-SGD",
    "easgd": "EASGD",
    "eamsgd": "EAMSGD",
    "downpour": "DOWNPOUR",
    "nonlinear-cg": "nonlinear CG",
    "lbfgs": "L-BFGS",
}
SHORT = {**LABELS, "momentum": "momentum", "nesterov": "Nesterov"}

# Eight hues, told apart by colour-blind readers in this order; the second eight names repeat them
# dashed. Marker shapes differ as well, so that no figure depends on colour alone.
HUES = 8
SLOTS = {
    name: slot
    for slot, name in enumerate(
        (
            "sgd",
            "momentum",
            "adam",
            "nesterov",
            "rmsprop",
            "adamw",
            "adagrad",
            "adadelta",
            "delta-bar-delta",
            "entropy-sgd",
            "amsgrad",
            "nonlinear-cg",
            "lbfgs",
            "easgd",
            "eamsgd",
            "downpour",
        )
    )
}
MARKERS = ("circle", "square", "diamond", "triangle-up", "pentagon", "star", "hexagon", "cross")
TERMINAL = ("blue", "dark_orange", "green", "magenta", "red", "cyan", "yellow", "bright_black")

SETTINGS = {
    "batch_size": "batch size",
    "schedule": "schedule",
    "clip": "clipping at",
    "lr": "learning rate",
    "weight_decay": "weight decay",
}


@dataclass(frozen=True, slots=True)
class Look:
    """How one optimiser is drawn wherever it appears."""

    hue: int
    dash: str
    marker: str


def look(optimizer: str) -> Look:
    """Colour, dash and marker of an optimiser; unknown names get a fixed one from their letters."""
    slot = SLOTS.get(optimizer)
    if slot is None:
        slot = zlib.crc32(optimizer.encode("utf-8", "surrogatepass")) % (2 * HUES)
    return Look(slot % HUES, "solid" if slot < HUES else "dash", MARKERS[slot % HUES])


def label(optimizer: str) -> str:
    """The name people know: ``SGD with Nesterov momentum`` for ``nesterov``."""
    return LABELS.get(optimizer, clean(optimizer, 60))


def short(optimizer: str) -> str:
    """The name for tables and legends: ``Nesterov`` for ``nesterov``."""
    return SHORT.get(optimizer, clean(optimizer, 40))


def setting(name: str, value: Any) -> str:
    """One hyperparameter or setting in words: ``weight decay 0.0001``, ``cosine schedule``."""
    if name == "schedule":
        return f"{clean(value or 'constant', 40)} schedule"
    if name == "clip" and value is None:
        return "no clipping"
    if name == "batch_size" and value is None:
        return "all samples at once"
    if name == "lr" and isinstance(value, int | float):
        return f"learning rate {rate(value)}"
    return f"{SETTINGS.get(name, clean(name, 40).replace('_', ' '))} {plain(value)}"


def plain(value: Any) -> str:
    """A hyperparameter's value for a person."""
    if isinstance(value, bool) or value is None:
        return {True: "on", False: "off", None: "none"}[value]
    if isinstance(value, int):
        return str(value) if abs(value) < 10**9 else significant(float(value))
    if isinstance(value, float):
        return significant(value)
    if isinstance(value, list | tuple):
        return "(" + ", ".join(plain(item) for item in value) + ")"
    if isinstance(value, Mapping):
        return ", ".join(f"{clean(key, 40)} {plain(item)}" for key, item in value.items())
    return clean(value, 80)
