"""What a survey says besides the spectrum: the kind of place it is, and which batch size suits it.

Both are read from what the survey has at hand; only the noise takes gradients of its own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from thalweg.curvature.critical import ROUNDING, Classified, Ends, judged, shares, whole_spectrum
from thalweg.curvature.floor import advise_batch_size
from thalweg.curvature.matrix import CurvatureOperator
from thalweg.curvature.noise import noise_scale
from thalweg.curvature.views import Seen
from thalweg.linalg.density import Density
from thalweg.linalg.lanczos import Eigenpairs
from thalweg.records_landscape import BatchAdvice
from thalweg.task import Task

SAMPLES = 1000  # gradients that the noise scale is measured from


def lowest(pairs: Eigenpairs) -> int:
    """The column of the smallest eigenvalue among pairs of both ends."""
    return (len(pairs.values) + 1) // 2 if len(pairs.values) > 1 else 0


def critical_point(
    op: CurvatureOperator,
    loss: float,
    gradient: Tensor,
    pairs: Eigenpairs,
    density: Density,
    values: Tensor | None,
    tol_gradient: float = 1e-6,
    tol_curvature: float = 1e-6,
) -> Classified:
    """As :func:`thalweg.curvature.classify`, from a spectrum found already: no products.

    Args:
        op: The Hessian.
        loss: Its loss.
        gradient: ``(p,)``.
        pairs: Eigenpairs at both ends, as ``eigenvalues(op, which="both")`` gives them.
        density: Its density.
        values: All eigenvalues, descending, where they were computed.
        tol_gradient: See ``classify``.
        tol_curvature: See there.
    """
    last = lowest(pairs)
    size = float(pairs.values.abs().max())
    tol = max(tol_curvature, ROUNDING * torch.finfo(op.dtype).eps * size)
    vector = pairs.vectors[:, last]
    if values is not None:
        ends = whole_spectrum(values.flip(0), vector, tol, op.dtype, op.shape[0])
    else:
        below, near = shares(density, tol)
        ends = Ends(
            float(pairs.values[last]),
            float(pairs.residuals[last]),
            vector,
            float(pairs.values[0]),
            float(pairs.residuals[0]),
            below,
            near,
            "lanczos and quadrature",
            pairs.products + density.products,
            None,
        )
    return judged(Seen(op.problem), loss, gradient, ends, tol_gradient, tol_curvature)


def batch_advice(task: Task, op: CurvatureOperator, **look: Any) -> tuple[BatchAdvice | None, str]:
    """The noise scale over up to a thousand samples with its advice; or None and the reason.

    Args:
        task: The task.
        op: Of this task: random draws inside the loss are held as it holds them.
        **look: ``model``, ``part``, ``mode``, ``seed``, ``device``, as for ``noise_scale``.
    """
    try:
        with op.problem.steady():
            noise = noise_scale(
                task,
                samples=SAMPLES,
                batch_size=task.recipe.batch_size,
                dtype=op.dtype,
                **look,
            )
    except ValueError as error:
        return None, f"No gradient noise scale: {error}"
    return advise_batch_size(noise), ""
