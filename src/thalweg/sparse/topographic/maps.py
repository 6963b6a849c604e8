"""What does a sheet of filters look like? Alike neighbours, orientations, and their pinwheels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Orientations(NamedTuple):
    """Per filter ``(a, b)``: the orientation of its edges, and how clearly it has one."""

    theta: np.ndarray  # radians in [0, π), counter-clockwise from the row axis' right
    coherence: np.ndarray  # 0 none … 1 one orientation only


def orientation_map(filters: np.ndarray) -> Orientations:
    r"""Orientations of filters ``(a, b, height, width)`` on a grid, by their structure tensor.

    With the gradient field ``g`` of a filter and :math:`J = \sum g g^\top`, edges run across the
    leading eigenvector; coherence is :math:`(\lambda_1 - \lambda_2)/(\lambda_1 + \lambda_2)`.
    Rows count downwards, angles as seen on the picture.

    References:
        Bigün and Granlund, "Optimal orientation detection of linear symmetry", 1987.
    """
    filters = np.asarray(filters, np.float64)
    if filters.ndim != 4 or min(filters.shape[2:]) < 3:
        raise ValueError(
            f"filters must be (a, b, height, width) of at least 3 pixels, got {filters.shape}"
        )
    down, right = np.gradient(filters, axis=(2, 3))
    up = -down
    xx, yy, xy = ((p * q).sum((2, 3)) for p, q in ((right, right), (up, up), (right, up)))
    total = xx + yy
    across = 0.5 * np.arctan2(2 * xy, xx - yy)
    spread = np.hypot(xx - yy, 2 * xy)
    coherence = np.divide(spread, total, out=np.zeros_like(total), where=total > 0)
    return Orientations((across + np.pi / 2) % np.pi, coherence)


def windings(theta: np.ndarray) -> np.ndarray:
    r"""Winding number of each plaquette of orientations ``(a, b)`` on a torus: 0, ±½ (rarely ±1).

    Around the square of units ``(i, j) → (i, j+1) → (i+1, j+1) → (i+1, j)`` the angle doubled
    turns by a whole number of turns; half of it is the winding. Each edge is shared by two squares
    that run along it in opposite directions, so the windings of a torus sum to 0.
    """
    phi = 2 * np.asarray(theta, np.float64)
    if phi.ndim != 2:
        raise ValueError(f"orientations must be (a, b), got {phi.shape}")

    def turn(axis: int) -> np.ndarray:
        """From each unit to the next along an axis, in [-π, π)."""
        return (np.roll(phi, -1, axis) - phi + np.pi) % (2 * np.pi) - np.pi

    right, down = turn(1), turn(0)
    around = right + np.roll(down, -1, 1) - np.roll(right, -1, 0) - down
    return np.rint(around / (2 * np.pi)) / 2


def pinwheels(
    theta: np.ndarray, coherence: np.ndarray | None = None, least: float = 0.2
) -> np.ndarray:
    """Which plaquettes ``(a, b)`` are pinwheels: winding not 0, all four filters clearly oriented.

    Args:
        theta: Orientations in radians ``(a, b)``.
        coherence: How clearly each filter has one; None trusts all.
        least: Coherence below which an orientation is not trusted.
    """
    singular = windings(theta) != 0
    if coherence is None:
        return singular
    clear = np.asarray(coherence) >= least
    for shifted in (np.roll(clear, -1, 0), np.roll(clear, -1, 1), np.roll(clear, (-1, -1), (0, 1))):
        clear = clear & shifted
    return singular & clear


def neighbour_similarity(filters: np.ndarray) -> tuple[float, float]:
    """Mean ``|cos|`` of filters ``(a, b, …)`` next to each other on the torus, and of all pairs."""
    a, b = filters.shape[:2]
    flat = np.asarray(filters, np.float64).reshape(a, b, -1)
    norms = np.linalg.norm(flat, axis=2, keepdims=True)
    unit = np.divide(flat, norms, out=np.zeros_like(flat), where=norms > 0)
    near = [np.abs((unit * np.roll(unit, -1, axis)).sum(2)).mean() for axis in (0, 1)]
    rows = unit.reshape(a * b, -1)
    every = np.abs(rows @ rows.T)
    m = a * b
    strangers = (every.sum() - np.trace(every)) / max(m * (m - 1), 1)
    return float(np.mean(near)), float(strangers)


def roughness(theta: np.ndarray) -> float:
    """Median angle between the orientations of neighbours on the torus, in degrees: 0 … 90.

    45 for orientations drawn at random.
    """
    theta = np.asarray(theta, np.float64)
    apart = []
    for axis in (0, 1):
        turn = np.abs(np.roll(theta, -1, axis) - theta) % np.pi
        apart.append(np.minimum(turn, np.pi - turn))
    return float(np.degrees(np.median(np.stack(apart))))
