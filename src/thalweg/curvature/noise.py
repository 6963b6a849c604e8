r"""How noisy are gradients? The gradient noise scale and the σ/√m law.

With G the gradient of the risk and Σ the covariance of single-sample gradients, a minibatch of m
samples gives :math:`G + \text{noise}`, noise of covariance :math:`\Sigma/m`. Noise and signal are
equal at :math:`m = \operatorname{tr}\Sigma / |G|^2`, the noise scale.

References:
    McCandlish et al., "An empirical model of large-batch training", 2018.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from thalweg.curvature.samples import gradient_blocks, per_sample_gradients
from thalweg.curvature.surface import MEMORY, Surface, exact_attention
from thalweg.curvature.surfaces import surface
from thalweg.records_landscape import MinibatchErrors, NoiseScale

METHODS = ("auto", "samples", "batches")
GROUPS = 20  # for standard errors


class _Sums(NamedTuple):
    """Per group: shifted sums ``(k, p)``, shifted squares and how many; and the shift itself."""

    sums: Tensor
    squares: Tensor  # (k,) float64
    counts: Tensor  # (k,) float64
    shift: Tensor  # (p,)
    by_layer: Tensor  # (layers,) float64, squares over all groups


def noise_scale(
    problem: Any,
    loss: Any = None,
    data: Any = None,
    *,
    samples: int | None = None,
    method: str = "auto",
    batch_size: int = 32,
    seed: int = 0,
    **look: Any,
) -> NoiseScale:
    r"""The gradient noise scale :math:`\operatorname{tr}\Sigma / |G|^2` at the weights.

    Both parts are estimated without bias: the mean of n gradients drawn from N has a squared norm
    too large by :math:`\operatorname{tr}\Sigma/n \cdot (1 - n/N)`, which is taken off. Over all
    samples G is exact. Standard errors by the jackknife over up to 20 random groups.

    Args:
        problem: A task, a model (with ``loss`` and ``data``) or a surface.
        loss: See :func:`thalweg.curvature.surfaces.surface`.
        data: See there.
        samples: Gradients to take; None: all, at most 10,000.
        method: ``"samples"``: one gradient per sample. ``"batches"``: differences between disjoint
            batches, for models whose samples are coupled. ``"auto"``: samples where possible.
        batch_size: Of ``"batches"``.
        seed: Of the choice and grouping of samples.
        **look: Further arguments of ``surface``: ``model``, ``part``, ``mode``, ``device`` ...

    Raises:
        ValueError: Fewer than 8 samples (or batches), or an unknown method.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; known: {', '.join(METHODS)}.")
    at = surface(problem, loss, data, **look)
    if at.take is None:
        raise ValueError("a plain function has no samples; pass a task, or model, loss and data.")
    if method == "auto":
        method = "batches" if at.couples else "samples"
    wanted = min(at.samples, samples or 10_000)
    generator = torch.Generator().manual_seed(seed)
    indices = torch.randperm(at.samples, generator=generator)[:wanted]
    size = 1 if method == "samples" else batch_size
    units = wanted // size
    if units < 8 or batch_size < 1:
        raise ValueError(
            f"{wanted} samples make {units} {method} of {size}; a noise scale needs at least 8."
        )
    sums = _sample_sums(at, indices) if method == "samples" else _batch_sums(at, indices, size)
    return _scale(at, sums, size, units * size, method, _loss(at, indices))


def _loss(at: Surface, indices: Tensor) -> float:
    """The mean over these samples only."""
    assert at.take is not None
    total, weights = 0.0, 0.0
    for chosen in indices.split(at.chunk()):
        batch = at.take(chosen)
        weight = at.weigh(batch)
        with torch.no_grad(), exact_attention():
            total += weight * float(at.loss(at.w, batch))
        weights += weight
    return total / weights if weights else math.nan


def _sample_sums(at: Surface, indices: Tensor) -> _Sums:
    groups = max(4, min(GROUPS, len(indices) // 2, MEMORY // (8 * at.p)))
    sizes = [shape.numel() for shape in at.shapes]
    sums = torch.zeros(groups, at.p, dtype=torch.float64, device=at.w.device)
    squares, counts = torch.zeros(groups).double(), torch.zeros(groups).double()
    by_layer = torch.zeros(len(sizes), dtype=torch.float64)
    shift: Tensor | None = None
    for j, group in enumerate(indices.tensor_split(groups)):
        for block in gradient_blocks(at, group):
            if shift is None:  # near the mean: what is left over is noise, squares do not cancel
                shift = block.mean(0)
            centred = block - shift
            sums[j] += centred.sum(0)
            layers = torch.stack([part.double().square().sum() for part in centred.split(sizes, 1)])
            by_layer += layers.cpu()
            squares[j] += float(layers.sum())
            counts[j] += len(block)
    assert shift is not None  # there are at least 8 samples
    return _Sums(sums, squares, counts, shift, by_layer)


def _batch_sums(at: Surface, indices: Tensor, size: int) -> _Sums:
    """Batch gradients as the units: a group holds one or several of them."""
    batches = [b for b in indices.split(size) if len(b) == size]
    groups = max(4, min(GROUPS, len(batches) // 2, MEMORY // (8 * at.p)))
    sizes = [shape.numel() for shape in at.shapes]
    sums = torch.zeros(groups, at.p, dtype=torch.float64, device=at.w.device)
    squares, counts = torch.zeros(groups).double(), torch.zeros(groups).double()
    by_layer = torch.zeros(len(sizes), dtype=torch.float64)
    shift: Tensor | None = None
    for i, chosen in enumerate(batches):
        g = batch_gradient(at, chosen)
        shift = g if shift is None else shift
        centred, j = (g - shift).double(), i % groups
        sums[j] += centred
        layers = torch.stack([part.square().sum() for part in centred.split(sizes)]).cpu()
        by_layer += layers
        squares[j] += float(layers.sum())
        counts[j] += 1
    assert shift is not None
    return _Sums(sums, squares, counts, shift, by_layer)


def batch_gradient(at: Surface, indices: Tensor) -> Tensor:
    """The gradient of one minibatch, ``(p,)``."""
    if at.take is None:
        raise ValueError("a plain function has no samples; pass a task, or model, loss and data.")
    single = Surface(
        at.loss,
        at.w,
        lambda _: iter((at.take(indices),)),
        lambda _: 1.0,
        len(indices),  # pyrefly: ignore
    )
    return single.grad()


def _scale(at: Surface, found: _Sums, size: int, n: int, method: str, loss: float) -> NoiseScale:
    c = found.shift.double()
    gram = (found.sums @ found.sums.T).cpu()
    cross = (found.sums @ c).cpu()
    square_of_shift = float(c @ c)

    def estimate(keep: Tensor) -> tuple[float, float]:
        """Tr Σ and |G|² from the groups marked 1 in ``keep (k,)``."""
        units = float(keep @ found.counts)
        norm = float(keep @ gram @ keep)  # |Σ sums|²
        trace = size * (float(keep @ found.squares) - norm / units) / (units - 1)
        square = square_of_shift + 2 * float(keep @ cross) / units + norm / units**2
        left = max(0.0, 1 - n / at.samples)
        return max(0.0, trace), square - trace / (units * size) * left

    k = len(found.counts)
    trace, square = estimate(torch.ones(k).double())
    leave = [estimate((torch.arange(k) != j).double()) for j in range(k)]
    ratios = [_ratio(a, b) for a, b in leave]
    layers = _by_layer(at, found, size, n)
    return NoiseScale(
        scale=_ratio(trace, square),
        stderr=_jackknife(ratios),
        trace=trace,
        trace_stderr=_jackknife([a for a, _ in leave]),
        gradient_square=max(0.0, square),
        gradient_square_stderr=_jackknife([b for _, b in leave]),
        samples=n,
        of=at.samples,
        parameters=at.p,
        method=method,
        loss=loss,
        layers=layers,
    )


def _by_layer(at: Surface, found: _Sums, size: int, n: int) -> dict[str, tuple[float, float]]:
    units = float(found.counts.sum())
    total = found.sums.sum(0)
    mean = found.shift.double() + total / units
    sizes = [shape.numel() for shape in at.shapes]
    left = max(0.0, 1 - n / at.samples)
    layers = {}
    for name, squares, sums, g in zip(
        at.names, found.by_layer, total.split(sizes), mean.split(sizes), strict=True
    ):
        trace = size * (float(squares) - float(sums @ sums) / units) / (units - 1)
        layers[name] = (max(0.0, trace), max(0.0, float(g @ g) - trace / n * left))
    return layers


def _ratio(trace: float, square: float) -> float:
    if trace <= 0:
        return 0.0
    return trace / square if square > 0 else math.inf


def _jackknife(values: Sequence[float]) -> float:
    k = len(values)
    if not all(math.isfinite(v) for v in values):
        return math.inf
    mean = sum(values) / k
    return math.sqrt((k - 1) / k * sum((v - mean) ** 2 for v in values))


def minibatch_errors(
    problem: Any,
    loss: Any = None,
    data: Any = None,
    *,
    sizes: Sequence[int] = (1, 2, 4, 8, 16, 32, 64),
    repeats: int = 500,
    replace: bool = True,
    samples: int = 2000,
    seed: int = 0,
    **look: Any,
) -> MinibatchErrors:
    r"""How far minibatch gradients are from the whole one, measured, beside :math:`\sigma/\sqrt m`.

    Without replacement the square is multiplied by :math:`(P-m)/(P-1)`, with σ² over P samples.

    Args:
        problem: A task, a model (with ``loss`` and ``data``) or a surface.
        loss: See :func:`thalweg.curvature.surfaces.surface`.
        data: See there.
        sizes: Minibatch sizes m, each from 1 to P.
        repeats: Minibatches drawn per size, at least 2.
        replace: Draw with replacement.
        samples: P: the population is this many samples at most, drawn once.
        seed: Of all draws.
        **look: Further arguments of ``surface``.

    Raises:
        ValueError: A size out of range, or gradients that would take more than a gigabyte.
    """
    at = surface(problem, loss, data, **look)
    generator = torch.Generator().manual_seed(seed)
    population = min(at.samples, samples)
    if not sizes or min(sizes) < 1 or max(sizes) > population or repeats < 2:
        raise ValueError(
            f"sizes {tuple(sizes)} must lie between 1 and the {population} samples, and repeats "
            f"({repeats}) be at least 2."
        )
    chosen = torch.randperm(at.samples, generator=generator)[:population]
    gradients = per_sample_gradients(at, chosen).double()
    gradients -= gradients.mean(0)
    gram = (gradients @ gradients.T).cpu()  # |error|² of a minibatch is a sum over this
    variance = float(gram.diagonal().mean())
    rms, stderrs, predicted = [], [], []
    for m in sizes:
        square = _squared_errors(gram, m, repeats, replace, generator)
        mean = float(square.mean())
        rms.append(math.sqrt(mean))
        stderrs.append(float(square.std()) / math.sqrt(repeats) / (2 * rms[-1]) if mean else 0.0)
        factor = 1.0 if replace else (population - m) / max(1, population - 1)
        predicted.append(math.sqrt(variance / m * factor))
    return MinibatchErrors(
        sizes=tuple(sizes),
        errors=tuple(rms),
        stderrs=tuple(stderrs),
        predicted=tuple(predicted),
        slope=_slope(sizes, rms, population),
        replace=replace,
        repeats=repeats,
        population=population,
    )


def _squared_errors(
    gram: Tensor, m: int, repeats: int, replace: bool, generator: torch.Generator
) -> Tensor:
    n = len(gram)
    counts = torch.zeros(repeats, n, dtype=torch.float64)
    if replace:
        drawn = torch.randint(n, (repeats, m), generator=generator)
    else:
        drawn = torch.rand(repeats, n, generator=generator).argsort(1)[:, :m]
    counts.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))
    return ((counts @ gram) * counts).sum(1).clamp(min=0) / m**2


def _slope(sizes: Sequence[int], errors: Sequence[float], population: int) -> float:
    pairs = [(math.log(m), math.log(e)) for m, e in zip(sizes, errors, strict=True)
             if m < population and e > 0]  # fmt: skip
    if len(pairs) < 2:
        return math.nan
    x, y = torch.tensor(pairs, dtype=torch.float64).T
    x = x - x.mean()
    return float(x @ y / (x @ x))
