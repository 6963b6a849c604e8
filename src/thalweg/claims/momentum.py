"""Momentum: its rate on quadratics, its three forms, and Nesterov's two."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.claims.curves import curve
from thalweg.data import synthetic
from thalweg.records_claims import Chart
from thalweg.steps.bounds import max_learning_rate
from thalweg.steps.rates import best_heavy_ball, best_rate, descend

MU, LARGEST = synthetic.CURVATURES


@claim(
    name="momentum-rate",
    title="Momentum's rate on the linear unit",
    decks=("D0", "D3", "D4"),
    section="momentum#m1",
    says=(
        "The best momentum shrinks the error by (√k - 1)/(√k + 1) a step, 0.657 on the linear "
        "unit, where the best plain descent has 0.918; it is stable up to 2 (1 + beta)/lambda."
    ),
    targets=(
        Target("spectral radius of the best pair", 0.657, 1e-3, source="[C]"),
        Target("factor measured on the iterates over it", 1.0, 0.01, source="[C]"),
        Target("factor of the best plain descent", 0.918, 1e-3, source="[C]"),
        Target("largest stable lr times lambda, beta 0.9", 3.8, 1e-6, source="[C]"),
    ),
    seconds=1,
)
def momentum_rate(setting: Setting) -> Outcome:
    """Companion matrices by eigenvalues; iterates of a bowl with the unit's curvatures."""
    pair, plain = best_heavy_ball(MU, LARGEST), best_rate(MU, LARGEST)
    values = np.linspace(MU, LARGEST, 50)
    radii = [_radius(pair.lr * v, pair.momentum) for v in values]
    bowl, start = np.diag([MU, LARGEST]), np.array([1.0, 1.0])

    def errors(lr: float, beta: float = 0.0) -> np.ndarray:
        return np.linalg.norm(descend(bowl, np.zeros(2), start, lr, 60, beta), axis=1)

    moving = errors(pair.lr, pair.momentum)
    # a double root: the error goes as (a + b k) ρ^k, so ratios of second order are taken
    c = [moving[k] / pair.contraction**k for k in (40, 50, 60)]
    measured = pair.contraction * ((c[2] - c[1]) / (c[1] - c[0])) ** (1 / 10)
    low, high = 0.0, 10.0
    for _ in range(60):
        x = 0.5 * (low + high)
        low, high = (x, high) if _radius(x, 0.9) <= 1 else (low, x)
    slow = errors(plain.lr)
    rates = np.linspace(0.02, 5.2, 105)
    return Outcome(
        {
            "spectral radius of the best pair": max(radii),
            "factor measured on the iterates over it": measured / pair.contraction,
            "factor of the best plain descent": slow[-1] / slow[-2],
            "largest stable lr times lambda, beta 0.9": low,
        },
        charts=(
            Chart(
                "Distance to the minimum on curvatures 0.036 and 0.84",
                "step",
                "distance",
                (
                    curve("best plain descent", range(61), slow),
                    curve("best momentum", range(61), moving),
                ),
                y_log=True,
            ),
            Chart(
                "Factor per step along one eigenvector",
                "learning rate times curvature",
                "spectral radius",
                tuple(
                    curve(f"beta = {beta:g}", rates, [_radius(x, beta) for x in rates])
                    for beta in (0.0, 0.5, 0.9)
                ),
                caption="Stable where it is below 1: up to 2 (1 + beta).",
            ),
        ),
        notes=(
            f"The library's limit for beta 0.9 at curvature 1 is "
            f"{max_learning_rate(1.0, 'momentum', momentum=0.9):g}.",
        ),
    )


def _radius(x: float, beta: float) -> float:
    """Spectral radius of the companion matrix at lr times curvature x."""
    return float(np.abs(np.linalg.eigvals(np.array([[1 + beta - x, -beta], [1.0, 0.0]]))).max())


@claim(
    name="momentum-forms",
    title="Three forms of momentum are not one",
    decks=("D0", "D3", "D4"),
    section="momentum#m1",
    says="The forms p, heavy ball and v give one trajectory at a constant rate and part at a drop.",
    targets=(
        Target("largest difference of the three and torch at a constant rate", 0.0, 1e-12,
               source="[C]"),
        Target("difference of p and v after the rate is divided by 10", 1e-3, 0.0, "at least",
               source="[C]"),
        Target("difference of p and heavy ball with beta times lr_k/lr_(k-1)", 0.0, 1e-12,
               source="[C]"),
    ),
    seconds=1,
    correction=(
        "The slides use three forms as one and call heavy ball equal for a particular beta; right "
        "is equal at a constant rate, and beta_k = (lr_k / lr_(k-1)) beta in general."
    ),
)  # fmt: skip
def momentum_forms(setting: Setting) -> Outcome:
    """A bowl of ten curvatures, 100 steps at 0.3 with beta 0.9; the drop comes at step 50."""
    bowl = synthetic.quadratic(np.linspace(0.05, 1, 10).tolist(), n=1, noise=0, seed=setting.seed)
    start = np.random.default_rng(setting.seed).standard_normal(10)
    constant = [0.3] * 100
    dropped = [0.3] * 50 + [0.03] * 50
    even = [form(bowl.matrix, start, constant) for form in (_p, _v, _heavy_ball)]
    torchs = _torch(bowl.matrix, start, 0.3, 100, nesterov=False)
    p, v, heavy, fixed = (
        form(bowl.matrix, start, dropped) for form in (_p, _v, _heavy_ball, _unscaled)
    )
    return Outcome(
        {
            "largest difference of the three and torch at a constant rate": max(
                float(np.abs(path - torchs).max()) for path in even
            ),
            "difference of p and v after the rate is divided by 10": float(np.abs(p - v).max()),
            "difference of p and heavy ball with beta times lr_k/lr_(k-1)": float(
                np.abs(p - heavy).max()
            ),
        },
        charts=(
            Chart(
                "Distance to the minimum, rate divided by 10 after step 50",
                "step",
                "distance",
                tuple(
                    curve(name, range(101), np.linalg.norm(path, axis=1))
                    for name, path in (
                        ("p (torch)", p),
                        ("v", v),
                        ("heavy ball, beta kept", fixed),
                    )
                ),
                y_log=True,
            ),
        ),
    )


BETA = 0.9


def _p(a: np.ndarray, w: np.ndarray, rates: list[float]) -> np.ndarray:
    p, path = np.zeros_like(w), [w]
    for lr in rates:
        p = BETA * p + a @ w
        w = w - lr * p
        path.append(w)
    return np.stack(path)


def _v(a: np.ndarray, w: np.ndarray, rates: list[float]) -> np.ndarray:
    v, path = np.zeros_like(w), [w]
    for lr in rates:
        v = BETA * v - lr * (a @ w)
        w = w + v
        path.append(w)
    return np.stack(path)


def _heavy_ball(
    a: np.ndarray, w: np.ndarray, rates: list[float], scaled: bool = True
) -> np.ndarray:
    path = [w, w - rates[0] * (a @ w)]
    for before, lr in pairwise(rates):
        beta = BETA * lr / before if scaled else BETA
        path.append(path[-1] - lr * (a @ path[-1]) + beta * (path[-1] - path[-2]))
    return np.stack(path)


def _unscaled(a: np.ndarray, w: np.ndarray, rates: list[float]) -> np.ndarray:
    return _heavy_ball(a, w, rates, scaled=False)


def _torch(a: np.ndarray, start: np.ndarray, lr: float, steps: int, nesterov: bool) -> np.ndarray:
    w = torch.nn.Parameter(torch.from_numpy(start.copy()))
    optimizer = torch.optim.SGD([w], lr=lr, momentum=BETA, nesterov=nesterov)
    matrix, path = torch.from_numpy(a), [start]
    for _ in range(steps):
        w.grad = matrix @ w.detach()
        optimizer.step()
        path.append(w.detach().numpy().copy())
    return np.stack(path)


@claim(
    name="nesterov-forms",
    title="Two forms of Nesterov's momentum are one method",
    decks=("D0", "D4"),
    section="momentum#m2",
    says="The weights of torch's form are the points at which the other form takes its gradients.",
    targets=(
        Target("torch's weights less the lookahead point", 0.0, 1e-12, source="[C]"),
        Target("torch's weights less the other form's own, at most", 1e-3, 0.0, "at least",
               source="[C]"),
    ),
    seconds=1,
    correction=(
        "Two slides show two updates as if they were two methods; right is one, seen at w and at "
        "the lookahead point θ + alpha v."
    ),
)  # fmt: skip
def nesterov_forms(setting: Setting) -> Outcome:
    """A bowl of ten curvatures, 100 steps at 0.3 with momentum 0.9."""
    bowl = synthetic.quadratic(np.linspace(0.05, 1, 10).tolist(), n=1, noise=0, seed=setting.seed)
    start = np.random.default_rng(setting.seed).standard_normal(10)
    torchs = _torch(bowl.matrix, start, 0.3, 100, nesterov=True)
    theta, v = start, np.zeros(10)
    own, ahead = [theta], [theta]
    for _ in range(100):
        v = BETA * v - 0.3 * (bowl.matrix @ (theta + BETA * v))
        theta = theta + v
        own.append(theta)
        ahead.append(theta + BETA * v)
    return Outcome(
        {
            "torch's weights less the lookahead point": float(
                np.abs(np.stack(ahead) - torchs).max()
            ),
            "torch's weights less the other form's own, at most": float(
                np.abs(np.stack(own) - torchs).max()
            ),
        },
        charts=(
            Chart(
                "Distance to the minimum",
                "step",
                "distance",
                (
                    curve("torch", range(101), np.linalg.norm(torchs, axis=1)),
                    curve("lookahead point", range(101), np.linalg.norm(ahead, axis=1), "points"),
                    curve("the other form's own weights", range(101), np.linalg.norm(own, axis=1)),
                ),
                y_log=True,
            ),
        ),
    )
