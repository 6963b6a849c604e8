"""What should be looked at once images are coded over filters? Numbers and pictures of a report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from thalweg.records import Codes, Picture
from thalweg.records_filters import FiltersReport
from thalweg.rundir.machine import machine
from thalweg.sparse.convolution.diversity import mean_likeness, spectra
from thalweg.sparse.convolution.operator import ConvDictionary
from thalweg.sparse.convolution.storage import Filters
from thalweg.sparse.summary import picture

PARTS = 6  # filters whose share of an image is shown
EXAMPLES = 2  # images shown


@dataclass(frozen=True, slots=True, eq=False)
class Coded:
    """One prepared grey image and its code.

    Attributes:
        name: For people.
        image: ``(H, W)``.
        codes: Of a batch of one.
    """

    name: str
    image: np.ndarray
    codes: Codes

    @property
    def z(self) -> np.ndarray:
        """Code maps ``(K, h, w)``, float64."""
        return np.asarray(self.codes.z[0], dtype=np.float64)


def middle(image: np.ndarray, side: int) -> np.ndarray:
    """The middle of an image, at most ``side`` pixels either way."""
    return image[tuple(slice((n - min(n, side)) // 2, (n + side) // 2) for n in image.shape)]


def summarise(
    kind: str,
    source: str,
    coded: Sequence[Coded],
    filters: Filters,
    l1: float,
    tol: float,
    **more: Any,
) -> FiltersReport:
    """The record of some images coded over grey filters.

    Args:
        kind: ``"dictionary"`` or ``"codes"``.
        source: Where the images came from, in words.
        coded: At least one.
        filters: What they were coded over.
        l1: Weight used.
        tol: Gap asked for.
        more: Further fields of `FiltersReport`.
    """
    W = np.asarray(filters.W, dtype=np.float64)
    amount = np.sum([np.abs(one.z).sum((1, 2)) for one in coded], 0)
    order = np.argsort(-amount, kind="stable")
    backs = [decode(W, one.z, one.image.shape, filters.boundary) for one in coded]
    rest = sum(
        float(np.square(one.image - back).sum()) for one, back in zip(coded, backs, strict=True)
    )
    total = sum(float(np.square(one.image).sum()) for one in coded)
    pixels = sum(one.image.size for one in coded)
    coefficients = sum(int(np.count_nonzero(one.z)) for one in coded)
    look = spectra(W[order])
    examples = [
        shown
        for one, back in list(zip(coded, backs, strict=True))[:EXAMPLES]
        for shown in _example(one, back)
    ]
    return FiltersReport(
        kind=kind,
        source=source,
        filters=len(W),
        size=W.shape[2:],
        l1=l1,
        boundary=filters.boundary,
        non_negative=filters.non_negative,
        preparation=filters.preparation.words(),
        images=tuple(one.name for one in coded),
        pixels=pixels,
        energy=sum(float(one.codes.energy[0]) for one in coded) / pixels,
        coefficients=coefficients,
        share=coefficients / sum(one.z.size for one in coded),
        explained=1 - rest / total if total else 1.0,
        tol=tol,
        gaps=tuple(float(one.codes.gap[0]) for one in coded),
        use=tuple((amount[order] / max(amount.sum(), 1e-300)).tolist()),
        orientation=tuple(np.degrees(look.orientation).tolist()),
        coherence=tuple(look.coherence.tolist()),
        frequency=tuple(look.frequency.tolist()),
        likeness=mean_likeness(W) if len(W) > 1 else 1.0,
        learned_steps=filters.curve_steps,
        learned_energy=filters.curve_energy,
        reseeded=filters.reseeded,
        mosaic=mosaic(W[order]),
        examples=tuple(examples),
        parts=_parts(coded[0], W, order, filters.boundary),
        machine=machine(),
        **more,
    )


def decode(W: np.ndarray, z: np.ndarray, size: tuple[int, ...], boundary: str) -> np.ndarray:
    """The grey image ``(H, W)`` of code maps ``(K, h, w)``."""
    dictionary = ConvDictionary(torch.from_numpy(W), (size[0], size[1]), boundary)  # pyrefly: ignore
    return dictionary.decode(torch.from_numpy(z)[None])[0, 0].numpy()


def mosaic(W: np.ndarray) -> Picture:
    """Filters ``(K, 1, a, b)`` as tiles, each scaled to its largest entry."""
    K, _, a, b = W.shape
    square = math.ceil(math.sqrt(K * a / b))
    columns = min(range(square, 2 * square), key=lambda c: (-(-K // c) * c - K) / c + 0.02 * c)
    rows = -(-K // columns)
    sheet = np.full((rows * (a + 1) + 1, columns * (b + 1) + 1), -1.0)
    for k, one in enumerate(W[:, 0]):
        top, left = 1 + k // columns * (a + 1), 1 + k % columns * (b + 1)
        sheet[top : top + a, left : left + b] = one / max(np.abs(one).max(), 1e-300)
    return picture(f"All {K} filters, most used first", sheet, -1, 1)


def _example(one: Coded, back: np.ndarray) -> tuple[Picture, ...]:
    high = float(np.percentile(np.abs(one.image), 99.5)) or 1.0
    share = np.count_nonzero(one.z) / one.image.size
    return (
        picture(f"{one.name}, prepared", one.image, -high, high),
        picture(f"from {share:.3g} coefficients a pixel", back, -high, high),
        picture("difference", back - one.image, -high, high),
    )


def _parts(one: Coded, W: np.ndarray, order: np.ndarray, boundary: str) -> tuple[Picture, ...]:
    """What each of the most used filters says of an image, on one scale."""
    shown = []
    for place, k in enumerate(order[:PARTS]):
        part = decode(W[k : k + 1], one.z[k : k + 1], one.image.shape, boundary)
        shown.append((place, part))
    high = max((float(np.percentile(np.abs(part), 99.8)) for _, part in shown), default=0.0) or 1.0
    return tuple(
        picture(f"filter {place + 1} of the sheet", part, -high, high) for place, part in shown
    )
