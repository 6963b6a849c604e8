"""Who works on which samples? Slices of a batch in plain threads around code without the GIL."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np


def in_threads(part: Callable[[slice], None], count: int, threads: int, least: int = 16) -> None:
    """Call ``part(slice)`` on slices of ``range(count)`` from several threads."""
    pieces = min(4 * threads, count // least) if threads > 1 else 1
    if pieces <= 1:
        part(slice(0, count))
        return
    edges = [int(edge) for edge in np.linspace(0, count, pieces + 1)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(part, [slice(a, b) for a, b in pairwise(edges)]))
