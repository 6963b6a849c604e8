"""How do arrays become the curves of a chart? Floats in tuples, thinned where there are many."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from thalweg.records_claims import Curve

MOST = 400  # points a curve needs at most: a page holds dozens of them


def curve(name: str, x: Iterable[float], y: Iterable[float], kind: str = "line") -> Curve:
    """A :class:`Curve` from two sequences of equal length, evenly thinned to 400 points.

    >>> curve("line", [0, 1], [2, 3]).y
    (2.0, 3.0)
    """
    xs, ys = (np.asarray(tuple(v), np.float64) for v in (x, y))
    if xs.shape != ys.shape:
        raise ValueError(f"curve '{name}' has {len(xs)} places and {len(ys)} values")
    if len(xs) > MOST:
        keep = np.unique(np.linspace(0, len(xs) - 1, MOST).round().astype(int))
        xs, ys = xs[keep], ys[keep]
    return Curve(name, tuple(xs.tolist()), tuple(ys.tolist()), kind)


def slope(x: Iterable[float], y: Iterable[float]) -> float:
    """Least-squares slope of log y against log x.

    >>> round(slope([1, 10, 100], [2, 20, 200]), 9)
    1.0
    """
    pairs = np.log(np.stack([np.asarray(tuple(v), np.float64) for v in (x, y)]))
    return float(np.polyfit(pairs[0], pairs[1], 1)[0])
