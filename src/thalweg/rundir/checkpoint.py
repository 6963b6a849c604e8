"""States of training as safetensors beside a manifest with their SHA-256; the last good one counts.

No pickle: nested states are packed into flat tensors and JSON, and unpacked exactly.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thalweg.rundir.atomic import atomic_write
from thalweg.rundir.damage import DamagedRun

if TYPE_CHECKING:
    from torch import Tensor


class Checkpoints:
    """Named states in one folder, the last ``keep`` of each name.

    Args:
        directory: Made when the first state is saved.
        keep: How many states of one name stay.
    """

    def __init__(self, directory: Path, keep: int = 2) -> None:
        self.directory, self.keep = Path(directory), keep

    def save(self, name: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Save a state; when this returns, it is on disk and the older ones beyond ``keep`` gone.

        Raises:
            OSError: The disk refused; the states saved before are intact.
        """
        from safetensors.torch import save

        stem = _stem(name)
        self.directory.mkdir(parents=True, exist_ok=True)
        numbers = self._numbers(stem)
        number = max(numbers, default=0) + 1
        data = save({key: tensor.contiguous() for key, tensor in tensors.items()})
        atomic_write(self._file(stem, number, "safetensors"), data)
        manifest = {
            "name": name,
            "size": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "meta": meta,
        }
        text = json.dumps(manifest, sort_keys=True)
        manifest["check"] = hashlib.sha256(text.encode()).hexdigest()
        atomic_write(self._file(stem, number, "json"), json.dumps(manifest, sort_keys=True))
        for old in sorted(numbers)[: max(0, len(numbers) + 1 - self.keep)]:
            self._forget(stem, old)

    def load(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The newest intact state of ``name``; None if there is none.

        Raises:
            DamagedRun: States are there, but none is intact.
        """
        stem, trouble = _stem(name), None
        for number in sorted(self._numbers(stem), reverse=True):
            try:
                return self._load(stem, number)
            except DamagedRun as error:
                trouble = error
        if trouble is not None:
            raise trouble
        return None

    def remove(self, name: str) -> None:
        """Forget every state of ``name``."""
        stem = _stem(name)
        for number in self._numbers(stem):
            self._forget(stem, number)

    def _load(self, stem: str, number: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
        from safetensors import SafetensorError
        from safetensors.torch import load

        path = self._file(stem, number, "json")
        try:
            manifest = json.loads(path.read_bytes())
            check = manifest.pop("check")
            text = json.dumps(manifest, sort_keys=True)
            if hashlib.sha256(text.encode()).hexdigest() != check:
                raise DamagedRun(f"{path} was altered")
            path = self._file(stem, number, "safetensors")
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() != manifest["sha256"]:
                raise DamagedRun(f"{path} was altered")
            return load(data), manifest["meta"]
        except (OSError, KeyError, AttributeError, TypeError, SafetensorError) as error:
            raise DamagedRun(f"{path} cannot be read: {error}") from error
        except ValueError as error:
            if isinstance(error, DamagedRun):
                raise
            raise DamagedRun(f"{path} is not JSON: {error}") from error

    def _numbers(self, stem: str) -> list[int]:
        """The numbers of complete states: the manifest is written last."""
        found = self.directory.glob(f"{stem}.*.json")
        return [int(path.name.split(".")[-2]) for path in found if path.name.split(".")[0] == stem]

    def _file(self, stem: str, number: int, ending: str) -> Path:
        return self.directory / f"{stem}.{number:08d}.{ending}"

    def _forget(self, stem: str, number: int) -> None:
        for ending in ("json", "safetensors"):
            self._file(stem, number, ending).unlink(missing_ok=True)


def _stem(name: str) -> str:
    """A file name for any string: readable start, digest for the rest; never a path."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in name[:40])
    return f"{plain}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


def pack(tree: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A nested state (dicts, lists, tuples, numbers, strings, tensors) as tensors and JSON."""
    tensors: dict[str, Tensor] = {}
    return tensors, {"tree": _pack(tree, tensors)}


def unpack(tensors: dict[str, Tensor], meta: dict[str, Any]) -> Any:
    """The inverse of :func:`pack`: equal tensors, numbers and keys of the same types."""
    return _unpack(meta["tree"], tensors)


def _pack(item: Any, tensors: dict[str, Tensor]) -> Any:
    import torch

    if isinstance(item, torch.Tensor):
        name = str(len(tensors))
        tensors[name] = item.detach().clone().contiguous()
        return ["tensor", name]
    if isinstance(item, dict):
        pairs = [[_pack(key, tensors), _pack(value, tensors)] for key, value in item.items()]
        return ["dict", pairs]
    if isinstance(item, list | tuple):
        kind = "list" if isinstance(item, list) else "tuple"
        return [kind, [_pack(value, tensors) for value in item]]
    if isinstance(item, float) and not math.isfinite(item):
        return ["float", repr(item)]
    if item is None or isinstance(item, bool | int | float | str):
        return ["plain", item]
    raise TypeError(f"a checkpoint cannot hold {type(item).__name__}: {item!r:.80}")


def _unpack(item: Any, tensors: dict[str, Tensor]) -> Any:
    kind, value = item
    if kind == "tensor":
        return tensors[value]
    if kind == "dict":
        return {_unpack(key, tensors): _unpack(entry, tensors) for key, entry in value}
    if kind in ("list", "tuple"):
        entries = [_unpack(entry, tensors) for entry in value]
        return entries if kind == "list" else tuple(entries)
    return float(value) if kind == "float" else value
