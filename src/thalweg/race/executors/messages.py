"""What driver and workers say to each other. Numbers, strings and arrays only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thalweg.race.population.base import Advanced
from thalweg.race.space import Member
from thalweg.risk.criterion import Scores

State = tuple[dict[str, Tensor], dict[str, Any]]  # what an engine saves
Frozen = tuple[bytes, dict[str, Any]]  # the same as it travels
Parts = dict[str, "tuple[np.ndarray, np.ndarray, float]"]  # scores by held-out part


@dataclass(frozen=True, slots=True)
class Setup:
    """How a worker gets the same task as the driver, under the same settings of torch."""

    source: str  # what load_task takes
    data: str | None
    device: str
    dtype: str | None
    split_seed: int
    plan: dict[str, Any]
    fingerprint: dict[str, str]  # digests of data and initial weights
    memory: int  # bytes that live runs may hold in one worker
    folder: str  # for temporary files; the driver removes it
    default_dtype: str
    matmul_precision: str
    deterministic: bool


@dataclass(frozen=True, slots=True)
class Open:
    """Make an engine for these members."""

    group: int
    members: tuple[Member, ...]
    total: int
    state: Frozen | None
    dropped: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Advance:
    """Train up to the last of these steps, by way of the others."""

    group: int
    stops: tuple[int, ...]
    only: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Drop:
    """Forget members."""

    group: int
    indices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Save:
    """Answer with the engine's state, as soon as it is whole."""

    group: int


@dataclass(frozen=True, slots=True)
class Close:
    """Forget the engine."""

    group: int


Order = Open | Advance | Drop | Save | Close


@dataclass(frozen=True, slots=True)
class Ticked:
    """So many gradients were executed."""

    evaluations: int


@dataclass(frozen=True, slots=True)
class Arrived:
    """A member reached a step; its scores come along, so that nobody asks for them."""

    group: int
    step: int
    evaluations: int  # executed since the last word
    advanced: Advanced
    parts: Parts


@dataclass(frozen=True, slots=True)
class Finished:
    """Everything asked for by the last :class:`Advance` has arrived."""

    group: int
    evaluations: int


@dataclass(frozen=True, slots=True)
class Saved:
    """The answer to :class:`Save`."""

    group: int
    state: Frozen


@dataclass(frozen=True, slots=True)
class Failed:
    """An exception ended the worker."""

    kind: str  # name of the built-in type it is raised as
    line: str
    number: int | None  # errno of an OSError
    traceback: str


@dataclass(frozen=True, slots=True)
class Died:
    """The process ended without a word."""

    how: str


Answer = Ticked | Arrived | Finished | Saved | Failed | Died


def freeze(state: State) -> Frozen:
    """A state as bytes: tensors themselves would travel as shared memory, which outlives nobody."""
    from safetensors.torch import save

    tensors, meta = state
    plain = {name: t.detach().cpu().clone().contiguous() for name, t in tensors.items()}
    return save(plain), meta


def thaw(frozen: Frozen) -> State:
    """The inverse of :func:`freeze`."""
    from safetensors.torch import load

    return load(frozen[0]), frozen[1]


def flat(scores: Scores) -> tuple[np.ndarray, np.ndarray, float]:
    """Scores without tensors."""
    return scores.values.numpy(), scores.weights.numpy(), scores.loss


def scores(found: tuple[np.ndarray, np.ndarray, float]) -> Scores:
    """The inverse of :func:`flat`."""
    values, weights = (np.require(x, requirements="W") for x in found[:2])  # Ray's are read-only
    loss = found[2]
    return Scores(torch.from_numpy(values), torch.from_numpy(weights), loss)
