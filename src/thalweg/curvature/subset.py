"""How many samples can be afforded, and how far may a subset be from the whole?"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from thalweg.curvature.chunks import Chunks
from thalweg.curvature.matrix import CurvatureOperator
from thalweg.curvature.problem import Problem, samples_of
from thalweg.risk import tree

MOST = 4096  # samples that are looked at where nothing else is said
LEAST = 32
WORK = 0.05  # of a gradient, in seconds of a nominal core: a few hundred products take a minute
FLOPS = 3e10  # of that core a second
NUMBERS = 1e9  # that it writes a second
LOOK = 8  # samples that are counted
GROUPS = 16  # for the standard error


class _Written(TorchDispatchMode):
    """Counts the numbers that operations write."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.numbers += sum(t.numel() for t in pytree.tree_leaves(out) if _is_tensor(t))
        return out


def _is_tensor(item: Any) -> bool:
    return isinstance(item, Tensor)


def work(problem: Problem) -> float:
    """A sample's share of one gradient, in seconds of a nominal core: counted, never timed.

    Multiplications in matrix products and convolutions, and numbers written, of a forward pass
    over a few samples, times three. The same on every machine, so that what it decides is too.
    """
    batch = samples_of(next(iter(problem.chunks.walk(None))), LOOK)
    with (
        problem.steady(),
        torch.no_grad(),
        FlopCounterMode(display=False) as counted,
        _Written() as written,
    ):
        problem.loss(problem.theta, batch)
    each = max(1, tree.count(batch))
    return 3 * (counted.get_total_flops() / FLOPS + written.numbers / NUMBERS) / each


def affordable(problem: Problem) -> int:
    """Samples over which a few hundred products take about a minute: a power of two.

    At least 32, at most 4,096; all where that is less than a third more.
    """
    most = min(problem.chunks.n, MOST)
    wanted = max(LEAST, WORK / max(work(problem), 1e-12))
    if wanted >= 0.75 * most:
        return most
    return min(most, max(LEAST, 2 ** round(math.log2(wanted))))


def sampling_errors(op: CurvatureOperator, vectors: Tensor, seed: int = 0) -> list[float]:
    r"""Standard errors of :math:`v^\top A v` over the choice of samples, one for each column.

    To first order that is how an eigenvalue of another subset of this size would differ. From 16
    random groups of the samples, each with its own mean; less where most of all samples were
    looked at (:math:`\sqrt{1 - n/N}`), 0 where all were.

    Args:
        op: Over a subset.
        vectors: Its eigenvectors ``(p, k)``, of unit length.
        seed: Of the groups.
    """
    problem = op.problem
    n, source, order = problem.chunks.n, problem.chunks.source, problem.chunks.order
    if source is None or order is None or n >= source.n or problem.sums:
        return [0.0] * vectors.shape[1]
    if problem.couples:
        groups = list(order)
    else:
        chosen = torch.cat(list(order))
        mixed = chosen[torch.randperm(n, generator=torch.Generator().manual_seed(seed))]
        groups = [g.sort()[0] for g in mixed.tensor_split(min(GROUPS, max(2, n // 2)))]
    if len(groups) < 2:
        return [math.inf] * vectors.shape[1]
    split = replace(
        problem,
        chunks=Chunks(None, source, problem.chunks.batch_size, tuple(groups)),
        _masses={},
    )
    found, shares = [], []
    for index, (batch, share) in enumerate(split.parts(None)):
        with problem.steady(index):
            times = op.product.graph(problem.theta, batch)
            row = []
            for v in vectors.mT:
                hv = problem.layout.join(
                    times(problem.layout.split(v, problem.dtypes)), problem.dtype, None
                )
                row.append(op.product.factor(share) * float(v.double() @ hv.detach().double()))
        found.append(row)
        shares.append(share)
    parts = torch.tensor(found, dtype=torch.float64)
    share = torch.tensor(shares, dtype=torch.float64)[:, None]
    off = parts - share * parts.sum(0)
    k = len(parts)
    return (off.square().sum(0) * k / (k - 1) * (1 - n / source.n)).sqrt().tolist()
