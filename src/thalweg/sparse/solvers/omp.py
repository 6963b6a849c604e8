"""Orthogonal matching pursuit: the atom that explains most of the rest, k times."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from thalweg.sparse.energy import Energy
from thalweg.sparse.penalties.k_sparse import KSparse
from thalweg.sparse.solvers.base import Options, Solve, Solver

_BYTES = 64 * 2**20  # of gathered atoms held at once
_GRAM_BYTES = 2**30  # a Gram matrix of up to 11585 atoms
_NOTHING = 1e-12  # share of a signal's norm below which the rest is rounding


def prepare(energy: Energy, options: Options) -> Solve:
    """Choose atoms by ``|dᵀr| / ‖d‖`` and refit all chosen ones after each choice.

    The Cholesky factor of their Gram matrix grows by one row a step. Choosing stops early where
    nothing is left to explain. ``max_iterations`` below k stops at that many atoms; a start is not
    used. On a CPU correlations come from the dictionary's Gram matrix, formed once, sample after
    sample in compiled code; where that matrix were larger than 1 GiB or than what few samples
    repay, and on CUDA, from the residuals of all samples at once.

    References:
        Pati, Rezaiifar and Krishnaprasad, "Orthogonal matching pursuit", 1993;
        Rubinstein, Zibulevsky and Elad, "Efficient implementation of the K-SVD algorithm using
        batch orthogonal matching pursuit", 2008.
    """
    if not isinstance(energy.penalty, KSparse):
        raise TypeError(f"matching pursuit needs k-sparse codes, got {energy.penalty.name}")
    atoms = energy.datafit.matrix.mT.contiguous()  # (m, n)
    norm = torch.linalg.vector_norm(atoms, dim=1)
    inverse = torch.where(norm > 0, 1.0 / norm, 0.0)
    k = min(energy.penalty.k, options.max_iterations or energy.penalty.k, *atoms.shape)
    m = len(atoms)
    few = 12 * (options.samples or m) < m
    if atoms.device.type == "cpu" and not few and 8 * m * m <= _GRAM_BYTES:
        return _with_gram(atoms, inverse, k, options.threads or torch.get_num_threads())
    return _from_residuals(atoms, inverse, k)


def _with_gram(atoms: Tensor, inverse: Tensor, k: int, threads: int) -> Solve:
    from thalweg.sparse.solvers.kernels.pursuit import pursue
    from thalweg.sparse.solvers.threads import in_threads

    unit = atoms * inverse[:, None]
    gram, lengths = (unit @ unit.mT).numpy(), inverse.numpy()

    def solve(x: Tensor, start: Tensor | None) -> tuple[Tensor, Tensor]:
        codes = x.new_zeros(len(x), len(atoms))
        steps = torch.zeros(len(x), dtype=torch.int64)
        products = (x @ unit.mT).numpy()
        floors = (_NOTHING * torch.linalg.vector_norm(x, dim=-1)).numpy()
        z, taken = codes.numpy(), steps.numpy()

        def part(rows: slice) -> None:
            pursue(gram, products[rows], floors[rows], lengths, k, z[rows], taken[rows])

        in_threads(part, len(x), threads)
        return codes, steps

    return solve


def _from_residuals(atoms: Tensor, inverse: Tensor, k: int) -> Solve:
    def solve(x: Tensor, start: Tensor | None) -> tuple[Tensor, Tensor]:
        codes = x.new_zeros(len(x), len(atoms))
        steps = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        some = max(1, _BYTES // (8 * k * atoms.shape[1]))
        for begin in range(0, len(x), some):
            rows = slice(begin, begin + some)
            index, value, steps[rows] = _pursue(x[rows], atoms, inverse, k)
            codes[rows].scatter_add_(-1, index, value)
        return codes, steps

    return solve


def _pursue(x: Tensor, atoms: Tensor, inverse: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Indices ``(b, k)``, coefficients ``(b, k)`` (0 where unused) and atoms taken ``(b,)``."""
    b, n = x.shape
    factor = torch.eye(k, dtype=x.dtype, device=x.device).repeat(b, 1, 1)
    chosen = x.new_zeros(b, k, n)
    index = torch.zeros(b, k, dtype=torch.int64, device=x.device)
    front, value = x.new_zeros(b, k), x.new_zeros(b, k)
    steps = torch.zeros(b, dtype=torch.int64, device=x.device)
    floor = _NOTHING * torch.linalg.vector_norm(x, dim=-1)
    r, alive = x, torch.ones(b, dtype=torch.bool, device=x.device)
    free = inverse.expand(b, -1).clone()  # 0 for atoms that may not be chosen
    for t in range(k):
        score, best = ((r @ atoms.mT).abs() * free).max(-1)
        alive = alive & (score > floor)
        if not bool(alive.any()):
            break
        atom = atoms[best]
        row = (chosen[:, :t] @ atom.unsqueeze(-1)).squeeze(-1)
        if t:
            left = factor[:, :t, :t]
            row = torch.linalg.solve_triangular(left, row.unsqueeze(-1), upper=False).squeeze(-1)
        rest = atom.square().sum(-1) - row.square().sum(-1)
        alive = alive & (rest * inverse[best].square() > 1e-13)
        pivot = torch.where(alive, rest, 1.0).sqrt()
        factor[:, t, :t] = torch.where(alive.unsqueeze(-1), row, 0.0)
        factor[:, t, t] = pivot
        chosen[:, t] = torch.where(alive.unsqueeze(-1), atom, 0.0)
        index[:, t], steps = best, steps + alive
        free.scatter_(-1, best.unsqueeze(-1), 0.0)
        ahead = (atom * x).sum(-1) - (row * front[:, :t]).sum(-1)
        front[:, t] = torch.where(alive, ahead / pivot, 0.0)
        upper = factor[:, : t + 1, : t + 1].mT
        found = torch.linalg.solve_triangular(upper, front[:, : t + 1, None], upper=True)
        value[:, : t + 1] = found.squeeze(-1)
        r = x - embedding_bag(index, atoms, per_sample_weights=value, mode="sum")
    return index, value, steps


SOLVER = Solver(name="omp", penalties=("k-sparse",), devices=("cpu", "cuda"), prepare=prepare)
