"""What do the words after a verb mean? Shared options, and the small grammars of two of them."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Any

import typer

MOST_RATES = 200

Json = Annotated[bool, typer.Option("--json", help="Print the record as JSON, nothing else.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the data split and the first run.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Run = Annotated[
    Path | None, typer.Option("--run", metavar="DIR", help="Run directory: journal and results.")
]
Traceback = Annotated[bool, typer.Option("--traceback", help="Show where an error arose.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress; print the report's path only.")
]
# Every verb takes the common options; where one changes nothing it is not advertised.
NoSeed = Annotated[int, typer.Option("--seed", hidden=True)]
NoDevice = Annotated[str, typer.Option("--device", hidden=True)]
NoRun = Annotated[Path | None, typer.Option("--run", hidden=True)]


def parse_names(text: str, option: str) -> tuple[str, ...]:
    """``"sgd, adam"`` → ``("sgd", "adam")``; an empty or repeated name is an error."""
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise ValueError(f"{option} {text!r}: expected names between commas, got an empty one")
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"{option} {text!r}: {', '.join(sorted(twice))} stands there twice")
    return names


def parse_rates(text: str) -> str | tuple[float, ...]:
    """Learning rates: ``auto``, ``0.1,0.01``, or ``1e-4:1:9`` (from:to:count, log-spaced).

    >>> parse_rates("0.1,0.01"), parse_rates("1e-2:1:3")
    ((0.1, 0.01), (0.01, 0.1, 1.0))
    """
    if text.strip() == "auto":
        return "auto"
    if ":" in text:
        return _spaced(text)
    rates = tuple(_rate(part, text) for part in text.split(","))
    if len(set(rates)) < len(rates):
        raise ValueError(f"--lrs {text!r}: the same rate stands there twice")
    return rates


def _spaced(text: str) -> tuple[float, ...]:
    parts = text.split(":")
    if len(parts) != 3 or not re.fullmatch(r"\s*\d{1,4}\s*", parts[2]):
        raise ValueError(f"--lrs {text!r}: expected from:to:count, for example 1e-4:1:9")
    low, high, number = _rate(parts[0], text), _rate(parts[1], text), int(parts[2])
    if not 2 <= number <= MOST_RATES:
        raise ValueError(f"--lrs {text!r}: count must be 2 to {MOST_RATES}, got {number}")
    if low == high:
        raise ValueError(f"--lrs {text!r}: from and to are equal; give one rate instead")
    first, last = math.log10(low), math.log10(high)
    # Four digits: the paste-able line stays readable, and the spacing stays log-even.
    middle = (10 ** (first + (last - first) * i / (number - 1)) for i in range(1, number - 1))
    return (low, *(float(f"{lr:.4g}") for lr in middle), high)


def _rate(part: str, text: str) -> float:
    try:
        lr = float(part)
    except ValueError:
        raise ValueError(
            f"--lrs {text!r}: {part.strip()!r} is no number; expected auto, 0.1,0.01 or 1e-4:1:9"
        ) from None
    if not (math.isfinite(lr) and lr > 0):
        raise ValueError(f"--lrs {text!r}: a learning rate must be finite and above 0, got {part}")
    return lr


def parse_space(items: list[str] | None) -> dict[str, tuple[Any, ...]] | None:
    """Further axes: ``["weight_decay=0,1e-4", "schedule=cosine"]`` → a dictionary of tuples.

    >>> parse_space(["momentum=0.9,0.99", "betas=(0.9,0.99)", "clip=none"])
    {'momentum': (0.9, 0.99), 'betas': ((0.9, 0.99),), 'clip': (None,)}
    """
    space: dict[str, tuple[Any, ...]] = {}
    for item in items or ():
        name, equals, values = item.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not re.fullmatch(r"[A-Za-z_]\w*", name) or not values.strip():
            raise ValueError(f"--space {item!r}: expected name=value,value, as in momentum=0,0.9")
        if name == "lr":
            raise ValueError(f"--space {item!r}: learning rates are given by --lrs")
        if name in space:
            raise ValueError(f"--space {item!r}: {name} was given before; put all values in one")
        space[name] = tuple(_value(part, item) for part in _split(values, item))
        if len(set(map(repr, space[name]))) < len(space[name]):
            raise ValueError(f"--space {item!r}: a value stands there twice")
    return space or None


def parse_hyperparameters(items: list[str] | None) -> dict[str, Any]:
    """Settings of one optimiser: ``["lr=0.1", "betas=(0.9,0.99)"]`` → a dictionary.

    >>> parse_hyperparameters(["lr=0.1", "nesterov=false"])
    {'lr': 0.1, 'nesterov': False}
    """
    found: dict[str, Any] = {}
    for item in items or ():
        name, equals, value = item.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not re.fullmatch(r"[A-Za-z_]\w*", name) or not value.strip():
            raise ValueError(f"-o {item!r}: expected name=value, as in lr=0.1")
        if name in found:
            raise ValueError(f"-o {item!r}: {name} was given before")
        found[name] = _value(value, item)
    return found


def _split(values: str, item: str) -> list[str]:
    """Cut at commas outside parentheses."""
    if not re.fullmatch(r"(?:[^()]|\([^()]*\))*", values):
        raise ValueError(f"--space {item!r}: the parentheses do not match")
    return re.split(r",(?![^(]*\))", values)


def _value(part: str, item: str) -> Any:
    part = part.strip()
    if not part:
        raise ValueError(f"--space {item!r}: expected values between commas, got an empty one")
    if part.startswith("("):
        return tuple(_value(inner, item) for inner in part[1:-1].split(","))
    words = {"none": None, "true": True, "false": False}
    if part.lower() in words:
        return words[part.lower()]
    for kind in (int, float):
        try:
            value = kind(part)
        except ValueError:
            continue
        if not math.isfinite(value):
            raise ValueError(f"--space {item!r}: {part} is not a finite number")
        return value
    return part
