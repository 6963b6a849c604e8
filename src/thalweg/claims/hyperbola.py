"""The 1-1-1 network: a loss surface that fits on a page."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.claims.curves import curve
from thalweg.curvature.newton import newton_step
from thalweg.curvature.surface import of_function
from thalweg.models.one_one_one import one_one_one_hessian, one_one_one_loss
from thalweg.records_claims import Chart


class _Walk(NamedTuple):
    points: Tensor  # (k + 1, b, 2)
    drift: float  # largest change of w1² - w2²


@claim(
    name="one-one-one",
    title="The 1-1-1 network: a hyperbola of minima and a saddle",
    decks=("D0", "D2"),
    section="curvature#k7",
    says=(
        "The loss (1 - w1 w2)² has its minima on the hyperbola w1 w2 = 1 and a saddle at the "
        "origin; starts with w1 + w2 > 0 reach the positive branch, others the negative one."
    ),
    targets=(
        Target("largest error of the closed gradient and Hessian", 0.0, 1e-12, source="[C]"),
        Target("lowest curvature at the origin", -2.0, 1e-12, source="[C]"),
        Target("highest curvature at the origin", 2.0, 1e-12, source="[C]"),
        Target("lowest of the top curvatures along the hyperbola", 4.0, 1e-3, source="[C]"),
        Target("starts of 200 that reach the branch of their side", 200, 0, source="[C]"),
        Target("distance to the saddle from w1 = -w2", 0.0, 1e-9, source="[C]"),
        Target("change of w1² - w2² at half the rate over that at the rate", 0.5, 0.05,
               source="[C]"),
        Target("largest stable rate on the valley times w1² + w2²", 1.0, 0.01, source="[C]"),
        Target("distance to the saddle, Newton from (0.1, 0.1)", 0.0, 1e-9, source="[C]"),
    ),
    seconds=2,
)  # fmt: skip
def one_one_one(setting: Setting) -> Outcome:
    """Descent at 0.01; the valley's stability at (2, 0.5) by bisection."""
    generator = torch.Generator().manual_seed(setting.seed)
    points = 2 * torch.rand(200, 2, generator=generator, dtype=torch.float64) - 1
    start = 3 * points
    walk = _walk(start, 0.01, 4000)
    side = torch.sign(start.sum(1))
    ended = (torch.sign(walk.points[-1]) == side[:, None]).all(1) & (
        one_one_one_loss(walk.points[-1]) < 1e-6
    )
    origin = torch.linalg.eigvalsh(one_one_one_hessian(torch.zeros(2, dtype=torch.float64)))
    a = torch.logspace(-1, 1, 401, dtype=torch.float64)
    tops = torch.linalg.eigvalsh(one_one_one_hessian(torch.stack([a, 1 / a], 1)))[:, 1]
    ridge = _walk(torch.tensor([[0.8, -0.8]], dtype=torch.float64), 0.01, 3000).points[-1, 0]
    w = torch.full((2,), 0.1, dtype=torch.float64)
    surface = of_function(lambda v: one_one_one_loss(v), w)
    for _ in range(10):
        w = w + newton_step(surface, w, method="newton")
    small = start[:20] / 2
    half = _walk(small, 0.005, 2000).drift / _walk(small, 0.01, 1000).drift
    shown, sheet = walk.points[::20, :8], a[60:341]
    return Outcome(
        {
            "largest error of the closed gradient and Hessian": _closed_form_error(start[:20]),
            "lowest curvature at the origin": float(origin[0]),
            "highest curvature at the origin": float(origin[1]),
            "lowest of the top curvatures along the hyperbola": float(tops.min()),
            "starts of 200 that reach the branch of their side": int(ended.sum()),
            "distance to the saddle from w1 = -w2": float(ridge.norm()),
            "change of w1² - w2² at half the rate over that at the rate": half,
            "largest stable rate on the valley times w1² + w2²": _valley_rate(2.0) * 4.25,
            "distance to the saddle, Newton from (0.1, 0.1)": float(w.norm()),
        },
        charts=(
            Chart(
                "Descent on (1 - w1 w2)²",
                "w1",
                "w2",
                (
                    curve("minima, positive branch", sheet.tolist(), (1 / sheet).tolist()),
                    curve("minima, negative branch", (-sheet).tolist(), (-1 / sheet).tolist()),
                    *(
                        curve(f"start {i + 1}", shown[:, i, 0].tolist(), shown[:, i, 1].tolist())
                        for i in range(8)
                    ),
                ),
            ),
        ),
    )  # fmt: skip


def _gradient(w: Tensor) -> Tensor:
    return -2 * (1 - w[..., :1] * w[..., 1:]) * w.flip(-1)


def _walk(w: Tensor, lr: float, steps: int) -> _Walk:
    points = [w]
    for _ in range(steps):
        w = w - lr * _gradient(w)
        points.append(w)
    path = torch.stack(points)
    kept = path[..., 0] ** 2 - path[..., 1] ** 2
    return _Walk(path, float((kept - kept[:1]).abs().max()))


def _closed_form_error(points: Tensor) -> float:
    worst = 0.0
    for w in points:
        g = torch.autograd.functional.jacobian(one_one_one_loss, w)
        h = torch.autograd.functional.hessian(one_one_one_loss, w)
        worst = max(worst, float((g - _gradient(w)).abs().max()),
                    float((h - one_one_one_hessian(w)).abs().max()))  # fmt: skip
    return worst


def _valley_rate(a: float) -> float:
    """The rate above which a tiny step off the minimum (a, 1/a) grows, by bisection."""
    at = torch.tensor([[a, 1 / a]], dtype=torch.float64)
    normal = at.flip(1) / at.norm()
    low, high = 0.0, 1.0
    for _ in range(12):
        lr = 0.5 * (low + high)
        end = _walk(at + 1e-7 * normal, lr, 200).points[-1]
        grown = not float(one_one_one_loss(end)) < float(one_one_one_loss(at + 1e-7 * normal))
        low, high = (low, lr) if grown else (lr, high)
    return low
