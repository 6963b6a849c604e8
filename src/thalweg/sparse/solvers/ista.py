"""Proximal gradient, the plainest solver: every step lowers the energy."""

from __future__ import annotations

from torch import Tensor

from thalweg.sparse.energy import Energy
from thalweg.sparse.solvers.base import CONVEX, Open, Options, Solve, Solver

_CHECK = 20  # steps between certificates


def prepare(energy: Energy, options: Options) -> Solve:
    r"""Iterate :math:`z \leftarrow \mathrm{prox}_{\Omega/L}(z - \tfrac1L D^\top(Dz - x))`.

    With ``L`` the largest eigenvalue of ``DᵀD`` the energy after k steps is within
    :math:`L\|z^\star\|^2/(2k)` of its minimum when started from zero.

    References:
        Daubechies, Defrise and De Mol, "An iterative thresholding algorithm for linear inverse
        problems with a sparsity constraint", 2004.
    """
    step = energy.step()
    limit = options.max_iterations or 100_000

    def solve(x: Tensor, start: Tensor | None) -> tuple[Tensor, Tensor]:
        state = Open(energy, options, x, start)
        z = state.codes.clone()
        for k in range(limit + 1):
            if k % _CHECK == 0 or k == limit:
                (z,) = state.close(k, z)
                if not len(z):
                    break
            if k < limit:
                z = energy.penalty.prox(z - step * energy.grad(state.x, z), step)
        return state.codes, state.iterations

    return solve


SOLVER = Solver(name="ista", penalties=CONVEX, devices=("cpu", "cuda"), prepare=prepare)
