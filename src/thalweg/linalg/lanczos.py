"""Which are the largest and the smallest eigenvalues? Lanczos in blocks, with residuals."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg.linalg.checks import sphere, square
from thalweg.linalg.krylov import LOST, Krylov, Ritz
from thalweg.linalg.operator import LinearOperator

ENDS = ("largest", "smallest", "both")
BASIS_BYTES = 2**30  # the basis may take this much before the method restarts
FLOOR = 1e-3  # relative to ‖A‖: eigenvalues smaller than this are found to tol * FLOOR * ‖A‖
MIX = 0.05  # of a random vector in a given start, so that it can leave an eigenvector
LEAST = 5  # products before an answer is believed
CONFIRM = 8  # steps, or a sixth of all, of a vector that looks for what the first did not see
SURE = 1e-4  # tolerance below which a single value is confirmed like that as well


@dataclass(frozen=True, slots=True, eq=False)
class Eigenpairs:
    """Eigenvalues at the ends of a spectrum, each with what is known about its error.

    Attributes:
        values: ``(k,)`` float64, the most extreme first; for ``"both"`` the k largest, descending,
            then the k smallest, ascending.
        vectors: ``(p, k)`` of unit length, in the operator's dtype.
        residuals: ``(k,)``: ``‖A v − λ v‖``. *Certified*: an eigenvalue lies within it.
        errors: ``(k,)``: min(r, r² / gap), an *estimate* of the error, as the gap is one.
        products: Products with single vectors; those of a block count each.
        converged: Whether every error met the tolerance.
        norm: Largest Ritz value in absolute value: ``‖A‖`` from below.
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    errors: Tensor
    products: int
    converged: bool
    norm: float

    @property
    def certified(self) -> Tensor:
        """``(k, 2)``: bounds between which an eigenvalue lies for certain."""
        return torch.stack([self.values - self.residuals, self.values + self.residuals], dim=1)


def eigenvalues(
    op: LinearOperator,
    k: int = 1,
    which: str = "largest",
    tol: float = 1e-3,
    seed: int = 0,
    *,
    start: Tensor | None = None,
    block: int | None = None,
    max_products: int | None = None,
    basis: int | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> Eigenpairs:
    r"""Algebraically largest or smallest eigenvalues of a symmetric operator.

    Lanczos with full reorthogonalisation, run until min(r, r²/gap) ≤ tol · max(\|λ\|, ‖A‖/1000) for
    each wanted value. That an eigenvalue lies within ``residuals`` of each value is certain, up to
    rounding; that none *between* or *beyond* them was missed is likely: a random start sees every
    direction, some of them faintly, and one copy of a multiple eigenvalue only. So where the block
    is 1 and ``k > 1`` or ``tol < 1e-4``, a second random vector joins after convergence, and the
    search goes on until a few steps of it change nothing; a block of b > 1 sees b copies anyway.

    Memory: ``p · basis`` numbers. By default as many as fit into 1 GiB, at least ``2 k + 8 block``;
    beyond them the method restarts from the best Ritz vectors.

    >>> from thalweg.linalg import DenseOperator
    >>> found = eigenvalues(DenseOperator(torch.diag(torch.arange(1.0, 101.0))), k=2, tol=1e-6)
    >>> [round(float(x), 3) for x in found.values]
    [100.0, 99.0]

    Args:
        op: Symmetric operator ``(p, p)``, float32 or float64.
        k: How many (at each end for ``"both"``); at most p are there to be found.
        which: ``"largest"``, ``"smallest"`` or ``"both"``, algebraically: -5 is smaller than 1.
        tol: Relative error wanted.
        seed: Of the random start; the global generator is not touched.
        start: ``(p,)`` or ``(p, c)``: guesses of eigenvectors, as from a step ago or from a part of
            the data. Five per cent of a random vector is mixed in.
        block: Vectors multiplied at once; default: as many as ``start`` has, else 1. More where
            the operator multiplies blocks cheaply.
        max_products: Stop after so many; default 1000, or 20 k if that is more.
        basis: Vectors kept; see above.
        progress: Called with (products, largest relative error) after every block.

    Returns:
        The pairs; ``converged`` is False where ``max_products`` ran out.

    Raises:
        ValueError: An argument out of range; an operator that is not symmetric or not finite.

    References:
        Parlett, "The symmetric eigenvalue problem", 1998, chapters 11 and 13; Wu and Simon 2000.
    """
    p = square(op)
    _check(k, which, tol, block, max_products, basis)
    begin = _start(op, p, start, block, seed)
    b = begin.shape[1]
    ends = 2 if which == "both" else 1
    wanted = min(ends * k, p)
    most = max(1000, 20 * ends * k) if max_products is None else max_products
    capacity = _capacity(op, p, wanted, b, most, basis)
    generator = torch.Generator().manual_seed(seed + 1)
    space = Krylov(op, begin, capacity, generator)
    least, look, joined = min(p, LEAST + wanted - 1), 0, b > 1 or (k == 1 and tol >= SURE)
    op.expect(min(p, most, 2 * (LEAST + wanted)))  # about what it takes
    norm, confirmed = 0.0, 0  # up to this size only the second vector's space grows
    while True:
        space.grow(newest=space.size < confirmed)
        ends_here = space.exhausted or space.full or space.products >= most
        if space.size < look and not ends_here:
            continue
        look = space.size + space.size // 12  # a dense eigensolution each time: not every step
        found = space.ritz()
        chosen = _choose(found.values, k, which)
        norm = max(norm, float(found.values.abs().max()))  # a restart forgets one end
        errors = _errors(found, chosen)
        scale = tol * torch.clamp(found.values[chosen].abs(), min=FLOOR * norm)
        scale = torch.clamp(scale, min=8 * torch.finfo(op.dtype).eps * norm)
        done = len(chosen) >= wanted and bool((errors <= scale).all())
        if progress is not None:
            progress(space.products, _worst(errors, scale) * tol)
        if done and not joined and not space.exhausted:
            joined = True
            space.widen()
            least = look = confirmed = min(p, space.size + max(CONFIRM, space.size // 6))
        elif (done and space.size >= least) or space.exhausted:
            done = len(chosen) >= wanted
            break
        if space.products >= most:
            break
        if space.full:
            kept = _keep(found.values, which, wanted, capacity, space.ready)
            lost = max(0, space.size - len(kept))
            least, confirmed, look = least - lost, confirmed - lost, 0
            space.restart(found.coordinates[:, kept])
    noise = LOST[op.dtype] * norm  # what rounding may hide
    return Eigenpairs(
        found.values[chosen].to(op.device),
        space.vectors(found.coordinates[:, chosen]),
        (found.residuals[chosen] + noise).to(op.device),
        (errors + noise).to(op.device),
        space.products,
        done,
        norm,
    )


def _choose(values: Tensor, k: int, which: str) -> Tensor:
    """Places of the wanted ones among ascending values, the most extreme first."""
    n = len(values)
    low = torch.arange(min(k, n))
    high = torch.arange(n - 1, max(n - 1 - k, -1), -1)
    if which == "largest":
        return high
    if which == "smallest":
        return low
    if 2 * k >= n:  # the two ends meet
        top = torch.arange(n - 1, n - 1 - (n + 1) // 2, -1)
        return torch.cat([top, torch.arange(n // 2)])
    return torch.cat([high, low])


def _errors(found: Ritz, chosen: Tensor) -> Tensor:
    """``min(r, r²/gap)``: the gap is that to the next Ritz value which is not within r."""
    theta, r = found.values, found.residuals
    answers = []
    for i in chosen.tolist():
        distance = (theta - theta[i]).abs() - r
        distance[i] = math.inf
        apart = distance[distance > r[i]]
        gap = float(apart.min()) if len(apart) else 0.0
        near = bool((distance <= r[i]).any())  # a neighbour not yet told apart
        answers.append(
            float(r[i]) if near or gap <= 0 else float(r[i]) * min(1.0, float(r[i]) / gap)
        )
    return torch.tensor(answers, dtype=torch.float64)


def _worst(errors: Tensor, scale: Tensor) -> float:
    """Largest error as a multiple of what is allowed."""
    if not len(errors):
        return math.inf
    return float((errors / scale.clamp(min=torch.finfo(torch.float64).tiny)).max())


def _keep(values: Tensor, which: str, wanted: int, capacity: int, block: int) -> Tensor:
    """What survives a restart: the wanted ones and half of the room beside them."""
    n = len(values)
    room = max(wanted + 1, min(n - 1, wanted + (capacity - wanted - block) // 2))
    if which == "largest":
        return torch.arange(n - room, n)
    if which == "smallest":
        return torch.arange(room)
    low = room // 2
    return torch.cat([torch.arange(low), torch.arange(n - (room - low), n)])


def _start(
    op: LinearOperator, p: int, start: Tensor | None, block: int | None, seed: int
) -> Tensor:
    columns = 0
    if start is not None:
        if start.ndim == 1:
            start = start[:, None]
        if start.ndim != 2 or start.shape[0] != p or not 1 <= start.shape[1] <= p:
            raise ValueError(
                f"start has shape {tuple(start.shape)}; wanted ({p},) or ({p}, c) for this operator"
            )
        if not bool(torch.isfinite(start).all()) or bool((start.norm(dim=0) == 0).any()):
            raise ValueError("start holds a zero vector or numbers that are not finite")
        columns = start.shape[1]
    b = min(p, max(block or 1, columns))
    random = sphere(p, b, seed, op)
    if start is not None:
        given = (start / start.norm(dim=0)).to(op.device, op.dtype)
        random[:, :columns] = given + MIX * random[:, :columns]
    return random


def _capacity(
    op: LinearOperator, p: int, wanted: int, block: int, most: int, basis: int | None
) -> int:
    least = min(p, 2 * wanted + 8 * block)
    if basis is not None:
        if basis < least:
            raise ValueError(
                f"basis={basis} is too small for {wanted} eigenvalues in blocks of {block}; "
                f"give at least {least}"
            )
        return min(basis, p)
    fits = BASIS_BYTES // (p * torch.finfo(op.dtype).bits // 8)
    return max(least, min(p, fits, most + block))


def _check(
    k: int, which: str, tol: float, block: int | None, most: int | None, basis: int | None
) -> None:
    if which not in ENDS:
        raise ValueError(f"which is {which!r}; known: {', '.join(ENDS)} (algebraically)")
    for name, value in (("k", k), ("block", block), ("max_products", most), ("basis", basis)):
        if value is not None and (isinstance(value, bool) or int(value) != value or value < 1):
            raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
    if not 0 < tol < 1:
        raise ValueError(f"tol must be between 0 and 1, got {tol!r}")
