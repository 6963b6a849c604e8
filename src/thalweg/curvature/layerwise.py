"""How curved is each layer alone? The largest eigenvalue and the trace of every diagonal block."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from thalweg.curvature.blocks import layer_blocks
from thalweg.curvature.matrix import CurvatureOperator
from thalweg.linalg.lanczos import eigenvalues
from thalweg.records_spectrum import LayerCurvature
from thalweg.risk.order import generator

LAYERS = 24  # layers that are looked at, the largest first
PROBES = 20  # random vectors for all traces together


def layer_table(
    op: CurvatureOperator,
    totals: dict[str, tuple[float, float]],
    seed: int = 0,
    tell: Callable[[int, int], None] = lambda done, of: None,
) -> tuple[LayerCurvature, ...]:
    """The table, of the 24 layers with most weights.

    Args:
        op: Of the whole model.
        totals: Each layer's trace and its standard error.
        seed: Of Lanczos' starts.
        tell: Called with (layers done, of).
    """
    blocks = layer_blocks(op)
    chosen = sorted(blocks, key=lambda name: -blocks[name].shape[0])[:LAYERS]
    found = []
    for i, (name, block) in enumerate(blocks.items()):
        tell(i, len(blocks))
        if name in chosen:
            top = eigenvalues(block, tol=1e-2, seed=seed)
            found.append(
                LayerCurvature(
                    name,
                    block.shape[0],
                    float(top.values[0]),
                    float(top.residuals[0]),
                    *totals[name],
                )
            )
    return tuple(found)


def traces(op: CurvatureOperator, seed: int = 0, probes: int = PROBES) -> dict[str, Tensor]:
    """One unbiased draw of the trace of each layer's block a probe: ``{layer: (probes,)}``.

    ``Σ z ∘ H z`` over the layer's weights, z random signs: one product serves all layers, and its
    noise is that of their rows, not of their blocks alone.
    """
    p = op.shape[0]
    rng = generator(seed, "layer traces")
    signs = torch.randint(0, 2, (p, probes), generator=rng, dtype=torch.int8)
    z = (2 * signs - 1).to(op.device, op.dtype)
    found = (z * (op @ z)).double().cpu()
    return {name: found[place].sum(0) for name, place in op.layout.layers.items()}


def mean_and_error(draws: Tensor) -> tuple[float, float]:
    """The mean of independent draws ``(k,)`` with its standard error."""
    return float(draws.mean()), float(draws.std()) / math.sqrt(len(draws))
