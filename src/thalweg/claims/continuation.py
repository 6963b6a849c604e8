"""From an easy problem to the hard one: Gaussian smoothing that fades."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.claims.curves import curve
from thalweg.records_claims import Chart, Curve
from thalweg.strategies.smoothing import continuation, descend, gaussian_smooth, geometric

Function = Callable[[Tensor], Tensor]


def hills(w: Tensor) -> Tensor:
    """w²/20 + 1 - cos 3w: one valley of valleys; points ``(…, 1)``."""
    return w[..., 0] ** 2 / 20 + 1 - torch.cos(3 * w[..., 0])


def one_one_one(w: Tensor) -> Tensor:
    """(1 - ab)², the squared error of the 1-1-1 network; points ``(…, 2)``."""
    return (1 - w[..., 0] * w[..., 1]) ** 2


@claim(
    name="smoothed-forms",
    title="What Gaussian noise makes of a function, in closed form",
    decks=("D4",),
    section="curriculum#p4",
    says=(
        "A quadratic gains σ² tr(A)/2, a cosine shrinks by exp(-σ²ω²/2), w⁴ gains 6σ²w² + 3σ⁴, and "
        "the 1-1-1 network gains σ²(a² + b²) + σ⁴."
    ),
    targets=(
        Target("largest error by quadrature, relative", 0.0, 1e-10, source="[C]"),
        Target("largest error by a million draws, relative", 0.0, 1e-2, source="[C]"),
        Target("at σ = 0, difference from the function", 0.0, 0.0, source="[C]"),
    ),
    seconds=3,
)
def smoothed_forms(setting: Setting) -> Outcome:
    """Ten points each, σ 0.3 and 0.8, float64."""
    g = torch.Generator().manual_seed(setting.seed)
    a = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    cases: list[tuple[int, Function, Callable[[Tensor, float], Tensor]]] = [
        (
            2,
            lambda w: 0.5 * ((w @ a) * w).sum(-1),
            lambda w, s: 0.5 * ((w @ a) * w).sum(-1) + s**2 * a.trace() / 2,
        ),
        (
            1,
            lambda w: torch.cos(2 * w[..., 0]),
            lambda w, s: math.exp(-2 * s**2) * torch.cos(2 * w[..., 0]),
        ),
        (
            1,
            lambda w: w[..., 0] ** 4,
            lambda w, s: w[..., 0] ** 4 + 6 * s**2 * w[..., 0] ** 2 + 3 * s**4,
        ),
        (2, one_one_one, lambda w, s: one_one_one(w) + s**2 * w.square().sum(-1) + s**4),
    ]
    exact, drawn, none = 0.0, 0.0, 0.0
    for dimension, f, smooth in cases:
        points = torch.randn(10, dimension, generator=g, dtype=torch.float64)
        none = max(none, float((gaussian_smooth(f, 0.0)(points) - f(points)).abs().max()))
        for sigma in (0.3, 0.8):
            wanted = smooth(points, sigma)
            by_nodes = gaussian_smooth(f, sigma, 40, dimension=dimension, rule="quadrature")
            by_draws = gaussian_smooth(f, sigma, 500_000, dimension=dimension, generator=g)
            scale = float(wanted.abs().max())
            exact = max(exact, float((by_nodes(points) - wanted).abs().max()) / scale)
            sampled = torch.stack([by_draws(point) for point in points])
            drawn = max(drawn, float((sampled - wanted).abs().max()) / scale)
    x = torch.linspace(-10, 10, 400, dtype=torch.float64)[:, None]
    shown = [
        curve(
            f"σ = {s:g}",
            x[:, 0].tolist(),
            gaussian_smooth(hills, s, 40, rule="quadrature")(x).tolist(),
        )
        for s in (0.0, 0.3, 0.6, 2.0)
    ]
    return Outcome(
        {
            "largest error by quadrature, relative": exact,
            "largest error by a million draws, relative": drawn,
            "at σ = 0, difference from the function": none,
        },
        (Chart("w²/20 + 1 - cos 3w from afar", "w", "smoothed value", tuple(shown)),),
    )


@claim(
    name="smoothed-saddle",
    title="The saddle of the 1-1-1 network vanishes at σ = 1",
    decks=("D4",),
    section="curriculum#p4",
    says="Smoothed by σ, the network's Hessian at the origin has the eigenvalues 2σ² ± 2.",
    targets=(
        Target("largest error of the two eigenvalues", 0.0, 1e-9, source="[C]"),
        Target("σ at which the saddle becomes a minimum", 1.0, 1e-9, source="[C]"),
    ),
    seconds=1,
)
def smoothed_saddle(setting: Setting) -> Outcome:
    """Second derivatives of the quadrature; the change of sign by bisection."""
    origin = torch.zeros(2, dtype=torch.float64)

    def both(sigma: float) -> Tensor:
        smooth = gaussian_smooth(one_one_one, sigma, 8, dimension=2, rule="quadrature")
        return torch.linalg.eigvalsh(torch.func.jacrev(torch.func.grad(smooth))(origin))

    widths = [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5]
    values = torch.stack([both(s) for s in widths])
    wanted = torch.tensor([[2 * s**2 - 2, 2 * s**2 + 2] for s in widths], dtype=torch.float64)
    low, high = 0.5, 1.5
    for _ in range(45):
        middle = (low + high) / 2
        low, high = (middle, high) if float(both(middle)[0]) < 0 else (low, middle)
    return Outcome(
        {
            "largest error of the two eigenvalues": float((values - wanted).abs().max()),
            "σ at which the saddle becomes a minimum": (low + high) / 2,
        },
        (
            Chart(
                "Curvatures at the origin",
                "σ",
                "eigenvalue",
                (
                    Curve("smaller", tuple(widths), tuple(values[:, 0].tolist()), "both"),
                    Curve("larger", tuple(widths), tuple(values[:, 1].tolist()), "both"),
                ),
            ),
        ),
    )


@claim(
    name="continuation",
    title="Smoothing that fades passes the hills at which descent stops",
    decks=("D4",),
    section="curriculum#p4",
    says=(
        "On w²/20 + 1 - cos 3w from w = 9 descent stops at 8.284; through ten widths from 2 to "
        "0.01 it reaches 0."
    ),
    targets=(
        Target("where plain descent ends", 8.284, 5e-4, source="[C]"),
        Target("where continuation ends", 0.0, 1e-6, source="[C]"),
        Target("the same with 64 draws a stage", 0.0, 1e-6, source="[C]"),
    ),
    seconds=3,
)
def passes_hills(setting: Setting) -> Outcome:
    """Rate 0.05, 500 steps a stage; quadrature, and 64 draws held within a stage."""
    start = torch.tensor([9.0], dtype=torch.float64)
    widths, solver = geometric(2.0, 0.01, 10), descend(0.05, 500)
    plain = solver(hills, start)
    exact = continuation(hills, start, widths, solver, n=40, rule="quadrature")
    drawn = continuation(hills, start, widths, solver, n=64, seed=setting.seed)
    x = torch.linspace(-10, 10, 400, dtype=torch.float64)[:, None]
    path = torch.stack([start, *exact])
    return Outcome(
        {
            "where plain descent ends": float(plain),
            "where continuation ends": float(exact[-1]),
            "the same with 64 draws a stage": float(drawn[-1]),
        },
        (
            Chart(
                "The path of continuation",
                "w",
                "loss",
                (
                    curve("loss", x[:, 0].tolist(), hills(x).tolist()),
                    curve("after each width", path[:, 0].tolist(), hills(path).tolist(), "both"),
                    curve("plain descent", plain.tolist(), [float(hills(plain))], "points"),
                ),
            ),
        ),
    )
