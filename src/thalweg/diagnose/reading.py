"""What do the data say before anything is trained? Counts, moments, order, duplicates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from thalweg.diagnose.bench import Bench
from thalweg.diagnose.entry import entry
from thalweg.diagnose.patched import moments
from thalweg.risk import tree

MOST = 4096  # samples read
WIDEST = 1024  # variables whose correlations are looked at


@dataclass(frozen=True, slots=True)
class DataFacts:
    """Statistics of the training part."""

    samples: int
    nonfinite: int  # samples with a NaN or infinite number, inputs or targets
    where: str = ""  # which part holds them
    mean_square: float = math.nan  # E[x²] over all numbers of the inputs
    mean_share: float = math.nan  # |μ|² / tr Cov: how far the cloud lies from the origin
    spread: float = math.nan  # largest over smallest variance of a variable (constants left out)
    correlation: float = math.nan  # λmax of the correlation matrix over its mean, 1 if uncorrelated
    narrowness: float = math.nan  # λmax / λ at the tenth percentile of the correlation matrix
    target_mean: float = math.nan
    target_std: float = math.nan
    target_low: float = math.nan
    target_high: float = math.nan
    real_targets: bool = False
    counts: tuple[int, ...] = ()  # of each class in the training part
    runs: float = math.nan  # share of neighbours in the visiting order with equal class
    runs_expected: float = math.nan  # the same in a random order
    duplicated: float = 0.0  # share of held-out samples whose input is in the training part
    ordered: bool = False
    entry: str = ""  # first layer with weights, if it does not get the inputs as they are
    entry_mean_square: float = math.nan  # of what it gets, as those of the inputs
    entry_mean_share: float = math.nan
    entry_spread: float = math.nan
    shift: float = 0.0  # mean squared shift of held-out against training inputs, in variances


def read(bench: Bench) -> DataFacts:
    """Read the training part, and what of it is held out as well."""
    risk = bench.risk
    bad, where = _nonfinite(bench)
    batch = next(iter(risk.train.chunks(min(MOST, risk.train.n))))
    inputs, target = batch if risk.task.forward == "pair" else (batch, None)
    facts: dict[str, Any] = {"samples": risk.train.n, "nonfinite": bad, "where": where}
    if isinstance(inputs, Tensor) and inputs.is_floating_point() and inputs.dim() >= 2:
        rows = torch.isfinite(inputs.flatten(1)).all(1)
        facts |= moments_of(inputs[rows]) if bool(rows.any()) else {}
        facts["duplicated"] = _duplicated(bench, inputs)
        facts["shift"] = _shift(bench, inputs)
        facts |= _entry(bench)
    if isinstance(target, Tensor):
        facts |= _targets(bench, target)
    facts["ordered"] = risk.order_kind == "ordered"
    return DataFacts(**facts)


def _nonfinite(bench: Bench) -> tuple[int, str]:
    total, where = 0, ""
    for part in ("train", "selection", "confirmation"):
        data = getattr(bench.risk, part)
        seen = 0
        for batch in data.chunks(512):
            bad = None
            for leaf in tree.tensors(batch):
                if leaf.is_floating_point() and leaf.dim():
                    rows = ~torch.isfinite(leaf.reshape(len(leaf), -1)).all(1)
                    bad = rows if bad is None else bad | rows
            found = 0 if bad is None else int(bad.sum())
            total += found
            where = where or (("held_out" if part != "train" else part) if found else "")
            seen += 512
            if seen >= 16 * MOST:
                break
    return total, where


def moments_of(x: Tensor) -> dict[str, float]:
    """Variables are the numbers of a vector, the channels of an image, the last axis else."""
    mean_square = float(x.double().square().mean())
    if x.dim() == 3:
        x = x.flatten(0, 1)
    elif x.dim() > 3:
        x = x.transpose(1, -1).flatten(0, -2)[: 64 * MOST]
    x = x.double()
    mean, variance = x.mean(0), x.var(0, unbiased=False)
    total = float(variance.sum())
    varies = variance > 1e-12 * max(1e-300, float(mean.square().max() + variance.max()))
    found = {
        "mean_square": mean_square,
        "mean_share": float(mean.square().sum()) / total if total > 0 else math.inf,
    }
    live = variance[varies]
    if len(live) > 1:
        found["spread"] = float(live.max() / live.quantile(0.1))
    if 1 < len(live) <= WIDEST and len(x) > 2 * len(live):
        z = (x[:, varies] - mean[varies]) / live.sqrt()
        values = torch.linalg.eigvalsh(z.T @ z / len(z)).clamp(min=0)
        found["correlation"] = float(values[-1])
        found["narrowness"] = float(values[-1] / values.quantile(0.1).clamp(min=1e-9))
    return found


def _entry(bench: Bench) -> dict[str, Any]:
    try:
        found = entry(bench.task)
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError):
        return {}  # a model that cannot run says so later
    if found is None:
        return {}
    read_there = moments_of(found[1].cpu())
    kept = ("mean_square", "mean_share", "spread")
    return {"entry": found[0], **{f"entry_{k}": read_there[k] for k in kept if k in read_there}}


def _targets(bench: Bench, target: Tensor) -> dict[str, Any]:
    if target.is_floating_point():
        fine = target[torch.isfinite(target)].double()
        if not len(fine):
            return {"real_targets": True}
        flat = target.reshape(len(target), -1)[:, 0].double()
        return {
            "real_targets": True,
            "target_mean": float(fine.mean()),
            "target_std": float(fine.std(unbiased=False)),
            "target_low": float(fine.min()),
            "target_high": float(fine.max()),
            **_order_real(bench, flat),
        }
    if target.dim() != 1 or target.is_complex() or not len(target):
        return {}
    whole = torch.cat([b[1] for b in bench.risk.train.chunks(4096)]).long()
    whole = whole[whole >= 0]
    if not len(whole) or int(whole.max()) > 4096:
        return {}
    counts = torch.bincount(whole)
    share = counts.double() / counts.sum()
    visited = _visited(bench)
    equal = (visited[1:] == visited[:-1]).double().mean() if len(visited) > 1 else math.nan
    return {
        "counts": tuple(counts.tolist()),
        "runs": float(equal),
        "runs_expected": float(share.square().sum()),
    }


def _visited(bench: Bench) -> Tensor:
    """Targets in the order in which training meets them."""
    size, seen, taken = bench.settings.batch_size or bench.risk.train.n, [], 0
    feed = bench.risk.feed(bench.seed, min(size, bench.risk.train.n))
    for step in range(min(bench.per_epoch, 4096)):
        part = feed.batch(step)[1]
        seen.append(part.reshape(len(part), -1)[:, 0])
        taken += len(part)
        if taken >= MOST:
            break
    return torch.cat(seen)


def _order_real(bench: Bench, flat: Tensor) -> dict[str, float]:
    """Neighbours' correlation in the visiting order, on the scale of ``runs``."""
    visited = _visited(bench).double()
    if len(visited) < 8 or float(visited.std()) == 0 or not bool(torch.isfinite(visited).all()):
        return {}
    z = (visited - visited.mean()) / visited.std(unbiased=False)
    return {"runs": float((z[1:] * z[:-1]).mean()), "runs_expected": 0.0}


def _shift(bench: Bench, inputs: Tensor) -> float:
    """How far held-out means and deviations lie from those of training, beyond chance."""
    part = bench.risk.selection
    batch = next(iter(part.chunks(min(MOST, part.n))))
    held = batch[0] if bench.risk.task.forward == "pair" else batch
    if not isinstance(held, Tensor) or held.shape[1:] != inputs.shape[1:] or len(held) < 16:
        return 0.0
    (mean, std), (to, spread) = (moments(x.detach().cpu()) for x in (inputs, held))
    live = std > 0.1 * std.max().clamp(min=1e-300)
    if not bool(torch.isfinite(mean).all() & torch.isfinite(to).all()) or not bool(live.any()):
        return 0.0
    square = ((to - mean) / std)[live].square() + ((spread - std) / std)[live].square()
    return max(0.0, float(square.mean()) - 2 / len(held) - 2 / len(inputs))


def _duplicated(bench: Bench, inputs: Tensor) -> float:
    """Share of held-out inputs that stand, number for number, in the training part."""
    risk = bench.risk
    known: set[bytes] = set()
    for batch in risk.train.chunks(4096):
        known.update(_rows(batch[0] if risk.task.forward == "pair" else batch))
        if len(known) > 200_000:
            break
    held = next(iter(risk.selection.chunks(min(1024, risk.selection.n))))
    rows = _rows(held[0] if risk.task.forward == "pair" else held)
    if len(inputs[0].flatten()) < 4 or not rows:  # few numbers coincide by chance
        return 0.0
    return sum(row in known for row in rows) / len(rows)


def _rows(x: Any) -> list[bytes]:
    flat = x.detach().cpu().flatten(1).contiguous().view(torch.uint8).numpy()  # any number type
    return [row.tobytes() for row in flat]
