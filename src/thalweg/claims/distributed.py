"""Many workers: where elastic averaging is stable, how noisy its centre is, and what periods do."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.parallel.elastic import (
    centre_variance,
    centre_variance_limit,
    stable_alpha,
    synchronous_update,
)
from thalweg.parallel.simulation import simulate
from thalweg.records_claims import Chart, Curve

RATES = (0.001, 0.1, 0.5, 1.0, 1.5, 1.9)
PERIODS = (1, 4, 16, 64)


@claim(
    name="easgd-stability",
    title="Elastic averaging is stable where ADMM is not",
    decks=("D1",),
    section="flat-minima#f5",
    says=(
        "Round-robin EASGD is stable for alpha <= (4 - 2 eta)/(4 - eta), whatever the number of "
        "workers; ADMM in the same setting can diverge."
    ),
    targets=(
        Target("bound found numerically, over the formula", 1.0, 1e-6, source="[P] [C]"),
        Target("spectral radius of ADMM, p=3, eta=0.001, rho=2.5", 1.00097, 1e-5, source="[P]"),
        Target("spectral radius of EASGD there", 1.0, 0.0, "at most", source="[C]"),
    ),
    seconds=1,
)
def easgd_stability(setting: Setting) -> Outcome:
    """Bisect the largest non-expansive elastic rate; eigenvalues of whole sweeps."""
    ratios = [_largest_alpha(eta) / stable_alpha(eta) for eta in RATES]
    worst = max(ratios, key=lambda ratio: abs(ratio - 1))
    p, eta, rho = 3, 1e-3, 2.5
    rhos = np.geomspace(0.01, 100, 60)
    curves = (
        Curve("ADMM", tuple(rhos), tuple(_radius(_admm(p, eta, r)) for r in rhos)),
        Curve("EASGD", tuple(rhos), tuple(_radius(_easgd(p, eta, eta * r)) for r in rhos)),
    )
    return Outcome(
        {
            "bound found numerically, over the formula": worst,
            "spectral radius of ADMM, p=3, eta=0.001, rho=2.5": _radius(_admm(p, eta, rho)),
            "spectral radius of EASGD there": _radius(_easgd(p, eta, eta * rho)),
        },
        charts=(
            Chart(
                "Growth per sweep of three workers",
                "coupling rho",
                "spectral radius",
                curves,
                x_log=True,
                caption="Rate 0.001 on x²/2. Above 1 a sweep of all workers amplifies.",
            ),
        ),
    )


def _largest_alpha(eta: float) -> float:
    """The largest alpha at which one exchange does not expand, by bisection of its norm."""
    low, high = 0.0, 2.0
    for _ in range(60):
        alpha = 0.5 * (low + high)
        exchange = np.array([[1 - eta - alpha, alpha], [alpha, 1 - alpha]])
        if np.abs(np.linalg.eigvalsh(exchange)).max() <= 1:
            low = alpha
        else:
            high = alpha
    return low


def _easgd(p: int, eta: float, alpha: float) -> np.ndarray:
    """One round-robin sweep of EASGD on x²/2 over (workers, centre)."""
    sweep = np.eye(p + 1)
    for i in range(p):
        one = np.eye(p + 1)
        one[i, i], one[i, p] = 1 - eta - alpha, alpha
        one[p, i], one[p, p] = alpha, 1 - alpha
        sweep = one @ sweep
    return sweep


def _admm(p: int, eta: float, rho: float) -> np.ndarray:
    """One round-robin sweep of linearised ADMM on x²/2 over (multipliers, workers, centre)."""
    n, c = 2 * p + 1, 2 * p
    sweep = np.eye(n)
    for i in range(p):
        dual, primal, centre = np.eye(n), np.eye(n), np.eye(n)
        dual[i, p + i], dual[i, c] = -1.0, 1.0
        primal[p + i] = 0.0
        primal[p + i, p + i] = (1 - eta) / (1 + eta * rho)
        primal[p + i, i] = primal[p + i, c] = eta * rho / (1 + eta * rho)
        centre[c] = 0.0
        centre[c, p : 2 * p], centre[c, :p] = 1 / p, -1 / p
        sweep = centre @ primal @ dual @ sweep
    return sweep


def _radius(matrix: np.ndarray) -> float:
    return float(np.abs(np.linalg.eigvals(matrix)).max())


@claim(
    name="easgd-variance",
    title="Noise of the centre falls with the number of workers",
    decks=("D1",),
    section="flat-minima#f4",
    says="The asymptotic variance of the centre, times p, tends to a closed form as p grows.",
    targets=(
        Target("simulated over exact variance, p=4", 1.0, 0.03, source="[C]"),
        Target("p Var at p=100,000 over the limit", 1.0, 1e-4, source="[P] [C]"),
    ),
    seconds=2,
)
def easgd_variance(setting: Setting) -> Outcome:
    """Simulate many independent copies of one quadratic; compare with the Lyapunov equation."""
    eta, beta, sigma = 0.3, 0.6, 1.0
    workers = (1, 2, 4, 8, 16)
    exact = [p * centre_variance(eta, beta / p, p, sigma) for p in workers]
    seen = [p * _simulated_variance(eta, beta / p, p, setting.seed) for p in workers]
    limit = centre_variance_limit(eta, beta, sigma)
    xs = tuple(float(p) for p in workers)
    many = 100_000
    return Outcome(
        {
            "simulated over exact variance, p=4": seen[2] / exact[2],
            "p Var at p=100,000 over the limit": many
            * centre_variance(eta, beta / many, many, sigma)
            / limit,
        },
        charts=(
            Chart(
                "Variance of the centre times the number of workers",
                "workers p",
                "p Var(centre)",
                (
                    Curve("simulated", xs, tuple(seen), "points"),
                    Curve("exact", xs, tuple(exact)),
                    Curve("limit", xs, (limit,) * len(xs)),
                ),
                x_log=True,
            ),
        ),
    )


def _simulated_variance(eta: float, alpha: float, p: int, seed: int) -> float:
    g = torch.Generator().manual_seed(seed)
    copies = 20_000
    x = torch.zeros(p, copies, dtype=torch.float64)
    centre = torch.zeros(copies, dtype=torch.float64)
    for _ in range(100):
        gradient = x + torch.randn(p, copies, generator=g, dtype=torch.float64)
        x, centre = synchronous_update(x, centre, alpha)
        x = x - eta * gradient
    return float(centre.square().mean())


@claim(
    name="easgd-tau",
    title="Long periods: elastic averaging holds, DOWNPOUR breaks",
    decks=("D1",),
    section="flat-minima#f5",
    says=(
        "As the communication period grows to 64, EASGD and EAMSGD keep their accuracy and "
        "DOWNPOUR, at the rate that is best for it at period 1, loses it."
    ),
    targets=(
        Target("EASGD: points lost from tau 1 to 64", 2.0, 0.0, "at most", "points", "[C]"),
        Target("EAMSGD: points lost from tau 1 to 64", 2.0, 0.0, "at most", "points", "[C]"),
        Target("DOWNPOUR: points lost from tau 1 to 64", 2.0, 0.0, "at least", "points", "[C]"),
    ),
    seconds=25,
    full_seconds=90,
)
def easgd_tau(setting: Setting) -> Outcome:
    """Four simulated workers in random order, 64-64-10 network on 8x8 digits, 600 steps each."""
    seeds = range(setting.seed, setting.seed + (5 if setting.full else 2))
    digits = Digits(setting.seed)
    curves, ends = [], {}
    for name, method, lr in (
        ("EASGD", "easgd", 0.5),
        ("EAMSGD", "eamsgd", 0.01),
        ("DOWNPOUR", "downpour", 0.5),
    ):
        setting.progress(name)
        table = np.array(
            [[digits.accuracy(method, lr, tau, seed) for tau in PERIODS] for seed in seeds]
        )
        mean, half = table.mean(0), 2 * table.std(0, ddof=1) / len(table) ** 0.5
        ends[name] = 100 * float(mean[0] - mean[-1])
        curves.append(
            Curve(
                name,
                tuple(float(t) for t in PERIODS),
                tuple(mean),
                "both",
                tuple(mean - half),
                tuple(mean + half),
            )
        )
    return Outcome(
        {f"{name}: points lost from tau 1 to 64": lost for name, lost in ends.items()},
        charts=(
            Chart(
                "Test accuracy of the centre",
                "communication period tau",
                "accuracy",
                tuple(curves),
                x_log=True,
                caption=f"Mean and two standard errors over {len(seeds)} seeds.",
            ),
        ),
        reduced=(
            "four simulated workers on 8x8 digits in place of CIFAR-10's seven-layer network and "
            "ImageNet on up to 16 machines"
        ),
    )


class Digits:
    """A 64-64-10 perceptron on digits as a gradient of one flat vector."""

    def __init__(self, seed: int) -> None:
        from thalweg.data.bundled import digits

        x, y = digits()
        g = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(x), generator=g)
        x = torch.as_tensor(x / 16, dtype=torch.float32).reshape(len(x), 64)[order]
        y = torch.as_tensor(y)[order]
        cut = len(x) * 3 // 4
        self.x, self.y, self.test_x, self.test_y = x[:cut], y[:cut], x[cut:], y[cut:]
        self.sizes = (64 * 64, 64, 640, 10)

    def accuracy(self, method: str, lr: float, tau: int, seed: int) -> float:
        """Of the centre after 600 steps of each of four workers; 10 % where it diverged."""
        g = torch.Generator().manual_seed(seed)
        start = self.start(g)
        found = simulate(
            lambda worker, step, w: self.gradient(w, g),
            start,
            method,
            4,
            600,
            lr,
            tau,
            seed=seed,
            record=600,
        )
        return self.score(found.centre)

    def start(self, g: torch.Generator) -> Tensor:
        """Weights drawn for ReLU layers, biases zero."""
        return torch.cat(
            [
                torch.randn(64 * 64, generator=g) * (2 / 64) ** 0.5,
                torch.zeros(64),
                torch.randn(640, generator=g) * (1 / 64) ** 0.5,
                torch.zeros(10),
            ]
        )

    def gradient(self, w: Tensor, g: torch.Generator) -> Tensor:
        """Of 32 samples drawn with replacement."""
        picked = torch.randint(len(self.x), (32,), generator=g)
        w = w.clone().requires_grad_()
        loss = F.cross_entropy(self._scores(w, self.x[picked]), self.y[picked])
        return torch.autograd.grad(loss, w)[0]

    def score(self, w: Tensor) -> float:
        """Accuracy on the quarter that nobody trained on."""
        return float((self._scores(w, self.test_x).argmax(1) == self.test_y).float().mean())

    def _scores(self, w: Tensor, x: Tensor) -> Tensor:
        a, b, c, d = w.split(self.sizes)
        return F.linear(F.relu(F.linear(x, a.view(64, 64), b)), c.view(10, 64), d)
