"""What has been seen so far: one line a look, and what adds up over several of them."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from thalweg.watching.ledger import Ledger
from thalweg.watching.losses import Losses

KEPT = 256
ROWS = 256  # samples over which a unit must be off to count as dead


@dataclass(frozen=True)
class Look:
    """What one look saw; dictionaries are by layer or weight tensor."""

    step: int
    lr: float
    gradients: dict[str, float] = field(default_factory=dict)  # norms, as the optimiser gets them
    ratios: dict[str, float] = field(default_factory=dict)  # update over weight
    outputs: dict[str, float] = field(default_factory=dict)  # root mean square, in forward order
    back: dict[str, float] = field(default_factory=dict)  # norms of gradients in outputs
    saturated: dict[str, float] = field(default_factory=dict)
    unreached: tuple[str, ...] = ()
    used: frozenset[str] = frozenset()  # modules that ran
    finite_inputs: bool = True
    finite_weights: bool = True
    cleared: bool | None = None  # gradients were zero before the backward pass; None: not seen
    lost: float = math.nan  # share of entries with a gradient that did not move
    dot: float = math.nan  # inner product of two successive gradients, and their mean square
    square: float = math.nan

    @property
    def norm(self) -> float:
        """Norm of the whole gradient."""
        return math.hypot(*self.gradients.values()) if self.gradients else math.nan


def look(step: int, lr: float, numbers: Mapping[Hashable, float], **seen: object) -> Look:
    """A line from the numbers of a ledger."""
    tables: dict[str, dict[str, float]] = {}
    for key, value in numbers.items():
        kind, name = key if isinstance(key, tuple) else (key, "")
        tables.setdefault(str(kind), {})[str(name)] = value
    get = tables.get
    asked, lost = sum(get("asked", {}).values()), sum(get("lost", {}).values())
    return Look(
        step=step,
        lr=get("lr", {}).get("", lr),
        gradients=get("gradient", {}),
        ratios=get("ratio", {}),
        outputs=get("output", {}),
        back=get("back", {}),
        saturated=get("saturated", {}),
        finite_inputs=all(get("input", {}).values()),
        finite_weights=all(get("weights", {}).values()),
        lost=lost / asked if asked else math.nan,
        dot=sum(get("dot", {}).values()) if get("dot") else math.nan,
        square=sum(get("square", {}).values()) if get("square") else math.nan,
        **seen,  # pyrefly: ignore
    )


@dataclass
class Units:
    """Which rectified units have been on at least once lately."""

    alive: dict[str, Tensor] = field(default_factory=dict)
    samples: int = 0
    dead: dict[str, float] = field(default_factory=dict)  # shares, of the last full window
    sizes: dict[str, int] = field(default_factory=dict)
    _pending: dict[str, int] = field(default_factory=dict)

    def add(self, alive: Mapping[str, Tensor], samples: int, ledger: Ledger) -> None:
        """Take in one look; a full window is noted in the ledger and begun anew."""
        for place, on in alive.items():
            old = self.alive.get(place)
            same = old is not None and old.shape == on.shape and old.device == on.device
            self.alive[place] = old | on if same and old is not None else on
        self.samples += samples
        if self.samples >= ROWS:
            for place, on in self.alive.items():
                if on.numel() > 1:
                    self.sizes[place] = on.numel()
                    ledger.note(("dead", place), (~on).float().mean())
            self.alive, self.samples = {}, 0

    def settle(self, numbers: Mapping[Hashable, float]) -> None:
        """Take the shares of a full window from what was read."""
        found = {k[1]: v for k, v in numbers.items() if isinstance(k, tuple) and k[0] == "dead"}
        if found:
            self.dead = found


@dataclass
class History:
    """All that the detectors may ask."""

    parameters: dict[str, int] = field(default_factory=dict)  # trainable, of the model: sizes
    owned: frozenset[str] = frozenset()  # those that the optimiser holds
    still: frozenset[str] = frozenset()  # not held, get a gradient, and never change
    optimizer: str = ""
    precision: str = ""  # the coarsest type of the weights
    total: int | None = None  # steps planned
    steps: int = 0
    looks: list[Look] = field(default_factory=list)
    units: Units = field(default_factory=Units)
    losses: Losses = field(default_factory=Losses)
    order: tuple[str, ...] = ()  # layers with weights, as they run
    wide: frozenset[str] = frozenset()  # of these, matrices and kernels
    broken: Look | None = None  # the first look with numbers that are not finite
    sound: Look | None = None  # the last one before it
    blind: bool = False  # some look could not see activations that are called as functions
    stale: int = 0  # looks that found the gradients of the step before
    checked: int = 0

    def add(self, seen: Look) -> None:
        """Take in one look; the oldest ones, but for the first, make room."""
        if seen.cleared is not None:
            self.checked += 1
            self.stale += not seen.cleared
        finite = math.isfinite(seen.norm) or not seen.gradients
        if self.broken is None:
            if finite and seen.finite_weights and seen.finite_inputs:
                self.sound = seen
            else:
                self.broken = seen
        self.looks.append(seen)
        if len(self.looks) > KEPT:
            del self.looks[KEPT // 4]

    def recent(self, count: int = 5) -> list[Look]:
        """The last few looks, if there are at least three."""
        return self.looks[-count:] if len(self.looks) >= 3 else []


def median(values: list[float]) -> float:
    """The middle value (the lower one of two); NaN of none or where one is NaN."""
    if not values or any(v != v for v in values):
        return math.nan
    return sorted(values)[(len(values) - 1) // 2]
