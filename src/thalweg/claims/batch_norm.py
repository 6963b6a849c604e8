"""What batch normalisation does to the loss surface: smoother, and not by calming its inputs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.claims.curves import curve
from thalweg.conditioning.initialise import init_
from thalweg.curvature.smoothness import covariate_shift, landscape_along_gradient
from thalweg.data.bundled import digits
from thalweg.models.mlp import MLP
from thalweg.records_claims import Chart

RATES, SEEDS, STEPS, EVERY, BATCH = (0.05, 0.2, 0.5), 3, 200, 20, 128
WIDTHS = (64, *(64,) * 6, 10)


class _Walk(NamedTuple):
    beta: float  # median over probes
    variation: float  # median of the largest less the smallest loss along the gradient
    losses: tuple[float, ...]
    betas: tuple[float, ...]
    shift: float  # distance of gradients when the layers below step, over their norm; half-way

    @property
    def trains(self) -> bool:
        """Whether the loss fell below half its start."""
        return bool(np.mean(self.losses[-10:]) < self.losses[0] / 2)


@claim(
    name="batch-norm-smoothness",
    title="Batch norm smooths the loss surface",
    decks=("D3",),
    section="conditioning#c4",
    says=(
        "With batch norm the loss varies less along the gradient and the gradient moves less: its "
        "effective smoothness is lower at every rate and seed."
    ),
    targets=(
        Target("settings of nine with a lower beta under batch norm", 9, 0, source="[D] [C]"),
        Target("settings of nine with a lower variation of the loss", 9, 0, source="[D] [C]"),
        Target("seeds of three on which the plain network diverges at 0.5", 2,
               relation="reported", source="[C]"),
        Target("settings of nine in which both networks train", relation="reported"),
        Target("shift of gradients with batch norm over that without", relation="reported"),
        Target("beta of the plain network over batch norm, torch's own start", 1.0, 0.0,
               "at most", source="[C]"),
    ),
    seconds=8,
)  # fmt: skip
def batch_norm_smoothness(setting: Setting) -> Outcome:
    """Standardised digits, 64-(64 ReLU) x 6-10 from He's start, 200 steps of 128, ten probes."""
    data = _digits()
    lower_beta = lower_variation = both = diverged = 0
    shifts, curves = [], []
    for lr in RATES:
        for seed in range(setting.seed, setting.seed + SEEDS):
            plain, normed = (_walk(bn, lr, seed, data) for bn in (False, True))
            lower_beta += normed.beta < plain.beta
            lower_variation += normed.variation < plain.variation
            both += plain.trains and normed.trains
            diverged += lr == RATES[-1] and not plain.trains
            if lr == RATES[1]:
                shifts.append(normed.shift / plain.shift)
            if seed == setting.seed and lr == 0.05:
                steps = range(0, STEPS, EVERY)
                curves = [
                    curve("plain", steps, plain.betas),
                    curve("batch norm", steps, normed.betas),
                ]
    trap = [_walk(bn, 0.2, setting.seed, data, scheme=None).beta for bn in (False, True)]
    return Outcome(
        {
            "settings of nine with a lower beta under batch norm": lower_beta,
            "settings of nine with a lower variation of the loss": lower_variation,
            "seeds of three on which the plain network diverges at 0.5": diverged,
            "settings of nine in which both networks train": both,
            "shift of gradients with batch norm over that without": float(np.median(shifts)),
            "beta of the plain network over batch norm, torch's own start": trap[0] / trap[1],
        },
        charts=(
            Chart(
                "Effective smoothness beta along training at 0.05",
                "step",
                "beta",
                tuple(curves),
                y_log=True,
            ),
        ),
        notes=(
            "The comparison asks for networks that both train: from torch's own start the plain "
            "one sits on a plateau, where everything is smooth.",
            "The deck dates the paper 2017; Santurkar et al. appeared in 2018.",
        ),
        reduced="a perceptron on digits in place of VGG on CIFAR-10",
    )


def _digits() -> tuple[Tensor, Tensor]:
    x, y = digits()
    images = torch.from_numpy(np.asarray(x, np.float32)).flatten(1)
    scaled = (images - images.mean(0)) / images.std(0).clamp(min=1e-3)
    return scaled, torch.from_numpy(np.asarray(y)).long()


def _walk(
    batch_norm: bool,
    lr: float,
    seed: int,
    data: tuple[Tensor, Tensor],
    scheme: str | None = "he",
) -> _Walk:
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MLP(WIDTHS, batch_norm=batch_norm)
    if scheme is not None:
        init_(model, scheme, generator=generator)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    losses, betas, variations, shifts = [], [], [], []
    for step in range(STEPS):
        index = torch.randint(len(data[0]), (BATCH,), generator=generator)
        batch = data[0][index], data[1][index]
        if step % EVERY == 0 and (not losses or np.isfinite(losses[-1])):
            found = landscape_along_gradient(model, F.cross_entropy, batch, lr=lr)
            betas.append(_finite(found.beta))
            variations.append(_finite(max(found.losses) - min(found.losses)))
            if lr == RATES[1] and step == STEPS // 2:
                moved = covariate_shift(model, F.cross_entropy, batch, lr=lr)
                shifts.append(_finite(float(np.mean(moved.distance)) / found.gradient_norm))
        optimizer.zero_grad()
        loss = F.cross_entropy(model(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    pad = STEPS // EVERY - len(betas)  # a walk that diverged is as rough as can be
    betas, variations = [*betas, *[np.inf] * pad], [*variations, *[np.inf] * pad]
    return _Walk(
        float(np.median(betas)),
        float(np.median(variations)),
        tuple(losses),
        tuple(betas),
        float(np.median(shifts)) if shifts else np.nan,
    )


def _finite(value: float) -> float:
    return value if np.isfinite(value) else np.inf


@claim(
    name="noisy-batch-norm",
    title="Noise behind batch norm does not spoil it",
    decks=("D3",),
    section="conditioning#c4",
    says=(
        "With random scales and shifts behind every batch norm, which shift the inputs of the next "
        "layer at every step, the network still trains as well."
    ),
    targets=(
        Target("points by which noisy batch norm is behind batch norm", 0.0, 3.0, unit="points",
               source="[D]"),
        Target("points by which it is behind the plain network", 0.0, 3.0, "at most",
               unit="points", source="[D]"),
    ),
    seconds=4,
)  # fmt: skip
def noisy_batch_norm(setting: Setting) -> Outcome:
    """The same networks at 0.1, 250 steps; accuracy on the last 400 digits, three seeds."""
    x, y = _digits()
    ends: dict[str, list[float]] = {"plain": [], "batch norm": [], "noisy batch norm": []}
    curves = []
    for name, seen in ends.items():
        for seed in range(setting.seed, setting.seed + SEEDS):
            losses, accuracy = _trained(name, seed, x, y)
            seen.append(100 * accuracy)
            if seed == setting.seed:
                curves.append(curve(name, range(0, 250, 4), losses[::4]))
    mean = {name: float(np.mean(values)) for name, values in ends.items()}
    return Outcome(
        {
            "points by which noisy batch norm is behind batch norm": mean["batch norm"]
            - mean["noisy batch norm"],
            "points by which it is behind the plain network": mean["plain"]
            - mean["noisy batch norm"],
        },
        charts=(Chart("Training loss", "step", "loss", tuple(curves), y_log=True),),
        notes=tuple(f"Accuracy, {name}: {value:.1f} %." for name, value in mean.items()),
        reduced="a perceptron on digits in place of VGG on CIFAR-10",
    )


class _Noise(nn.Module):
    """Each activation times N(1, 0.2²) plus N(0, 0.2²), both with means of their own, per step."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self._generator = generator

    def forward(self, x: Tensor) -> Tensor:
        """Noisy in training, as it is otherwise."""
        if not self.training:
            return x
        g, shape = self._generator, x.shape
        means = 0.2 * torch.randn(2, shape[1], generator=g)
        scale = 1 + means[0] + 0.2 * torch.randn(shape, generator=g)
        return x * scale + means[1] + 0.2 * torch.randn(shape, generator=g)


def _trained(name: str, seed: int, x: Tensor, y: Tensor) -> tuple[list[float], float]:
    generator = torch.Generator().manual_seed(seed)
    model = MLP(WIDTHS, batch_norm=name != "plain")
    init_(model, "he", generator=generator)
    if name == "noisy batch norm":
        layers: list[nn.Module] = []
        for layer in model.layers:
            layers.append(layer)
            if isinstance(layer, nn.BatchNorm1d):
                layers.append(_Noise(generator))
        model.layers = nn.Sequential(*layers)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for _ in range(250):
        index = torch.randint(len(x) - 400, (BATCH,), generator=generator)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x[index]), y[index])
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    with torch.no_grad():
        return losses, float((model.eval()(x[-400:]).argmax(1) == y[-400:]).float().mean())
