"""Convolutional halves of two verbs: ``dictionary --filters``, ``encode`` over such a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thalweg.cli.door import NOTHING, OK

if TYPE_CHECKING:
    from rich.console import Console

    from thalweg.records_filters import FiltersReport
    from thalweg.sparse.convolution.storage import Filters
    from thalweg.sparse.convolution.summary import Coded
    from thalweg.sparse.reading import Source

L1, SIZE, STEPS = 1.0, 8, 100  # unless asked otherwise
CODED, PIXELS = 3, 256  # images coded for the figures, and pixels of their middle each way
TOL = 1e-3  # of those codes


def learn(
    found: Source,
    count: int,
    size: int | None,
    l1: float | None,
    prepare: str | None,
    steps: int | None,
    seconds: float | None,
    penalty: str,
    run: Path | None,
    seed: int,
    device: str,
    step: Any,
) -> Filters:
    """Learn filters from grey images.

    Raises:
        ValueError: For signals, or options of no use.
    """
    from thalweg.cli import signals
    from thalweg.sparse.convolution import learn_filters
    from thalweg.sparse.convolution.preparation import Preparation

    preparation = Preparation(prepare or "contrast")
    images = [
        signals.on_device(preparation.apply(image), device) for image in _images(found).images
    ]
    learned = learn_filters(
        images,
        count,
        size or SIZE,
        l1 or L1,
        non_negative=_non_negative(penalty),
        steps=steps or STEPS,
        seconds=seconds,
        seed=seed,
        preparation=preparation,
        progress=step,
        every=min(10, steps or STEPS),
        checkpoint=run,
    )
    return signals.to_numpy(learned)


def describe(found: Source, learned: Filters, seconds: float, seed: int, command: str) -> Any:
    """Code the middle of some images, and describe what came out."""
    from thalweg.sparse.convolution.summary import middle, summarise

    images = _images(found)
    coded = [
        _code(name, middle(learned.preparation.apply(image), PIXELS), learned, learned.l1, TOL)
        for image, name in list(zip(images.images, images.names, strict=True))[:CODED]
    ]
    note = (
        f"figures: codes of the middle {PIXELS} x {PIXELS} pixels, at most, of {len(coded)} of "
        f"{len(images.images)} images, seed {seed}"
    )
    return summarise(
        "dictionary",
        found.name,
        coded,
        learned,
        float(learned.l1 or L1),
        TOL,
        seconds=seconds,
        command=command,
        notes=(note,),
    )


def encode(
    found: Source,
    filters: Filters,
    l1: float,
    solver: str,
    tol: float,
    device: str,
    progress: Any,
) -> list[Coded]:
    """Codes of every image, whole.

    Raises:
        ValueError: For signals, or an unknown solver.
    """
    done: list[Coded] = []
    images = _images(found)
    for image, name in zip(images.images, images.names, strict=True):
        prepared = filters.preparation.apply(image)
        done.append(_code(name, prepared, filters, l1, tol, solver, device))
        if progress is not None:
            progress(len(done), len(images.images))
    return done


def write(path: Path, coded: Sequence[Coded], l1: float) -> None:
    """Coefficients that are not zero, with their places, and certificates, as one .npz."""
    import io

    import numpy as np

    from thalweg.rundir.atomic import atomic_write

    places = [np.argwhere(one.z) for one in coded]
    index = [np.column_stack([np.full(len(at), i), at]) for i, at in enumerate(places)]
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        index=np.concatenate(index).astype(np.int32),
        value=np.concatenate([one.z[one.z != 0] for one in coded]),
        shapes=np.array([one.z.shape for one in coded]),
        energy=np.array([float(one.codes.energy[0]) for one in coded]),
        gap=np.array([float(one.codes.gap[0]) for one in coded]),
        converged=np.array([bool(one.codes.converged[0]) for one in coded]),
        l1=l1,
    )
    atomic_write(path, buffer.getvalue())


def show(record: FiltersReport, console: Console) -> None:
    """The numbers of a record in a few lines."""
    from rich.text import Text

    from thalweg.report.numbers import clean, duration, significant
    from thalweg.report.sections.filters import headline, sentences

    console.print(Text(headline(record), "bold"), soft_wrap=True)
    lines = [
        *sentences(record),
        f"l1 = {record.l1:g}, preparation: {record.preparation}; "
        f"energy a pixel {significant(record.energy, 4)}",
        *(clean(note) for note in record.notes),
        f"took {duration(record.seconds)}",
    ]
    for line in lines:
        console.print(Text(line, "dim"), soft_wrap=True)


def code_of(record: FiltersReport) -> int:
    """0, or 1 where no image came within the tolerance."""
    return OK if any(gap <= record.tol for gap in record.gaps) else NOTHING


def _code(
    name: str,
    image: Any,
    filters: Filters,
    l1: float | None,
    tol: float,
    solver: str = "auto",
    device: str = "cpu",
) -> Coded:
    from thalweg.cli import signals
    from thalweg.sparse.convolution import encode_images
    from thalweg.sparse.convolution.summary import Coded

    codes = encode_images(
        signals.on_device(image, device),
        filters.W,
        l1,
        boundary=filters.boundary,  # pyrefly: ignore
        non_negative=filters.non_negative,
        solver=solver,
        tol=tol,
    )
    return Coded(name, image, signals.to_numpy(codes))


def _images(found: Source) -> Source:
    """The source, if it holds images; built-in and stacked small images count as such."""
    import dataclasses

    if found.images:
        return found
    if found.signals is None or found.shape is None:
        raise ValueError(
            f"{found.name} holds signals in rows, filters are learned from images; give pictures "
            "(.png, .jpg) or an array of images"
        )
    images = tuple(row.reshape(found.shape) for row in found.signals)
    names = tuple(f"image {i}" for i in range(len(images)))
    return dataclasses.replace(found, signals=None, shape=None, images=images, names=names)


def with_penalty(filters: Filters, penalty: str) -> Filters:
    """The filters as learned, or with codes that are not negative where that is asked for."""
    import dataclasses

    return dataclasses.replace(filters, non_negative=filters.non_negative or _non_negative(penalty))


def _non_negative(penalty: str) -> bool:
    if penalty not in ("l1", "non-negative"):
        raise ValueError(f"filters take the penalty l1 or non-negative, got {penalty!r}")
    return penalty == "non-negative"
