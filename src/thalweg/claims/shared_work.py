"""Work that is shared out: a minibatch over shards, DOWNPOUR's workers, one coordinate a step."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.claims.curves import curve
from thalweg.claims.sparse import descend, energy, problem, shrink
from thalweg.models.mlp import MLP
from thalweg.parallel.data_parallel import data_parallel_gradient
from thalweg.parallel.simulation import simulate
from thalweg.records_claims import Chart

F64 = torch.float64


@claim(
    name="data-parallel",
    title="Shards weighted by their size are the whole batch",
    decks=("D0",),
    section="flat-minima#f8",
    says="A minibatch split over machines gives the gradient of the whole; not with batch norm.",
    targets=(
        Target("difference from the whole batch's gradient, shards of 5, 3, 8", 0.0, 1e-12),
        Target("the same if shards count equally", 1e-3, 0.0, "at least", source="[C]"),
        Target("the same with batch norm", 1e-3, 0.0, "at least", source="[C]"),
    ),
    seconds=1,
)
def data_parallel(setting: Setting) -> Outcome:
    """A 4-6-3 network, 16 samples, float64."""
    g = torch.Generator().manual_seed(setting.seed)
    x = torch.randn(16, 4, generator=g, dtype=F64)
    y = torch.randint(3, (16,), generator=g)
    shards = [((a, b), len(a)) for a, b in zip(x.split([5, 3, 8]), y.split([5, 3, 8]), strict=True)]

    def gap(batch_norm: bool, equal: bool = False) -> float:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(setting.seed)
            model = MLP((4, 6, 3), "tanh", batch_norm).double()
        parts = [(batch, 1) for batch, _ in shards] if equal else shards
        found = data_parallel_gradient(_loss, model, parts)
        whole = torch.autograd.grad(_loss(model, (x, y)), list(model.parameters()))
        return max(float((a - b).abs().max()) for a, b in zip(found, whole, strict=True))

    return Outcome(
        {
            "difference from the whole batch's gradient, shards of 5, 3, 8": gap(False),
            "the same if shards count equally": gap(False, equal=True),
            "the same with batch norm": gap(True),
        }
    )


def _loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


@claim(
    name="downpour",
    title="One DOWNPOUR worker is SGD, and p of them a p-fold rate",
    decks=("D1",),
    section="flat-minima#f6",
    says=(
        "With one worker DOWNPOUR is SGD for any period and MDOWNPOUR is Nesterov; p workers on "
        "one centre add their steps, so that the largest rate falls to 2/(p h)."
    ),
    targets=(
        Target("DOWNPOUR of one worker less SGD, periods 1, 3, 10", 0.0, 1e-12, source="[C]"),
        Target("MDOWNPOUR of one worker less torch's Nesterov", 0.0, 1e-12, source="[C]"),
        Target("growth over 60 rounds at 0.95 of 2/(p h), 8 workers", 1.0, 0.0, "at most"),
        Target("growth over 60 rounds at 1.05 of 2/(p h), 8 workers", 1.0, 0.0, "at least"),
    ),
    seconds=2,
)
def downpour(setting: Setting) -> Outcome:
    """A bowl of three curvatures up to 1; workers in turns, and for the last all at once."""
    a = torch.tensor([0.1, 0.4, 1.0], dtype=F64)
    start = torch.ones(3, dtype=F64)

    def slope(worker: int, step: int, x: Tensor) -> Tensor:
        return a * x

    plain = start * (1 - 0.3 * a) ** 30
    gaps = [
        simulate(slope, start, "downpour", 1, 30, lr=0.3, tau=tau).centre - plain
        for tau in (1, 3, 10)
    ]
    ours = simulate(slope, start, "mdownpour", 1, 40, lr=0.2, tau=1, momentum=0.9).centre
    w = nn.Parameter(start.clone())
    optimizer = torch.optim.SGD([w], lr=0.2, momentum=0.9, nesterov=True)
    for _ in range(40):
        w.grad = a * w.detach()
        optimizer.step()
    growth = {
        share: float(start[2] * abs(1 - 8 * share * 2 / 8 * a[2]) ** 60) for share in (0.95, 1.05)
    }
    measured = {share: _rounds(a, share * 2 / 8) for share in growth}
    return Outcome(
        {
            "DOWNPOUR of one worker less SGD, periods 1, 3, 10": max(
                float(gap.abs().max()) for gap in gaps
            ),
            "MDOWNPOUR of one worker less torch's Nesterov": float((ours - w.detach()).abs().max()),
            **{
                f"growth over 60 rounds at {share} of 2/(p h), 8 workers": size
                for share, size in measured.items()
            },
        },
        notes=tuple(f"By the closed form at {s}: {v:.4g}." for s, v in growth.items()),
    )


def _rounds(a: Tensor, lr: float) -> float:
    """Centre along the sharpest axis after 60 rounds in which eight workers read, then push."""
    centre = torch.ones_like(a)
    for _ in range(60):
        pushes = [-lr * a * centre for _ in range(8)]
        centre = centre + torch.stack(pushes).sum(0)
    return float(centre[-1].abs())


@claim(
    name="coordinate-codes",
    title="The best coordinate first: sparse codes at O(m) a step",
    decks=("D0",),
    section="sparse#s3",
    says=(
        "Coordinate descent moves the code that changes most, at the cost of one column of S, "
        "and needs fewer multiplications than ISTA to the same energy."
    ),
    targets=(
        Target("energy less the certified least, largest of twenty", 0.0, 1e-8, source="[C]"),
        Target("steps at which an energy rose", 0, 0, source="[C]"),
        Target("ISTA's multiplications over these, to 1e-3 of the energy", 1.0, 0.0, "at least"),
        Target("steps over non-zeros, orthonormal atoms, largest", 1.0, 0.0, "at most"),
    ),
    seconds=2,
)
def coordinate_codes(setting: Setting) -> Outcome:
    """Twenty signals of norm 1, 40 random atoms in 20 dimensions, l1 0.1."""
    from thalweg.sparse import encode

    X, D = problem(setting.seed)
    least = np.asarray(encode(X, D, 0.1, tol=1e-14).energy)
    seen = np.stack([_coordinates(x, D, 0.1, 4000)[0] for x in X], 1)
    ista = descend(X, D, 0.1, 600, False)[0]
    near = least + 1e-3 * energy(X, D, np.zeros((len(X), 40)), 0.1)
    mine, theirs = ((values > near).sum(0).mean() for values in (seen, ista))
    n, m = D.shape
    q = np.linalg.qr(np.random.default_rng(setting.seed).standard_normal((n, n)))[0]
    shares = []
    for x in X:
        steps, z = _coordinates(x, q, 0.1, 200)[1:]
        shares.append(steps / max(1, np.count_nonzero(z)))
    excess = np.maximum(seen - least, 1e-16).mean(1)
    slow = np.maximum(ista - least, 1e-16).mean(1)
    return Outcome(
        {
            "energy less the certified least, largest of twenty": float((seen[-1] - least).max()),
            "steps at which an energy rose": int((np.diff(seen, axis=0) > 1e-13).sum()),
            "ISTA's multiplications over these, to 1e-3 of the energy": float(
                theirs * 2 * n * m / (mine * m)
            ),
            "steps over non-zeros, orthonormal atoms, largest": float(max(shares)),
        },
        (
            Chart(
                "Mean energy above the least",
                "multiplications of a signal",
                "excess energy",
                (
                    curve("coordinate descent", np.arange(1, len(excess)) * m, excess[1:]),
                    curve("ISTA", np.arange(1, len(slow)) * 2 * n * m, slow[1:]),
                ),
                x_log=True,
                y_log=True,
            ),
        ),
    )


def _coordinates(x: np.ndarray, D: np.ndarray, l1: float, steps: int):
    """Energies ``(steps + 1,)``, steps that moved, and the code."""
    S = np.eye(D.shape[1]) - D.T @ D
    b, z = D.T @ x, np.zeros(D.shape[1])
    seen, moved = [energy(x[None], D, z[None], l1)[0]], 0
    for _ in range(steps):
        target = shrink(b, l1)
        k = int(np.abs(target - z).argmax())
        change = target[k] - z[k]
        if abs(change) > 1e-14:
            b, moved = b + S[:, k] * change, moved + 1
            z[k] = target[k]
            seen.append(energy(x[None], D, z[None], l1)[0])
        else:
            seen.append(seen[-1])
    return np.array(seen), moved, z
