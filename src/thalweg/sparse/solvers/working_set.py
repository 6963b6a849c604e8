"""Exact codes on a CPU: let in the worst violators, solve on the support, look again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thalweg.sparse.energy import Energy
from thalweg.sparse.solvers.base import Options, Solve, Solver
from thalweg.sparse.solvers.kernels.working_set import solve_gram


def prepare(energy: Energy, options: Options) -> Solve:
    """Form the Gram matrix once; then each sample costs a few rounds of O(km + k²) per atom let in.

    Every round collects the atoms whose correlation with the residual exceeds their weight and lets
    the worst in one after the other, each time going to the exact minimiser over the support (the
    inverse Gram matrix of the support is kept and updated; atoms whose coefficient would change
    sign leave). Then all correlations are computed again. Rounds end when the duality gap is small
    enough; the answer is then exact up to rounding on its support.

    References:
        Osborne, Presnell and Turlach, "A new approach to variable selection in least squares
        problems", 2000; Lee, Battle, Raina and Ng, "Efficient sparse coding algorithms", 2006.
    """
    penalty: Any = energy.penalty
    matrix = energy.datafit.matrix
    n, m = matrix.shape
    weight = torch.as_tensor(penalty.l1, dtype=torch.float64).expand(m)
    scaled = matrix / weight  # in units where every weight is one
    gram = scaled.mT @ scaled
    gram.diagonal().add_(penalty.curvature / weight.square())
    inverse = (1.0 / weight).contiguous()
    capacity = m if penalty.curvature else min(n, m)
    sided = penalty.name == "non-negative"
    limit = options.max_iterations or 1000
    threads = options.threads or torch.get_num_threads()

    def solve(x: Tensor, start: Tensor | None) -> tuple[Tensor, Tensor]:
        products, squares = x @ scaled, x.square().sum(-1)
        starts = x.new_zeros(0, m) if start is None else start * weight
        codes, rounds = torch.empty_like(products), torch.empty(len(x), dtype=torch.int64)
        arrays = [t.numpy() for t in (products, squares, starts, codes, rounds)]

        def part(rows: slice) -> None:
            p, s, w, z, r = (a[rows] if len(a) else a for a in arrays)
            solve_gram(
                gram.numpy(), p, s, w, sided, options.tol, limit, capacity, inverse.numpy(), z, r
            )

        in_threads(part, len(x), threads)
        return codes, rounds

    return solve


def in_threads(part: Any, count: int, threads: int, least: int = 16) -> None:
    """Call ``part(slice)`` on slices of ``range(count)`` from several threads."""
    pieces = min(4 * threads, count // least) if threads > 1 else 1
    if pieces <= 1:
        part(slice(0, count))
        return
    edges = np.linspace(0, count, pieces + 1).astype(int)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(part, [slice(a, b) for a, b in pairwise(edges)]))


SOLVER = Solver(
    name="working-set",
    penalties=("l1", "weighted-l1", "non-negative", "elastic-net"),
    devices=("cpu",),
    prepare=prepare,
)
