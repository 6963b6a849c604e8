"""A learned map as a record: the sheet of filters, its orientations and what they come to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from thalweg.records import Picture
from thalweg.records_gap import TopographyReport
from thalweg.rundir.machine import machine
from thalweg.sparse.summary import picture
from thalweg.sparse.topographic import maps
from thalweg.sparse.topographic.invariance import invariance
from thalweg.sparse.topographic.psd import TopographicPSD
from thalweg.sparse.topographic.whitening import Whitening


def sheet(filters: np.ndarray, title: str) -> Picture:
    """Filters ``(a, b, height, width)`` at their places, each scaled to its largest entry."""
    a, b, height, width = filters.shape
    page = np.full((a * (height + 1) + 1, b * (width + 1) + 1), -1.0)
    largest = np.abs(filters).max((2, 3), keepdims=True)
    scaled = np.divide(filters, largest, out=np.zeros_like(filters), where=largest > 0)
    for i in range(a):
        for j in range(b):
            top, left = 1 + i * (height + 1), 1 + j * (width + 1)
            page[top : top + height, left : left + width] = scaled[i, j]
    return picture(title, page, -1, 1)


def filters_of(model: TopographicPSD, whitening: Whitening, size: int) -> np.ndarray:
    """The atoms as white pixels at their places ``(a, b, size, size)``."""
    return whitening.pixels(model.D).reshape(model.pools.a, model.pools.b, size, size)


def summarise(
    model: TopographicPSD,
    whitening: Whitening,
    images: Sequence[np.ndarray],
    size: int,
    *,
    source: str = "",
    samples: int = 500,
    least: float = 0.2,
    seconds: float = 0.0,
    seed: int = 0,
    notes: Sequence[str] = (),
    command: str = "",
) -> TopographyReport:
    """The record of a learned map.

    Args:
        model: After ``fit``.
        whitening: What prepared its patches.
        images: Grey images for the measure of invariance.
        size: Side of a patch.
        source: What was learned from.
        samples: Patches of that measure.
        least: Coherence below which a filter has no orientation.
        seconds: How long learning took.
        seed: Of the samples.
        notes: Sentences to show.
        command: What made it.
    """
    filters = filters_of(model, whitening, size)
    theta, coherence = maps.orientation_map(filters)
    near, far = maps.neighbour_similarity(filters)
    coder = model.coder()
    stable = invariance(
        lambda patches: coder.encode(whitening.apply(patches), tol=1e-4).z,
        model.complex_cells,
        images,
        size,
        samples,
        seed,
    )
    return TopographyReport(
        source=source,
        grid=(model.pools.a, model.pools.b),
        patch=(size, size),
        pool=model.pools.describe(),
        mosaic=sheet(
            filters, "Filters at their places on the torus: opposite edges are neighbours"
        ),
        orientation=tuple(float(t) for t in theta.flat),
        coherence=tuple(float(c) for c in coherence.flat),
        windings=tuple(float(w) for w in maps.windings(theta).flat),
        trusted=tuple(float(p) for p in maps.pinwheels(theta, coherence, least).flat),
        neighbours=near,
        strangers=far,
        pinwheels=int(maps.pinwheels(theta, coherence, least).sum()),
        roughness=maps.roughness(theta),
        unit_shift=stable.shift_units,
        pool_shift=stable.shift_pools,
        unit_rotation=stable.rotation_units,
        pool_rotation=stable.rotation_pools,
        seconds=seconds,
        seed=seed,
        machine=machine(),
        notes=tuple(notes),
        command=command,
    )
