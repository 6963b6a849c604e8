"""More of the adversarial game: slopes that vanish, where the noise comes from, modes on a ring."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.claims.generative import Pair
from thalweg.models.gan import generator_loss
from thalweg.records_claims import Chart, Curve

MODES, SPREAD = 8, 0.1
UNIT = 2**0.5  # the ring's deviation along an axis is about 1/√2: its inputs are standardised


@claim(
    name="gan-saturation",
    title="The minimax loss gives a losing generator no slope",
    decks=("D1",),
    section="generative#v1",
    says="Where D is sure of a fake, log(1 - D) is flat and -log D is steep.",
    targets=(
        Target("slope of the minimax loss at D(G) = 0.01", 0.01, 1e-9, source="[C]"),
        Target("slope of the non-saturating loss there", 0.99, 1e-9, source="[C]"),
    ),
    seconds=1,
)
def gan_saturation(setting: Setting) -> Outcome:
    """Derivatives by the logit."""
    d = torch.linspace(0.001, 0.999, 250, dtype=torch.float64)

    def slopes(kind: str, chances: Tensor) -> Tensor:
        logit = torch.logit(chances)
        return torch.func.grad(lambda a: generator_loss(a, kind) * len(a))(logit).abs()

    one = torch.tensor([0.01], dtype=torch.float64)
    xs = tuple(d.tolist())
    return Outcome(
        {
            "slope of the minimax loss at D(G) = 0.01": float(slopes("minimax", one)),
            "slope of the non-saturating loss there": float(slopes("nonsaturating", one)),
        },
        charts=(
            Chart(
                "What a generator learns from",
                "D(G(z))",
                "slope by the logit",
                (
                    Curve("log(1 - D)", xs, tuple(slopes("minimax", d).tolist())),
                    Curve("-log D", xs, tuple(slopes("nonsaturating", d).tolist())),
                ),
            ),
        ),
    )


@claim(
    name="gan-noise-prior",
    title="The generator's noise comes from p_z",
    decks=("D1",),
    section="generative#v1",
    says="Samples are G(z) with z from the noise prior p_z, and p_g is what comes out.",
    targets=(
        Target("mean of G(z) = 4 + z/2, z from p_z", 4.0, 0.02, source="[C]"),
        Target("mean with z from p_g, as printed", 6.0, 0.02, source="[C]"),
    ),
    correction=(
        "The algorithm on the slide (and in the paper's box) draws z from p_g(z); p_g is the "
        "distribution of the samples. The noise prior is p_z(z)."
    ),
    seconds=1,
)
def gan_noise_prior(setting: Setting) -> Outcome:
    """The generator that makes N(4, 0.5²) of standard normal noise, fed with either."""
    g = torch.Generator().manual_seed(setting.seed)
    z = torch.randn(200_000, generator=g)
    sample = 4 + z / 2
    return Outcome(
        {
            "mean of G(z) = 4 + z/2, z from p_z": float(sample.mean()),
            "mean with z from p_g, as printed": float((4 + sample / 2).mean()),
        }
    )


@claim(
    name="gan-ring",
    title="Eight modes on a ring",
    decks=("D1",),
    section="generative#v1",
    says="Two-dimensional samples of a trained generator beside what sampling alone would show.",
    targets=(
        Target("total variation of the samples from the data", relation="reported"),
        Target("the same of fresh data: the sampling floor", relation="reported"),
        Target("modes with more than 2 % of the samples", relation="reported"),
        Target("share of samples within 3 deviations of a mode", relation="reported"),
        Target("value of the game", relation="reported"),
    ),
    seconds=6,
)
def gan_ring(setting: Setting) -> Outcome:
    """Eight Gaussians of deviation 0.1 on the unit circle; 10,000 samples, 24 x 24 bins."""
    pair = Pair(2, 2, 64, setting.seed)
    pair.train(lambda n: _ring(n, pair.g) * UNIT, steps=800, k=3)
    n = 10_000
    made, data, fresh = pair.sample(n) / UNIT, _ring(n, pair.g), _ring(n, pair.g)
    turn = 2 * math.pi * torch.arange(MODES) / MODES
    nearest = torch.cdist(made, torch.stack([turn.cos(), turn.sin()], 1)).min(1)
    near = nearest.values < 3 * SPREAD
    shares = torch.bincount(nearest.indices[near], minlength=MODES) / n
    on_data, on_samples = pair.judge(data * UNIT), pair.judge(made * UNIT)
    some = slice(0, 1500)
    return Outcome(
        {
            "total variation of the samples from the data": _variation(made, data),
            "the same of fresh data: the sampling floor": _variation(fresh, data),
            "modes with more than 2 % of the samples": int((shares > 0.02).sum()),
            "share of samples within 3 deviations of a mode": float(near.double().mean()),
            "value of the game": float(on_data.log().mean() + (1 - on_samples).log().mean()),
        },
        charts=(
            Chart(
                "Samples on the ring",
                "x",
                "y",
                tuple(
                    Curve(name, tuple(p[some, 0].tolist()), tuple(p[some, 1].tolist()), "points")
                    for name, p in (("data", data), ("generator", made))
                ),
            ),
        ),
    )


def _ring(n: int, g: torch.Generator) -> Tensor:
    turn = 2 * math.pi * torch.randint(MODES, (n,), generator=g) / MODES
    return torch.stack([turn.cos(), turn.sin()], 1) + SPREAD * torch.randn(n, 2, generator=g)


def _variation(a: Tensor, b: Tensor) -> float:
    """Half the sum of differences of two histograms of 24 x 24 bins."""
    edges = [torch.linspace(-1.6, 1.6, 25)] * 2
    first, second = (torch.histogramdd(t, edges).hist / len(t) for t in (a, b))
    return 0.5 * float((first - second).abs().sum() + (first.sum() - second.sum()).abs())
