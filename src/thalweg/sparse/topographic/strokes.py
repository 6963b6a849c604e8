"""An orientation map to look at in grey: one stroke a unit, a ring or a cross on each pinwheel."""

from __future__ import annotations

import numpy as np

from thalweg.records import Picture
from thalweg.sparse.summary import picture

_CELL = 17  # pixels of a unit


def strokes(
    theta: np.ndarray, coherence: np.ndarray, winding: np.ndarray, trusted: np.ndarray
) -> Picture:
    """Orientations ``(a, b)`` as strokes, brighter where a filter has one more clearly.

    Args:
        theta: Radians, counter-clockwise.
        coherence: 0 … 1.
        winding: Of the plaquette down and right of each unit.
        trusted: Which windings are to be marked: +½ by a ring, −½ by a cross, at its corner.
    """
    a, b = theta.shape
    line = np.arange(_CELL) - _CELL // 2
    x, up = np.meshgrid(line, -line)
    page = np.zeros((a * _CELL, b * _CELL))
    for i in range(a):
        for j in range(b):
            c, s = np.cos(theta[i, j]), np.sin(theta[i, j])
            along, across = np.abs(c * x + s * up), np.abs(c * up - s * x)
            ink = np.clip(1.8 - across, 0, 1) * np.clip(_CELL / 2 - along, 0, 1)
            rows, columns = slice(i * _CELL, (i + 1) * _CELL), slice(j * _CELL, (j + 1) * _CELL)
            page[rows, columns] = ink * (0.15 + 0.45 * float(coherence[i, j]))
    distance = np.hypot(x, up)
    ring = np.clip(2 - np.abs(distance - 5), 0, 1)
    cross = np.clip(1.8 - np.abs(np.abs(x) - np.abs(up)), 0, 1) * (distance < 7)
    for i, j in zip(*np.nonzero(trusted), strict=True):
        mark = ring if winding[i, j] > 0 else cross
        rows = np.arange((i + 1) * _CELL - _CELL // 2, (i + 1) * _CELL + _CELL // 2 + 1)
        columns = np.arange((j + 1) * _CELL - _CELL // 2, (j + 1) * _CELL + _CELL // 2 + 1)
        place = np.ix_(rows % len(page), columns % page.shape[1])
        page[place] = np.maximum(page[place], mark)
    title = "Orientations on the torus; rings wind by +½, crosses by −½"
    return picture(title, page)
