"""A centre in a mapped file of one host: processes meet under the kernel's own file lock.

The lock dies with its holder, so a worker killed in the midst of an exchange stalls nobody; the
centre it leaves is at worst partly moved towards that worker, which elastic averaging forgives.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from thalweg.parallel.centers.base import Hyper
from thalweg.parallel.centers.state import AVERAGES, Part, meet, take_elastic, take_push

_HEADER = 4096
_FORMAT = "thalweg-center-1"
_TYPES = {"float32": np.float32, "float64": np.float64}


class FileCenter:
    """Opens (or makes) a centre in a file. Any number of processes may have it open.

    Args:
        path: The file.
        start: Where it begins, ``(n,)``, float32 or float64; None opens what is there.
        workers: How many there may be (a slot each for sequence and progress).
        average: ``none``, ``running`` or ``moving``.

    Raises:
        ValueError: Not a centre's file, or a start of a kind that cannot be kept.
        OSError: It cannot be written; a full disk is found out here, not at a later write.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        start: Tensor | None = None,
        workers: int = 64,
        average: str = "none",
    ) -> None:
        self.path = Path(path)
        if start is not None:
            _make(self.path, start, workers, average)
        self._descriptor = os.open(self.path, os.O_RDWR)
        try:
            self._open()
        except BaseException:
            os.close(self._descriptor)
            raise

    def _open(self) -> None:
        facts = _facts(self._descriptor, self.path)
        self._map = mmap.mmap(self._descriptor, 0)
        n, dtype, workers = facts["n"], _TYPES[facts["dtype"]], facts["workers"]
        self._average = facts["average"]
        place = _HEADER
        self._counts = np.frombuffer(self._map, np.int64, 2, place)  # pushes, exchanges
        place += 16
        self._seen = np.frombuffer(self._map, np.int64, workers, place)
        place += 8 * workers
        self.progress = np.frombuffer(self._map, np.int64, workers, place)  # steps of each worker
        place = -(-(place + 8 * workers) // 64) * 64
        vectors = []
        for _ in range(3):
            vectors.append(torch.from_numpy(np.frombuffer(self._map, dtype, n, place)))
            place += -(-n * np.dtype(dtype).itemsize // 64) * 64
        self._centre, self._velocity, self._mean = vectors

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    @property
    def exchanges(self) -> int:
        """Elastic exchanges and pushes so far."""
        return int(self._counts.sum())

    @property
    def bytes(self) -> int:
        """Size of one vector: what an exchange sends each way."""
        return self._centre.numel() * self._centre.element_size()

    def read(self) -> Tensor:
        """A copy of the centre."""
        with self._locked():
            return self._centre.clone()

    def elastic(self, x: Tensor, alpha: float, worker: int) -> Tensor:
        """See :class:`~thalweg.parallel.centers.base.Center`."""
        with self._locked():
            pull = take_elastic(self._centre, x, alpha)
            self._counts[1] += 1
            return pull

    def meet(self, parts: Sequence[Part], alpha: float) -> None:
        """:meth:`elastic` in place on both sides, for weights in this process's memory."""
        with self._locked():
            meet(self._centre, parts, alpha)
            self._counts[1] += 1

    @property
    def dtype(self) -> torch.dtype:
        """Of the centre."""
        return self._centre.dtype

    def push(self, delta: Tensor, worker: int, sequence: int, hyper: Hyper | None = None) -> Tensor:
        """See :class:`~thalweg.parallel.centers.base.Center`."""
        with self._locked():
            if self._seen[worker] < sequence:
                mean = None if self._average == "none" else self._mean
                pushes = int(self._counts[0])
                take_push(self._centre, self._velocity, mean, delta, hyper, pushes, self._average)
                self._seen[worker] = sequence
                self._counts[0] += 1
            return self._centre.clone()

    def sequence(self, worker: int) -> int:
        """The first sequence number that this worker has not used."""
        with self._locked():
            return int(self._seen[worker]) + 1

    def steps(self, worker: int) -> int:
        """How far this worker was when it last said so."""
        return int(self.progress[worker])

    def tell(self, worker: int, step: int, at_once: bool = False) -> None:
        """Say how far this worker is: one number in shared memory, always at once."""
        self.progress[worker] = step

    def mean(self) -> Tensor:
        """The averaged centre where one is kept, else the centre."""
        with self._locked():
            return (self._centre if self._average == "none" else self._mean).clone()

    def close(self) -> None:
        """Let go of the file (the map itself goes with its last tensor)."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _make(path: Path, start: Tensor, workers: int, average: str) -> None:
    dtype = str(start.dtype).removeprefix("torch.")
    if start.ndim != 1 or dtype not in _TYPES:
        raise ValueError(
            f"a centre is a vector (n,) of float32 or float64, got {dtype} {tuple(start.shape)}"
        )
    if average not in AVERAGES:
        raise ValueError(f"average={average!r}: known are {', '.join(AVERAGES)}")
    if workers < 1:
        raise ValueError(f"workers={workers!r}: at least 1 is needed")
    facts = {
        "format": _FORMAT,
        "n": start.numel(),
        "dtype": dtype,
        "workers": workers,
        "average": average,
    }
    vector = -(-start.numel() * start.element_size() // 64) * 64
    head = -(-(_HEADER + 16 + 16 * workers) // 64) * 64
    size = head + 3 * vector
    made = path.with_name(path.name + ".part")
    descriptor = os.open(made, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)  # a full disk must not end in SIGBUS later
        os.pwrite(descriptor, json.dumps(facts).encode().ljust(_HEADER), 0)
        os.pwrite(descriptor, np.full(workers, -1, np.int64).tobytes(), _HEADER + 16)
        data = start.detach().cpu().contiguous().numpy().tobytes()
        for vector_at in (head, head + 2 * vector):  # the centre and its mean; the velocity is zero
            os.pwrite(descriptor, data, vector_at)
    finally:
        os.close(descriptor)
    os.replace(made, path)


def _facts(descriptor: int, path: Path) -> dict:
    try:
        facts = json.loads(os.pread(descriptor, _HEADER, 0))
        if facts["format"] != _FORMAT:
            raise ValueError
        size = os.fstat(descriptor).st_size
        vector = -(-facts["n"] * np.dtype(_TYPES[facts["dtype"]]).itemsize // 64) * 64
        head = -(-(_HEADER + 16 + 16 * facts["workers"]) // 64) * 64
        if size < head + 3 * vector:
            raise ValueError
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a centre's file, or only part of one") from error
    return facts
