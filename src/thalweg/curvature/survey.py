"""The whole spectrum at a glance: both ends, density, conditioning, rates, layers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from thalweg.curvature.admissible import adaptive
from thalweg.curvature.choose import seconds_of_a_gradient
from thalweg.curvature.condition import bounded_condition, exact_condition
from thalweg.curvature.fishers import fisher, mean_gradient
from thalweg.curvature.gauss_newton import ggn
from thalweg.curvature.hessians import hessian
from thalweg.curvature.layerwise import layer_table, mean_and_error, traces
from thalweg.curvature.matrix import CurvatureOperator
from thalweg.curvature.problem import Problem
from thalweg.curvature.subset import MOST, affordable, sampling_errors
from thalweg.curvature.verdict import batch_advice, critical_point, lowest
from thalweg.curvature.views import mean_loss, views
from thalweg.linalg.density import Density
from thalweg.linalg.lanczos import Eigenpairs, eigenvalues
from thalweg.linalg.quadrature import spectral_density
from thalweg.records_spectrum import Rate, Share, SpectrumReport
from thalweg.risk.threads import threads_put_back, worthwhile
from thalweg.rundir.machine import machine
from thalweg.steps.bounds import max_learning_rate
from thalweg.task import Task, task_source

OPERATORS = {"hessian": hessian, "ggn": ggn, "fisher": fisher}
DENSE = 1000  # parameters up to which all eigenvalues are computed
GRID = 400  # points of the density
ROWS = 256  # samples of one pass, where only values and gradients are asked for
DIRECTIONS = 60_000  # weights times probes that make a density sharp
Told = Callable[[str, int, int], None]


@threads_put_back()
def spectrum(
    task: Task,
    *,
    operator: str = "hessian",
    model: nn.Module | None = None,
    weights: str = "",
    part: str = "train",
    samples: int | str | None = "auto",
    batch_size: int | None = None,
    mode: str = "eval",
    k: int = 5,
    tol: float = 1e-3,
    probes: int | None = None,
    steps: int = 50,
    layers: bool = True,
    noise: bool = True,
    landscape: bool = False,
    tol_gradient: float = 1e-6,
    dense: int = DENSE,
    seed: int = 0,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    progress: Told | None = None,
) -> SpectrumReport:
    r"""Eigenvalues, density, condition number, and the learning rates that they admit.

    Args:
        task: The task.
        operator: ``"hessian"`` (default), ``"ggn"`` or ``"fisher"`` (empirical).
        model: Trained weights to look from; by default fresh ones under ``seed``.
        weights: What to call them in the record.
        part: ``"train"`` (default), ``"selection"`` or ``"confirmation"``.
        samples: A random part of so many; None: all. ``"auto"``: as many as a minute's work on
            one core allows, counted in operations of this model, at most 4,096; the record holds
            what another choice of samples would change.
        batch_size: Of the batches in ``mode="train"``; default the task's.
        mode: Of batch normalisation: ``"eval"`` (default) or ``"train"``.
        k: Eigenvalues at each end.
        tol: Relative error of these.
        probes: Random vectors of the density; None: 60,000 over the number of weights, between 2
            and 6, since a vector of many weights averages over as many.
        steps: Products for each.
        layers: Whether to look at each layer.
        noise: Whether to measure the gradient noise scale, from up to 1,000 samples.
        landscape: Whether to look along three lines and over a plane around the weights: 232 values
            of the loss; see :func:`thalweg.curvature.views.views`.
        tol_gradient: Gradient norm below which the weights count as a critical point.
        dense: Parameters up to which *all* eigenvalues are computed instead of sampled.
        seed: Of fresh weights, samples and probes.
        device: Default ``"auto"``.
        dtype: ``"float32"`` or ``"float64"``; default the task's.
        progress: Called with (stage, done, of).

    Returns:
        The record; ``.report(path)`` draws it.

    Raises:
        ValueError: As :func:`thalweg.curvature.hessian` does, or an argument out of range.
    """
    begun = time.perf_counter()
    if operator not in OPERATORS:
        raise ValueError(f"operator is {operator!r}; known: {', '.join(OPERATORS)}.")
    for name, value in (("k", k), ("probes", 1 if probes is None else probes), ("steps", steps)):
        if isinstance(value, bool) or int(value) != value or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}.")
    if not tol_gradient > 0:
        raise ValueError(f"tol_gradient must be above 0, got {tol_gradient!r}.")
    if isinstance(samples, str) and samples != "auto":
        raise ValueError(f"samples is {samples!r}; wanted a number, None (all) or 'auto'.")
    tell = progress or (lambda stage, done, of: None)
    tell("checking the loss", 0, 1)
    look: Any = {"part": part, "mode": mode, "seed": seed, "device": device, "model": model}
    settings: Any = look | {"dtype": dtype, "batch_size": batch_size,
                            "samples": MOST if samples == "auto" else samples}  # fmt: skip
    op = OPERATORS[operator](task, **settings)
    if samples == "auto" and (few := affordable(op.problem)) < op.problem.chunks.n:
        op = OPERATORS[operator](task, **settings | {"samples": few})
    problem = op.problem
    torch.set_num_threads(worthwhile(problem.device, lambda: seconds_of_a_gradient(problem)))
    loss, gradient = mean_loss(problem, ROWS), mean_gradient(problem, ROWS)
    ends = eigenvalues(
        op,
        min(k, op.shape[0]),
        "both",
        tol,
        seed,
        progress=lambda done, _: tell("eigenvalues at both ends", done, 0),
    )
    probes = probes or min(6, max(2, -(-DIRECTIONS // op.shape[0])))
    density = spectral_density(
        op, probes, steps, seed, progress=lambda done, of: tell("density", done, of)
    )
    dense_matrix = whole_matrix(op, tell) if op.shape[0] <= dense else None
    values = None if dense_matrix is None else torch.linalg.eigvalsh(dense_matrix).flip(0)
    adam = eigenvalues(
        adaptive(op, batch_size=task.recipe.batch_size if mode == "eval" else None),
        tol=max(tol, 1e-2),
        seed=seed,
        progress=lambda done, _: tell("what Adam feels", done, 0),
    )
    quadratic = is_quadratic(op) if operator == "hessian" else False
    high, low = _ends(ends, k)
    condition = (
        exact_condition(values, op.dtype)
        if values is not None
        else bounded_condition(ends, density)
    )
    scale = max(abs(x) for x in ends.values.tolist()) or 1.0
    total, by_layer = _traces(op, dense_matrix, seed)
    table = (
        layer_table(op, by_layer, seed, lambda done, of: tell("layer by layer", done, of))
        if layers
        else ()
    )
    tell("noise of the gradient", 0, 1)
    advice, silence = batch_advice(task, op, **look) if noise else (None, "")
    critical = (
        critical_point(op, loss, gradient, ends, density, values, tol_gradient).record
        if operator == "hessian"
        else None
    )
    tell("choice of samples", 0, 1)
    sampling = sampling_errors(op, ends.vectors[:, [0, lowest(ends)]], seed)
    lines, plane = (
        views(problem, ends, seed, lambda done, of: tell("slices", done, of))
        if landscape
        else ((), None)
    )
    grid, curve, stderr = _curve(density)
    notes = [*op.notes, *_cautions(op, operator, ends), *([silence] if silence else [])]
    tell("done", 1, 1)
    return SpectrumReport(
        task=task.name,
        source=task_source(task),
        operator=operator,
        weights=weights or (f"fresh, seed {seed}" if model is None else "given"),
        part=part,
        mode=mode,
        samples=problem.chunks.n,
        of=_all(problem),
        parameters=op.shape[0],
        dtype=str(op.dtype).removeprefix("torch."),
        loss=loss,
        gradient_norm=float(gradient.double().norm()),
        largest=high.values,
        largest_residuals=high.residuals,
        largest_errors=high.errors,
        smallest=low.values,
        smallest_residuals=low.residuals,
        smallest_errors=low.errors,
        converged=ends.converged,
        trace=total[0],
        trace_stderr=total[1],
        condition=condition.value,
        condition_exact=condition.exact,
        condition_reason=condition.reason,
        near_zero=tuple(_near(density, values, x) for x in (1e-4, 1e-4 * scale, 1e-2 * scale)),
        negative=_below(density, values, 1e-4 * scale),
        rates=_rates(float(ends.values[0]), float(adam.values[0])),
        quadratic=quadratic,
        layers=table,
        preconditioned=float(adam.values[0]),
        preconditioned_residual=float(adam.residuals[0]),
        exact=tuple(values.tolist()) if values is not None else (),
        grid=grid,
        density=curve,
        density_stderr=stderr,
        sigma=density.width(),
        probes=density.probes,
        steps=steps,
        lines=lines,
        plane=plane,
        critical=critical,
        batch=advice,
        largest_stderr=sampling[0],
        smallest_stderr=sampling[1],
        products=ends.products + density.products + adam.products,
        engine=op.engine,
        chunk=op.chunk,
        seed=seed,
        device=str(op.device),
        seconds=time.perf_counter() - begun,
        machine=machine(),
        notes=tuple(notes),
    )


def whole_matrix(op: CurvatureOperator, tell: Told) -> Tensor:
    """``(p, p)`` float64, symmetrised, from p products."""
    p, width = op.shape[0], 32
    columns = []
    for first in range(0, p, width):
        unit = torch.zeros(p, min(width, p - first), dtype=op.dtype, device=op.device)
        places = torch.arange(unit.shape[1])
        unit[first + places, places] = 1
        columns.append((op @ unit).double().cpu())
        tell("the whole matrix", min(p, first + width), p)
    matrix = torch.cat(columns, 1)
    return (matrix + matrix.mT) / 2


def _traces(
    op: CurvatureOperator, matrix: Tensor | None, seed: int
) -> tuple[tuple[float, float], dict[str, tuple[float, float]]]:
    """The trace of all and of every layer's block with standard errors: exact from a matrix."""
    if matrix is not None:
        diagonal = matrix.diagonal()
        exact = {n: (float(diagonal[p].sum()), 0.0) for n, p in op.layout.layers.items()}
        return (float(diagonal.sum()), 0.0), exact
    draws = traces(op, seed)
    whole = torch.stack(list(draws.values())).sum(0)
    return mean_and_error(whole), {name: mean_and_error(each) for name, each in draws.items()}


def is_quadratic(op: CurvatureOperator) -> bool:
    """Whether the gradient far away is the one here plus H times the way: then limits are exact."""
    problem = op.problem
    generator = torch.Generator().manual_seed(0)
    way = torch.randn(problem.layout.p, generator=generator, dtype=torch.float64)
    here = torch.cat([t.reshape(-1) for t in problem.theta]).double().cpu()
    way = (way * (1 + float(here.square().mean().sqrt()))).to(problem.device, problem.dtype)
    moved = tuple(
        t + d for t, d in zip(problem.theta, problem.layout.split(way, problem.dtypes), strict=True)
    )
    there = replace(problem, theta=moved)
    change = (mean_gradient(there) - mean_gradient(problem)).double()
    straight = (op @ way).double()
    tol = 1e-3 if op.dtype == torch.float32 else 1e-9
    return bool(torch.isfinite(change).all()) and float((change - straight).norm()) <= tol * float(
        straight.norm() + 1e-30
    )


class End(NamedTuple):
    """Some eigenvalues as plain numbers."""

    values: tuple[float, ...]
    residuals: tuple[float, ...]
    errors: tuple[float, ...]


def _ends(found: Eigenpairs, k: int) -> tuple[End, End]:
    n = len(found.values)
    cut = min(k, n - n // 2)
    columns = [x.tolist() for x in (found.values, found.residuals, found.errors)]
    high, low = ([tuple(c[:cut]) for c in columns], [tuple(c[cut:]) for c in columns])
    return End(*high), End(*low)


def _near(density: Density, values: Tensor | None, x: float) -> Share:
    if values is not None:
        share = float((values.abs() < x).double().mean())
        return Share(x, share, share)
    return Share(x, *density.fraction_within(x))


def _below(density: Density, values: Tensor | None, x: float) -> Share:
    if values is not None:
        share = float((values < -x).double().mean())
        return Share(x, share, share)
    return Share(x, *density.fraction_below(-x))


def _rates(top: float, adam: float) -> tuple[Rate, ...]:
    if top <= 0:
        return ()
    found = [
        Rate("sgd", "", top, max_learning_rate(top)),
        Rate("momentum", "momentum 0.9", top, max_learning_rate(top, "momentum", 0.9)),
        Rate("nesterov", "momentum 0.9", top, max_learning_rate(top, "nesterov", 0.9)),
    ]
    if adam > 0:
        note = "with the root mean square of minibatch gradients at these weights held fixed"
        found.append(Rate("adam", "betas 0.9, 0.999", adam, max_learning_rate(adam, "adam"), note))
    return tuple(found)


def _curve(density: Density) -> tuple[tuple[float, ...], ...]:
    low, high = float(density.nodes.min()), float(density.nodes.max())
    sigma = density.width()
    grid = torch.linspace(low - 4 * sigma, high + 4 * sigma, GRID, dtype=torch.float64)
    stderr = density.density_stderr(grid)
    stderr = torch.where(torch.isfinite(stderr), stderr, torch.zeros_like(stderr))
    return tuple(grid.tolist()), tuple(density.density(grid).tolist()), tuple(stderr.tolist())


def _all(problem: Problem) -> int:
    source = problem.chunks.source
    return problem.chunks.n if source is None else source.n


def _cautions(op: CurvatureOperator, operator: str, ends: Eigenpairs) -> list[str]:
    problem, said = op.problem, []
    if not ends.converged:
        said.append("Not every eigenvalue met its tolerance; the residuals say how close they are.")
    if problem.forward == "pair":
        batch = next(iter(problem.chunks.walk(None)))
        with problem.steady(), torch.no_grad():
            z = problem.outputs(problem.theta, batch)
        if isinstance(z, Tensor) and z.dim() >= 2 and len(z):
            outputs = problem.chunks.n * (z[0].numel())
            if outputs < 0.75 * op.shape[0]:
                share = 1 - outputs / op.shape[0]
                said.append(
                    f"{problem.chunks.n} samples give {outputs} outputs for {op.shape[0]} "
                    f"parameters: at least {100 * share:.0f} % of the Gauss-Newton eigenvalues are "
                    "zero for want of samples, not because the surface is flat."
                )
    top = float(ends.values[0])
    if top <= 0 or not math.isfinite(top):
        said.append("No positive curvature was found, so it limits no learning rate here.")
    return said
