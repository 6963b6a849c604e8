"""In which order are samples shown? Curricula beside random, reverse and mixed orders."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.claims.curriculum import digits, seeds
from thalweg.claims.intervals import interval, spoken
from thalweg.records_claims import Chart, Curve
from thalweg.task import Recipe, Task

TRIALS, SHOWN, INPUTS, RELEVANT = 300, 200, 50, 25
ORDERS = ("easy first", "random", "hard first")


@claim(
    name="curriculum-on-the-way",
    title="Easy samples first: a perceptron is ahead on the way",
    decks=("D4",),
    section="curriculum#p5",
    says="Ordered by their margin, easiest first, half of the samples give a lower test error.",
    targets=(
        Target("error of random less easy first, lower 95 % bound", 0.0, 0.0, "at least", "points"),
        Target("error of hard less easy first, lower 95 % bound", 0.0, 0.0, "at least", "points"),
        Target("test error, easy first", relation="reported", unit="%"),
        Target("test error, random", relation="reported", unit="%"),
    ),
    seconds=2,
)
def curriculum_on_the_way(setting: Setting) -> Outcome:
    """300 trials: 200 samples of 50 inputs, half of them irrelevant, each seen once; after 100."""
    errors = _perceptrons(setting.seed)
    easy, random, hard = (errors[order][:, SHOWN // 2 // 10 - 1] for order in ORDERS)
    return Outcome(
        {
            "error of random less easy first, lower 95 % bound": _sure(random - easy),
            "error of hard less easy first, lower 95 % bound": _sure(hard - easy),
            "test error, easy first": float(easy.mean()),
            "test error, random": float(random.mean()),
        },
        (_errors(errors),),
    )


@claim(
    name="curriculum-at-the-end",
    title="Easy samples first: the perceptron's lead does not last",
    decks=("D4",),
    section="curriculum#p5",
    says="Ordered by their margin, easiest first, all samples seen once give a lower test error.",
    targets=(
        Target("error of random less easy first, lower 95 % bound", 0.0, 0.0, "at least", "points"),
        Target("error of hard less easy first, lower 95 % bound", 0.0, 0.0, "at least", "points"),
    ),
    seconds=2,
)
def curriculum_at_the_end(setting: Setting) -> Outcome:
    """The same trials after all 200 samples."""
    errors = _perceptrons(setting.seed)
    easy, random, hard = (errors[order][:, -1] for order in ORDERS)
    return Outcome(
        {
            "error of random less easy first, lower 95 % bound": _sure(random - easy),
            "error of hard less easy first, lower 95 % bound": _sure(hard - easy),
        },
        (_errors(errors),),
        notes=(
            spoken("random less easy first", (random - easy).tolist(), "points").replace(
                "seeds", "trials"
            ),
            "The last samples of that order are the ones a perceptron gets wrong, and their "
            "updates undo what the easy ones taught.",
        ),
    )


def _perceptrons(seed: int) -> dict[str, Tensor]:
    """Test error in % after every ten updates, ``(trials, 20)``, of each order."""
    g = torch.Generator().manual_seed(seed)
    rule = torch.randn(TRIALS, RELEVANT, generator=g)

    def draw(n: int) -> tuple[Tensor, Tensor]:
        x = torch.randn(TRIALS, n, INPUTS, generator=g)
        switched = torch.rand(TRIALS, n, INPUTS - RELEVANT, generator=g)
        x[..., RELEVANT:] *= switched < torch.rand(TRIALS, n, 1, generator=g)
        return x, torch.einsum("tni,ti->tn", x[..., :RELEVANT], rule)

    (x, margin), (unseen, truth) = draw(SHOWN), draw(300)
    keys = (-margin.abs(), torch.rand(margin.shape, generator=g), margin.abs())
    found = {}
    for order, key in zip(ORDERS, keys, strict=True):
        place = key.argsort(1)
        w, errors = torch.zeros(TRIALS, INPUTS), []
        for i in range(SHOWN):
            now = place[:, i, None]
            sample = x.gather(1, now[..., None].expand(-1, -1, INPUTS))[:, 0]
            sign = margin.gather(1, now)[:, 0].sign()
            wrong = (w * sample).sum(1) * sign <= 0
            w += (wrong * sign)[:, None] * sample
            if (i + 1) % 10 == 0:
                missed = torch.einsum("tni,ti->tn", unseen, w).sign() != truth.sign()
                errors.append(100 * missed.double().mean(1))
        found[order] = torch.stack(errors, 1)
    return found


def _sure(gaps: Tensor) -> float:
    return interval(gaps.tolist()).low


def _errors(errors: dict[str, Tensor]) -> Chart:
    shown = tuple(float(i) for i in range(10, SHOWN + 1, 10))
    curves = []
    for order, found in errors.items():
        sure = [interval(column.tolist()) for column in found.T]
        curves.append(
            Curve(
                order,
                shown,
                tuple(s.value for s in sure),
                low=tuple(s.low for s in sure),
                high=tuple(s.high for s in sure),
            )
        )
    return Chart("Perceptrons under three orders", "samples seen", "test error in %", tuple(curves))


@claim(
    name="curriculum-digits",
    title="Easy digits first, where a fifth of the labels is wrong",
    decks=("D4",),
    section="curriculum#p5",
    says="A curriculum by a teacher's loss beside its controls: no order, random, hard first.",
    targets=(
        Target("plain training", relation="reported", unit="%"),
        Target("easy first", relation="reported", unit="%"),
        Target("random subsets that grow as fast", relation="reported", unit="%"),
        Target("hard first", relation="reported", unit="%"),
        Target("gain of easy over hard first", 0.0, 0.0, "at least", "points", "[P]"),
    ),
    seconds=12,
)
def curriculum_digits(setting: Setting) -> Outcome:
    """64-64-10, 20 % of the training labels drawn anew, 20 epochs, five seeds."""
    from thalweg.strategies import curriculum
    from thalweg.training import train

    recipe = Recipe(lr=0.05, momentum=0.9, batch_size=64)
    found: dict[str, list[float]] = {
        "plain training": [],
        "easy first": [],
        "random subsets that grow as fast": [],
        "hard first": [],
    }
    orders = dict(zip(list(found)[1:], ("easy", "random", "hard"), strict=True))
    for seed in seeds(setting, 5):
        setting.progress(f"seed {seed}")
        task = _mislabelled(digits((64, 64, 10), "relu", recipe), 0.2, seed)
        how: dict[str, Any] = {"epochs": 20, "seed": seed}
        teacher = train(task, epochs=4, seed=seed + 100).model()
        found["plain training"].append(100 * train(task, **how).confirmed)
        for name, order in orders.items():
            run = curriculum(task, teacher=teacher, order=order, **how)
            found[name].append(100 * run.confirmed)
    means = {name: float(np.mean(values)) for name, values in found.items()}
    gain = {"gain of easy over hard first": means["easy first"] - means["hard first"]}
    return Outcome(means | gain, notes=tuple(spoken(name, v) for name, v in found.items()))


def _mislabelled(task: Task, share: float, seed: int) -> Task:
    x, y = task.train
    g = torch.Generator().manual_seed(seed)
    drawn = torch.randint(10, y.shape, generator=g)
    return replace(task, train=(x, torch.where(torch.rand(y.shape, generator=g) < share, drawn, y)))


@claim(
    name="stochastic-curriculum",
    title="Mixing difficulties beats growing difficulty beats none",
    decks=("D4",),
    section="curriculum#p5",
    says=(
        "An LSTM that adds two marked numbers of a long sequence learns best when lengths grow "
        "and each batch holds some of every length."
    ),
    targets=(
        Target("gain of mixed over growing", 0.0, 0.0, "at least", "points", "[P]"),
        Target("gain of growing over none", 0.0, 0.0, "at least", "points", "[P]"),
        Target("long sequences only", relation="reported", unit="%"),
        Target("lengths that grow", relation="reported", unit="%"),
        Target("lengths that grow, a fifth of any length", relation="reported", unit="%"),
        Target("all lengths from the start", relation="reported", unit="%"),
    ),
    seconds=100,
)
def stochastic_curriculum(setting: Setting) -> Outcome:
    """Lengths 10 to 50, tested at 50; 32 units, Adam 5e-3, 800 gradients of 32, eight seeds."""
    from thalweg.strategies import stochastic_curriculum as mixed
    from thalweg.training import train

    lengths, n = (10, 20, 30, 40, 50), 2000
    g = torch.Generator().manual_seed(setting.seed)
    long, unseen, select = (_sums(m, 50, g) for m in (5 * n, 1000, 500))
    parts = [_sums(n, length, g) for length in lengths]
    level = torch.arange(len(lengths)).repeat_interleave(n).double()
    hard = Task(
        name="adding",
        model=_Adder,
        loss=F.mse_loss,
        train=long,
        held_out=select,
        test=unseen,
        metric=_within,
        recipe=Recipe(optimizer="adam", lr=5e-3, batch_size=32),
    )
    both = replace(hard, train=tuple(torch.cat(p) for p in zip(*parts, strict=True)))
    found: dict[str, list[float]] = {
        "long sequences only": [],
        "lengths that grow": [],
        "lengths that grow, a fifth of any length": [],
        "all lengths from the start": [],
    }
    for seed in seeds(setting, 8):
        setting.progress(f"seed {seed}")
        how: dict[str, Any] = {"evaluations": 800, "clip": 1.0, "seed": seed}
        paced: dict[str, Any] = {"scores": level, "cumulative": False, **how}
        runs = (
            train(hard, **how),
            mixed(both, p_mix=0.0, **paced),
            mixed(both, p_mix=0.2, **paced),
            train(both, **how),
        )
        for values, run in zip(found.values(), runs, strict=True):
            values.append(100 * run.confirmed)
    means = {name: float(np.mean(values)) for name, values in found.items()}
    none, growing, mix, _ = means.values()
    gains = {
        "gain of mixed over growing": mix - growing,
        "gain of growing over none": growing - none,
    }
    return Outcome(gains | means, notes=tuple(spoken(name, v) for name, v in found.items()))


class _Adder(nn.Module):
    """An LSTM over pairs of (number, mark), and a linear read-out of its last state."""

    def __init__(self, hidden: int = 32) -> None:
        super().__init__()
        self.cells, self.out = nn.LSTM(2, hidden, batch_first=True), nn.Linear(hidden, 1)
        with torch.no_grad():  # forget gates open
            dict(self.cells.named_parameters())["bias_ih_l0"][hidden : 2 * hidden] = 1

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.cells(x)[0][:, -1])


def _sums(n: int, length: int, g: torch.Generator, whole: int = 50) -> tuple[Tensor, Tensor]:
    """Sequences ``(n, whole, 2)`` whose last ``length`` places hold numbers, two marked; sums."""
    x = torch.zeros(n, whole, 2)
    x[:, whole - length :, 0] = torch.rand(n, length, generator=g)
    half, rows = length // 2, torch.arange(n)
    first = whole - length + torch.randint(half, (n,), generator=g)
    second = whole - length + half + torch.randint(length - half, (n,), generator=g)
    x[rows, first, 1] = x[rows, second, 1] = 1
    return x, (x[rows, first, 0] + x[rows, second, 0])[:, None]


def _within(output: Tensor, target: Tensor) -> float:
    """Share of sums that are right to a tenth."""
    return float(((output - target).abs() < 0.1).double().mean())
