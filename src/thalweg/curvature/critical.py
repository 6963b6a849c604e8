"""Minimum, saddle or plateau? The signs of the curvature where the gradient vanishes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from thalweg.curvature.newton import DENSE, SurfaceHessian
from thalweg.curvature.surface import Surface
from thalweg.curvature.surfaces import surface
from thalweg.linalg.operator import LinearOperator
from thalweg.records_landscape import CriticalPoint

if TYPE_CHECKING:
    from thalweg.linalg.density import Density

ROUNDING = 64  # in units of eps ‖H‖: curvatures below that are not told from 0


class Classified(NamedTuple):
    """What kind of place it is, and the direction of most negative curvature where there is one."""

    record: CriticalPoint
    escape: Tensor | None  # (p,), unit length, the sign along which the loss falls further
    eigenvalues: Tensor | None  # all of them, ascending, where the Hessian was formed


class Ends(NamedTuple):
    """What is known about the spectrum: both ends, and shares below and near zero."""

    lowest: float
    lowest_residual: float
    vector: Tensor
    highest: float
    highest_residual: float
    negative: tuple[float, float, float]  # share below -tol: estimate, low, high
    near_zero: float
    method: str
    products: int
    all: Tensor | None


def classify(
    problem: Any,
    loss: Any = None,
    data: Any = None,
    *,
    tol_gradient: float = 1e-6,
    tol_curvature: float = 1e-6,
    operator: LinearOperator | None = None,
    dense_below: int = DENSE,
    probes: int = 4,
    steps: int = 40,
    seed: int = 0,
    **look: Any,
) -> Classified:
    """Say what kind of critical point the weights are at.

    ============== ========================================================================
    not critical   the gradient norm is above ``tol_gradient``
    minimum        every curvature above ``tol_curvature``
    saddle         a curvature below ``-tol_curvature``: proved by its residual
    maximum        every curvature below ``-tol_curvature``
    degenerate     none negative, some zero: the second-order test is silent
    plateau        every curvature within ``tol_curvature`` of zero
    ============== ========================================================================

    Up to ``dense_below`` weights the full spectrum decides. Above, Lanczos finds the ends: then a
    saddle is still proved (its negative Ritz value plus residual is negative), a minimum is only
    likely, and the number of negative directions is an estimate by quadrature with bounds.

    Curvatures that rounding cannot tell from zero (64 eps ‖H‖) count as zero, whatever
    ``tol_curvature`` says; the tolerance in use stands in the record.

    Args:
        problem: A task, a model (with ``loss`` and ``data``) or a surface.
        loss: See :func:`thalweg.curvature.surfaces.surface`.
        data: See there.
        tol_gradient: Absolute, in units of loss per weight.
        tol_curvature: Absolute, in units of loss per squared weight.
        operator: The Hessian there in the order of the surface's weights, where a faster one than
            two backward passes is at hand.
        dense_below: Largest number of weights whose Hessian is formed.
        probes: Of the quadrature; 0 leaves the index out (bounds 0 and p).
        steps: Of each probe.
        seed: Of random starts.
        **look: Further arguments of ``surface``.

    Raises:
        ValueError: A tolerance that is not positive, or a loss that is not finite here.
    """
    if not (tol_gradient > 0 and tol_curvature > 0):
        raise ValueError(f"tolerances must be > 0, got {tol_gradient!r} and {tol_curvature!r}.")
    at = surface(problem, loss, data, **look)
    value, g = at.value_and_grad()
    norm = float(g.double().norm())
    if not torch.isfinite(torch.tensor([value, norm])).all():
        raise ValueError(f"loss {value} and gradient norm {norm}: not finite, nothing to classify.")
    if operator is not None and operator.shape != (at.p, at.p):
        raise ValueError(f"operator has shape {operator.shape}; the weights are {at.p}.")
    if operator is None and at.p <= dense_below:
        ends = _dense(at, tol_curvature)
    else:
        ends = _sparse(operator or SurfaceHessian(at), tol_curvature, probes, steps, seed)
    return judged(at, value, g, ends, tol_gradient, tol_curvature)


def judged(
    at: Surface, value: float, g: Tensor, ends: Ends, tol_gradient: float, tol_curvature: float
) -> Classified:
    """The verdict of :func:`classify` from a spectrum that is known already.

    Args:
        at: The surface, for the values along an escape.
        value: The loss there.
        g: Its gradient, ``(p,)``.
        ends: The spectrum.
        tol_gradient: See :func:`classify`.
        tol_curvature: See there.
    """
    norm = float(g.double().norm())
    tol = max(tol_curvature, _rounding(at, ends))
    kind, proved, reason = _judge(ends, norm, tol_gradient, tol)
    escape, drop, length = None, None, None
    if ends.lowest + ends.lowest_residual < -tol:
        escape, drop, length = _escape(at, value, g, ends.vector)
    record = CriticalPoint(
        kind=kind,
        proved=proved,
        reason=reason,
        loss=value,
        gradient_norm=norm,
        tol_gradient=tol_gradient,
        tol_curvature=tol,
        parameters=at.p,
        lowest=ends.lowest,
        lowest_residual=ends.lowest_residual,
        highest=ends.highest,
        highest_residual=ends.highest_residual,
        index=ends.negative[0] * at.p,
        index_low=ends.negative[1] * at.p,
        index_high=ends.negative[2] * at.p,
        near_zero=ends.near_zero,
        method=ends.method,
        drop=drop,
        drop_step=length,
        products=ends.products,
    )
    return Classified(record, escape, ends.all)


def _rounding(at: Surface, ends: Ends) -> float:
    return ROUNDING * torch.finfo(at.w.dtype).eps * max(abs(ends.lowest), abs(ends.highest))


def _dense(at: Surface, tol: float) -> Ends:
    values, vectors = torch.linalg.eigh(at.dense_hessian().double())
    size = float(values.abs().max())
    tol = max(tol, ROUNDING * torch.finfo(at.w.dtype).eps * size)
    return whole_spectrum(values, vectors[:, 0].to(at.w), tol, at.w.dtype, at.p)


def whole_spectrum(
    values: Tensor, vector: Tensor, tol: float, dtype: torch.dtype, products: int = 0
) -> Ends:
    """What all eigenvalues ``(p,)``, ascending, say; ``vector`` belongs to the first."""
    share = float((values < -tol).double().mean())
    residual = len(values) * torch.finfo(dtype).eps * float(values.abs().max())
    return Ends(
        float(values[0]),
        residual,
        vector,
        float(values[-1]),
        residual,
        (share, share, share),
        float((values.abs() <= tol).double().mean()),
        "dense",
        products,
        values,
    )


def _sparse(op: LinearOperator, tol: float, probes: int, steps: int, seed: int) -> Ends:
    from thalweg.linalg import eigenvalues

    found = eigenvalues(op, k=1, which="both", tol=1e-3, seed=seed)
    high, low = (float(v) for v in found.values)
    negative, near, products = (0.5, 0.0, 1.0), float("nan"), found.products
    tol = max(tol, ROUNDING * torch.finfo(op.dtype).eps * max(abs(low), abs(high)))
    if probes:
        negative, near, more = _quadrature(op, tol, probes, steps, seed)
        products += more
    return Ends(
        low,
        float(found.residuals[1]),
        found.vectors[:, 1],
        high,
        float(found.residuals[0]),
        negative,
        near,
        "lanczos and quadrature" if probes else "lanczos",
        products,
        None,
    )


def _quadrature(
    op: LinearOperator, tol: float, probes: int, steps: int, seed: int
) -> tuple[tuple[float, float, float], float, int]:
    """See :func:`shares`; and how many products it took."""
    from thalweg.linalg import spectral_density

    density = spectral_density(op, probes=probes, steps=min(steps, op.shape[0]), seed=seed)
    return *shares(density, tol), density.products


def shares(density: Density, tol: float) -> tuple[tuple[float, float, float], float]:
    """Share of eigenvalues below ``-tol`` with bounds, and share within ``tol`` of zero."""
    below, _ = density.mean(lambda x: (x < -tol).double())
    near, _ = density.mean(lambda x: (x.abs() <= tol).double())
    return (below, *density.fraction_below(-tol)), near


def _judge(ends: Ends, norm: float, tol_g: float, tol: float) -> tuple[str, bool, str]:
    dense = ends.all is not None
    below = ends.lowest + ends.lowest_residual < -tol  # an eigenvalue lies there for certain
    if norm > tol_g:
        also = f"; curvature {ends.lowest:.3g} along one direction" if below else ""
        return "not critical", True, f"gradient norm {norm:.3g} > {tol_g:.3g}{also}"
    if below and ends.highest < -tol:
        return "maximum", dense, f"every curvature is below {-tol:.2g}"
    if below:
        found = f"curvature {ends.lowest:.4g} ± {ends.lowest_residual:.1g} < 0 along one direction"
        up = f", {ends.highest:.3g} along another" if ends.highest > tol else ", none positive"
        return "saddle", True, found + up
    how = "" if dense else " (found by Lanczos: likely, not certain)"
    if max(abs(ends.lowest), abs(ends.highest)) <= tol:
        return "plateau", dense, f"every curvature is within {tol:.2g} of zero{how}"
    if ends.lowest > tol:
        return "minimum", dense, f"every curvature is at least {ends.lowest:.4g}{how}"
    return "degenerate", dense, f"no curvature below {-tol:.2g}, some within it of zero{how}"


def _escape(at: Surface, value: float, g: Tensor, v: Tensor) -> tuple[Tensor, float, float]:
    """The sign of ``v`` along which the loss falls further, how far, and at which length."""
    v = v / v.norm()
    lengths = (1e-3 * (1 + float(at.w.norm())) * 2.0 ** torch.arange(12)).to(at.w)
    both = torch.cat([lengths, -lengths])
    values = at.values(at.w + both[:, None] * v)
    values = torch.where(torch.isfinite(values), values, torch.inf)
    best = int(values.argmin())
    sign = float(both[best].sign()) if values[best] < value else (-1.0 if float(g @ v) > 0 else 1.0)
    return sign * v, max(0.0, value - float(values[best])), float(both[best].abs())
