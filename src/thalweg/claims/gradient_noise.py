"""Stochastic gradients: what one pass over the data achieves, and what noise is good for."""

from __future__ import annotations

import numpy as np
import torch

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.claims.curves import curve
from thalweg.curvature.noise import minibatch_errors
from thalweg.data import synthetic
from thalweg.models.linear import LinearUnit
from thalweg.models.losses import half_squared_error
from thalweg.records_claims import Chart
from thalweg.steps.rates import descend

SEEDS = 40


@claim(
    name="linear-unit-sgd",
    title="One pass of single samples beats one batch step",
    decks=("D0", "D2"),
    section="gradient#g2",
    says=(
        "On the linear unit one pass of 100 single-sample steps at 0.2 comes within 5 % of the "
        "lowest loss and then fluctuates; an epoch of batch descent at 1.5 is far behind."
    ),
    targets=(
        Target("median excess loss after one pass", 0.05, 0.03, source="[C]"),
        Target("worst excess loss after one pass", 0.28, relation="reported", source="[C]"),
        Target("seeds on which the pass is below the batch step", SEEDS, 0, source="[C]"),
    ),
    seconds=1,
)
def linear_unit_sgd(setting: Setting) -> Outcome:
    """Forty data sets, orders drawn anew, weights from zero."""
    excess, batch, wins = [], [], 0
    curves = []
    for seed in range(setting.seed, setting.seed + SEEDS):
        x, y = synthetic.linear_unit("exact", seed=seed)
        rng = np.random.default_rng((seed, 1))
        best = np.linalg.lstsq(x, y, rcond=None)[0]
        lowest = _loss(x, y, best)
        path = _passes(x, y, 0.2, 4 if seed == setting.seed else 1, rng)
        excess.append(_loss(x, y, path[len(x)]) / lowest - 1)
        batch.append(_loss(x, y, 1.5 * x.T @ y / len(x)) / lowest - 1)
        wins += excess[-1] < batch[-1]
        if seed == setting.seed:
            loss = [_loss(x, y, w) / lowest - 1 for w in path]
            whole = descend(x.T @ x / len(x), x.T @ y / len(x), np.zeros(2), 1.5, 4)
            epochs = np.arange(len(loss)) / len(x)
            curves = [
                curve("single samples at 0.2", epochs, loss),
                curve("batch at 1.5", range(5), [_loss(x, y, w) / lowest - 1 for w in whole]),
            ]
    return Outcome(
        {
            "median excess loss after one pass": float(np.median(excess)),
            "worst excess loss after one pass": max(excess),
            "seeds on which the pass is below the batch step": wins,
        },
        charts=(
            Chart("Loss over the lowest, less 1", "epoch", "excess", tuple(curves), y_log=True),
        ),
        notes=(
            "The slide calls 0.2 a sample 'a batch rate of 20': that is 100 steps of 0.2, an order "
            "of magnitude over the batch limit of 2.38.",
        ),
    )


def _loss(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> float:
    return 0.5 * float(np.mean((y - x @ w) ** 2))


def _passes(
    x: np.ndarray, y: np.ndarray, lr: float, epochs: int, rng: np.random.Generator
) -> np.ndarray:
    """Iterates of single-sample descent on the linear unit from zero, ``(epochs · n + 1, d)``."""
    w = np.zeros(x.shape[1])
    path = [w]
    for _ in range(epochs):
        for i in rng.permutation(len(x)):
            w = w + lr * (y[i] - x[i] @ w) * x[i]
            path.append(w)
    return np.stack(path)


@claim(
    name="redundant-data",
    title="Single samples profit from redundancy, batches do not",
    decks=("D0",),
    section="gradient#g3",
    says=(
        "Where every sample is there r times, a batch step costs r times more for the same step, "
        "while a pass of single samples does the work of r passes."
    ),
    targets=(
        Target("difference between batch steps on 1 and on 10 copies", 0.0, 1e-12, source="[D]"),
        Target("a pass over 10 copies beside 10 passes, error over error", 1.0, 0.1, source="[D]"),
        Target("mean of single gradients less the whole gradient", 0.0, 1e-12, source="[C]"),
    ),
    seconds=1,
)
def redundant_data(setting: Setting) -> Outcome:
    """The linear unit at a small rate, samples drawn uniformly; mean squares over 4,000 walks."""
    x, y = synthetic.linear_unit("exact", seed=setting.seed)
    many = np.tile(x, (10, 1)), np.tile(y, 10)
    best = np.linalg.lstsq(x, y, rcond=None)[0]
    w = np.array([0.3, -0.2])
    single = (x @ w - y)[:, None] * x
    whole = x.T @ (x @ w - y) / len(x)
    copies = many[0].T @ (many[0] @ w - many[1]) / len(many[0])

    def errors(x: np.ndarray, y: np.ndarray, steps: int, seed: int) -> np.ndarray:
        rng = np.random.default_rng((setting.seed, seed))
        w, found = np.zeros((4000, 2)), [float(np.linalg.norm(best))]
        for _ in range(steps):
            i = rng.integers(len(x), size=len(w))
            w = w + 0.02 * (y[i] - np.sum(x[i] * w, axis=1))[:, None] * x[i]
            found.append(float(np.sqrt(np.mean(np.sum((w - best) ** 2, axis=1)))))
        return np.array(found)

    one, copied = errors(x, y, 1000, 0), errors(*many, 1000, 1)
    places = np.arange(0, 1001, 10)
    return Outcome(
        {
            "difference between batch steps on 1 and on 10 copies": np.abs(whole - copies).max(),
            "a pass over 10 copies beside 10 passes, error over error": copied[-1] / one[-1],
            "mean of single gradients less the whole gradient": np.abs(
                single.mean(0) - whole
            ).max(),
        },
        charts=(
            Chart(
                "Error of single-sample descent at 0.02",
                "gradients of single samples",
                "error",
                (
                    curve("100 samples, ten passes", places, one[places]),
                    curve("10 copies of each, one pass", places, copied[places]),
                ),
                y_log=True,
            ),
        ),
        notes=(
            "Samples are drawn uniformly. In shuffled passes ten visits of each sample are spread "
            "more evenly than one visit of each of ten copies, which lowers the noise a little.",
        ),
    )


@claim(
    name="noise-escapes",
    title="Noise carries descent out of a shallow well",
    decks=("D0", "D2"),
    section="gradient#g3",
    says=(
        "On the double well (w² - 1)² + 0.3 w descent that starts in the upper well stays there; "
        "with noise it reaches the lower one the more often the stronger the noise."
    ),
    targets=(
        Target("share in the lower well without noise", 0.0, 0.0, source="[C]"),
        Target("rank correlation of share and noise", 1.0, 1e-9, source="[D]"),
        Target(
            "share in the lower well at the strongest noise", 0.5, 0.0, "at least", source="[C]"
        ),
    ),
    seconds=1,
)
def noise_escapes(setting: Setting) -> Outcome:
    """Two thousand walks of 2,000 steps at 0.05 per strength; the noise fades at the end."""
    rng = np.random.default_rng(setting.seed)
    strengths = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 3.0])
    w = np.full((len(strengths), 2000), 0.96)
    steps = 2000
    for k in range(steps):
        fade = min(1.0, 2 * (1 - k / steps))
        noise = fade * strengths[:, None] * rng.standard_normal(w.shape)
        gradient = 4 * w * (w * w - 1) + 0.3
        w = w - 0.05 * np.clip(gradient + noise, -20, 20)
    shares = (w < 0).mean(1)
    ranks = np.argsort(np.argsort(shares, kind="stable"))
    return Outcome(
        {
            "share in the lower well without noise": shares[0],
            "rank correlation of share and noise": np.corrcoef(ranks, np.arange(len(ranks)))[0, 1],
            "share in the lower well at the strongest noise": shares[-1],
        },
        charts=(
            Chart(
                "Walks that end in the lower well",
                "standard deviation of the gradient noise",
                "share",
                (curve("2,000 walks each", strengths, shares, "both"),),
            ),
        ),
    )


@claim(
    name="minibatch-noise",
    title="The error of a minibatch gradient falls as one over root m",
    decks=("D0", "D4"),
    section="gradient#g4",
    says="A minibatch of m samples has a gradient with the standard error sigma / sqrt(m).",
    targets=(
        Target("log-log slope, drawn with replacement", -0.5, 0.03, source="[D] [C]"),
        Target("error over the finite-population formula, m = P/2", 1.0, 0.05, source="[C]"),
        Target("error of the whole batch without replacement", 0.0, 1e-6, source="[C]"),
    ),
    seconds=1,
)
def minibatch_noise(setting: Setting) -> Outcome:
    """The linear unit with 400 samples, 2,000 minibatches per size."""
    x, y = synthetic.linear_unit("exact", seed=setting.seed, n=400)
    data = torch.from_numpy(x), torch.from_numpy(y)
    model = LinearUnit(2).double()
    torch.nn.init.constant_(model.linear.weight, 0.3)
    sizes, all_sizes = (1, 2, 4, 8, 16, 32), (1, 2, 4, 8, 16, 32, 64, 128, 200, 400)
    with_, without = (
        minibatch_errors(
            model,
            half_squared_error,
            data,
            sizes=drawn,
            repeats=2000,
            replace=replace,
            seed=setting.seed,
        )
        for drawn, replace in ((sizes, True), (all_sizes, False))
    )
    half = all_sizes.index(200)
    return Outcome(
        {
            "log-log slope, drawn with replacement": with_.slope,
            "error over the finite-population formula, m = P/2": without.errors[half]
            / without.predicted[half],
            "error of the whole batch without replacement": without.errors[-1],
        },
        charts=(
            Chart(
                "Error of the minibatch gradient",
                "minibatch size m",
                "root mean square error",
                (
                    curve("with replacement", sizes, with_.errors, "points"),
                    curve("sigma / sqrt(m)", sizes, with_.predicted),
                    curve("without", all_sizes[:-1], without.errors[:-1], "points"),
                    curve("finite population", all_sizes[:-1], without.predicted[:-1]),
                ),
                x_log=True,
                y_log=True,
            ),
        ),
    )
