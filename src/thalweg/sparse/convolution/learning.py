"""Learn filters from images: codes, then filters, batch after batch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thalweg.sparse.batches import Batches
from thalweg.sparse.convolution.inputs import Images, read_images
from thalweg.sparse.convolution.online import FilterLearner
from thalweg.sparse.convolution.operator import Boundary
from thalweg.sparse.convolution.preparation import Preparation
from thalweg.sparse.convolution.storage import Filters
from thalweg.sparse.inputs import read_count
from thalweg.sparse.resume import Keeper, fingerprint


def learn_filters(
    images: Any,
    filters: int,
    size: int | tuple[int, int],
    l1: float,
    *,
    boundary: Boundary = "full",
    non_negative: bool = False,
    steps: int = 200,
    batch_size: int = 4,
    crop: int | None = 64,
    seconds: float | None = None,
    tol: float = 1e-2,
    forgetting: float = 10.0,
    dead_after: int = 20,
    init: Any = None,
    seed: int = 0,
    preparation: Preparation | None = None,
    progress: Callable[[int, int, float], None] | None = None,
    checkpoint: str | Path | None = None,
    every: int = 10,
    threads: int | None = None,
) -> Filters:
    r"""Minimise the mean of ``min_Z ½‖Y − Σ W_k * Z_k‖² + l1 Σ ‖Z_k‖₁`` over unit-norm filters.

    Every step codes a few pieces of the images, remembers how their codes correlate with
    each other and with the pieces (earlier steps fade), and gives every filter a turn.

    Args:
        images: ``(b, H, W)`` or ``(b, c, H, W)``, or a list of images ``(H, W)`` or ``(c, H, W)``
            of any sizes; numpy or torch.
        filters: How many, K.
        size: Pixels a side of a filter, or ``(height, width)``.
        l1: Weight α of the absolute values.
        boundary: ``"full"`` or ``"circular"``, see `ConvDictionary`.
        non_negative: Allow no negative codes.
        steps: Batches to learn from.
        batch_size: Pieces a step.
        crop: Largest side of a piece; larger images are cut at random. None takes whole images,
            and so does a torus: cut out, a piece of it would have other neighbours.
        seconds: Stop after so long. What is learned then depends on the machine.
        tol: Relative duality gap of the codes learned from; 1e-2 is enough.
        forgetting: How fast old codes fade: 0 never; 10: the last tenth of steps counts most.
        dead_after: Steps without use after which a filter is replaced by the piece of an image
            that is explained worst.
        init: First filters ``(K, c, a, b)``; pieces of the first batch when None.
        seed: Decides the order, the pieces and the first filters.
        preparation: How the images were prepared; kept with the filters, not applied here.
        progress: Called as ``progress(step, steps, mean energy a pixel)`` every ``every`` steps.
        checkpoint: Directory for a checkpoint every ``every`` steps; a second call with the same
            arguments goes on from the last one and ends with the same bits.
        every: Steps between progress reports, points of the curve and checkpoints.
        threads: CPU threads; None takes what the process may use.

    Returns:
        `Filters` with ``W (K, c, a, b)`` of the kind and dtype of the images.

    Raises:
        TypeError: For arrays that are not real numbers.
        ValueError: For no images, or settings that make no sense.
    """
    found = read_stacks(images)
    shape = _shape(size)
    steps, every, size_ = (
        _count(steps, "steps"),
        _count(every, "every"),
        _count(batch_size, "batch_size"),
    )
    crop = None if boundary == "circular" else read_count(crop, "crop")
    check_fit(found, shape, crop)
    if seconds is not None and not (seconds > 0 and math.isfinite(seconds)):
        raise ValueError(f"seconds must be positive, got {seconds!r}")
    learner = FilterLearner(
        filters,
        (found[0].data.shape[1], *shape),
        l1,
        boundary=boundary,
        non_negative=non_negative,
        tol=tol,
        forgetting=forgetting,
        dead_after=dead_after,
        init=init,
        seed=seed,
        threads=threads,
    )
    pieces = Pieces(found, size_, crop, seed)
    keeper = None
    if checkpoint is not None:
        whole = torch.cat([image.data.flatten() for image in found])[:, None]
        identity = learner.identity() | {
            "data": fingerprint(whole, learner.filters.flatten(1)),
            "shapes": str([tuple(image.data.shape) for image in found]),
            "steps": steps,
            "batch_size": size_,
            "crop": crop,
            "seed": seed,
        }
        keeper = Keeper(checkpoint, identity)
    curve = _run(learner, pieces, steps, seconds, every, progress, keeper)
    W = learner.filters.to(found[0].data.device, found[0].dtype).contiguous()
    return Filters(
        W=found[0].give(W),
        l1=float(l1),
        boundary=boundary,
        non_negative=bool(non_negative),
        preparation=preparation or Preparation("none"),
        seen=learner.pixels,
        steps=learner.steps,
        reseeded=learner.reseeded,
        curve_steps=tuple(curve[0]),
        curve_energy=tuple(curve[1]),
        use=learner.shares(),
    )


def _run(
    learner: FilterLearner,
    pieces: Pieces,
    steps: int,
    seconds: float | None,
    every: int,
    progress: Callable[[int, int, float], None] | None,
    keeper: Keeper | None,
) -> tuple[list[int], list[float]]:
    """Take the steps; the curve as (steps taken, mean energies a pixel)."""
    marks, energies, begin = [], [], 0
    if keeper and (saved := keeper.restore()):
        begin, tensors, meta = saved
        learner.restore(tensors, meta["learner"])
        marks, energies = list(meta["marks"]), list(meta["energies"])
    deadline = None if seconds is None else time.monotonic() + seconds
    total, since = 0.0, begin
    for step in range(begin, steps):
        total += learner.update(pieces[step])
        late = deadline is not None and time.monotonic() > deadline
        if (step + 1) % every and step + 1 < steps and not late:
            continue
        marks.append(step + 1)
        energies.append(total / (step + 1 - since))
        total, since = 0.0, step + 1
        if keeper:
            tensors, counts = learner.state()
            keeper.save(
                step + 1, tensors, {"learner": counts, "marks": marks, "energies": energies}
            )
        if progress:
            progress(step + 1, steps, energies[-1])
        if late:
            break
    return marks, energies


def check_fit(found: list[Images], shape: tuple[int, int], crop: int | None) -> None:
    """Every image and every piece of one must hold a filter.

    Raises:
        ValueError: Where one does not.
    """
    if crop is not None and crop < max(shape):
        raise ValueError(f"crop is {crop}; it must hold a filter of {shape[0]} x {shape[1]}")
    for i, image in enumerate(found):
        if image.data.shape[2] < shape[0] or image.data.shape[3] < shape[1]:
            raise ValueError(
                f"image {i} is {tuple(image.data.shape[2:])}, smaller than a filter of "
                f"{shape[0]} x {shape[1]}; leave it out or choose smaller filters"
            )


def _shape(size: Any) -> tuple[int, int]:
    """Height and width of a filter."""
    sides = tuple(size) if isinstance(size, Sequence) else (size, size)
    if len(sides) != 2:
        raise ValueError(f"size must be a number of pixels or (height, width), got {size!r}")
    return _count(sides[0], "size"), _count(sides[1], "size")


def _count(value: Any, name: str) -> int:
    """A positive integer."""
    found = read_count(value, name)
    if found is None:
        raise TypeError(f"{name} must be a positive integer, got None")
    return found


class Pieces:
    """Batches of pieces, a function of the seed and the step alone."""

    def __init__(self, images: list[Images], size: int, crop: int | None, seed: int) -> None:
        self._images, self._crop, self._seed = [i.data for i in images], crop, seed
        self._owner = [(n, i) for n, data in enumerate(self._images) for i in range(len(data))]
        self._batches = Batches(len(self._owner), size, seed)

    def __getitem__(self, step: int) -> list[Tensor]:
        """Stacks ``(b, c, h, w)`` of equal shape, together one batch."""
        rng = np.random.default_rng([self._seed, 3, step])
        groups: dict[tuple[int, ...], list[Tensor]] = {}
        for row in self._batches[step].tolist():
            n, i = self._owner[row]
            image = self._images[n][i]
            for axis in (1, 2):
                length = image.shape[axis]
                if self._crop is not None and length > self._crop:
                    at = int(rng.integers(length - self._crop + 1))
                    image = image.narrow(axis, at, self._crop)
            groups.setdefault(tuple(image.shape), []).append(image)
        return [torch.stack(group) for group in groups.values()]


def read_stacks(images: Any) -> list[Images]:
    """Stacks of equal shape, checked."""
    if isinstance(images, Sequence):
        parts = list(images)
        if not parts:
            raise ValueError("no images to learn from; the list is empty")
        found = []
        for i, part in enumerate(parts):
            if np.ndim(part) not in (2, 3):
                raise ValueError(
                    f"image {i} has shape {tuple(np.shape(part))}; wanted (height, width) or "
                    "(channels, height, width)"
                )
            found.append(read_images(part[None] if np.ndim(part) == 3 else part, f"image {i}"))
    else:
        found = [read_images(images)]
        if not len(found[0].data):
            raise ValueError("no images to learn from; the array holds none")
    channels = {image.data.shape[1] for image in found}
    if len(channels) > 1:
        raise ValueError(f"all images need the same channels, got {sorted(channels)}")
    return found
