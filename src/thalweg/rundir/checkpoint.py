"""States of training as safetensors beside a manifest with their SHA-256; the last good one counts.

No pickle: see :mod:`thalweg.rundir.packing` for nested states.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from thalweg.rundir.atomic import atomic_write, make_folder, sweep
from thalweg.rundir.damage import DamagedRun, refused
from thalweg.rundir.packing import pack, unpack

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Checkpoints", "pack", "unpack"]

_OTHER_KINDS = (ValueError, LookupError, TypeError, AttributeError)  # JSON of any other kind


class Witness(Protocol):
    """Results that states lead to: a state whose results are gone must not be gone on from."""

    def mark(self) -> list[Any]:
        """Where the results stand now, JSON-ready."""
        ...

    def passed(self, mark: Any) -> bool:
        """Whether these results once stood there."""
        ...


class Checkpoints:
    """Named states in one folder, the last ``keep`` of each name.

    Args:
        directory: Made when the first state is saved.
        keep: How many states of one name stay.
        witness: The journal that the states belong to, if there is one.
    """

    def __init__(self, directory: Path, keep: int = 2, witness: Witness | None = None) -> None:
        self.directory, self.keep, self._witness = Path(directory), keep, witness
        sweep(self.directory)

    def save(self, name: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Save a state; when this returns, it is on disk and the older ones beyond ``keep`` gone.

        Raises:
            OSError: The disk refused; the states saved before are intact.
            TypeError: A tensor or an entry of ``meta`` that a file cannot hold.
        """
        stem, data = _stem(name), _bytes(tensors)
        if not self.directory.is_dir():
            make_folder(self.directory)
        numbers = self._numbers(stem)
        number = max(numbers, default=0) + 1
        manifest = {
            "name": name,
            "number": number,
            "size": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "journal": None if self._witness is None else self._witness.mark(),
            "meta": meta,
        }
        text = json.dumps(_sealed(manifest), sort_keys=True, allow_nan=False)
        atomic_write(self._file(stem, number, "safetensors"), data)
        atomic_write(self._file(stem, number, "json"), text)
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
                return self._load(name, number)
            except DamagedRun as error:
                trouble = error
        if trouble is not None:
            raise trouble
        return None

    def names(self) -> tuple[str, ...]:
        """Every name that has a state, sorted.

        Raises:
            DamagedRun: None of a name's manifests can be read, so that not even it is known.
        """
        known: dict[str, str] = {}
        trouble: dict[str, DamagedRun] = {}
        for stem, number in self._states():
            try:
                name = self._manifest(stem, number)["name"]
                known[stem] = name
            except DamagedRun as error:
                trouble[stem] = error
        for stem, error in trouble.items():
            if stem not in known:
                raise error
        return tuple(sorted(known.values()))

    def remove(self, name: str) -> None:
        """Forget every state of ``name``."""
        stem = _stem(name)
        for number in self._numbers(stem, "json") | self._numbers(stem, "safetensors"):
            self._forget(stem, number)

    def _load(self, name: str, number: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
        from safetensors import SafetensorError
        from safetensors.torch import load

        stem = _stem(name)
        manifest = self._manifest(stem, number)
        path = self._file(stem, number, "safetensors")
        try:
            if manifest["name"] != name:
                raise DamagedRun(f"{path} was altered")
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() != manifest["sha256"]:
                raise DamagedRun(f"{path} was altered")
            if self._witness is not None and not self._witness.passed(manifest["journal"]):
                raise DamagedRun(f"{path} belongs to results that the journal does not hold")
            return load(data), manifest["meta"]
        except DamagedRun:
            raise
        except (OSError, RecursionError, SafetensorError, *_OTHER_KINDS) as error:
            said = str(error) or type(error).__name__
            raise DamagedRun(f"{path} cannot be read: {said}") from error

    def _manifest(self, stem: str, number: int) -> dict[str, Any]:
        path = self._file(stem, number, "json")
        try:
            manifest = json.loads(path.read_bytes())
            found = manifest["number"], _stem(manifest["name"])
            if _sealed(manifest) != manifest or found != (number, stem):
                raise DamagedRun(f"{path} was altered")
        except DamagedRun:
            raise
        except (OSError, RecursionError, *_OTHER_KINDS) as error:
            said = str(error) or type(error).__name__
            raise DamagedRun(f"{path} cannot be read: {said}") from error
        return manifest

    def _states(self) -> list[tuple[str, int]]:
        """Stem and number of everything that has a manifest."""
        form = re.compile(r"(.*-[0-9a-f]{12})\.(\d{8,})\.json")
        found = (form.fullmatch(name) for name in self._listing())
        return sorted((match[1], int(match[2])) for match in found if match)

    def _numbers(self, stem: str, ending: str = "json") -> set[int]:
        """The numbers of complete states: the manifest is written last."""
        form = re.compile(rf"{re.escape(stem)}\.(\d{{8,}})\.{ending}")
        found = (form.fullmatch(name) for name in self._listing())
        return {int(match[1]) for match in found if match}

    def _listing(self) -> list[str]:
        try:
            return os.listdir(self.directory)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise refused(error, self.directory, "read") from error

    def _file(self, stem: str, number: int, ending: str) -> Path:
        return self.directory / f"{stem}.{number:08d}.{ending}"

    def _forget(self, stem: str, number: int) -> None:
        for ending in ("json", "safetensors"):
            path = self._file(stem, number, ending)
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise refused(error, path) from error


def _sealed(manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest with a digest of itself."""
    body = {key: value for key, value in manifest.items() if key != "check"}
    text = json.dumps(body, sort_keys=True)
    return body | {"check": hashlib.sha256(text.encode()).hexdigest()}


def _bytes(tensors: dict[str, Tensor]) -> bytes:
    """The tensors as one safetensors file, whatever memory they share."""
    from safetensors.torch import save

    ready, seen = {}, set()
    for key, tensor in tensors.items():
        plain = tensor.detach().contiguous()
        place = (plain.device, plain.untyped_storage().data_ptr())
        ready[key] = plain.clone() if place in seen else plain
        seen.add(place)
    try:
        return save(ready)
    except KeyError as error:
        raise TypeError(f"a checkpoint cannot hold tensors of {error.args[0]}") from error


def _stem(name: str) -> str:
    """A file name for any string: readable start, digest for the rest; never a path."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in name[:40])
    return f"{plain}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"
