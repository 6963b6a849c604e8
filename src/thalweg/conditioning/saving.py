"""How do statistics outlive the process? One safetensors file beside a JSON of settings."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from thalweg.conditioning.conditioner import Conditioner
from thalweg.conditioning.inputs import Centre, Standardizer, Whitener
from thalweg.rundir.atomic import atomic_write

_KINDS: dict[str, type[Conditioner]] = {
    "centre": Centre,
    "standardizer": Standardizer,
    "whitener": Whitener,
}
_FORMAT = "thalweg conditioner 1"


def save(conditioner: Conditioner, path: str | os.PathLike[str]) -> None:
    """Write ``PATH.safetensors`` (mean and factor) and ``PATH.json`` (kind, settings, SHA-256).

    The statistics of a conditioner that is part of a model travel in its ``state_dict`` already;
    this is for conditioners that stand alone.

    Args:
        conditioner: A fitted one.
        path: Without an ending; its folder must exist.

    Raises:
        RuntimeError: Not fitted.
        OSError: The disk refused; an older pair of files is left whole.
    """
    from safetensors.torch import save as packed

    if not conditioner.fitted:
        raise RuntimeError("this conditioner has no statistics yet; call fit first.")
    kind = next(name for name, cls in _KINDS.items() if type(conditioner) is cls)
    tensors = {name: t.detach().cpu() for name, t in conditioner.state_dict().items()}
    data = packed({name: t.contiguous() for name, t in tensors.items()})
    manifest = {
        "format": _FORMAT,
        "kind": kind,
        "settings": conditioner.settings(),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    weights, text = _files(path)
    atomic_write(weights, data)
    atomic_write(text, json.dumps(manifest, indent=2, allow_nan=False))


def load(path: str | os.PathLike[str]) -> Conditioner:
    """Read what :func:`save` wrote; checked, and nothing in the files is executed.

    Raises:
        FileNotFoundError: One of the two files is missing.
        ValueError: A file is damaged, was altered, or holds something else.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as unpacked

    weights, text = _files(path)
    manifest = _manifest(text)
    data = weights.read_bytes()
    if hashlib.sha256(data).hexdigest() != manifest["sha256"]:
        raise ValueError(f"{weights} does not belong to {text.name}, or it was altered.")
    try:
        conditioner = _KINDS[manifest["kind"]](**manifest["settings"])
        tensors = unpacked(data)
        conditioner.to(tensors["mean"].dtype).load_state_dict(tensors)
    except (SafetensorError, KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"{weights} holds no conditioner: {error}") from error
    return conditioner


def _files(path: str | os.PathLike[str]) -> tuple[Path, Path]:
    stem = Path(path)
    return stem.with_name(f"{stem.name}.safetensors"), stem.with_name(f"{stem.name}.json")


def _manifest(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
        if found["format"] != _FORMAT or found["kind"] not in _KINDS:
            raise ValueError(f"{path} is of another kind: {found['format']!r}, {found['kind']!r}.")
        if not isinstance(found["settings"], dict) or not isinstance(found["sha256"], str):
            raise ValueError(f"{path} was altered.")
    except (KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not a conditioner's JSON: {error}") from error
    return found
