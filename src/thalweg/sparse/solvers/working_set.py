"""Exact codes on a CPU: let in the worst violators, solve on the support, look again."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from thalweg.sparse.energy import Energy
from thalweg.sparse.solvers.base import LASSO_LIKE, SIDED, Options, Solve, Solver
from thalweg.sparse.solvers.kernels.active import empty
from thalweg.sparse.solvers.kernels.gram_free import OPEN, Sets, room_for, round_free, start_sets
from thalweg.sparse.solvers.kernels.working_set import solve_gram
from thalweg.sparse.solvers.threads import in_threads

_GRAM_BYTES = 2**30  # a Gram matrix of up to 11585 atoms
_SET_BYTES = 2**27  # of inverse Gram matrices held at once without one


class _Scaled(NamedTuple):
    """The problem in units where every weight is one."""

    columns: Tensor  # (n, m), atoms over their weights
    rows: Tensor  # its transpose, contiguous
    inverse: Tensor  # (m,) one over the weights: takes scaled codes to codes
    ridge: Tensor  # (m,) added to the diagonal of the Gram matrix
    norms: Tensor  # (m,) the diagonal with it
    sided: bool


def prepare(energy: Energy, options: Options) -> Solve:
    """Rounds that let in atoms, at O(km + k²) per atom and sample, until the gap is small.

    Every round collects the atoms whose correlation with the residual exceeds their weight and lets
    the worst in one after the other, each time going to the exact minimiser over the support (the
    inverse Gram matrix of the support is kept and updated; atoms whose coefficient would change
    sign leave). Then all correlations are computed again. Rounds end when the duality gap is small
    enough; the answer is then exact up to rounding on its support.

    The Gram matrix of the dictionary is formed once, unless it were larger than 1 GiB or than what
    few samples repay: then correlations come from residuals, one matrix product a round for all
    samples of a chunk. ``max_iterations`` counts rounds.

    References:
        Osborne, Presnell and Turlach, "A new approach to variable selection in least squares
        problems", 2000; Lee, Battle, Raina and Ng, "Efficient sparse coding algorithms", 2006.
    """
    problem = _scale(energy)
    m = problem.columns.shape[1]
    limit = options.max_iterations or 1000
    threads = options.threads or torch.get_num_threads()
    if 8 * m * m > _GRAM_BYTES or 12 * (options.samples or m) < m:
        return _gram_free(problem, options.tol, limit, threads)
    return _with_gram(problem, options.tol, limit, threads)


def _scale(energy: Energy) -> _Scaled:
    penalty: Any = energy.penalty
    matrix = energy.datafit.matrix
    weight = torch.as_tensor(penalty.l1, dtype=torch.float64).expand(matrix.shape[1])
    columns = (matrix / weight).contiguous()
    ridge = penalty.curvature / weight.square()
    norms = columns.square().sum(0) + ridge
    rows, inverse = columns.mT.contiguous(), (1.0 / weight).contiguous()
    return _Scaled(columns, rows, inverse, ridge, norms, penalty.name in SIDED)


def _with_gram(problem: _Scaled, tol: float, limit: int, threads: int) -> Solve:
    n, m = problem.columns.shape
    gram = problem.rows @ problem.columns
    gram.diagonal().copy_(problem.norms)
    # atoms on the support are independent: at most n of them, unless a ridge makes all so
    capacity = m if bool((problem.ridge > 0).any()) else min(n, m)
    fixed = [t.numpy() for t in (gram, problem.rows, problem.norms)]

    def solve(x: Tensor, start: Tensor | None) -> tuple[Tensor, Tensor]:
        products, squares = x @ problem.columns, x.square().sum(-1)
        starts = x.new_zeros(0, m) if start is None else start / problem.inverse
        codes, rounds = torch.empty_like(products), torch.empty(len(x), dtype=torch.int64)
        given = [t.numpy() for t in (x.contiguous(), products, squares, starts)]
        scale, z, its = problem.inverse.numpy(), codes.numpy(), rounds.numpy()

        def part(rows: slice) -> None:
            some = [a[rows] if len(a) else a for a in given]
            how = (problem.sided, tol, limit, capacity, empty(capacity), scale)
            solve_gram(*fixed, *some, *how, z[rows], its[rows])

        in_threads(part, len(x), threads)
        return codes, rounds

    return solve


def _gram_free(problem: _Scaled, tol: float, limit: int, threads: int) -> Solve:
    n, m = problem.columns.shape
    most = m if bool((problem.ridge > 0).any()) else min(n, m)
    rows, norms, ridge = (t.numpy() for t in (problem.rows, problem.norms, problem.ridge))

    def solve(x: Tensor, start: Tensor | None) -> tuple[Tensor, Tensor]:
        starts = None if start is None else (start / problem.inverse).numpy()
        codes, rounds = run(x.contiguous(), starts, limit)
        return torch.from_numpy(codes).mul_(problem.inverse), torch.from_numpy(rounds)

    def run(x: Tensor, starts: Any, left: int) -> tuple[np.ndarray, np.ndarray]:
        room = 32 if starts is None else 16 + int((starts != 0).sum(1).max())
        sets, r = room_for(len(x), min(room, most + 2)), x.clone()
        signals, residual, rounds = x.numpy(), r.numpy(), np.zeros(len(x), np.int64)
        which = np.nonzero(signals.any(1))[0]
        if starts is not None:
            start_sets(which, sets, starts, rows, norms, signals, residual, problem.sided)
        for done in range(left):
            q = (r[which] @ problem.columns).numpy()

            def part(some: slice, which: Any = which, q: Any = q, sets: Sets = sets) -> None:
                how = (rows, norms, ridge, signals, residual, problem.sided, tol)
                round_free(which[some], sets, most, q[some], *how)

            in_threads(part, len(which), threads)
            which = which[sets.state[which] != 1]
            rounds[which] += 1
            if not len(which):
                break
            if (sets.state[which] != OPEN).any():
                room = min(2 * sets.u.shape[1], most + 2)
                if len(which) > 1 and 8 * len(x) * room * room > _SET_BYTES:
                    codes = _codes(sets, m)
                    for half in np.array_split(which, 2):
                        codes[half], more = run(x[half], codes[half], left - done - 1)
                        rounds[half] += more
                    return codes, rounds
                sets = room_for(len(x), room, sets)
        return _codes(sets, m), rounds

    return solve


def _codes(sets: Sets, m: int) -> np.ndarray:
    codes = np.zeros((len(sets.size), m))
    held = np.arange(sets.u.shape[1]) < sets.size[:, None]
    codes[held.nonzero()[0], sets.atoms[held]] = sets.u[held]
    return codes


SOLVER = Solver(name="working-set", penalties=LASSO_LIKE, devices=("cpu",), prepare=prepare)
