"""Sparse convolutional codes on a CPU: locally greedy descent finds the support, sweeps finish.

First the best place of every segment moves, segment by segment, with a threshold that halves: after
this the support is nearly right. Then, in rounds: correlations are computed afresh (one matrix
product over patches), the duality gap is measured, coefficients that are in use or violate
optimality enter a list, and coordinate descent with extrapolation solves for these alone, over a
Gram matrix that holds only overlaps inside the list. Codes with few zeros make that matrix too
large; such images are told apart (`Dense`) so that another solver can take them.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from thalweg.sparse.convolution.kernels.active import gather, gram, list_active, scatter
from thalweg.sparse.convolution.kernels.greedy import descend, score_all
from thalweg.sparse.convolution.kernels.sweeps import descend_active
from thalweg.sparse.convolution.problem import Problem

_ENTRIES = 12 * 2**20  # of the sparse Gram matrix; beyond, a sweep costs as much as transforms
_MOVES = 0.1  # greedy moves per coefficient that tell dense codes early
_TILE = 32  # places a side; two tiles of one colour never touch the same place


class Dense(Exception):
    """The codes are too dense for a list of active coefficients."""

    def __init__(self, z: np.ndarray) -> None:
        super().__init__("codes too dense for a sparse Gram matrix")
        self.z = z


@dataclass(frozen=True, slots=True)
class Options:
    """How exactly and how long.

    Attributes:
        tol: Relative duality gap.
        rounds: Most rounds after the greedy start.
        depth: The greedy start stops at moves of this share of the weight.
        sweeps: Most sweeps a round.
        threads: For the greedy start of one image.
        forced: Never give up on dense codes: where the list grows too long, go on greedily.
    """

    tol: float = 1e-4
    rounds: int = 200
    depth: float = 0.2
    sweeps: int = 500
    threads: int = 1
    forced: bool = False


def solve(
    problem: Problem,
    table: np.ndarray,
    image: np.ndarray,
    start: np.ndarray | None,
    options: Options,
) -> tuple[np.ndarray, int]:
    """Codes ``(h, w, K)`` of one image ``(c, H, W)``, float64, and the rounds they took.

    Args:
        problem: Unit atoms and weights.
        table: ``problem.table()``.
        image: The image, float64.
        start: Codes of unit atoms to begin from, or None.
        options: How exactly.

    Raises:
        Dense: With the codes so far, where too many coefficients are in use.
    """
    depth = options.depth
    z = _greedy(problem, table, image, start, depth, options)
    small = table.astype(np.float32)
    worst = np.inf
    for done in range(options.rounds):
        measured = problem.measure(image, z)
        if measured.gap <= options.tol:
            return z, done
        try:
            worst = _round(problem, small, measured.q, z, options, worst)
        except Dense:
            if not options.forced:
                raise
            depth *= 0.5
            z = _greedy(problem, table, image, z, depth, options)
    return z, options.rounds


def _greedy(
    problem: Problem,
    table: np.ndarray,
    image: np.ndarray,
    start: np.ndarray | None,
    depth: float,
    options: Options,
) -> np.ndarray:
    """The start: single precision, whole correlations, a threshold that halves."""
    single = np.float32
    residual = image if start is None else problem.residual(image, start)
    q = problem.correlate(residual.astype(single))
    z = np.zeros_like(q) if start is None else start.astype(single)
    low, high, table = (x.astype(single) for x in (problem.low, problem.high, table))
    score = np.empty(q.shape[:2], dtype=single)
    score_all(q, z, low, high, score)
    last = depth * float(high.min())
    least = 0.5 * float(np.sqrt(score.max()))
    boxes = _tiles(q.shape[:2], table.shape[1:3], problem.circular)
    segment = max(4, table.shape[1] // 2)
    left = np.inf if options.forced else max(1000.0, _MOVES * z.size)
    while least > 0:
        least = max(least, last)
        square = np.float32(least) ** 2

        def tile(box: np.ndarray, square: np.float32 = square) -> int:
            return descend(
                q, z, score, table, low, high, problem.circular, box, square, segment, 2**40
            )

        moves = 1
        while moves:
            moves = sum(_each(tile, colour, options.threads) for colour in boxes)
            left -= moves
            if left < 0:
                raise Dense(z.astype(np.float64))
        if least <= last:
            break
        least *= 0.5
    return z.astype(np.float64)


def _round(
    problem: Problem,
    table: np.ndarray,
    q: np.ndarray,
    z: np.ndarray,
    options: Options,
    worst: float,
) -> float:
    """Solve for the coefficients in use and the worst violators; returns the worst move."""
    h, w = q.shape[:2]
    over = float((np.maximum(q.max((0, 1)), np.where(np.isfinite(problem.low), -q.min((0, 1)), 0))
                  / problem.high).max())  # fmt: skip
    slack = 1 + 0.3 * max(0.0, over - 1)
    start, which = np.empty(h * w + 1, np.int64), np.empty(1, np.int32)
    count = list_active(q, z, problem.low, problem.high, slack, start, which)
    which = np.empty(count, np.int32)
    list_active(q, z, problem.low, problem.high, slack, start, which)
    rows = np.empty(count + 1, np.int64)
    columns, values = np.empty(0, np.int32), np.empty(0, np.float32)
    entries = gram(start, which, h, w, table, problem.circular, rows, columns, values)
    if entries > _ENTRIES:
        raise Dense(z)
    columns, values = np.empty(entries, np.int32), np.empty(entries, np.float32)
    gram(start, which, h, w, table, problem.circular, rows, columns, values)
    g, u = np.empty(count), np.empty(count)
    gather(q, start, which, g)
    gather(z, start, which, u)
    low, high = problem.low[which], problem.high[which]
    move = float(np.abs(g - np.clip(g + u, low, high)).max(initial=0.0))
    least = 0.02 * min(move, worst)
    descend_active(g, u, low, high, rows, columns, values, least, options.sweeps)
    scatter(u, start, which, z)
    return move


def _tiles(
    places: tuple[int, ...], window: tuple[int, ...], circular: bool
) -> list[list[np.ndarray]]:
    """Boxes of the places in up to four colours; tiles of one colour are a window apart."""
    edges = []
    for extent, reach in zip(places, window, strict=True):
        side = max(_TILE, reach)
        count = max(1, extent // side)
        if circular and count % 2:  # the last tile would meet the first
            count = max(1, count - 1)
        edges.append(np.linspace(0, extent, count + 1).astype(np.int64))
    colours: dict[tuple[int, int], list[np.ndarray]] = {}
    for i in range(len(edges[0]) - 1):
        for j in range(len(edges[1]) - 1):
            box = np.array([*edges[0][i : i + 2], *edges[1][j : j + 2]])
            colours.setdefault((i % 2, j % 2), []).append(box)
    return list(colours.values())


def _each(call, boxes: list[np.ndarray], threads: int) -> int:
    """Moves made in all boxes."""
    if threads <= 1 or len(boxes) < 2:
        return sum(map(call, boxes))
    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(call, boxes))
