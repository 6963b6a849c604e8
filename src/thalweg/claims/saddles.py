"""Where saddles are: in random matrices, random fields and linear autoencoders."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.claims.curves import curve
from thalweg.curvature.surface import of_function
from thalweg.records_claims import Chart


@claim(
    name="saddle-counts",
    title="Random critical points are saddles",
    decks=("D4",),
    section="curvature#k6",
    says=(
        "The chance that all curvatures of a random symmetric matrix are positive falls faster "
        "than exponentially with the dimension: 1/2, 0.1464, 0.0249, ..."
    ),
    targets=(
        Target("chance of a minimum in 1 dimension", 0.5, 0.003, source="[C]"),
        Target("chance of a minimum in 2 dimensions", 0.1464, 0.002, source="[C]"),
        Target("chance of a minimum in 3 dimensions", 0.0249, 0.001, source="[C]"),
    ),
    seconds=2,
)
def saddle_counts(setting: Setting) -> Outcome:
    """The Gaussian orthogonal ensemble, 400,000 draws a dimension."""
    rng = np.random.default_rng(setting.seed)
    shares = [_positive_share(n, 400_000, rng) for n in (1, 2, 3, 4)]
    closed = (0.5, (2 - 2**0.5) / 4, (np.pi - 2 * 2**0.5) / (4 * np.pi))
    n = np.arange(1, 5)
    return Outcome(
        {
            "chance of a minimum in 1 dimension": shares[0],
            "chance of a minimum in 2 dimensions": shares[1],
            "chance of a minimum in 3 dimensions": shares[2],
        },
        charts=(
            Chart(
                "Share of random symmetric matrices without a negative eigenvalue",
                "dimension",
                "share",
                (
                    curve("drawn", n, shares, "points"),
                    curve("closed form", n[:3], closed),
                    curve("exp(-(ln 3/4) n²)", n, 3.0 ** (-(n**2) / 4)),
                ),
                y_log=True,
            ),
        ),
    )


def _positive_share(n: int, draws: int, rng: np.random.Generator) -> float:
    """Share of positive definite matrices, by pivots of the elimination."""
    a = rng.standard_normal((n, n, draws), dtype=np.float32).astype(np.float64)
    a = (a + a.swapaxes(0, 1)) / 2**0.5
    positive = np.ones(draws, bool)
    for i in range(n):
        positive &= a[i, i] > 0
        pivot = np.where(positive, a[i, i], 1.0)
        for j in range(i + 1, n):
            a[j, i + 1 :] = a[j, i + 1 :] - a[j, i] / pivot * a[i, i + 1 :]
    return float(positive.mean())


@claim(
    name="saddles-lie-high",
    title="Low critical points are minima, high ones maxima",
    decks=("D4",),
    section="curvature#k6",
    says="The share of negative curvatures at a random field's critical points grows with height.",
    targets=tuple(
        Target(f"correlation of index and height, {n} dimensions", 0.5, 0.0, "at least",
               source="[C]")
        for n in (2, 3, 4)
    ),
    seconds=2,
)  # fmt: skip
def saddles_lie_high(setting: Setting) -> Outcome:
    """Sums of 200 random waves of width 0.15 on the unit cube, Newton from 3,000 places."""
    values, curves = {}, []
    for n in (2, 3, 4):
        height, index = _critical_points(n, setting.seed + n)
        name = f"correlation of index and height, {n} dimensions"
        values[name] = np.corrcoef(height, index)[0, 1]
        shares = np.arange(n + 1) / n
        means = [float(np.mean(height[index == s])) for s in shares if np.any(index == s)]
        seen = [s for s in shares if np.any(index == s)]
        curves.append(curve(f"{n} dimensions, {len(height)} points", seen, means, "both"))
    return Outcome(
        values,
        charts=(
            Chart(
                "Mean height of critical points",
                "share of negative curvatures",
                "height in standard deviations",
                tuple(curves),
            ),
        ),
    )


def _critical_points(n: int, seed: int, waves: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Height and share of negative curvatures at each critical point that Newton finds."""
    rng = np.random.default_rng(seed)
    w = rng.standard_normal((waves, n)) / 0.15
    b, a = rng.uniform(0, 2 * np.pi, waves), np.sqrt(2 / waves)
    x = rng.random((3000, n))
    outer = w[:, :, None] * w[:, None, :]
    for _ in range(25):
        phase = x @ w.T + b
        gradient = -a * np.sin(phase) @ w
        hessian = -a * np.tensordot(np.cos(phase), outer, 1)
        hessian += 1e-12 * np.eye(n)
        step = np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0]
        size = np.linalg.norm(step, axis=1, keepdims=True)
        x = x - step * np.minimum(1, 0.05 / np.maximum(size, 1e-300))
    phase = x @ w.T + b
    gradient = -a * np.sin(phase) @ w
    good = (np.linalg.norm(gradient, axis=1) < 1e-8) & np.all((x > 0) & (x < 1), axis=1)
    _, first = np.unique(np.round(x[good], 6), axis=0, return_index=True)
    phase = phase[good][first]
    curvatures = np.linalg.eigvalsh(-a * np.tensordot(np.cos(phase), outer, 1))
    return a * np.cos(phase).sum(1), (curvatures < 0).mean(1)


@claim(
    name="linear-autoencoder",
    title="A linear autoencoder has saddles but no bad minima",
    decks=("D4",),
    section="curvature#k6",
    says=(
        "Every local minimum of a linear autoencoder is global; each choice of other eigenvectors "
        "is a saddle."
    ),
    targets=(
        Target("choices of two of five eigenvectors without a negative curvature", 1, 0,
               source="[P]"),
        Target("largest gradient norm at the ten choices", 0.0, 1e-10, source="[P]"),
        Target("largest error of their losses against half the eigenvalues left out", 0.0, 1e-10,
               source="[C]"),
        Target("random starts of twenty that end above the global minimum", 0, 0, source="[P]"),
    ),
    seconds=3,
    correction=(
        "The slide says 'only global minima'; right is that every local minimum is global, beside "
        "saddles, one for each choice of eigenvectors that are not the leading ones."
    ),
)  # fmt: skip
def linear_autoencoder(setting: Setting) -> Outcome:
    """Five inputs of variances 5 to 1, two hidden units; descent by L-BFGS."""
    spectrum = torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0], dtype=torch.float64)
    generator = torch.Generator().manual_seed(setting.seed)
    q, _ = torch.linalg.qr(torch.randn(5, 5, generator=generator, dtype=torch.float64))
    root = q * spectrum.sqrt()  # columns: principal axes

    def loss(w: Tensor) -> Tensor:
        encoder, decoder = w[:10].view(2, 5), w[10:].view(5, 2)
        return 0.5 * (root - decoder @ (encoder @ root)).square().sum()

    lowest, norms, off, heights = [], [], [], []
    for chosen in combinations(range(5), 2):
        axes = q[:, list(chosen)]
        at = of_function(loss, torch.cat([axes.mT.reshape(-1), axes.reshape(-1)]))
        value, g = at.value_and_grad()
        left = float(spectrum.sum() - spectrum[list(chosen)].sum()) / 2
        lowest.append(float(torch.linalg.eigvalsh(at.dense_hessian())[0]))
        norms.append(float(g.norm()))
        off.append(abs(value - left))
        heights.append(value)
    floor = float(spectrum[2:].sum()) / 2
    ends = [_end(loss, generator) for _ in range(20)]
    return Outcome(
        {
            "choices of two of five eigenvectors without a negative curvature": sum(
                value > -1e-9 for value in lowest
            ),
            "largest gradient norm at the ten choices": max(norms),
            "largest error of their losses against half the eigenvalues left out": max(off),
            "random starts of twenty that end above the global minimum": sum(
                end > floor + 1e-6 for end in ends
            ),
        },
        charts=(
            Chart(
                "Critical points: lowest curvature against loss",
                "loss",
                "lowest curvature",
                (curve("ten choices of eigenvectors", heights, lowest, "points"),),
            ),
        ),
    )


def _end(loss, generator: torch.Generator) -> float:
    w = 0.3 * torch.randn(20, generator=generator, dtype=torch.float64)
    w.requires_grad_()
    optimizer = torch.optim.LBFGS([w], max_iter=300, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(w)
        value.backward()
        return value

    optimizer.step(closure)  # pyrefly: ignore
    return float(loss(w.detach()))
