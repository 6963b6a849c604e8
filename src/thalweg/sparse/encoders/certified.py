"""How far is an encoder's code from the optimum, and what is done where that is too far?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from thalweg.records import Codes
from thalweg.sparse.inference import certify, encode

if TYPE_CHECKING:
    from thalweg.sparse.encoders.base import Encoder


def certified(encoder: Encoder, X: Any, tol: float) -> Codes:
    """The encoder's codes where their gap is ``<= tol``, exact ones elsewhere."""
    if not tol > 0:
        raise ValueError(f"tol must be positive, got {tol!r}")
    signals = encoder.signals(X)
    own = certify(signals, encoder.D, encoder.encode(signals), encoder.l1, tol=tol)
    z, energy, gap, converged = own.z, own.energy, own.gap, own.converged
    iterations = own.iterations
    poor = (~converged).nonzero()[:, 0]
    if len(poor):
        exact = encode(signals[poor], encoder.D, encoder.l1, tol=tol, start=z[poor])
        z[poor], energy[poor], gap[poor] = exact.z, exact.energy, exact.gap
        iterations[poor], converged[poor] = exact.iterations, exact.converged
    status = f"encoder: {len(z) - len(poor)} of {len(z)} within {tol:g}; exact solve: {len(poor)}"
    parts = (z, energy, gap, iterations, converged)
    if not isinstance(X, Tensor):
        parts = tuple(part.cpu().numpy() for part in parts)
    return Codes(*parts, status=status)
