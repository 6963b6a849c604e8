"""How journal rows are spelled: numbers as strict JSON, arrays as plain bytes. Exact both ways."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

_KINDS = "biufc"  # bool, integers, floats, complex


def dump(payload: Mapping[str, Any]) -> str:
    """A payload as JSON; NaN and infinities included, numpy scalars as numbers.

    >>> dump({"loss": float("nan")})
    '{"loss": {"~float": "nan"}}'

    Raises:
        TypeError: Something that is no number, string, None, list or dictionary with string keys.
    """
    return json.dumps(_spell(payload), sort_keys=True, allow_nan=False)


def _spell(value: Any) -> Any:
    import numpy as np  # here, so that reading what a run is about does not wait for it

    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        wrong = [key for key in value if not isinstance(key, str)]
        if wrong:
            raise TypeError(f"a journal row cannot hold the key {wrong[0]!r}: keys are strings")
        spelled = {str(key): _spell(entry) for key, entry in value.items()}
        marked = any(key.startswith("~") for key in spelled)
        return {"~dict": sorted(spelled.items())} if marked else spelled
    if isinstance(value, list | tuple):
        return [_spell(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"~float": repr(float(value))}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a journal row cannot hold {type(value).__name__}: {value!r:.80}")


def load(text: str) -> dict[str, Any]:
    """The inverse of :func:`dump`, tuples as lists."""
    return json.loads(text, object_hook=_read)


def _read(item: dict[str, Any]) -> Any:
    if item.keys() == {"~float"}:
        return float(item["~float"])
    if item.keys() == {"~dict"}:
        return dict(item["~dict"])
    return item


def pack_arrays(arrays: Mapping[str, Any]) -> bytes:
    """Named arrays of numbers as one string of bytes (little-endian, row-major).

    Raises:
        TypeError: An array that does not hold numbers.
    """
    ready = {name: _little(name, array) for name, array in sorted(arrays.items())}
    table = [[name, array.dtype.str, list(array.shape)] for name, array in ready.items()]
    head = json.dumps(table).encode()
    parts = [len(head).to_bytes(8, "little"), head]
    return b"".join(parts + [array.tobytes() for array in ready.values()])


def _little(name: str, array: Any) -> np.ndarray:
    import numpy as np

    array = np.asarray(array)
    if array.dtype.kind not in _KINDS:
        raise TypeError(f"a journal row cannot hold '{name}', an array of {array.dtype}")
    return array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)


def unpack_arrays(data: bytes) -> dict[str, np.ndarray]:
    """The inverse of :func:`pack_arrays`; the arrays are read-only."""
    import numpy as np

    size = int.from_bytes(data[:8], "little")
    at, arrays = 8 + size, {}
    for name, kind, shape in json.loads(data[8:at]):
        array = np.frombuffer(data, np.dtype(kind), math.prod(shape), at).reshape(shape)
        arrays[name] = array
        at += array.nbytes
    return arrays
