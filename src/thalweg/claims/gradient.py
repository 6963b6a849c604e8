"""Gradient descent on quadratics: how fast, how large a step, and what the slides left out."""

from __future__ import annotations

import numpy as np
import torch

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.claims.curves import curve
from thalweg.data import synthetic
from thalweg.records_claims import Chart
from thalweg.steps.bounds import max_learning_rate
from thalweg.steps.rates import best_rate, contraction, descend, safe_rate, steps_per_digit

MU, LARGEST = 0.05, 1.0  # the curvatures of the bowl below lie between them


@claim(
    name="descent-rate",
    title="How fast descent converges on a quadratic",
    decks=("D0", "D2"),
    section="gradient#g1",
    says=(
        "Descent at 1/L shrinks the error by 1 - mu/L a step, at the best fixed rate 2/(mu + L) by "
        "(k - 1)/(k + 1), and diverges above 2/L; in one dimension 1/f'' is a single step."
    ),
    targets=(
        Target("log-slope at 1/L over log(1 - mu/L)", 1.0, 0.01, source="[D]"),
        Target("log-slope at 2/(mu+L) over log((k-1)/(k+1))", 1.0, 0.01, source="[C]"),
        Target("error after 10,000 steps at 0.999 of 2/L", 1.0, 0.0, "at most", source="[C]"),
        Target("error after 10,000 steps at 1.001 of 2/L", 1.0, 0.0, "at least", source="[C]"),
        Target("error after one step of 1/f'' in one dimension", 0.0, 1e-14, source="[D]"),
    ),
    seconds=1,
)
def descent_rate(setting: Setting) -> Outcome:
    """Twenty curvatures in random directions; slopes from the second half of the run."""
    bowl = synthetic.quadratic(
        np.geomspace(MU, LARGEST, 20).tolist(), n=1, noise=0, seed=setting.seed
    )
    start = np.random.default_rng(setting.seed).standard_normal(20)

    def errors(lr: float, steps: int) -> np.ndarray:
        path = descend(bowl.matrix, np.zeros(20), start, lr, steps)
        return np.linalg.norm(path, axis=1) / np.linalg.norm(start)

    def log_slope(lr: float) -> float:
        error = errors(lr, 200)
        return float(np.log(error[200] / error[100]) / 100)

    safe, best = safe_rate(MU, LARGEST), best_rate(MU, LARGEST)
    edge = max_learning_rate(LARGEST)
    rates = np.linspace(0.1, 2.15, 42)
    measured = np.exp([log_slope(r) for r in rates[::3]])
    shown = {"1/L": safe.lr, "2/(mu + L)": best.lr, "1.01 · 2/L": 1.01 * edge}
    steps = range(201)
    one = descend(np.array([[3.7]]), np.array([1.3]), np.array([9.0]), 1 / 3.7, 1)[1, 0]
    return Outcome(
        {
            "log-slope at 1/L over log(1 - mu/L)": log_slope(safe.lr) / np.log(safe.contraction),
            "log-slope at 2/(mu+L) over log((k-1)/(k+1))": log_slope(best.lr)
            / np.log(best.contraction),
            "error after 10,000 steps at 0.999 of 2/L": errors(0.999 * edge, 10_000)[-1],
            "error after 10,000 steps at 1.001 of 2/L": errors(1.001 * edge, 10_000)[-1],
            "error after one step of 1/f'' in one dimension": abs(one - 1.3 / 3.7),
        },
        charts=(
            Chart(
                "Factor on the error per step",
                "learning rate",
                "factor",
                (
                    curve("closed form", rates, [contraction(r, MU, LARGEST) for r in rates]),
                    curve("measured", rates[::3], measured, "points"),
                ),
                caption="Above 1 descent diverges: from 2/L on.",
            ),
            Chart(
                "Distance to the minimum",
                "step",
                "error over the first",
                tuple(curve(name, steps, errors(lr, 200)) for name, lr in shown.items()),
                y_log=True,
            ),
        ),
    )


@claim(
    name="linear-unit",
    title="Single linear unit: the rates it admits",
    decks=("D0", "D2"),
    section="gradient#g2",
    says=(
        "A unit with two inputs of curvatures 0.84 and 0.036 converges at a rate of 1.5 and "
        "diverges at 2.5: the limit is 2/0.84 = 2.38."
    ),
    targets=(
        Target("largest curvature", 0.84, 1e-9, source="[P]"),
        Target("smallest curvature", 0.036, 1e-9, source="[P]"),
        Target("largest rate", 2.38, 0.005, source="[D]"),
        Target("factor per epoch at 1.5", 0.946, 1e-3, source="[C]"),
        Target("factor per epoch at 1/0.84", 0.957, 1e-3, source="[C]"),
        Target("factor per epoch at 2.283", 0.918, 1e-3, source="[C]"),
        Target("factor per epoch at 2.38", 0.9992, 1e-4, source="[C]"),
        Target("factor per epoch at 2.5", 1.10, 1e-3, source="[D] [C]"),
        Target("epochs per factor 1e-3 at 1.5", 124, 1, source="[C]"),
        Target("epochs per factor 1e-3 at 1/0.84", 158, 1, source="[C]"),
        Target("epochs per factor 1e-3 at 2.283", 81, 1, source="[C]"),
    ),
    seconds=1,
)
def linear_unit(setting: Setting) -> Outcome:
    """The exact data; factors from successive errors late in the run."""
    x, y = synthetic.linear_unit("exact", seed=setting.seed)
    moment, b = x.T @ x / len(x), x.T @ y / len(x)
    values = np.linalg.eigvalsh(moment)
    solution = np.linalg.lstsq(x, y, rcond=None)[0]

    def errors(lr: float, epochs: int = 400) -> np.ndarray:
        path = descend(moment, b, np.zeros(2), lr, epochs)
        return np.linalg.norm(path - solution, axis=1)

    def factor(lr: float) -> float:
        error = errors(lr)
        late = 200 if error[-1] > 1e-6 * error[0] else 100  # before rounding is all that is left
        return float(error[late + 1] / error[late])

    rates = {"1.5": 1.5, "1/0.84": 1 / 0.84, "2.283": 2 / 0.876, "2.38": 2.38, "2.5": 2.5}
    factors = {name: factor(lr) for name, lr in rates.items()}
    return Outcome(
        {
            "largest curvature": values[1],
            "smallest curvature": values[0],
            "largest rate": max_learning_rate(values[1]),
            **{f"factor per epoch at {name}": f for name, f in factors.items()},
            **{
                f"epochs per factor 1e-3 at {name}": steps_per_digit(factors[name])
                for name in ("1.5", "1/0.84", "2.283")
            },
        },
        charts=(
            Chart(
                "Distance to the best weights",
                "epoch",
                "distance",
                tuple(
                    curve(f"rate {name}", range(101), errors(lr, 100)) for name, lr in rates.items()
                ),
                y_log=True,
            ),
        ),
    )


@claim(
    name="half-in-the-loss",
    title="The linear unit's loss needs its half",
    decks=("D0", "D2"),
    section="gradient#g2",
    says="Descent on the linear unit is stable up to 2.38 only if the loss carries a factor 1/2.",
    targets=(
        Target("largest rate with the half", 2.38, 0.005, source="[C]"),
        Target("largest rate of the loss as printed", 1.19, 0.005, source="[C]"),
        Target("factor per step of the loss as printed at 1.5", -1.52, 1e-3, source="[C]"),
        Target("Hessian as printed over the second moment", 2.0, 1e-9, source="[C]"),
    ),
    seconds=1,
    correction=(
        "The slides print the loss mean (y - wx)² and the Hessian mean x xᵀ, as ∂²f/∂w and as a "
        "covariance; right is a loss with the factor 1/2, the Hessian ∂²f/∂w², and the second "
        "moment, which is a covariance only where the inputs have mean zero."
    ),
)
def half_in_the_loss(setting: Setting) -> Outcome:
    """Both Hessians by automatic differentiation; one step from the top eigenvector."""
    x, y = (torch.from_numpy(a) for a in synthetic.linear_unit("exact", seed=setting.seed))

    def printed(w: torch.Tensor) -> torch.Tensor:
        return (y - x @ w).square().mean()

    best = torch.linalg.lstsq(x, y[:, None]).solution[:, 0]
    hessian = torch.autograd.functional.hessian(printed, best)
    values, vectors = torch.linalg.eigh(hessian)
    top, v = float(values[1]), vectors[:, 1]
    start = (best + v).requires_grad_()
    (g,) = torch.autograd.grad(printed(start), start)
    factor = float((start.detach() - 1.5 * g - best) @ v)
    rates = np.linspace(0.2, 2.8, 53)
    moment = float(torch.linalg.eigvalsh(x.mT @ x / len(x))[1])
    return Outcome(
        {
            "largest rate with the half": 2 / (top / 2),
            "largest rate of the loss as printed": max_learning_rate(top),
            "factor per step of the loss as printed at 1.5": factor,
            "Hessian as printed over the second moment": top / moment,
        },
        charts=(
            Chart(
                "Factor along the sharpest direction",
                "learning rate",
                "factor per step",
                (
                    curve("with the half", rates, 1 - rates * top / 2),
                    curve("as printed", rates, 1 - rates * top),
                ),
                caption="Stable between -1 and 1.",
            ),
        ),
    )


@claim(
    name="linear-unit-bias",
    title="A bias sharpens the linear unit",
    decks=("D0",),
    section="gradient#g2",
    says="With a bias input the curvature 1 joins 0.036 and 0.84, so the largest rate is 2.0.",
    targets=(
        Target("largest curvature with a bias", 1.0, 1e-9, source="[C]"),
        Target("largest rate with a bias", 2.0, 1e-9, source="[C]"),
        Target("largest rate without", 2.38, 0.005, source="[D]"),
    ),
    seconds=1,
    correction=(
        "Efficient BackProp mentions a bias beside the bound 2.38; with it the bound is 2.0 on "
        "balanced, centred data."
    ),
)
def linear_unit_bias(setting: Setting) -> Outcome:
    """The exact data with their mirror images, so that both classes are centred exactly."""
    x, y = synthetic.linear_unit("exact", seed=setting.seed)
    x, y = np.concatenate([x, -x]), np.concatenate([y, -y])
    with_bias = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    tops = {
        "without": np.linalg.eigvalsh(x.T @ x / len(x))[-1],
        "with": np.linalg.eigvalsh(with_bias.T @ with_bias / len(x))[-1],
    }
    paths = {}
    for name, inputs in (("without a bias", x), ("with a bias", with_bias)):
        moment, b = inputs.T @ inputs / len(x), inputs.T @ y / len(x)
        start = np.zeros(len(b)) + 0.1
        path = descend(moment, b, start, 2.2, 60)
        paths[name] = np.linalg.norm(path - np.linalg.solve(moment, b), axis=1)
    return Outcome(
        {
            "largest curvature with a bias": tops["with"],
            "largest rate with a bias": max_learning_rate(tops["with"]),
            "largest rate without": max_learning_rate(tops["without"]),
        },
        charts=(
            Chart(
                "Distance to the best weights at a rate of 2.2",
                "epoch",
                "distance",
                tuple(curve(name, range(61), path) for name, path in paths.items()),
                y_log=True,
            ),
        ),
    )


@claim(
    name="update-sign",
    title="Descent subtracts the gradient",
    decks=("D2",),
    section="gradient#g1",
    says="The weight update is minus the rate times the gradient.",
    targets=(
        Target("factor per epoch with the minus sign at 1.5", 0.946, 1e-3, source="[C]"),
        Target("factor per epoch as printed at 1.5", 1.0, 0.0, "at least", source="[C]"),
    ),
    seconds=1,
    correction="The slide prints Δω = η ∂E/∂ω; right is a minus sign, as two slides before.",
)
def update_sign(setting: Setting) -> Outcome:
    """The linear unit both ways: as printed, its error grows by 1 + 1.5 · 0.84 an epoch."""
    x, y = synthetic.linear_unit("exact", seed=setting.seed)
    moment, b = x.T @ x / len(x), x.T @ y / len(x)
    best = np.linalg.solve(moment, b)
    error = {
        sign: np.linalg.norm(descend(moment, b, np.zeros(2), lr, 40) - best, axis=1)
        for sign, lr in (("minus", 1.5), ("plus, as printed", -1.5))
    }
    return Outcome(
        {
            "factor per epoch with the minus sign at 1.5": error["minus"][40] / error["minus"][39],
            "factor per epoch as printed at 1.5": error["plus, as printed"][40]
            / error["plus, as printed"][39],
        },
        charts=(
            Chart(
                "Distance to the best weights",
                "epoch",
                "distance",
                tuple(curve(name, range(41), e) for name, e in error.items()),
                y_log=True,
            ),
        ),
    )
