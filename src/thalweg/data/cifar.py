"""How is CIFAR-10 read? From its binary version or an npz; never from the pickled one."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from thalweg.data.files import opened, read_at_most

_RECORD = 1 + 3 * 32 * 32  # one label, then red, green and blue planes, row by row
_MOST = 1 << 17  # records read from one file at most; the official files hold 10,000
_KEYS = ("x_train", "y_train", "x_test", "y_test")


class Cifar(NamedTuple):
    """Images ``(n, 3, 32, 32)`` uint8 and labels ``(n,)`` int64 in 0..9, official split."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def read_cifar10(folder: str | Path) -> Cifar:
    """Find and read CIFAR-10 in a folder or in one of its immediate subfolders.

    Looks for ``data_batch_*.bin`` with ``test_batch.bin`` (the binary version), then for an
    ``.npz`` whose name contains ``cifar`` with the keys ``x_train y_train x_test y_test``.

    Args:
        folder: The user's data folder.

    Returns:
        Training and test images with labels.

    Raises:
        ValueError: Nothing is found, only the pickled version is found, or a file is malformed.
    """
    root = Path(folder)
    try:
        places = [root, *sorted(path for path in root.iterdir() if path.is_dir())]
    except OSError as error:
        raise ValueError(f"the data folder {root} cannot be read: {error.strerror}.") from error
    for place in places:
        train = sorted(place.glob("data_batch_*.bin"))
        if train and (place / "test_batch.bin").is_file():
            parts = [read_binary(path) for path in train]
            x, y = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
            return Cifar(x, y, *read_binary(place / "test_batch.bin"))
    for place in places:
        for path in sorted(place.glob("*.npz")):
            if "cifar" in path.name.lower():
                return read_npz(path)
    pickled = [place for place in places if (place / "data_batch_1").is_file()]
    if pickled:
        raise ValueError(
            f"{pickled[0]} is the pickled Python version of CIFAR-10; unpickling can run any code "
            "hidden in it, so it is not read. Use the binary version (data_batch_1.bin ...)."
        )
    raise ValueError(
        f"no CIFAR-10 in {root} or its subfolders: looked for data_batch_1.bin ... with "
        f"test_batch.bin, and for cifar*.npz with {', '.join(_KEYS)}."
    )


def read_binary(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Read one file of the binary version: records of a label byte and 3072 pixel bytes.

    Args:
        path: The file, plain or gzip.

    Returns:
        Images ``(n, 3, 32, 32)`` uint8, labels ``(n,)`` int64.

    Raises:
        ValueError: The size is no multiple of a record, or a label exceeds 9.
    """
    path = Path(path)
    with opened(path) as stream:
        body = read_at_most(stream, _MOST * _RECORD + 1)
    if not body or len(body) % _RECORD or len(body) > _MOST * _RECORD:
        hundred = " It looks like CIFAR-100." if body and len(body) % (_RECORD + 1) == 0 else ""
        raise ValueError(
            f"{path} is no CIFAR-10 batch: {len(body)} bytes are no multiple of {_RECORD}.{hundred}"
        )
    records = np.frombuffer(body, np.uint8).reshape(-1, _RECORD)
    labels = records[:, 0].astype(np.int64)
    _check_labels(path, labels)
    return np.ascontiguousarray(records[:, 1:].reshape(-1, 3, 32, 32)), labels


def read_npz(path: str | Path) -> Cifar:
    """Read CIFAR-10 from an npz with ``x_train y_train x_test y_test``; pickles are refused.

    Args:
        path: The file; images uint8 ``(n, 32, 32, 3)`` or ``(n, 3, 32, 32)``, labels integers
            ``(n,)`` or ``(n, 1)``.

    Returns:
        Training and test images, channels first.

    Raises:
        ValueError: The archive is damaged, lacks a key, or an array has another shape or type.
    """
    path = Path(path)
    try:
        # opened here: numpy leaves the file open when the archive in it is damaged
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as archive:
            missing = [key for key in _KEYS if key not in archive]
            arrays = {key: archive[key] for key in _KEYS if key not in missing}
    except FileNotFoundError as error:
        raise ValueError(f"there is no file {path}.") from error
    except Exception as error:  # a foreign archive fails in a dozen ways; all mean the same
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} cannot be read as npz without pickle: {reason}") from error
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}; expected {', '.join(_KEYS)}.")
    train = _images(path, "train", arrays)
    test = _images(path, "test", arrays)
    return Cifar(*train, *test)


def _images(path: Path, part: str, arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
    if x.dtype != np.uint8 or x.ndim != 4 or x.shape[1:] not in ((32, 32, 3), (3, 32, 32)):
        raise ValueError(
            f"{path}: x_{part} is {x.dtype} of shape {x.shape}; expected uint8 (n, 32, 32, 3) or "
            "(n, 3, 32, 32)."
        )
    if y.dtype.kind not in "iu" or y.shape not in ((len(x),), (len(x), 1)) or len(x) == 0:
        raise ValueError(
            f"{path}: y_{part} is {y.dtype} of shape {y.shape}; expected integers ({len(x)},)."
        )
    labels = y.reshape(-1).astype(np.int64)
    _check_labels(path, labels)
    x = x.transpose(0, 3, 1, 2) if x.shape[-1] == 3 else x
    return np.ascontiguousarray(x), labels


def _check_labels(path: Path, labels: np.ndarray) -> None:
    if labels.min() < 0 or labels.max() > 9:
        raise ValueError(
            f"{path} holds labels from {labels.min()} to {labels.max()}; CIFAR-10 has 0 to 9."
        )
