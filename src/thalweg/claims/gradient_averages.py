"""Noise that stays: the floor of a constant rate, averages of iterates, rates that fall."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from scipy.linalg import solve_discrete_lyapunov
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.claims.curves import curve, slope
from thalweg.curvature.floor import stationary_variance
from thalweg.records_claims import Chart


@claim(
    name="noise-floor",
    title="A constant rate leaves a floor of noise",
    decks=("D0",),
    section="gradient#g12",
    says=(
        "With noisy gradients the iterate settles in a ball whose variance is proportional to the "
        "rate; momentum beta needs the rate lr (1 - beta) for the floor of plain descent at lr."
    ),
    targets=(
        Target("simulated over exact variance, plain", 1.0, 0.03, source="[C]"),
        Target("simulated over exact variance, momentum 0.9", 1.0, 0.03, source="[C]"),
        Target("largest error of the closed form against the Lyapunov equation", 0.0, 1e-10,
               source="[C]"),
        Target("log-log slope of the floor in the rate", 1.0, 0.05, source="[D] [C]"),
        Target("floor of momentum 0.9 at lr/10 over plain at lr", 1.0, 0.05, source="[C]"),
    ),
    seconds=2,
)  # fmt: skip
def noise_floor(setting: Setting) -> Outcome:
    """Curvature 1, noise of variance 1; 20,000 independent walks per setting."""
    rates = np.array([0.01, 0.02, 0.05, 0.1])
    plain = [_simulated(lr, 0.0, setting.seed) for lr in rates]
    moving = [_simulated(lr * 0.1, 0.9, setting.seed) for lr in rates]
    exact = [stationary_variance(1.0, lr) for lr in rates]
    slow = [stationary_variance(1.0, lr * 0.1, momentum=0.9) for lr in rates]
    off = max(
        abs(stationary_variance(curvature, lr, 1.0, beta) - _lyapunov(curvature, lr, beta))
        for curvature in (0.1, 1.0, 3.0)
        for lr in (0.01, 0.3)
        for beta in (0.0, 0.5, 0.9)
    )
    return Outcome(
        {
            "simulated over exact variance, plain": plain[-1] / exact[-1],
            "simulated over exact variance, momentum 0.9": moving[-1] / slow[-1],
            "largest error of the closed form against the Lyapunov equation": off,
            "log-log slope of the floor in the rate": slope(rates, plain),
            "floor of momentum 0.9 at lr/10 over plain at lr": moving[0] / plain[0],
        },
        charts=(
            Chart(
                "Variance of a weight that has settled",
                "learning rate (momentum: times 10)",
                "variance",
                (
                    curve("plain", rates, plain, "points"),
                    curve("plain, closed form", rates, exact),
                    curve("momentum 0.9 at a tenth", rates, moving, "points"),
                    curve("momentum, closed form", rates, slow),
                ),
                x_log=True,
                y_log=True,
            ),
        ),
    )


def _simulated(lr: float, beta: float, seed: int, walks: int = 20_000) -> float:
    """Variance after the walk has settled, over all walks and a few late moments."""
    rng = np.random.default_rng(seed)
    w, p, seen = np.zeros(walks, np.float32), np.zeros(walks, np.float32), []
    settle = int(4 * (1 - beta) / lr)
    for k in range(settle + 200):
        p = beta * p + w - rng.standard_normal(walks, dtype=np.float32)
        w = w - lr * p
        if k >= settle and (k - settle) % 40 == 0:
            seen.append(float(np.mean(np.square(w, dtype=np.float64))))
    return float(np.mean(seen))


def _lyapunov(curvature: float, lr: float, beta: float) -> float:
    """The same variance from X = T X Tᵀ + Q for (w_k, w_{k-1})."""
    step = np.array([[1 + beta - lr * curvature, -beta], [1.0, 0.0]])
    noise = np.array([[lr**2, 0.0], [0.0, 0.0]])
    return float(np.asarray(solve_discrete_lyapunov(step, noise))[0, 0])


@claim(
    name="iterate-averaging",
    title="Averaged iterates pass below the noise floor",
    decks=("D0", "D4"),
    section="gradient#g11",
    says=(
        "At a constant rate the last iterate of noisy descent stalls, while the error of the mean "
        "of all iterates falls as 1/K."
    ),
    targets=(
        Target("log-log slope of the averaged error", -1.0, 0.1, source="[D] [C]"),
        Target("log-log slope of the last iterate's error", 0.0, 0.1, source="[D] [C]"),
        Target("last iterate of momentum 0.9 over its average", relation="reported"),
        Target("running mean less the mean of the stack", 0.0, 1e-12, source="[C]"),
    ),
    seconds=2,
)
def iterate_averaging(setting: Setting) -> Outcome:
    """Curvature 1, noise 1, rate 0.1, started at rest in the minimum; 4,000 walks."""
    marks = np.unique(np.geomspace(50, 3000, 12).astype(int))
    plain, momentum = (_averaged(0.1 * (1 - b), b, marks, setting.seed) for b in (0.0, 0.9))
    series = np.random.default_rng(setting.seed).standard_normal(500)
    running = 0.0
    for k, value in enumerate(series, 1):
        running += (value - running) / k
    fit = marks >= 200  # the correlation time is 10 steps
    return Outcome(
        {
            "log-log slope of the averaged error": slope(marks[fit], plain[1][fit]),
            "log-log slope of the last iterate's error": slope(marks[fit], plain[0][fit]),
            "last iterate of momentum 0.9 over its average": momentum[0][-1] / momentum[1][-1],
            "running mean less the mean of the stack": abs(running - series.mean()),
        },
        charts=(
            Chart(
                "Mean squared distance to the minimum",
                "steps K",
                "squared error",
                (
                    curve("last iterate", marks, plain[0], "both"),
                    curve("mean of all iterates", marks, plain[1], "both"),
                    curve("last iterate, momentum 0.9 at a tenth", marks, momentum[0], "both"),
                    curve("mean, momentum 0.9 at a tenth", marks, momentum[1], "both"),
                ),
                x_log=True,
                y_log=True,
            ),
        ),
        notes=(
            "That momentum needs no averaging is not seen here: averaging lowers its error too.",
        ),
    )


def _averaged(
    lr: float, beta: float, marks: np.ndarray, seed: int, walks: int = 4000
) -> tuple[np.ndarray, np.ndarray]:
    """Mean squares of the last and of the averaged iterate after ``marks`` steps."""
    rng = np.random.default_rng(seed)
    w, p, total = (np.zeros(walks, np.float32) for _ in range(3))
    last, mean = [], []
    for k in range(1, int(marks[-1]) + 1):
        p = beta * p + w - rng.standard_normal(walks, dtype=np.float32)
        w = w - lr * p
        total += w
        if k in marks:
            last.append(float(np.mean(np.square(w))))
            mean.append(float(np.mean(np.square(total / k))))
    return np.array(last), np.array(mean)


@claim(
    name="exponential-averaging",
    title="The exponential average recurses on itself",
    decks=("D4",),
    section="gradient#g11",
    says="An exponential average of decay a has (1 - a)/(1 + a) of the variance of the iterates.",
    targets=(
        Target("variance of the average, decay 0.9", 0.1 / 1.9, 0.002, source="[C]"),
        Target("variance of the recursion as printed", 0.82, 0.02, source="[C]"),
        Target("difference from torch's average", 0.0, 1e-12, source="[C]"),
    ),
    seconds=1,
    correction=(
        "The slide's recursion a θ(t-1) + (1 - a) θ(t) takes the last iterate, which mixes two "
        "iterates only; right is the last average, a θ̄(t-1) + (1 - a) θ(t)."
    ),
)
def exponential_averaging(setting: Setting) -> Outcome:
    """White noise as iterates: 2,000 series of 400."""
    rng, a = np.random.default_rng(setting.seed), 0.9
    series = rng.standard_normal((400, 2000))
    average, right, printed = series[0], [series[0]], [series[0]]
    for before, now in pairwise(series):
        average = a * average + (1 - a) * now
        right.append(average)
        printed.append(a * before + (1 - a) * now)
    model = torch.nn.Linear(2000, 1, bias=False).double()
    torchs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(a))
    with torch.no_grad():
        for now in series:
            model.weight.copy_(torch.from_numpy(now)[None])
            torchs.update_parameters(model)
    theirs = next(torchs.parameters()).detach().numpy()[0]
    settled = slice(100, None)
    return Outcome(
        {
            "variance of the average, decay 0.9": float(np.stack(right)[settled].var()),
            "variance of the recursion as printed": float(np.stack(printed)[settled].var()),
            "difference from torch's average": float(np.abs(theirs - right[-1]).max()),
        },
        charts=(
            Chart(
                "One series",
                "step",
                "value",
                (
                    curve("iterates", range(150), series[:150, 0]),
                    curve("as printed", range(150), np.stack(printed)[:150, 0]),
                    curve("average", range(150), np.stack(right)[:150, 0]),
                ),
            ),
        ),
    )


@claim(
    name="sgd-rates",
    title="How fast the excess error of SGD falls",
    decks=("D4",),
    section="gradient#g7",
    says=(
        "With falling rates the excess error of SGD is of order 1/k on strongly convex problems "
        "and 1/sqrt(k) on convex ones."
    ),
    targets=(
        Target("log-log slope, strongly convex", -1.0, 0.1, source="[D] [C]"),
        Target("log-log slope, convex", -0.5, 0.1, source="[D] [C]"),
        Target("k E(e²) / noise variance in one dimension, rate 1/(k+1)", 1.0, 0.05, source="[C]"),
        Target("log-log slope of the convex function at the mean iterate", relation="reported"),
    ),
    seconds=2,
)
def sgd_rates(setting: Setting) -> Outcome:
    """A bowl of curvatures 1 to 5 at rate 1/k, and |w| with noisy subgradients at 0.3/sqrt(k)."""
    rng = np.random.default_rng(setting.seed)
    marks = np.unique(np.geomspace(100, 10_000, 12).astype(int))
    curvatures, runs = np.linspace(1, 5, 5), 100
    w = np.ones((runs, 5))
    strong = []
    for k in range(1, int(marks[-1]) + 1):
        w = w - (curvatures * w + rng.standard_normal((runs, 5))) / (k + 4)
        if k in marks:
            strong.append(float(np.mean(0.5 * (curvatures * w * w).sum(1))))
    one, squares = np.zeros(20_000), []
    for k in range(200):
        one = one - (one - rng.standard_normal(len(one))) / (k + 1)
        squares.append((k + 1) * float(np.mean(one**2)))
    v, total, sums = np.ones(runs), np.zeros(runs), 0.0
    convex, at_mean = [], []
    for k in range(1, int(marks[-1]) + 1):
        sums, total = sums + float(np.mean(np.abs(v))), total + v
        v = v - 0.3 / np.sqrt(k) * (np.sign(v) + rng.standard_normal(runs))
        if k in marks:
            convex.append(sums / k)
            at_mean.append(float(np.mean(np.abs(total / k))))
    return Outcome(
        {
            "log-log slope, strongly convex": slope(marks, strong),
            "log-log slope, convex": slope(marks, convex),
            "k E(e²) / noise variance in one dimension, rate 1/(k+1)": float(np.mean(squares)),
            "log-log slope of the convex function at the mean iterate": slope(marks, at_mean),
        },
        charts=(
            Chart(
                "Mean excess error over 100 runs",
                "step k",
                "excess",
                (
                    curve("strongly convex, last iterate", marks, strong, "both"),
                    curve("|w|, mean over the iterates", marks, convex, "both"),
                    curve("|w| at the mean iterate", marks, at_mean, "both"),
                ),
                x_log=True,
                y_log=True,
            ),
        ),
        notes=(
            "For |w| the excess is averaged over the iterates, which is what the bound speaks of; "
            "the function at the mean iterate is lower, as |w| is no worst case.",
        ),
    )
