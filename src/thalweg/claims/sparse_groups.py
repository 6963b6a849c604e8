"""Group sparsity: maps on a torus, few active pools, and pools that stand small changes."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.claims.curves import curve
from thalweg.records_claims import Chart
from thalweg.sparse import Group, encode
from thalweg.sparse.patches import sample_patches
from thalweg.sparse.reading import builtin
from thalweg.sparse.topographic import maps
from thalweg.sparse.topographic.invariance import Invariance, invariance
from thalweg.sparse.topographic.psd import TopographicPSD
from thalweg.sparse.topographic.strokes import strokes
from thalweg.sparse.topographic.summary import filters_of, sheet
from thalweg.sparse.topographic.torus import TorusPools
from thalweg.sparse.topographic.whitening import Whitening

PATCH = 12  # pixels
KEPT = 72  # principal components of its 144
POOL, STRIDE = 6, 2  # the deck's pools, with a stride of two
L1 = 0.2  # weight of a pool, on whitened patches of norm 1
QUICK, FULL = (16, 250), (20, 1000)  # units a side, batches of 256


class Map(NamedTuple):
    """A learned torus and what it was learned from."""

    model: TopographicPSD
    whitening: Whitening
    X: Tensor  # whitened patches (N, KEPT)
    images: tuple[np.ndarray, ...]
    filters: np.ndarray  # (a, b, PATCH, PATCH)


@functools.lru_cache(maxsize=2)
def learned(seed: int, full: bool) -> Map:
    """The map of two photographs; three claims look at one."""
    side, steps = FULL if full else QUICK
    images = builtin("photographs").images
    patches = sample_patches(images, PATCH, 30_000, seed)
    whitening = Whitening.fit(patches, KEPT)
    X = whitening.apply(patches)
    model = TopographicPSD(KEPT, TorusPools(side, side, POOL, STRIDE), L1, seed=seed)
    model.fit(X, steps=steps)
    return Map(model, whitening, X, images, filters_of(model, whitening, PATCH))


def _reduced(setting: Setting) -> str:
    side = QUICK[0]
    return "" if setting.full else f"{side} x {side} units after {QUICK[1]} batches, for 20 x 20"


@claim(
    name="torus-map",
    title="A map of orientations grows on a torus",
    decks=("D0",),
    section="sparse#s7",
    says=(
        "Trained with overlapping 6 x 6 pools on a torus, neighbouring filters become alike and "
        "orientation varies smoothly but for pinwheels; their windings sum to 0."
    ),
    targets=(
        Target("mean |cos| of neighbours above that of random pairs", 0.2, relation="at least"),
        Target("sum of the windings of the torus", 0.0),
        Target("winding of a synthetic pinwheel", 0.5),
        Target("pinwheels among clear filters", 2, relation="at least"),
        Target(
            "median turn of orientation between neighbours, 45 by chance",
            22.5,
            relation="at most",
            unit="degrees",
            source="half of chance",
        ),
    ),
    seconds=15,
    full_seconds=120,
)
def torus_map(setting: Setting) -> Outcome:
    """Learn from whitened patches of two photographs; look at filters and windings."""
    found = learned(setting.seed, setting.full)
    theta, coherence = maps.orientation_map(found.filters)
    near, far = maps.neighbour_similarity(found.filters)
    winding, trusted = maps.windings(theta), maps.pinwheels(theta, coherence)
    y, x = np.mgrid[-3.5:4.5, -3.5:4.5]
    synthetic = maps.windings((np.arctan2(y, x) / 2) % np.pi)[3, 3]
    distance, alike = _by_distance(found.filters)
    return Outcome(
        {
            "mean |cos| of neighbours above that of random pairs": near - far,
            "sum of the windings of the torus": float(winding.sum()),
            "winding of a synthetic pinwheel": float(synthetic),
            "pinwheels among clear filters": float(trusted.sum()),
            "median turn of orientation between neighbours, 45 by chance": maps.roughness(theta),
        },
        charts=(
            Chart(
                "How alike are filters?",
                "distance on the torus",
                "mean |cos|",
                (curve("filters", distance, alike, "both"),),
                caption="Filters that share pools are alike; six units away they share none.",
            ),
        ),
        pictures=(
            sheet(found.filters, "Filters at their places; opposite edges are neighbours"),
            strokes(theta, coherence, winding, trusted),
        ),
        reduced=_reduced(setting),
    )


def _by_distance(filters: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean |cos| of filters so many rows or columns apart on the torus."""
    a, b = filters.shape[:2]
    unit = filters.reshape(a, b, -1)
    unit = unit / np.linalg.norm(unit, axis=2, keepdims=True)
    steps = range(1, min(a, b) // 2 + 1)
    alike = [
        np.mean([np.abs((unit * np.roll(unit, -k, axis)).sum(2)).mean() for axis in (0, 1)])
        for k in steps
    ]
    return [float(k) for k in steps], [float(v) for v in alike]


@claim(
    name="group-sparsity",
    title="Few pools, many units inside",
    decks=("D0",),
    section="sparse#s7",
    says=(
        "At equal reconstruction a penalty on pools activates fewer pools than one on units, and "
        "more units inside each: within a pool activity is free."
    ),
    targets=(
        Target("active pools, as a share of those of plain sparse codes", 1, relation="at most"),
        Target("active units in a pool, as a multiple of the same", 1, relation="at least"),
        Target("active pools of group-sparse codes", relation="reported", unit="of all, share"),
    ),
    seconds=4,
)
def group_sparsity(setting: Setting) -> Outcome:
    """Codes of one dictionary under both penalties, each weight set to explain equally much."""
    found = learned(setting.seed, False)
    side, block = found.model.pools.a, 4
    row, column = torch.arange(side * side) // side, torch.arange(side * side) % side
    pools = (row // block) * (side // block) + column // block
    X, D = found.X[:400], found.model.D.contiguous()
    levels = (0.4, 0.5, 0.6, 0.7, 0.8)
    counts = np.array(
        [[_at(X, D, p, level, pools) for level in levels] for p in ("group", "l1")]
    )  # (2, levels, [pools, units per pool])
    middle = counts[:, 2]
    charts = tuple(
        Chart(
            title,
            "share of the signal explained",
            label,
            tuple(
                curve(name, levels, counts[i, :, j], "both")
                for i, name in enumerate(("pools", "single units"))
            ),
        )
        for j, (title, label) in enumerate(
            (
                ("How many pools are active?", f"active pools of {int(pools.max()) + 1}"),
                ("How many units of an active pool?", f"active units of {block * block}"),
            )
        )
    )
    return Outcome(
        {
            "active pools, as a share of those of plain sparse codes": middle[0, 0] / middle[1, 0],
            "active units in a pool, as a multiple of the same": middle[0, 1] / middle[1, 1],
            "active pools of group-sparse codes": middle[0, 0] / (int(pools.max()) + 1),
        },
        charts=charts,
        notes=(
            f"Pools here are {block} x {block} and do not overlap, so that both penalties give "
            "exact zeros; compared where 60 % of the signals' energy is explained.",
        ),
    )


def _at(X: Tensor, D: Tensor, penalty: str, level: float, pools: Tensor) -> tuple[float, float]:
    """Mean active pools, and units per active pool, where codes explain ``level``."""
    low, high = 1e-3, 1.0
    for _ in range(9):
        weight = (low * high) ** 0.5
        kind = Group(weight, pools) if penalty == "group" else "l1"
        z = encode(X, D, None if penalty == "group" else weight, penalty=kind, tol=1e-3).z
        explained = 1 - float((X - z @ D.T).square().sum() / X.square().sum())
        low, high = (weight, high) if explained > level else (low, weight)
    on = (z != 0).double()
    per_pool = torch.zeros(len(X), int(pools.max()) + 1, dtype=torch.float64)
    per_pool.index_add_(1, pools, on)
    active = float((per_pool > 0).sum())
    return active / len(X), float(on.sum()) / max(active, 1)


@claim(
    name="shift-invariance",
    title="Pools stand shifts and turns better than units",
    decks=("D0",),
    section="sparse#s7",
    says="Pooled responses change less than single units when a patch moves by a pixel or turns.",
    targets=(
        Target("correlation under a shift, pools less units", 0.0, relation="at least"),
        Target(
            "correlation under a turn of 10 degrees, pools less units", 0.0, relation="at least"
        ),
        Target("correlation of pools under a shift", relation="reported"),
        Target("correlation of units under a shift", relation="reported"),
    ),
    seconds=6,
    full_seconds=20,
)
def shift_invariance(setting: Setting) -> Outcome:
    """Correlation over patches of responses before and after."""
    found = learned(setting.seed, setting.full)
    coder = found.model.coder()
    angles = (5.0, 10.0, 20.0, 30.0)
    each = [
        invariance(
            lambda patches: coder.encode(found.whitening.apply(patches), tol=1e-3).z,
            found.model.complex_cells,
            found.images,
            PATCH,
            300,
            setting.seed,
            angle,
        )
        for angle in angles
    ]
    at: Invariance = each[1]
    return Outcome(
        {
            "correlation under a shift, pools less units": at.shift_pools - at.shift_units,
            "correlation under a turn of 10 degrees, pools less units": at.rotation_pools
            - at.rotation_units,
            "correlation of pools under a shift": at.shift_pools,
            "correlation of units under a shift": at.shift_units,
        },
        charts=(
            Chart(
                "Responses to a turned patch",
                "turn, degrees",
                "correlation with the patch at rest",
                (
                    curve("pools", angles, [v.rotation_pools for v in each], "both"),
                    curve("single units", angles, [v.rotation_units for v in each], "both"),
                ),
            ),
        ),
        reduced=_reduced(setting),
    )
