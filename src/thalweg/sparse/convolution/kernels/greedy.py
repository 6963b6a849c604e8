"""Locally greedy coordinate descent: the best move of each segment, over and over.

``q (h, w, K)`` holds the correlation of every unit atom with the residual, and ``score (h, w)`` the
summed squares of the moves that the filters would make at a place. One move touches the places
whose atoms overlap the moved one; a single pass over contiguous filters updates both there. (A sum
fills vector registers where a maximum does not: the pass takes a third of the time.)

A coefficient moves from ``z`` to ``q + z - clip(q + z, low, high)``: a soft threshold for
``low = -high``, a one-sided one for ``low = -inf``.
"""

from __future__ import annotations

import numpy as np

from thalweg.sparse.solvers.kernels import compiled


@compiled
def score_all(
    q: np.ndarray, z: np.ndarray, low: np.ndarray, high: np.ndarray, score: np.ndarray
) -> None:
    """The score of every place, from scratch."""
    h, w, K = q.shape
    for i in range(h):
        for j in range(w):
            total = q[i, j, 0] - q[i, j, 0]
            for k in range(K):
                move = q[i, j, k] - min(max(q[i, j, k] + z[i, j, k], low[k]), high[k])
                total += move * move
            score[i, j] = total


@compiled
def descend(
    q: np.ndarray,
    z: np.ndarray,
    score: np.ndarray,
    table: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    wrap: bool,
    box: np.ndarray,
    least: float,
    segment: int,
    limit: int,
) -> int:
    """Move coefficients inside ``box`` until no place there scores more than ``least``.

    Args:
        q: Correlations with the residual ``(h, w, K)``.
        z: Codes ``(h, w, K)``.
        score: Squared moves of each place ``(h, w)``.
        table: Products of shifted filters ``(K, 2a - 1, 2b - 1, K)``.
        low: Lower ends of the intervals that hold no move, ``(K,)``.
        high: Upper ends.
        wrap: The image is a torus.
        box: First row, row after the last, first column, column after the last.
        least: Scores up to this are left.
        segment: Side of the segments that take turns.
        limit: Moves allowed.

    Returns:
        Moves made.
    """
    h, w, K = q.shape
    a, b = table.shape[1] // 2, table.shape[2] // 2
    moves = 0
    busy = True
    while busy and moves < limit:
        busy = False
        for top in range(box[0], box[1], segment):
            for left in range(box[2], box[3], segment):
                best, y, x = least, -1, -1
                for i in range(top, min(top + segment, box[1])):
                    for j in range(left, min(left + segment, box[3])):
                        if score[i, j] > best:
                            best, y, x = score[i, j], i, j
                if y < 0:
                    continue
                far, which, step = -1.0, 0, q[y, x, 0]
                for k in range(K):
                    move = q[y, x, k] - min(max(q[y, x, k] + z[y, x, k], low[k]), high[k])
                    if abs(move) > far:
                        far, which, step = abs(move), k, move
                free = q[y, x, which] + z[y, x, which]
                new = free - min(max(free, low[which]), high[which])  # exactly zero, or beyond
                step = new - z[y, x, which]
                z[y, x, which] = new
                moves += 1
                busy = True
                for dy in range(-a, a + 1):
                    i = y + dy
                    if wrap:
                        i %= h
                    elif i < 0 or i >= h:
                        continue
                    for dx in range(-b, b + 1):
                        j = x + dx
                        if wrap:
                            j %= w
                        elif j < 0 or j >= w:
                            continue
                        row, code, products = q[i, j], z[i, j], table[which, dy + a, dx + b]
                        total = step - step
                        for k in range(K):
                            value = row[k] - step * products[k]
                            row[k] = value
                            move = value - min(max(value + code[k], low[k]), high[k])
                            total += move * move
                        score[i, j] = total
    return moves
