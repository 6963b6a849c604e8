"""How sparse codes are found: shrinkage, its rates, why it descends, and slips of the slides."""

from __future__ import annotations

import numpy as np

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.claims.curves import curve
from thalweg.records_claims import Chart

STEPS = 600


def shrink(v: np.ndarray, threshold: float) -> np.ndarray:
    """``sign(v) max(|v| - threshold, 0)``."""
    return v - np.clip(v, -threshold, threshold)


def problem(seed: int, n: int = 20, m: int = 40, b: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Signals ``(b, n)`` of norm 1 and a dictionary ``(n, m)`` of random atoms of norm 1."""
    rng = np.random.default_rng(seed)
    D, X = rng.standard_normal((n, m)), rng.standard_normal((b, n))
    return X / np.linalg.norm(X, axis=1, keepdims=True), D / np.linalg.norm(D, axis=0)


def energy(X: np.ndarray, D: np.ndarray, Z: np.ndarray, l1: float) -> np.ndarray:
    """``½‖x − Dz‖² + l1 ‖z‖₁`` per sample."""
    return 0.5 * np.square(X - Z @ D.T).sum(1) + l1 * np.abs(Z).sum(1)


def descend(
    X: np.ndarray, D: np.ndarray, l1: float, steps: int, accelerate: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Energies ``(steps + 1, b)`` of ISTA or FISTA from zero, and the last codes."""
    L = float(np.linalg.norm(D, 2) ** 2)
    z = y = np.zeros((len(X), D.shape[1]))
    t, seen = 1.0, [energy(X, D, z, l1)]
    for _ in range(steps):
        new = shrink(y - (y @ D.T - X) @ D / L, l1 / L)
        after = 0.5 * (1 + np.sqrt(1 + 4 * t * t))
        y = new + (t - 1) / after * (new - z) if accelerate else new
        z, t = new, after
        seen.append(energy(X, D, z, l1))
    return np.array(seen), z


@claim(
    name="ista-rates",
    title="ISTA converges as 1/k, FISTA as 1/k²",
    decks=("D0", "D1"),
    section="sparse#s2",
    says=(
        "From zero, ISTA's energy is within L‖z*‖²/(2k) of the least, FISTA's within "
        "2L‖z*‖²/(k + 1)²; ISTA's never rises, FISTA's may."
    ),
    targets=(
        Target("largest ISTA excess over its bound", 1.0, 0.0, "at most", source="[P]"),
        Target("largest FISTA excess over its bound", 1.0, 0.0, "at most", source="[P]"),
        Target("largest rise of ISTA's energy in a step", 0.0, 1e-13, "at most", source="[C]"),
        Target("steps in which FISTA's energy rises", 1.0, 0.0, "at least", source="[C]"),
        Target("FISTA's excess over ISTA's after 600 steps", 1.0, 0.0, "at most", source="[D]"),
    ),
    seconds=1,
)
def ista_rates(setting: Setting) -> Outcome:
    """Twenty signals, 40 random atoms in 20 dimensions, l1 0.1; the least energy is certified."""
    from thalweg.sparse import encode

    X, D = problem(setting.seed)
    best = encode(X, D, 0.1, tol=1e-14)
    z, least = np.asarray(best.z), np.asarray(best.energy)
    L = float(np.linalg.norm(D, 2) ** 2)
    size = L * np.square(z).sum(1)
    k = np.arange(1, STEPS + 1)
    bounds = {"ISTA": 0.5 * size / k[:, None], "FISTA": 2 * size / np.square(k + 1.0)[:, None]}
    seen = {name: descend(X, D, 0.1, STEPS, name == "FISTA")[0] for name in bounds}
    excess = {name: np.maximum(values[1:] - least, 0) for name, values in seen.items()}
    rises = {name: np.diff(values, axis=0) for name, values in seen.items()}
    return Outcome(
        {
            "largest ISTA excess over its bound": (excess["ISTA"] / bounds["ISTA"]).max(),
            "largest FISTA excess over its bound": (excess["FISTA"] / bounds["FISTA"]).max(),
            "largest rise of ISTA's energy in a step": rises["ISTA"].max(),
            "steps in which FISTA's energy rises": (rises["FISTA"] > 1e-12).sum(),
            "FISTA's excess over ISTA's after 600 steps": excess["FISTA"][-1].mean()
            / excess["ISTA"][-1].mean(),
        },
        charts=(
            Chart(
                "Mean energy above the least",
                "iteration",
                "excess energy",
                (
                    *(curve(name, k, values.mean(1)) for name, values in excess.items()),
                    *(curve(f"bound of {n}", k, v.mean(1)) for n, v in bounds.items()),
                ),
                x_log=True,
                y_log=True,
            ),
        ),
    )


@claim(
    name="ista-majorises",
    title="ISTA minimises a majorant at every step",
    decks=("D0", "D4"),
    section="sparse#s2",
    says=(
        "With L at least the largest eigenvalue of DᵀD, the separable function that touches the "
        "energy at z lies above it everywhere, and its minimum is ISTA's step; with a smaller L it "
        "does not, and the energy can rise."
    ),
    targets=(
        Target("gap where the majorant touches", 0.0, 1e-12, source="[C]"),
        Target("least of majorant minus energy over random codes", 0.0, 1e-12, "at least",
               source="[C]"),
        Target("lowest majorant near ISTA's step, below its own", 0.0, 1e-12, "at most",
               source="[C]"),
        Target("least of majorant minus energy with a quarter of L", 0.0, 0.0, "at most",
               source="[C]"),
        Target("energy after 50 steps with a quarter of L, over the first", 1.0, 0.0, "at least",
               source="[C]"),
    ),
    seconds=1,
)  # fmt: skip
def ista_majorises(setting: Setting) -> Outcome:
    """Random codes around the iterates of ISTA, and around the minimum of the majorant."""
    rng = np.random.default_rng(setting.seed)
    X, D = problem(setting.seed)
    l1, L = 0.1, float(np.linalg.norm(D, 2) ** 2)

    def majorant(at: np.ndarray, z: np.ndarray, weight: float) -> np.ndarray:
        slope_at = (at @ D.T - X) @ D
        smooth = 0.5 * np.square(X - at @ D.T).sum(1) + (slope_at * (z - at)).sum(1)
        return smooth + 0.5 * weight * np.square(z - at).sum(1) + l1 * np.abs(z).sum(1)

    def step(z: np.ndarray, weight: float) -> np.ndarray:
        return shrink(z - (z @ D.T - X) @ D / weight, l1 / weight)

    touch, above, below, short = 0.0, np.inf, 0.0, np.inf
    z = np.zeros((len(X), D.shape[1]))
    _, _, V = np.linalg.svd(D)
    for _ in range(50):
        touch = max(touch, float(np.abs(majorant(z, z, L) - energy(X, D, z, l1)).max()))
        # ± the steepest direction of the quadratic is where a majorant fails first
        for move in (rng.standard_normal(z.shape), np.tile(V[0], (len(X), 1))):
            for size in (0.01, 0.1, 1.0):
                there = z + size * move
                e = energy(X, D, there, l1)
                above = min(above, float((majorant(z, there, L) - e).min()))
                short = min(short, float((majorant(z, there, L / 4) - e).min()))
        new = step(z, L)
        own = majorant(z, new, L)
        for size in (1e-4, 1e-2, 1.0):
            other = majorant(z, new + size * rng.standard_normal(z.shape), L)
            below = max(below, float((own - other).max()))
        z = new
    unstable, energies = np.zeros_like(z), []
    for _ in range(50):
        unstable = step(unstable, L / 4)
        energies.append(float(energy(X, D, unstable, l1).mean()))
    stable = descend(X, D, l1, 50, False)[0][1:].mean(1)
    k = range(1, 51)
    return Outcome(
        {
            "gap where the majorant touches": touch,
            "least of majorant minus energy over random codes": above,
            "lowest majorant near ISTA's step, below its own": below,
            "least of majorant minus energy with a quarter of L": short,
            "energy after 50 steps with a quarter of L, over the first": energies[-1] / energies[0],
        },
        charts=(
            Chart(
                "Energy of ISTA with the right step and one four times as long",
                "iteration",
                "mean energy",
                (curve("1/L", k[:15], stable[:15]), curve("4/L", k[:15], energies[:15])),
                y_log=True,
            ),
        ),
    )


@claim(
    name="soft-threshold",
    title="The soft threshold is the code of one atom",
    decks=("D0", "D1"),
    section="sparse#s2",
    says=(
        "sign(v) max(|v| - a, 0) minimises ½(v - z)² + a|z|; with orthonormal atoms it is the "
        "whole answer, and the code is zero exactly from a = ‖Dᵀx‖∞ on."
    ),
    targets=(
        Target("largest distance to a minimum by bisection", 0.0, 1e-9, source="[C]"),
        Target("error of the threshold as code of an orthonormal dictionary", 0.0, 1e-12,
               source="[C]"),
        Target("largest code at a = ‖Dᵀx‖∞", 0.0, 0.0, source="[C]"),
        Target("least largest entry of a code at 0.999 of that", 1e-6, 0.0, "at least",
               source="[C]"),
        Target("error when x and a are scaled by 7", 0.0, 1e-12, source="[C]"),
    ),
    seconds=1,
)  # fmt: skip
def soft_threshold(setting: Setting) -> Outcome:
    """Scalars by bisection of the derivative's sign; codes from the certified solver."""
    from thalweg.sparse import encode

    rng = np.random.default_rng(setting.seed)
    v, a = 3 * rng.standard_normal(200), np.abs(rng.standard_normal(200))
    low, high = np.full(200, -10.0), np.full(200, 10.0)
    for _ in range(60):  # the derivative z - v + a sign(z) rises: its root or jump is the minimum
        middle = (low + high) / 2
        right = middle - v + a * np.where(middle >= 0, 1, -1) > 0
        low, high = np.where(right, low, middle), np.where(right, middle, high)
    X, D = problem(setting.seed)
    Q = np.linalg.qr(rng.standard_normal((20, 20)))[0]
    alone = np.asarray(encode(X, Q, 0.1, tol=1e-14).z)
    zero, nearly = [], []
    for x in X:
        most = float(np.abs(x @ D).max())
        zero.append(np.abs(encode(x[None], D, most, tol=1e-14).z).max())
        nearly.append(np.abs(encode(x[None], D, 0.999 * most, tol=1e-14).z).max())
    once, scaled = encode(X, D, 0.1, tol=1e-14).z, encode(7 * X, D, 0.7, tol=1e-14).z
    grid = np.linspace(-3, 3, 121)
    return Outcome(
        {
            "largest distance to a minimum by bisection": np.abs(shrink_each(v, a) - high).max(),
            "error of the threshold as code of an orthonormal dictionary": np.abs(
                alone - shrink(X @ Q, 0.1)
            ).max(),
            "largest code at a = ‖Dᵀx‖∞": max(zero),
            "least largest entry of a code at 0.999 of that": min(nearly),
            "error when x and a are scaled by 7": np.abs(scaled - 7 * once).max(),
        },
        charts=(
            Chart(
                "The soft threshold",
                "v",
                "code",
                tuple(curve(f"a = {a:g}", grid, shrink(grid, a)) for a in (0.0, 0.5, 1.0)),
            ),
        ),
    )


def shrink_each(v: np.ndarray, threshold: np.ndarray) -> np.ndarray:
    """The soft threshold with a weight per entry."""
    return np.sign(v) * np.maximum(np.abs(v) - threshold, 0)
