"""What do the verbs on sparse codes share? Finding signals, a progress bar, the summary."""

from __future__ import annotations

import dataclasses
import io
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from thalweg.records import CodesReport
from thalweg.report.numbers import clean, count, duration, significant

if TYPE_CHECKING:
    import numpy as np

    from thalweg.sparse.patches import Preprocessing
    from thalweg.sparse.reading import Source
    from thalweg.sparse.storage import Dictionary

LINE_EVERY = 5.0  # seconds between plain lines of progress


def check_numbers(**values: float | None) -> None:
    """Options that must be positive and finite, or absent.

    Raises:
        ValueError: For one that is not.
    """
    for name, value in values.items():
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"--{name} {value}: expected a finite number above 0")


def check_penalty(name: str) -> None:
    """Options have room for one weight; penalties with more settings are for Python.

    Raises:
        ValueError: For a penalty with settings of its own, or an unknown name.
    """
    from thalweg.sparse import PENALTIES

    if PENALTIES[name].name not in ("l1", "non-negative"):
        raise ValueError(
            f"--penalty {name}: here it can be l1 or non-negative; for {name} call "
            "thalweg.sparse.encode or learn_dictionary from Python"
        )


def check_writable(path: Path | None) -> None:
    """Learn before the work, not after it, that a result cannot be written.

    Raises:
        ValueError: If the folder is missing or closed, or the name is that of a folder.
    """
    if path is None:
        return
    folder = path.absolute().parent
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name a file in it")
    if not folder.is_dir():
        raise ValueError(f"{folder} does not exist; make it, or name another place than {path}")
    if not os.access(folder, os.W_OK):
        raise ValueError(f"{folder} cannot be written to; name another place than {path}")


def find(paths: list[str] | None, builtin: str | None, as_images: bool) -> Source:
    """The signals or images that the command line names; the photographs where it names none.

    Raises:
        ValueError: For files together with ``--builtin``, or what cannot be read.
    """
    from thalweg.sparse import reading

    if paths and builtin is not None:
        raise ValueError(f"files and --builtin {builtin} were both given; choose one")
    if paths:
        return reading.read_source(paths, as_images)
    return reading.builtin(builtin or "photographs")


def training(
    found: Source,
    patch: int | None,
    patches: int,
    seed: int,
    center: bool | None,
    scale: str | None,
) -> tuple[np.ndarray, Preprocessing]:
    """Raw signals to learn from, and how they are to be prepared."""
    from thalweg.sparse.patches import Preprocessing, sample_patches

    if found.signals is not None:
        if patch is not None:
            raise ValueError("--patch needs images; this array holds signals (one in each row)")
        preparation = Preprocessing(
            found.shape, bool(center), scale or ("unit" if found.shape else "none")
        )
        return found.signals, preparation
    size = patch or 10
    preparation = Preprocessing((size, size), True if center is None else center, scale or "unit")
    return sample_patches(found.images, size, patches, seed), preparation


def prepared(
    found: Source, atoms: Dictionary, stride: int | None
) -> tuple[np.ndarray, dict[str, Any]]:
    """Signals as the dictionary wants them, and what is needed to undo it.

    Raises:
        ValueError: If they do not fit the dictionary.
    """
    import numpy as np

    from thalweg.sparse.patches import grid_patches

    preparation = atoms.preprocessing
    if found.signals is not None:
        if stride is not None:
            raise ValueError("--stride needs images; this array holds signals (one in each row)")
        raw, layout = found.signals, {}
    else:
        if preparation.patch is None or preparation.patch[0] != preparation.patch[1]:
            raise ValueError(
                f"{found.name} holds images, and this dictionary was learned from plain signals of "
                f"length {atoms.n}; give an array of such signals"
            )
        size = preparation.patch[0]
        raw = np.concatenate([grid_patches(i, size, stride or size) for i in found.images])
        shapes = np.array([image.shape for image in found.images])
        layout = {"shapes": shapes, "patch": size, "stride": stride or size}
    if raw.shape[1] != atoms.n:
        raise ValueError(
            f"{found.name} holds signals of length {raw.shape[1]}, the dictionary is for length "
            f"{atoms.n}; give other signals or another dictionary"
        )
    X, mean, norm = preparation.apply(raw)
    return X, layout | {"mean": mean[:, 0], "norm": norm[:, 0]}


def on_device(values: np.ndarray, device: str) -> Any:
    """The array itself on a CPU, a tensor elsewhere.

    Raises:
        ValueError: If torch does not know or have the device.
    """
    import torch

    name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    if name == "cpu":
        return values
    try:
        return torch.from_numpy(values).to(name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"--device {device} cannot be used here: {reason}") from error


def to_numpy(record: Any) -> Any:
    """A dataclass with its tensors brought back as arrays."""
    import torch

    values = {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}
    moved = {k: v.cpu().numpy() for k, v in values.items() if isinstance(v, torch.Tensor)}
    return dataclasses.replace(record, **moved)


def write_codes(path: Path, codes: Any, l1: float, layout: dict[str, Any]) -> None:
    """Codes, certificates and what undoes the preparation, as one .npz."""
    import numpy as np

    from thalweg.rundir.atomic import atomic_write

    buffer = io.BytesIO()
    certificates = {"energy": codes.energy, "converged": codes.converged, "l1": l1}
    if codes.gap is not None:
        certificates["gap"] = codes.gap
    np.savez_compressed(buffer, codes=codes.z, **certificates, **layout)
    atomic_write(path, buffer.getvalue())


def signed(record: CodesReport, command: str) -> CodesReport:
    """The record with the command that made it."""
    return dataclasses.replace(record, command=command)


def consoles(json: bool) -> tuple[Console, Console]:
    """Where answers go and where progress goes: with ``--json`` stdout is for the record alone."""
    progress = Console(stderr=True, highlight=False)
    return (progress if json else Console(highlight=False)), progress


@contextmanager
def bar(console: Console, quiet: bool, what: str) -> Iterator[Callable[..., None] | None]:
    """A progress callback ``(done, total, …)``: a bar on a terminal, elsewhere a line now and then.

    Args:
        console: Where to show it.
        quiet: Show nothing.
        what: One word for the work.
    """
    if quiet:
        yield None
        return
    if console.is_terminal and not console.is_dumb_terminal:
        from rich.progress import Progress

        with Progress(console=console, transient=True) as shown:
            task = shown.add_task(what, total=None)
            yield lambda done, total, *_: shown.update(task, completed=done, total=total)
        return
    last = time.monotonic()

    def line(done: int, total: int, *_: Any) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_EVERY:
            last = time.monotonic()
            console.print(Text(f"{what}: {count(done)} of {count(total)}"), soft_wrap=True)

    yield line


def show(record: CodesReport, console: Console) -> None:
    """The numbers of a record in a few lines."""
    from thalweg.report.sections.codes import headline

    console.print(Text(headline(record), "bold"))
    worst = "" if record.gap is None else f", worst gap {significant(record.gap, 2)}"
    lines = [
        f"{count(record.samples)} signals of length {record.inputs}, l1 = {record.l1:g}, "
        f"preparation: {record.preparation}",
        f"{count(record.converged)} of {count(record.samples)} codes within "
        f"{significant(record.tol, 2)} of their optimum{worst}; "
        f"mean energy {significant(record.energy, 4)}",
        *(clean(note) for note in record.notes),
        f"took {duration(record.seconds)}",
    ]
    for line in lines:
        console.print(Text(line, "dim"), soft_wrap=True)
