"""Which activations are measured? Arrays of numbers from .npy, .npz or .safetensors."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

KINDS = (".npy", ".npz", ".safetensors")


def read_activations(source: str, samples: int | None = None, seed: int = 0) -> Tensor:
    """Activations ``(b, n)`` as float32 (float64 where the file is); leading axes become one.

    Args:
        source: A file ``.npy``, ``.npz`` or ``.safetensors``; ``FILE:KEY`` where it holds several
            arrays.
        samples: At most this many, drawn without replacement.
        seed: Decides which.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Not such a file, or not an array of finite numbers.
    """
    path, key = _split(source)
    if path.suffix.lower() == ".safetensors":
        X = _safetensors(path, key)
        if samples is not None and samples < len(X):
            X = X[torch.from_numpy(_draw(len(X), samples, seed))]
    else:
        array = _numpy(path, key)
        if samples is not None and samples < len(array):
            array = array[_draw(len(array), samples, seed)]
        X = torch.from_numpy(np.array(array))
    if X.is_complex() or not X.is_floating_point():
        raise ValueError(f"{source} holds {X.dtype}; activations are real floating-point numbers")
    X = X if X.dtype == torch.float64 else X.float()
    if not bool(torch.isfinite(X).all()):
        bad = int((~torch.isfinite(X)).any(1).sum())
        raise ValueError(f"{source} has NaN or infinite values in {bad} of {len(X)} activations")
    return X


def _draw(count: int, samples: int, seed: int) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).choice(count, samples, replace=False))


def _split(source: str) -> tuple[Path, str | None]:
    whole = Path(source)
    name, colon, key = source.rpartition(":")
    if not whole.is_file() and colon and Path(name).is_file():
        whole, chosen = Path(name), key
    else:
        chosen = None
    if not whole.is_file():
        raise FileNotFoundError(f"no activations at {source}; give {', '.join(KINDS)}")
    if whole.suffix.lower() not in KINDS:
        raise ValueError(f"{source} is none of {', '.join(KINDS)}")
    return whole, chosen


def _numpy(path: Path, key: str | None) -> np.ndarray:
    single = path.suffix.lower() == ".npy"
    try:
        loaded = np.load(path, mmap_mode="r" if single else None, allow_pickle=False)
    except (zipfile.BadZipFile, EOFError, OSError, ValueError) as error:
        reason = "damaged, or made of Python objects" if "pickle" in str(error) else str(error)
        raise ValueError(f"{path} cannot be read as arrays of numbers: {reason}") from error
    if single:
        if key is not None:
            raise ValueError(f"{path} holds one array; {key!r} names nothing in it")
        return _flat(loaded, path)
    with loaded as arrays:
        return _flat(arrays[_choose(list(arrays.files), key, path)], path)


def _safetensors(path: Path, key: str | None) -> Tensor:
    try:
        with safe_open(path, framework="pt") as file:
            return _flat(file.get_tensor(_choose(list(file.keys()), key, path)), path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a readable safetensors file: {error}") from error


def _choose(names: list[str], key: str | None, path: Path) -> str:
    if key is None and len(names) == 1:
        return names[0]
    if key not in names:
        raise ValueError(
            f"{path} holds {', '.join(names[:9]) or 'nothing'}; name one as {path.name}:KEY"
        )
    return key


def _flat(array: Any, path: Path) -> Any:
    if array.ndim < 2 or 0 in array.shape:
        raise ValueError(
            f"{path} has shape {tuple(array.shape)}; activations are (samples, inputs)"
        )
    return array.reshape(-1, array.shape[-1])
