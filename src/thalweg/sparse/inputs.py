"""Is this input usable? Everything that ``encode`` is given is checked here, at the door."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thalweg.sparse import PENALTIES
from thalweg.sparse.penalties.base import Penalty, check_weight
from thalweg.sparse.penalties.l1 import L1, NonNegativeL1, WeightedL1

_FLOATS = (torch.float32, torch.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Signals:
    """A checked batch ``(b, n)``: numpy or torch, read in float64 slices, never copied whole."""

    data: Any
    is_torch: bool
    dtype: torch.dtype  # of the codes to return
    device: torch.device

    @property
    def shape(self) -> tuple[int, int]:
        """Samples and inputs."""
        return self.data.shape[0], self.data.shape[1]

    def rows(self, begin: int, end: int) -> Tensor:
        """Samples ``begin … end - 1`` in float64."""
        if self.is_torch:
            return self.data[begin:end].to(torch.float64)
        return torch.from_numpy(np.array(self.data[begin:end], dtype=np.float64, order="C"))

    def give(self, values: Tensor) -> Any:
        """An answer of the kind the user gave."""
        return values if self.is_torch else values.numpy()


def read(data: Any, name: str, axes: str) -> Signals:
    """Check one two-dimensional real array.

    Raises:
        TypeError: For half precision, complex, object, text or sparse arrays.
        ValueError: Unless it has two dimensions and finite values.
    """
    if isinstance(data, Tensor):
        return _read_torch(data, name, axes)
    if hasattr(data, "toarray"):
        raise TypeError(
            f"{name} is sparse ({type(data).__name__}); pass a dense array: {name}.toarray()"
        )
    try:
        array = np.asarray(data)
    except (ValueError, TypeError, RuntimeError) as error:
        raise TypeError(f"{name} is not an array of numbers: {error}") from error
    _check_shape(tuple(array.shape), name, axes)
    if array.dtype.kind in "iub":
        dtype = torch.float64
    elif array.dtype.kind == "f" and array.dtype.itemsize in (4, 8):
        dtype = torch.float32 if array.dtype.itemsize == 4 else torch.float64
    else:
        raise TypeError(_wrong_dtype(name, str(array.dtype)))
    signals = Signals(array, False, dtype, torch.device("cpu"))
    _check_finite(signals, name)
    return signals


def _read_torch(data: Tensor, name: str, axes: str) -> Signals:
    _check_shape(tuple(data.shape), name, axes)
    if data.layout != torch.strided:
        raise TypeError(f"{name} is sparse ({data.layout}); pass a dense tensor: {name}.to_dense()")
    if data.dtype in _FLOATS:
        dtype = data.dtype
    elif data.is_floating_point() or data.is_complex():
        raise TypeError(_wrong_dtype(name, str(data.dtype).removeprefix("torch.")))
    else:
        dtype = torch.float64
    signals = Signals(data.detach(), True, dtype, data.device)
    _check_finite(signals, name)
    return signals


def _wrong_dtype(name: str, dtype: str) -> str:
    if dtype in ("float16", "bfloat16"):
        return f"{name} is {dtype}, too coarse for certified codes; pass float32 or float64"
    return f"{name} has dtype {dtype}; real numbers are needed (float32, float64, integer or bool)"


def _check_shape(shape: tuple[int, ...], name: str, axes: str) -> None:
    if len(shape) != 2:
        hint = (
            f"; one sample is a batch of one: {name}[None, :]"
            if len(shape) == 1 and name == "X"
            else ""
        )
        raise ValueError(f"{name} must have two axes {axes}, got shape {shape}{hint}")


def _check_finite(signals: Signals, name: str) -> None:
    count, width = signals.shape
    step = max(1, 4_000_000 // max(1, width))
    for begin in range(0, count, step):
        rows = signals.rows(begin, begin + step)
        # finite entries whose squares overflow make every energy infinite
        if not bool(torch.isfinite(rows.square().sum(-1)).all()):
            bad = int((~torch.isfinite(rows.square().sum(-1))).nonzero()[0, 0]) + begin
            what = (
                "squares overflow"
                if bool(torch.isfinite(rows[bad - begin]).all())
                else "NaN or infinite values"
            )
            raise ValueError(f"{name} has {what} in row {bad}; remove or replace such values")


def match(signals: Signals, dictionary: Signals) -> None:
    """Check that signals and dictionary belong together.

    Raises:
        TypeError: If one is numpy and the other torch.
        ValueError: If devices differ or the dictionary has another number of rows.
    """
    if signals.is_torch != dictionary.is_torch:
        kinds = {True: "a torch tensor", False: "a numpy array"}
        raise TypeError(
            f"X is {kinds[signals.is_torch]} but D is {kinds[dictionary.is_torch]}; give both as "
            "the same kind"
        )
    if signals.device != dictionary.device:
        raise ValueError(
            f"X is on {signals.device} but D is on {dictionary.device}; move one of them"
        )
    n, (rows, atoms) = signals.shape[1], dictionary.shape
    if n != rows:
        hint = "; it looks transposed: pass D.T" if n == atoms else ""
        raise ValueError(
            f"X has {n} inputs per sample, so D must have shape ({n}, atoms) with atoms as "
            f"columns, got {(rows, atoms)}{hint}"
        )
    if n == 0 or atoms == 0:
        raise ValueError(
            f"X has {n} inputs and D has {atoms} atoms; at least one of each is needed"
        )


def read_start(start: Any, signals: Signals, atoms: int) -> Signals | None:
    """Check a warm start ``(b, m)`` of the same kind and place as the signals.

    Raises:
        TypeError: If it is of another kind.
        ValueError: If it has another shape or is elsewhere.
    """
    if start is None:
        return None
    checked = read(start, "start", "(samples, atoms)")
    if checked.is_torch != signals.is_torch or checked.device != signals.device:
        raise TypeError("start must be of the same kind and on the same device as X")
    if checked.shape != (signals.shape[0], atoms):
        raise ValueError(f"start must have shape {(signals.shape[0], atoms)}, got {checked.shape}")
    return checked


def read_penalty(l1: Any, penalty: str | Penalty | None, atoms: int) -> Penalty:
    """The penalty that ``l1`` and ``penalty`` ask for.

    Raises:
        TypeError: If ``penalty`` is neither a name nor a penalty.
        ValueError: If ``l1`` is missing, given twice, or does not fit the dictionary.
    """
    if isinstance(penalty, Penalty):
        if l1 is not None:
            raise ValueError(
                f"the {penalty.name} penalty holds its own weight; pass l1=None with it, got {l1!r}"
            )
        penalty.check(atoms)
        return penalty
    if penalty is not None and not isinstance(penalty, str):
        raise TypeError(f"penalty must be a name or a penalty object, got {type(penalty).__name__}")
    if l1 is None:
        raise ValueError(
            "l1, the weight of the penalty, is missing: a positive number or one per atom"
        )
    name = "l1" if penalty is None else PENALTIES[penalty].name
    if name == "k-sparse":
        made: Penalty = PENALTIES.load(name)(l1)
    elif name in ("l1", "weighted-l1", "non-negative"):
        weight = check_weight(l1)
        scalar = isinstance(weight, float)
        made = (
            NonNegativeL1(weight)
            if name == "non-negative"
            else L1(weight)
            if scalar
            else WeightedL1(weight)
        )
    else:
        kind = PENALTIES.load(name).__name__
        raise ValueError(
            f"penalty '{name}' has settings of its own; pass penalty={kind}(...) from "
            "thalweg.sparse"
        )
    made.check(atoms)
    return made


def read_tol(tol: Any) -> float:
    """A tolerance at least as large as rounding allows.

    Raises:
        ValueError: Unless positive and finite.
    """
    if isinstance(tol, bool) or not isinstance(tol, int | float | np.floating):
        raise TypeError(f"tol must be a positive number, got {tol!r}")
    if not (math.isfinite(tol) and tol > 0):
        raise ValueError(f"tol must be positive and finite, got {tol}")
    return float(tol)


def read_count(value: Any, name: str) -> int | None:
    """A positive integer or None.

    Raises:
        TypeError: If it is not an integer.
        ValueError: If it is below 1.
    """
    if value is None:
        return None
    try:
        count = operator.index(value)
    except TypeError as error:
        raise TypeError(f"{name} must be a positive integer or None, got {value!r}") from error
    if isinstance(value, bool) or count < 1:
        raise ValueError(f"{name} must be at least 1, got {value!r}")
    return count
