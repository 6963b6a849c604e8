"""What should be looked at once signals are coded? The numbers and pictures of a report."""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np

from thalweg.records import Codes, CodesReport, Picture
from thalweg.rundir.machine import machine
from thalweg.sparse.inference import encode
from thalweg.sparse.patches import Preprocessing, from_grid, grid_patches
from thalweg.sparse.storage import Dictionary

SHOWN = 256  # pixels of an example at most, in each direction
LOWEST = -16  # decade that holds every smaller gap


def summarise(
    kind: str,
    source: str,
    X: np.ndarray,
    dictionary: Dictionary,
    codes: Codes,
    l1: float,
    penalty: str = "l1",
    tol: float = 1e-6,
    **more: Any,
) -> CodesReport:
    """The record of ``codes`` of ``X`` over ``dictionary``.

    Args:
        kind: ``"dictionary"`` or ``"codes"``.
        source: Where the signals came from, in words.
        X: Prepared signals ``(b, n)``.
        dictionary: What they were coded over.
        codes: Their codes, dense.
        l1: Weight used.
        penalty: Its name.
        tol: Gap asked for.
        more: Further fields of `CodesReport`.
    """
    z = np.asarray(codes.z, dtype=np.float64)
    on = z != 0
    residual = X - z @ np.asarray(dictionary.D, dtype=np.float64).T
    total = float(np.square(X).sum())
    use = on.mean(0) if len(z) else np.zeros(dictionary.m)
    decades, counts = _decades(codes.gap)
    return CodesReport(
        kind=kind,
        source=source,
        inputs=dictionary.n,
        atoms=dictionary.m,
        l1=l1,
        penalty=penalty,
        preparation=describe(dictionary.preprocessing),
        samples=len(z),
        energy=float(np.mean(codes.energy)),
        active=float(on.sum(1).mean()),
        explained=1 - float(np.square(residual).sum()) / total if total else 1.0,
        converged=int(np.sum(codes.converged)),
        tol=tol,
        gap=None if codes.gap is None else float(np.max(codes.gap)),
        gap_decades=decades,
        gap_counts=counts,
        activity=tuple(np.bincount(on.sum(1)).tolist()),
        use=tuple(np.sort(use)[::-1].tolist()),
        learned_seen=dictionary.curve_seen,
        learned_energy=dictionary.curve_energy,
        reseeded=dictionary.reseeded,
        mosaic=mosaic(dictionary, use),
        machine=machine(),
        **more,
    )


def convergence(
    X: np.ndarray, D: np.ndarray, l1: float, last: int = 256, samples: int = 200
) -> tuple[tuple[int, ...], dict[str, tuple[float, ...]]]:
    """Median relative gap of ISTA and FISTA from zero after 1, 2, 4, … ``last`` iterations."""
    steps = tuple(2**i for i in range(int(math.log2(last)) + 1))
    X = X[np.linspace(0, len(X) - 1, min(samples, len(X))).astype(int)]
    gaps = {
        name: tuple(
            float(np.median(encode(X, D, l1, solver=name, tol=1e-15, max_iterations=k).gap))
            for k in steps
        )
        for name in ("ista", "fista")
    }
    return steps, gaps


def describe(preparation: Preprocessing) -> str:
    """A preparation in words."""
    parts = []
    if preparation.patch:
        parts.append(f"{' x '.join(map(str, preparation.patch))} pixels")
    if preparation.center:
        parts.append("mean removed")
    if preparation.scale == "unit":
        parts.append("divided by the norm")
    return ", ".join(parts) or "none"


def picture(title: str, values: np.ndarray, low: float = 0.0, high: float = 1.0) -> Picture:
    """A grey image of ``values``, black at ``low`` and white at ``high``."""
    scaled = np.clip((values - low) / (high - low), 0, 1)
    pixels = np.ascontiguousarray(np.rint(255 * scaled).astype(np.uint8))
    return Picture(
        title, values.shape[1], values.shape[0], base64.b64encode(pixels.tobytes()).decode()
    )


def mosaic(dictionary: Dictionary, use: np.ndarray, most: int = 400) -> Picture | None:
    """Atoms as tiles, most used first, each scaled to its largest entry; None for plain vectors."""
    patch = dictionary.preprocessing.patch
    if patch is None:
        return None
    order = np.argsort(-use, kind="stable")[:most]
    atoms = np.asarray(dictionary.D, dtype=np.float64).T[order]
    atoms = atoms / np.abs(atoms).max(1, keepdims=True)
    shown = f"{len(atoms)} of {dictionary.m} atoms" if len(atoms) < dictionary.m else "All atoms"
    return picture(f"{shown}, most used first", tiles(atoms, patch, border=-1.0), -1, 1)


def tiles(rows: np.ndarray, shape: tuple[int, ...], border: float) -> np.ndarray:
    """Small images ``(count, height · width)`` side by side on one nearly square sheet."""
    height, width = shape
    columns = math.ceil(math.sqrt(len(rows) * height / width))
    sheet = np.full(
        (math.ceil(len(rows) / columns) * (height + 1) + 1, columns * (width + 1) + 1), border
    )
    for i, row in enumerate(rows):
        top, left = 1 + (i // columns) * (height + 1), 1 + (i % columns) * (width + 1)
        sheet[top : top + height, left : left + width] = row.reshape(height, width)
    return sheet


def tiled_example(X: np.ndarray, codes: Codes, dictionary: Dictionary) -> tuple[Picture, ...]:
    """Up to 64 prepared signals that are small images, what their codes say, and the difference."""
    shape = dictionary.preprocessing.patch
    if shape is None or not len(X):
        return ()
    rows = np.linspace(0, len(X) - 1, min(64, len(X))).astype(int)
    z = np.asarray(codes.z, dtype=np.float64)[rows]
    signals, back = X[rows], z @ np.asarray(dictionary.D, dtype=np.float64).T
    high = float(np.abs(signals).max()) or 1.0
    low = min(float(signals.min()), 0.0)
    return (
        picture(f"{len(rows)} of the signals", tiles(signals, shape, high), low, high),
        picture(
            f"from {(z != 0).sum(1).mean():.1f} atoms each", tiles(back, shape, high), low, high
        ),
        picture("difference", tiles(back - signals, shape, high), -high, high),
    )


def example(
    image: np.ndarray,
    name: str,
    dictionary: Dictionary,
    l1: float,
    stride: int,
    penalty: str,
    refit: bool = False,
) -> tuple[Picture, ...]:
    """The middle of an image, what its codes say of it, and four times the difference."""
    image = image[tuple(slice((k - min(k, SHOWN)) // 2, (k + SHOWN) // 2) for k in image.shape)]
    preparation = dictionary.preprocessing
    size = preparation.patch[0] if preparation.patch else 0
    X, mean, norm = preparation.apply(grid_patches(image, size, stride))
    D = np.asarray(dictionary.D, dtype=np.float64)
    z = encode(X, D, l1, penalty=penalty, tol=1e-4, refit=refit).z
    back = from_grid(preparation.undo(z @ D.T, mean, norm), image.shape, size, stride)
    high = float(np.abs(image).max()) or 1.0
    error = float(np.mean((back - image) ** 2))
    quality = f"{10 * math.log10(high**2 / error):.1f} dB" if error else "exact"
    return (
        picture(name, image, 0, high),
        picture(f"from {(z != 0).sum(1).mean():.1f} atoms a patch, {quality}", back, 0, high),
        picture("difference, four times", 0.5 + 2 * (back - image) / high),
    )


def _decades(gap: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if gap is None or not len(gap):
        return (), ()
    gap = np.asarray(gap, dtype=np.float64)
    with np.errstate(divide="ignore"):
        decade = np.floor(np.log10(gap)).clip(LOWEST, 2).astype(int)
    found = np.arange(decade.min(), decade.max() + 1)
    return tuple(found.tolist()), tuple((decade == d).sum().item() for d in found)
