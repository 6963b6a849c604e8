"""How is an idx file read? The format of MNIST and its relatives, checked byte by byte."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np

from thalweg.data.files import opened, read_at_most

_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MOST_AXES = 32


def read_idx(path: str | Path) -> np.ndarray:
    """Read one array from an idx file, plain or gzip.

    Layout: two zero bytes, a type code, the number of axes, each axis as a big-endian uint32,
    then the values, big-endian, last axis fastest.

    Args:
        path: The file.

    Returns:
        The array in its own type (u1, i1, i2, i4, f4 or f8), in the machine's byte order.

    Raises:
        ValueError: The file is missing, is not idx, holds fewer or more bytes than its header
            says, or its gzip stream is damaged.

    References:
        LeCun, Cortes, Burges, "The MNIST database of handwritten digits", file formats.
    """
    path = Path(path)
    with opened(path) as stream:
        start = bytes(read_at_most(stream, 4))
        if len(start) < 4:
            raise ValueError(f"{path} is no idx file: it ends after {len(start)} bytes.")
        zeros, code, axes = struct.unpack(">HBB", start)
        if zeros or code not in _DTYPES or not 1 <= axes <= _MOST_AXES:
            raise ValueError(
                f"{path} is no idx file: it starts with bytes {start.hex(' ')}, where 00 00, a "
                "type code 08-0e and the number of axes belong."
            )
        sizes = bytes(read_at_most(stream, 4 * axes))
        if len(sizes) < 4 * axes:
            raise ValueError(f"{path} is cut short: its header ends after {len(sizes) + 4} bytes.")
        shape = struct.unpack(f">{axes}I", sizes)
        dtype = np.dtype(_DTYPES[code])
        wanted = math.prod(shape) * dtype.itemsize
        body = read_at_most(stream, wanted + 1)
    if len(body) != wanted:
        state = "is cut short" if len(body) < wanted else "goes on after its end"
        found = f"only {len(body)}" if len(body) < wanted else "more"
        raise ValueError(
            f"{path} {state}: its header says {'x'.join(map(str, shape))} values = {wanted} "
            f"bytes, found {found}. Fetch it again."
        )
    return np.frombuffer(body, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def read_labelled_idx(images: Path, labels: Path, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Read grey images with their labels.

    Args:
        images: idx file of unsigned bytes, shape ``(n, rows, columns)``.
        labels: idx file of unsigned bytes, shape ``(n,)``.
        classes: Labels must lie in ``0 .. classes - 1``.

    Returns:
        Images ``(n, rows, columns)`` uint8 and labels ``(n,)`` int64, n >= 1.

    Raises:
        ValueError: A file is malformed, or the two do not fit together.
    """
    x, y = read_idx(images), read_idx(labels)
    for path, array, axes in ((images, x, 3), (labels, y, 1)):
        if array.dtype != np.uint8 or array.ndim != axes:
            raise ValueError(
                f"{path} holds {array.dtype} values with {array.ndim} axes; expected unsigned "
                f"bytes with {axes}."
            )
    if len(x) != len(y) or x.size == 0:
        raise ValueError(f"{images} holds {len(x)} images but {labels} {len(y)} labels.")
    if int(y.max()) >= classes:
        raise ValueError(f"{labels} holds label {int(y.max())}; expected 0 to {classes - 1}.")
    return x, y.astype(np.int64)
