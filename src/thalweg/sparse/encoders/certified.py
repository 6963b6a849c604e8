"""How far is an encoder's code from the optimum, and what is done where that is too far?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from thalweg.records import Codes

if TYPE_CHECKING:
    from thalweg.sparse.encoders.base import Encoder


def gap_of(encoder: Encoder, X: Tensor, z: Tensor, chunk: int = 8192) -> tuple[Tensor, Tensor]:
    r"""Energy and relative duality gap ``(b,)`` of codes, in float64.

    With ``r = x − Dz`` the point ``u = s r``, ``s = clip(xᵀr/‖r‖², ±l1/‖Dᵀr‖∞)``, is feasible for
    the dual ``max ½‖x‖² − ½‖x − u‖²`` s.t. ``‖Dᵀu‖∞ ≤ l1``, and the best multiple of r there.
    """
    D = encoder.D.to(torch.float64)
    energies, gaps = [X.new_zeros(0, dtype=torch.float64)], [X.new_zeros(0, dtype=torch.float64)]
    for x, code in zip(X.split(chunk), z.split(chunk), strict=True):
        x, code = x.to(torch.float64), code.to(torch.float64)
        r = x - code @ D.T
        energy = 0.5 * r.square().sum(1) + encoder.l1 * code.abs().sum(1)
        room = encoder.l1 / (r @ D).abs().amax(1).clamp_min(1e-300)
        best = (x * r).sum(1) / r.square().sum(1).clamp_min(1e-300)
        s = torch.clamp(best, -room, room)
        half = 0.5 * x.square().sum(1)
        dual = half - 0.5 * (x - s[:, None] * r).square().sum(1)
        relative = (energy - dual).clamp_min(0) / half.clamp_min(1e-300)
        energies.append(energy)
        gaps.append(torch.where(half > 0, relative, torch.where(energy > 0, torch.inf, 0.0)))
    return torch.cat(energies), torch.cat(gaps)


def certified(encoder: Encoder, X: Any, tol: float) -> Codes:
    """The encoder's codes where their gap is ``<= tol``, exact ones elsewhere."""
    from thalweg.sparse import encode

    if not tol > 0:
        raise ValueError(f"tol must be positive, got {tol!r}")
    signals = encoder.signals(X)
    z = encoder.encode(signals)
    energy, gap = gap_of(encoder, signals, z)
    iterations = torch.zeros(len(z), dtype=torch.int64, device=z.device)
    converged = gap <= tol
    poor = (~converged).nonzero()[:, 0]
    if len(poor):
        exact = encode(signals[poor], encoder.D, encoder.l1, tol=tol, start=z[poor])
        z[poor], energy[poor] = exact.z.to(z), torch.as_tensor(exact.energy).to(energy)
        gap[poor] = torch.as_tensor(exact.gap).to(gap)
        iterations[poor] = torch.as_tensor(exact.iterations).to(iterations)
        converged[poor] = torch.as_tensor(exact.converged).to(converged)
    status = f"encoder: {len(z) - len(poor)} of {len(z)} within {tol:g}; exact solve: {len(poor)}"
    parts = (z, energy, gap, iterations, converged)
    if not isinstance(X, Tensor):
        parts = tuple(part.cpu().numpy() for part in parts)
    return Codes(*parts, status=status)
