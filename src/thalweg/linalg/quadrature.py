"""How are the eigenvalues spread? Stochastic Lanczos quadrature, all probes side by side."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from thalweg.linalg.checks import multiply, refuse_asymmetric, sphere, square
from thalweg.linalg.density import Density, Jacobi
from thalweg.linalg.krylov import LOST
from thalweg.linalg.operator import LinearOperator

BASIS_BYTES = 2**30  # of all probes worked on together


def spectral_density(
    op: LinearOperator,
    probes: int = 10,
    steps: int = 64,
    seed: int = 0,
    *,
    at_once: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Density:
    """The density of eigenvalues of a symmetric operator, from random vectors.

    Each probe is a random unit vector with a Lanczos run of its own, fully reorthogonalised (nodes
    are not doubled); probes advance side by side, so the operator sees blocks ``(p, at_once)``.
    The average over probes is unbiased for the first ``2 steps − 1`` moments. A full run with
    ``steps = p`` is exact for each probe.

    Memory: ``p · steps · at_once`` numbers; by default as many probes as fit into 1 GiB.

    Args:
        op: Symmetric operator ``(p, p)``, float32 or float64.
        probes: Random vectors.
        steps: Products for each; at most p are taken.
        seed: Of the random vectors; the global generator is not touched.
        at_once: Probes multiplied as one block.
        progress: Called with (products, products in all) after every block.

    Raises:
        ValueError: An argument out of range; an operator that is not symmetric or not finite.

    References:
        Golub and Meurant, "Matrices, moments and quadrature", 2010; Ghorbani, Krishnan and Xiao,
        "An investigation into neural net optimization via Hessian eigenvalue density", 2019.
    """
    p = square(op)
    for name, value in (("probes", probes), ("steps", steps), ("at_once", at_once)):
        if value is not None and (isinstance(value, bool) or int(value) != value or value < 1):
            raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
    steps = min(steps, p)
    size = torch.finfo(op.dtype).bits // 8
    fits = max(1, BASIS_BYTES // (p * steps * size))
    width = min(probes, at_once or fits)
    start = sphere(p, probes, seed, op)
    found: list[Jacobi] = []
    total = probes * steps
    op.expect(total)
    for first in range(0, probes, width):
        block = start[:, first : first + width]
        done = first * steps

        def tell(now: int, done: int = done) -> None:
            if progress is not None:
                progress(done + now, total)

        found += _run(op, block, steps, tell)
    rules = [probe.rule() for probe in found]
    norm = max(float(np.abs(nodes).max()) for nodes, _ in rules)
    return Density(
        nodes=_padded([nodes for nodes, _ in rules], steps, last=True),
        weights=_padded([weights for _, weights in rules], steps, last=False),
        p=p,
        products=sum(len(probe.alpha) for probe in found),
        resolution=LOST[op.dtype] * norm,
        jacobi=tuple(found),
    )


def _run(
    op: LinearOperator, start: Tensor, steps: int, tell: Callable[[int], None]
) -> list[Jacobi]:
    """Lanczos from each column of ``start (p, b)``; a column whose space is invariant drops out."""
    p, b = start.shape
    basis = torch.empty(b, steps, p, dtype=op.dtype, device=op.device)
    basis[:, 0] = start.mT
    alpha = np.zeros((b, steps))
    beta = np.zeros((b, steps))
    length = np.full(b, steps)
    active = torch.arange(b)
    taken, defect, norm = 0, 0.0, 0.0
    for j in range(steps):
        here = active.to(op.device)
        whole = len(active) == b
        current = basis[:, j] if whole else basis[here, j]
        image = multiply(op, current[0] if len(active) == 1 else current.mT.contiguous(), taken)
        image = (image[None] if image.ndim == 1 else image.mT).contiguous()  # (active, p)
        taken += len(active)
        tell(taken)
        known = basis[:, : j + 1] if whole else basis[here, : j + 1]
        total = torch.zeros(len(active), j + 1, dtype=torch.float64)
        for _ in range(2):
            c = torch.bmm(known, image[:, :, None])  # (active, j + 1, 1)
            image = image - torch.bmm(c.mT, known)[:, 0]
            total += c[:, :, 0].double().cpu()
        norms = image.double().norm(dim=1).cpu().numpy()
        coefficients = total.numpy()
        places = active.numpy()
        alpha[places, j] = coefficients[:, j]
        beta[places, j] = norms
        norm = max(norm, float(np.hypot(np.abs(coefficients[:, j]), norms).max()))
        if j:
            expected = np.zeros_like(coefficients[:, :j])
            expected[:, j - 1] = beta[places, j - 1]
            defect = max(defect, float(np.abs(coefficients[:, :j] - expected).max()))
            refuse_asymmetric(defect, norm, op.dtype)
        ended = norms <= LOST[op.dtype] * norm
        length[places[ended]] = j + 1
        beta[places[ended], j] = 0.0
        stay = torch.from_numpy(~ended)
        if j + 1 == steps or not bool(stay.any()):
            break
        active = active[stay]
        rows = image[stay.to(op.device)]
        basis[active.to(op.device), j + 1] = rows / rows.norm(dim=1, keepdim=True)
    return [
        Jacobi(alpha[i, :n], beta[i, : n - 1], 0.0 if n == p else float(beta[i, n - 1]))
        for i, n in enumerate(length.tolist())
    ]


def _padded(rows: list[np.ndarray], steps: int, last: bool) -> Tensor:
    out = np.zeros((len(rows), steps))
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
        if last:
            out[i, len(row) :] = row[-1]
    return torch.from_numpy(out)
