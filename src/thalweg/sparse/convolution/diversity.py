"""How different are filters? Likeness over all shifts, orientations, frequencies."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

SECTORS = 12  # of 15 degrees each
CLEAR = 0.3  # coherence from which an orientation is trusted


class Spectra(NamedTuple):
    """Per filter: how its energy lies among the frequencies."""

    orientation: np.ndarray  # of its edges, radians in [0, π), as seen on the picture
    coherence: np.ndarray  # 0: every direction alike … 1: one direction only
    frequency: np.ndarray  # mean, cycles a pixel


def likeness(filters: np.ndarray) -> np.ndarray:
    """Largest |product| of every pair of filters ``(K, c, a, b)`` over all shifts, ``(K, K)``.

    Filters count with norm one. A filter and its shifted copy have nearly 1, strangers little.
    """
    W = np.asarray(filters, np.float64)
    if W.ndim != 4:
        raise ValueError(f"filters must be (K, channels, a, b), got {W.shape}")
    W = W / np.maximum(np.sqrt(np.square(W).sum((1, 2, 3), keepdims=True)), 1e-300)
    shape = (2 * W.shape[2] - 1, 2 * W.shape[3] - 1)
    spectra = np.fft.rfft2(W, s=shape)
    found = np.empty((len(W), len(W)))
    for k, own in enumerate(spectra):
        products = (own.conj() * spectra).sum(1)
        found[k] = np.abs(np.fft.irfft2(products, s=shape)).max((1, 2))
    return found


def mean_likeness(filters: np.ndarray) -> float:
    """The mean of `likeness` over pairs of different filters; NaN for a single one."""
    K = len(filters)
    if K < 2:
        return float("nan")
    found = likeness(filters)
    return float((found.sum() - np.trace(found)) / (K * (K - 1)))


def nearest_likeness(filters: np.ndarray) -> float:
    """`likeness` to the most similar other filter, mean over filters; NaN for a single one."""
    if len(filters) < 2:
        return float("nan")
    found = likeness(filters)
    np.fill_diagonal(found, 0.0)
    return float(found.max(1).mean())


def spectra(filters: np.ndarray, side: int = 64) -> Spectra:
    r"""Orientation, coherence and mean frequency of filters ``(K, c, a, b)``.

    With the energy :math:`P(f)` of a filter and unit vectors u along the frequencies f, the leading
    eigenvector of :math:`\sum P u u^\top` lies across the edges; coherence is
    :math:`(\lambda_1 - \lambda_2)/(\lambda_1 + \lambda_2)`. The mean of a filter has no direction
    and is left out.
    """
    W = np.asarray(filters, np.float64)
    W = W - W.mean((2, 3), keepdims=True)
    power = np.square(np.abs(np.fft.fft2(W, s=(side, side)))).sum(1)
    up = -np.fft.fftfreq(side)[:, None]
    right = np.fft.fftfreq(side)[None, :]
    f = np.hypot(up, right)
    safe = np.where(f > 0, f, 1.0)
    total = power.sum((1, 2))
    norm = np.where(total > 0, total, 1.0)
    cosine = (power * (right**2 - up**2) / safe**2).sum((1, 2)) / norm
    sine = (power * 2 * right * up / safe**2).sum((1, 2)) / norm
    across = 0.5 * np.arctan2(sine, cosine)
    return Spectra(
        (across + np.pi / 2) % np.pi, np.hypot(cosine, sine), (power * f).sum((1, 2)) / norm
    )


def distinct_orientations(filters: np.ndarray) -> int:
    """In how many of twelve sectors of 15 degrees does a clearly oriented filter lie?"""
    found = spectra(filters)
    angles = found.orientation[found.coherence >= CLEAR]
    return len(set((np.floor(angles / np.pi * SECTORS + 0.5) % SECTORS).tolist()))
