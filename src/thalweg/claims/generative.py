"""The adversarial game on densities that are known: its best answers, its value, its training."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.models.gan import (
    LOG4,
    discriminator_loss,
    game_value,
    generator_loss,
    ideal_discriminator,
    jensen_shannon,
)
from thalweg.models.mlp import MLP
from thalweg.records_claims import Chart, Curve


@claim(
    name="gan-best-answer",
    title="The best discriminator, and what it is worth",
    decks=("D1",),
    section="generative#v1",
    says=(
        "For a fixed generator D* = p_data/(p_data + p_g), and the game is then worth "
        "-log 4 + 2 JSD: least, -log 4, where the generator is perfect."
    ),
    targets=(
        Target("value at D* less -log 4 + 2 JSD, largest", 0.0, 1e-12, source="[C]"),
        Target("value at D* for equal distributions", -1.3863, 5e-5, source="[P]"),
        Target("gain by moving away from D*, largest", 0.0, 0.0, "at most", source="[P]"),
        Target("trained logistic D against D*, largest gap", 0.0, 2e-2, source="[C]"),
    ),
    seconds=2,
)
def gan_best_answer(setting: Setting) -> Outcome:
    """Random finite distributions; Gaussians at 2 and -1 of deviation 0.8, one logistic unit."""
    g = torch.Generator().manual_seed(setting.seed)
    gap, gain = 0.0, -math.inf
    for _ in range(20):
        p, q = torch.randn(2, 9, generator=g, dtype=torch.float64).softmax(1)
        best = ideal_discriminator(p, q)
        value = game_value(p, q, best)
        gap = max(gap, abs(value + LOG4 - 2 * jensen_shannon(p, q)))
        for move in torch.randn(20, 9, generator=g, dtype=torch.float64):
            other = torch.sigmoid(torch.logit(best) + 0.3 * move)
            gain = max(gain, game_value(p, q, other) - value)
    even = torch.full((9,), 1 / 9, dtype=torch.float64)
    x = torch.linspace(-2, 3, 101, dtype=torch.float64)
    exact = torch.sigmoid((3 * x - 1.5) / 0.64)
    fitted = _logistic(g)(x)
    xs = tuple(x.tolist())
    return Outcome(
        {
            "value at D* less -log 4 + 2 JSD, largest": gap,
            "value at D* for equal distributions": game_value(
                even, even, ideal_discriminator(even, even)
            ),
            "gain by moving away from D*, largest": gain,
            "trained logistic D against D*, largest gap": float((fitted - exact).abs().max()),
        },
        charts=(
            Chart(
                "The best discriminator of N(2, 0.8²) from N(-1, 0.8²)",
                "x",
                "D(x)",
                (
                    Curve("trained", xs, tuple(fitted.tolist()), "points"),
                    Curve("p/(p + q)", xs, tuple(exact.tolist())),
                ),
            ),
        ),
    )


def _logistic(g: torch.Generator):
    """One unit trained to convergence on the expected loss, by quadrature."""
    x = torch.linspace(-8, 9, 3401, dtype=torch.float64)
    p, q = (torch.exp(-0.5 * ((x - m) / 0.8) ** 2) for m in (2.0, -1.0))
    p, q = p / p.sum(), q / q.sum()
    w = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([w], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        logit = w[0] * x + w[1]
        soft = nn.functional.softplus
        loss = (p * soft(-logit) + q * soft(logit)).sum()
        loss.backward()
        return loss

    optimizer.step(closure)  # pyrefly: ignore
    return lambda grid: torch.sigmoid(w.detach()[0] * grid + w.detach()[1])


@claim(
    name="gan-discrete",
    title="The game on ten points ends at D = 1/2",
    decks=("D1",),
    section="generative#v1",
    says=(
        "With D at its best answer in each step and steps in p_g itself, p_g converges to the data "
        "and D to one half everywhere."
    ),
    targets=(
        Target("mean |D - 1/2|", 0.0, 1e-3, source="[P]"),
        Target("value of the game", -1.3863, 1e-3, source="[P]"),
        Target("total variation of p_g from the data", 0.0, 1e-2, source="[P]"),
    ),
    seconds=2,
)
def gan_discrete(setting: Setting) -> Outcome:
    """Exact expectations; p_g is a softmax of ten numbers, moved along minus the value's slope."""
    g = torch.Generator().manual_seed(setting.seed)
    data = torch.randn(10, generator=g, dtype=torch.float64).softmax(0)
    a = 2 * torch.randn(10, generator=g, dtype=torch.float64)
    values, apart = [], []
    for _ in range(1500):
        q = a.softmax(0)
        d = ideal_discriminator(data, q)
        values.append(game_value(data, q, d))
        apart.append(0.5 * float((q - data).abs().sum()))
        slope = torch.log1p(-d)  # of V by p_g, D held
        a = a - 2.0 * q * (slope - (q * slope).sum())
    shown = range(0, 1500, 15)
    xs = tuple(float(i) for i in shown)
    return Outcome(
        {
            "mean |D - 1/2|": float((d - 0.5).abs().mean()),
            "value of the game": values[-1],
            "total variation of p_g from the data": apart[-1],
        },
        charts=(
            Chart(
                "A generator that can be anything",
                "generator steps",
                "distance",
                (
                    Curve("value + log 4", xs, tuple(values[i] + LOG4 for i in shown)),
                    Curve("total variation", xs, tuple(apart[i] for i in shown)),
                ),
                y_log=True,
            ),
        ),
    )


@claim(
    name="gan-gaussian",
    title="Two small networks learn a Gaussian",
    decks=("D1",),
    section="generative#v1",
    says="After training D is one half on data and samples, and the game is worth -log 4.",
    targets=(
        Target("mean of D on data", 0.5, 0.05, source="[C]"),
        Target("mean of D on samples", 0.5, 0.05, source="[C]"),
        Target("mean |D - 1/2|", 0.0, 0.05, source="[C]"),
        Target("value of the game", -1.386, 0.05, source="[C]"),
        Target("mean of the samples", 4.0, 0.2, source="[C]"),
        Target("deviation of the samples", 0.5, 0.075, source="[C]"),
        Target("total variation from N(4, 0.25)", 0.1, 0.0, "at most", source="[C]"),
    ),
    seconds=4,
)
def gan_gaussian(setting: Setting) -> Outcome:
    """N(4, 0.5²), standardised as any input is; 1-32-32-1 networks, three D steps to one of G."""
    pair = Pair(1, 1, 32, setting.seed)
    pair.train(lambda n: torch.randn(n, 1, generator=pair.g), steps=600, k=3)
    x, y = torch.randn(100_000, 1, generator=pair.g), pair.sample(100_000)
    on_data, on_samples = pair.judge(x), pair.judge(y)
    edges = torch.linspace(-5, 5, 101)
    share = torch.histogram(y[:, 0], edges).hist / len(y)
    cumulative = 0.5 * (1 + torch.erf(edges / 2**0.5))
    exact = cumulative.diff()
    variation = 0.5 * float((share - exact).abs().sum() + (1 - share.sum()))
    middle = tuple((4 + 0.5 * (edges[1:] + edges[:-1]) / 2).tolist())
    half = 0.5 * ((on_data - 0.5).abs().mean() + (on_samples - 0.5).abs().mean())
    return Outcome(
        {
            "mean of D on data": float(on_data.mean()),
            "mean of D on samples": float(on_samples.mean()),
            "mean |D - 1/2|": float(half),
            "value of the game": float(on_data.log().mean() + (1 - on_samples).log().mean()),
            "mean of the samples": 4 + 0.5 * float(y.mean()),
            "deviation of the samples": 0.5 * float(y.std()),
            "total variation from N(4, 0.25)": variation,
        },
        charts=(
            Chart(
                "What the generator makes",
                "x",
                "share in a bin of 0.05",
                (
                    Curve("samples", middle, tuple(share.tolist()), "bars"),
                    Curve("N(4, 0.25)", middle, tuple(exact.tolist())),
                ),
            ),
        ),
        notes=(
            "The networks see standardised data. Fed with N(4, 0.25) as it is, the same game ended "
            "in every trial with D near one half and a wrong spread of the samples.",
        ),
    )


class Pair:
    """A generator and a discriminator under one seed, trained by the algorithm of the lecture.

    Args:
        outputs: Axes of the data.
        latent: Axes of the noise.
        hidden: Units of both hidden layers of both networks.
        seed: Of weights, noise and data.
    """

    def __init__(self, outputs: int, latent: int, hidden: int, seed: int) -> None:
        self.g = torch.Generator().manual_seed(seed)
        self.latent = latent
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.generator = MLP((latent, hidden, hidden, outputs), "tanh")
            self.discriminator = MLP((outputs, hidden, hidden, 1), "tanh")

    def train(self, data, steps: int, k: int, lr: tuple[float, float] = (1e-3, 5e-3)) -> None:
        """``steps`` of the generator, ``k`` of the discriminator before each; rates fall to 0."""
        parts = (self.generator, self.discriminator)
        both = [
            torch.optim.Adam(part.parameters(), lr=rate, betas=(0.5, 0.999))
            for part, rate in zip(parts, lr, strict=True)
        ]
        for step in range(steps):
            for optimizer, rate in zip(both, lr, strict=True):
                optimizer.param_groups[0]["lr"] = rate * (1 - step / steps)
            for _ in range(k):
                fake = self.sample(256)
                judged = self.discriminator(torch.cat([data(256), fake]))[:, 0]
                _step(both[1], discriminator_loss(judged[:256], judged[256:]))
            made = self.generator(self._noise(256))
            _step(both[0], generator_loss(self.discriminator(made)[:, 0]))

    def _noise(self, n: int) -> Tensor:
        return torch.randn(n, self.latent, generator=self.g)

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """``(n, outputs)``."""
        return self.generator(self._noise(n))

    @torch.no_grad()
    def judge(self, x: Tensor) -> Tensor:
        """D of ``(n, outputs)``, ``(n,)``."""
        return self.discriminator(x)[:, 0].sigmoid()


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
