"""Batch methods beside descent: conjugate gradients, L-BFGS and one block at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.linalg import solve_triangular
from torch import Tensor

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.claims.curves import curve
from thalweg.data import synthetic
from thalweg.optim.nonlinear_cg import NonlinearCG
from thalweg.records_claims import Chart
from thalweg.steps.rates import best_rate


@claim(
    name="conjugate-gradients",
    title="Conjugate gradients end after n steps",
    decks=("D0",),
    section="gradient#g9",
    says=(
        "On a quadratic of n unknowns nonlinear conjugate gradients with an exact line search end "
        "after n steps; with L-BFGS they beat plain descent by a large factor on full batches."
    ),
    targets=(
        Target("steps to a residual of 1e-8, n = 10", 10, 0, "at most", source="[C]"),
        Target("gradients of descent over those of conjugate gradients", 10, 0, "at least",
               source="[D]"),
        Target("gradients of descent over those of L-BFGS", 10, 0, "at least", source="[D]"),
        Target("distance to Rosenbrock's minimum, conjugate gradients", 0.0, 1e-6, source="[C]"),
        Target("distance to Rosenbrock's minimum, L-BFGS", 0.0, 1e-6, source="[C]"),
    ),
    seconds=2,
)  # fmt: skip
def conjugate_gradients(setting: Setting) -> Outcome:
    """A bowl of condition 1,000 in 50 dimensions to a relative gradient of 1e-6."""
    small = synthetic.quadratic(np.geomspace(0.1, 1, 10).tolist(), n=1, noise=0, seed=setting.seed)
    exact = _descend(_bowl(small.matrix), 10, _exact, 40, 1e-8, setting.seed)
    large = synthetic.quadratic(np.geomspace(1e-3, 1, 50).tolist(), n=1, noise=0, seed=setting.seed)
    ways: dict[str, Callable[[Tensor], torch.optim.Optimizer]] = {
        "conjugate gradients": lambda w: NonlinearCG([w], check=False),
        "L-BFGS": _lbfgs,
        "descent at its best rate": lambda w: torch.optim.SGD([w], lr=best_rate(1e-3, 1.0).lr),
    }
    paths = {
        name: _descend(_bowl(large.matrix), 50, make, 20_000, 1e-6, setting.seed)
        for name, make in ways.items()
    }
    counts = {name: path[-1][0] for name, path in paths.items()}
    ends = {}
    for name in ("conjugate gradients", "L-BFGS"):
        w = torch.tensor([-1.2, 1.0], dtype=torch.float64, requires_grad=True)
        optimizer = ways[name](w)
        for _ in range(200):
            optimizer.step(_closure(optimizer, w, _rosenbrock))  # pyrefly: ignore
        ends[name] = float((w.detach() - 1).norm())
    return Outcome(
        {
            "steps to a residual of 1e-8, n = 10": len(exact) - 1,
            "gradients of descent over those of conjugate gradients": counts[
                "descent at its best rate"
            ]
            / counts["conjugate gradients"],
            "gradients of descent over those of L-BFGS": counts["descent at its best rate"]
            / counts["L-BFGS"],
            "distance to Rosenbrock's minimum, conjugate gradients": ends["conjugate gradients"],
            "distance to Rosenbrock's minimum, L-BFGS": ends["L-BFGS"],
        },
        charts=(
            Chart(
                "Gradient norm over the first, 50 unknowns, condition 1,000",
                "gradients",
                "norm",
                tuple(
                    curve(name, [k for k, _ in path], [v for _, v in path])
                    for name, path in paths.items()
                ),
                x_log=True,
                y_log=True,
            ),
        ),
        notes=(
            "The count is for condition 10. At condition 100 rounding alone (linear conjugate "
            "gradients with exact steps) leaves 1e-7 after ten steps, and an eleventh is needed.",
        ),
    )


def _exact(w: Tensor) -> torch.optim.Optimizer:
    return NonlinearCG([w], c1=1e-13, c2=1e-12, max_evaluations=60, check=False)


def _lbfgs(w: Tensor) -> torch.optim.Optimizer:
    return torch.optim.LBFGS(
        [w],
        max_iter=1,
        max_eval=25,
        history_size=10,
        line_search_fn="strong_wolfe",
        tolerance_grad=0.0,
        tolerance_change=0.0,
    )


def _bowl(matrix: np.ndarray) -> Callable[[Tensor], Tensor]:
    a = torch.from_numpy(matrix)
    return lambda w: 0.5 * w @ (a @ w)


def _rosenbrock(w: Tensor) -> Tensor:
    return (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2


def _closure(
    optimizer: torch.optim.Optimizer, w: Tensor, f: Callable[[Tensor], Tensor]
) -> Callable[[], Tensor]:
    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = f(w)
        loss.backward()
        return loss

    return closure


def _descend(
    f: Callable[[Tensor], Tensor],
    n: int,
    make: Callable[[Tensor], torch.optim.Optimizer],
    steps: int,
    tol: float,
    seed: int,
) -> list[tuple[int, float]]:
    """Gradients asked for and gradient norm over the first, after each step until ``tol``."""
    generator = torch.Generator().manual_seed(seed)
    w = torch.randn(n, generator=generator, dtype=torch.float64).requires_grad_()
    optimizer = make(w)
    asked = 0

    def counted(at: Tensor) -> Tensor:
        nonlocal asked
        asked += 1
        return f(at)

    closure = _closure(optimizer, w, counted)
    first = float(torch.autograd.grad(f(w), w)[0].norm())
    path = [(1, 1.0)]
    for _ in range(steps):
        optimizer.step(closure)  # pyrefly: ignore
        norm = float(torch.autograd.grad(f(w), w)[0].norm()) / first
        path.append((asked, norm))
        if norm <= tol:
            break
    return path


@claim(
    name="coordinate-descent",
    title="One coordinate at a time",
    decks=("D4",),
    section="gradient#g10",
    says=(
        "Minimising over one coordinate after another never raises the function; on "
        "(x1 - x2)² + a (x1² + x2²) a sweep shrinks the error by 1/(1 + a)², slowly for small a."
    ),
    targets=(
        Target("largest error of the factor per sweep against 1/(1+a)²", 0.0, 1e-9, source="[C]"),
        Target("rises of the function over all steps", 0, 0, source="[C]"),
        Target("difference from Gauss-Seidel sweeps", 0.0, 1e-12, source="[C]"),
    ),
    seconds=1,
)
def coordinate_descent(setting: Setting) -> Outcome:
    """Four values of a; Gauss-Seidel from triangular solves."""
    errors, curves, rises, apart = [], [], 0, 0.0
    for a in (0.01, 0.1, 1.0, 10.0):
        hessian = 2 * np.array([[1 + a, -1.0], [-1.0, 1 + a]])
        x, seidel = np.array([1.0, -0.5]), np.array([1.0, -0.5])
        sizes, values = [float(np.linalg.norm(x))], [0.5 * x @ hessian @ x]
        for _ in range(10):
            for i in (0, 1):
                x = x.copy()
                x[i] -= hessian[i] @ x / hessian[i, i]
                values.append(0.5 * x @ hessian @ x)
            seidel = solve_triangular(np.tril(hessian), -np.triu(hessian, 1) @ seidel, lower=True)
            apart = max(apart, float(np.abs(seidel - x).max()))
            sizes.append(float(np.linalg.norm(x)))
        rises += int(np.sum(np.diff(values) > 1e-15))
        errors.append(abs(sizes[3] / sizes[2] - 1 / (1 + a) ** 2))
        curves.append(curve(f"a = {a:g}", range(11), sizes, "both"))
    return Outcome(
        {
            "largest error of the factor per sweep against 1/(1+a)²": max(errors),
            "rises of the function over all steps": rises,
            "difference from Gauss-Seidel sweeps": apart,
        },
        charts=(Chart("Distance to the minimum", "sweep", "distance", tuple(curves), y_log=True),),
    )


@claim(
    name="bounded-dictionary",
    title="Sparse factors need bounded atoms",
    decks=("D4",),
    section="gradient#g10",
    says=(
        "J(H, W) = |H|_1 + |X - W'H|² is convex in each block, so alternating solves never raise "
        "it; it has a minimum only where the rows of W are bounded."
    ),
    targets=(
        Target("share of |H|_1 left where W is scaled by 1,000", 1e-3, 1e-9, source="[C]"),
        Target("change of the misfit there, relative", 0.0, 1e-9, source="[C]"),
        Target("rises of J over alternating solves with unit rows", 0, 0, source="[C]"),
        Target("largest norm of a row of W", 1.0, 1e-9, "at most", source="[C]"),
    ),
    seconds=1,
    correction=(
        "The slide bounds nothing: H can shrink and W grow without end, so the first term costs "
        "nothing; right is a bound on the norm of each row of W."
    ),
)
def bounded_dictionary(setting: Setting) -> Outcome:
    """Forty samples of ten numbers, six atoms; proximal steps in one block after the other."""
    rng = np.random.default_rng(setting.seed)
    x = rng.standard_normal((10, 6)) @ (rng.standard_normal((6, 40)) * (rng.random((6, 40)) < 0.4))
    w = rng.standard_normal((6, 10))
    w /= np.linalg.norm(w, axis=1, keepdims=True)
    h = np.zeros((6, 40))

    def objective() -> float:
        return float(np.abs(h).sum() + ((x - w.T @ h) ** 2).sum())

    values = [objective()]
    for _ in range(30):
        bound = 2 * np.linalg.norm(w @ w.T, 2)
        for _ in range(20):
            moved = h - 2 * w @ (w.T @ h - x) / bound
            h = np.sign(moved) * np.maximum(np.abs(moved) - 1 / bound, 0)
        values.append(objective())
        bound = 2 * np.linalg.norm(h @ h.T, 2)
        for _ in range(20):
            w = w - 2 * h @ (h.T @ w - x.T) / bound
            w = w / np.maximum(np.linalg.norm(w, axis=1, keepdims=True), 1)
        values.append(objective())
    misfit = float(((x - w.T @ h) ** 2).sum())
    scaled = float(((x - (1000 * w).T @ (h / 1000)) ** 2).sum())
    factors = np.geomspace(1, 1000, 13)
    return Outcome(
        {
            "share of |H|_1 left where W is scaled by 1,000": np.abs(h / 1000).sum()
            / np.abs(h).sum(),
            "change of the misfit there, relative": (scaled - misfit) / misfit,
            "rises of J over alternating solves with unit rows": int(
                np.sum(np.diff(values) > 1e-9)
            ),
            "largest norm of a row of W": float(np.linalg.norm(w, axis=1).max()),
        },
        charts=(
            Chart(
                "J over alternating solves with unit rows",
                "half sweep",
                "J",
                (curve("J", range(len(values)), values),),
            ),
            Chart(
                "J without a bound: c W, H / c",
                "c",
                "J",
                (
                    curve("J", factors, [np.abs(h).sum() / c + misfit for c in factors]),
                    curve("misfit alone", factors, [misfit] * len(factors)),
                ),
                x_log=True,
            ),
        ),
    )
