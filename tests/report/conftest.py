"""Races made from a formula: realistic numbers, nothing trained."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from thalweg.records import Entry, Interval, Race, SeedResult, Sensitivity, Trace

SHAPES = {  # log10 of the best rate, best accuracy, decades until it diverges
    "sgd": (-0.5, 0.961, 0.6),
    "momentum": (-1.3, 0.969, 0.8),
    "adam": (-2.4, 0.971, 1.9),
    "nesterov": (-1.2, 0.968, 0.8),
    "rmsprop": (-2.8, 0.964, 1.5),
}
STEPS = 900


def _accuracy(optimizer: str, lr: float) -> float:
    best, top, _ = SHAPES.get(optimizer, SHAPES["adam"])
    distance = math.log10(lr) - best
    return 0.1 + (top - 0.1) * math.exp(-((distance / (2.2 if distance < 0 else 1.3)) ** 4))


def _seed(optimizer: str, lr: float, seed: int, rng: random.Random) -> SeedResult:
    best, _, room = SHAPES.get(optimizer, SHAPES["adam"])
    if math.log10(lr) > best + room:
        trace = Trace((0, 50, 100), (2.3, 41.0, math.nan), (0.1, 0.11, math.nan))
        return SeedResult(seed, "diverged", math.nan, math.nan, math.nan, 100, trace)
    top = _accuracy(optimizer, lr) + rng.gauss(0, 0.004)
    at = tuple(range(0, STEPS + 1, 50))
    speed = 4 / STEPS * (0.6 + top)
    held = tuple(top - (top - 0.1) * math.exp(-speed * s) + rng.gauss(0, 0.003) for s in at)
    loss = tuple(
        (2.3 * math.exp(-speed * s * 1.3) + 2.3 * (1 - top) ** 1.4) * rng.uniform(0.93, 1.07)
        for s in at
    )
    held_loss = 3.4 * (1 - top) + 0.02
    return SeedResult(seed, "finished", held[-1], held_loss, loss[-1], STEPS, Trace(at, loss, held))


def _line(optimizer: str, lr: float) -> str:
    known = {
        "sgd": f"torch.optim.SGD(model.parameters(), lr={lr!r})",
        "momentum": f"torch.optim.SGD(model.parameters(), lr={lr!r}, momentum=0.9)",
        "nesterov": f"torch.optim.SGD(model.parameters(), lr={lr!r}, momentum=0.9, nesterov=True)",
        "rmsprop": f"torch.optim.RMSprop(model.parameters(), lr={lr!r})",
    }
    return known.get(optimizer, f"torch.optim.Adam(model.parameters(), lr={lr!r})")


def _entry(optimizer: str, lr: float, seeds: int, rng: random.Random) -> Entry:
    results = tuple(_seed(optimizer, lr, seed, rng) for seed in range(seeds))
    finished = [result for result in results if result.status == "finished"]
    hyperparameters = {"lr": lr} | (
        {"momentum": 0.9} if optimizer in ("momentum", "nesterov") else {}
    )
    if not finished:
        return Entry(
            optimizer,
            hyperparameters,
            {"batch_size": 64, "schedule": None, "clip": None},
            math.nan,
            math.nan,
            math.nan,
            status="diverged",
            seeds=results,
            line=_line(optimizer, lr),
        )
    mean = sum(result.held_out for result in finished) / len(finished)
    return Entry(
        optimizer,
        hyperparameters,
        {"batch_size": 64, "schedule": None, "clip": None},
        mean,
        0.004 + 0.02 * (1 - mean),
        sum(result.loss for result in finished) / len(finished),
        status="culled" if mean < 0.7 else "finished",
        seeds=results,
        line=_line(optimizer, lr),
    )


def build(
    optimizers: tuple[str, ...] = ("sgd", "momentum", "adam"), rates: int = 8, seeds: int = 3
) -> Race:
    """A race as it would come out: ranked, with ties, confirmations and sensitivities."""
    rng = random.Random(7)
    entries = []
    for optimizer in optimizers:
        centre = SHAPES.get(optimizer, SHAPES["adam"])[0]
        exponents = [centre + (i - (rates - 1) * 0.6) / 2 for i in range(rates)]
        entries += [_entry(optimizer, 10.0**e, seeds, rng) for e in exponents]
        if optimizer == "adam":
            entries.append(replace(_entry(optimizer, 0.001, seeds, rng), default=True))
    order = {"finished": 0, "culled": 1, "diverged": 2}
    entries.sort(key=lambda e: (order[e.status], -e.held_out if e.held_out == e.held_out else 0))
    top = entries[0]

    def finish(entry: Entry) -> Entry:
        if entry.status != "finished":
            return entry
        gap = top.held_out - entry.held_out
        behind = Interval(gap, 0.004, gap - 0.008, gap + 0.008)
        tied = gap < 0.008 and entry is not top
        score = entry.held_out - 0.002
        shown = tied or entry is top or entry.default
        bounds = Interval(score, 0.006, score - 0.012, min(score + 0.012, 1.0))
        return replace(
            entry,
            behind=behind,
            tied=tied,
            confirmed=score if shown else None,
            confirmation=bounds if shown else None,
        )

    table = tuple(finish(entry) for entry in entries)
    sensitivity = []
    for optimizer in optimizers:
        own = [e for e in table if e.optimizer == optimizer and e.status == "finished"]
        if not own:
            continue
        good = [e.lr for e in own if own[0].held_out - e.held_out < 0.009]
        bad = [e.lr for e in table if e.optimizer == optimizer and e.status == "diverged"]
        sensitivity.append(
            Sensitivity(
                optimizer,
                own[0].lr,
                own[0].held_out,
                min(good),
                max(good),
                math.log10(max(good) / min(good)),
                min(bad) if bad else None,
            )
        )
    return Race(
        task="digits",
        criterion="accuracy",
        table=table,
        sensitivity=tuple(sensitivity),
        seeds=seeds,
        samples={"train": 1257, "selection": 270, "confirmation": 270},
        budget={"evaluations": STEPS, "epochs": 45.8, "seconds": None},
        executed=STEPS * seeds * len(table),
        seconds=47.3,
        plan={"engine": "looped", "dtype": "float32", "threads": 1, "lrs": "auto", "seed": 0},
        machine={
            "processor": "AMD EPYC 9R14",
            "cores": "2",
            "system": "Linux 6.1",
            "python": "3.11.2",
            "torch": "2.13.0+cpu",
            "thalweg": "0.1.0",
        },
        notes=("The upper end of the rates was found by a probe of 24 rates × 60 steps.",),
        command="thalweg race digits --optimizers sgd,momentum,adam --seeds 3 --epochs 46",
        run="runs/digits",
    )


@pytest.fixture(scope="session")
def make_race() -> Callable[..., Race]:
    """The builder itself: ``make_race(optimizers=…, rates=…, seeds=…)``."""
    return build


@pytest.fixture(scope="session")
def race() -> Race:
    """Three optimisers × eight rates × three seeds, and a default."""
    return build()
