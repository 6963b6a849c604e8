"""Adam: its first steps, its slips on the slides, and where it does better and worse."""

from __future__ import annotations

import numpy as np
import torch

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.claims.curves import curve
from thalweg.records_claims import Chart

LR, B1, B2, EPS = 1e-3, 0.9, 0.999, 1e-8


def reference_adam(
    gradients: np.ndarray,
    bias_correction: bool = True,
    floor: float = EPS,
    recurse_on_v: bool = False,
    betas: tuple[float, float] = (B1, B2),
) -> np.ndarray:
    """Adam's weights ``(k + 1, n)`` from 0 for given gradients ``(k, n)``, and its printed forms.

    Args:
        gradients: One a step.
        bias_correction: Divide the moments by ``1 - beta^t``.
        floor: Added to the root: epsilon, or 1 as one slide prints.
        recurse_on_v: The first moment as printed, ``m = b1 v + (1 - b1) g``.
        betas: Decay of both moments.
    """
    b1, b2 = betas
    w = m = v = np.zeros(gradients.shape[1])
    path = [w]
    for t, g in enumerate(gradients, 1):
        m = b1 * (v if recurse_on_v else m) + (1 - b1) * g
        v = b2 * v + (1 - b2) * g * g
        first, second = (1 - b1**t, 1 - b2**t) if bias_correction else (1.0, 1.0)
        w = w - LR * (m / first) / (np.sqrt(v / second) + floor)
        path.append(w)
    return np.stack(path)


def _torch(gradients: np.ndarray, **values: float) -> np.ndarray:
    w = torch.nn.Parameter(torch.zeros(gradients.shape[1], dtype=torch.float64))
    optimizer = torch.optim.Adam([w], lr=LR, **values)  # pyrefly: ignore
    path = [np.zeros(gradients.shape[1])]
    for g in gradients:
        w.grad = torch.from_numpy(g)
        optimizer.step()
        path.append(w.detach().numpy().copy())
    return np.stack(path)


@claim(
    name="adam-first-step",
    title="Adam's first step is the rate itself",
    decks=("D0", "D3", "D4"),
    section="momentum#m6",
    says=(
        "With its correction for the start Adam's first step has the size of the rate in every "
        "coordinate; without, 3.16 times that."
    ),
    targets=(
        Target("first step at a gradient of 1e-3, over the rate", 0.99999, 1e-8, source="[C]"),
        Target("first step without the correction, over the rate", 3.16, 0.005, source="[C]"),
        Target("largest difference of the reference from torch over 50 steps", 0.0, 1e-12,
               source="[C]"),
        Target("largest change of a step when gradients grow a thousandfold", 0.0, 1e-9,
               source="[C]"),
        Target("first moment less (1 - b1) times torch's momentum", 0.0, 1e-12, source="[C]"),
    ),
    seconds=1,
)  # fmt: skip
def adam_first_step(setting: Setting) -> Outcome:
    """Constant gradients for the sizes, random ones for the equalities."""
    one = np.full((60, 1), 1e-3)
    sizes = {
        name: -np.diff(reference_adam(one, bias_correction=fix)[:, 0]) / LR
        for name, fix in (("with the correction", True), ("without", False))
    }
    gradients = np.random.default_rng(setting.seed).standard_normal((50, 20))
    off = float(np.abs(reference_adam(gradients) - _torch(gradients)).max())
    plain, scaled = (_torch(g, eps=0.0) for g in (gradients, 1000 * gradients))
    m = p = np.zeros(20)
    apart = 0.0
    for g in gradients:
        m, p = B1 * m + (1 - B1) * g, B1 * p + g
        apart = max(apart, float(np.abs(m - (1 - B1) * p).max()))
    first = -float(_torch(one[:1])[1, 0]) / LR
    return Outcome(
        {
            "first step at a gradient of 1e-3, over the rate": first,
            "first step without the correction, over the rate": sizes["without"][0],
            "largest difference of the reference from torch over 50 steps": off,
            "largest change of a step when gradients grow a thousandfold": float(
                np.abs(plain - scaled).max()
            ),
            "first moment less (1 - b1) times torch's momentum": apart,
        },
        charts=(
            Chart(
                "Adam's steps at a constant gradient",
                "step",
                "step over the rate",
                tuple(curve(name, range(1, 61), s) for name, s in sizes.items()),
            ),
        ),
    )


@claim(
    name="adam-as-printed",
    title="Adam as the slides print it",
    decks=("D0", "D3", "D4"),
    section="momentum#m6",
    says=(
        "The first moment recurses on itself, the root has a small epsilon added, and the step "
        "count starts at 1."
    ),
    targets=(
        Target("largest difference of the right form from torch", 0.0, 1e-12, source="[C]"),
        Target("first step with + 1 under the bar, over the rate", 1e-3 / 1.001, 1e-9,
               source="[C]"),
        Target("divisor of the first moment with t counted late", 0.0, 0.0, source="[C]"),
        Target("difference of the first moment on v from Adam, over Adam's way", 0.1, 0.0,
               "at least", source="[C]"),
    ),
    seconds=1,
    correction=(
        "One slide has m ← beta v + (1 - beta) g and a step with the old m, one √v + 1, one counts "
        "t after using it, which divides by 0; right is m ← beta m + ..., √v + ε, t from 1."
    ),
)  # fmt: skip
def adam_as_printed(setting: Setting) -> Outcome:
    """Fifty noisy gradients around 0.5 for the path, 1e-3 for the first step."""
    gradients = 0.5 + np.random.default_rng(setting.seed).standard_normal((50, 20))
    right, printed = reference_adam(gradients), reference_adam(gradients, recurse_on_v=True)
    plus_one = reference_adam(np.full((1, 1), 1e-3), floor=1.0)
    t_before_increment = 0
    return Outcome(
        {
            "largest difference of the right form from torch": float(
                np.abs(right - _torch(gradients)).max()
            ),
            "first step with + 1 under the bar, over the rate": -float(plus_one[1, 0]) / LR,
            "divisor of the first moment with t counted late": 1 - B1**t_before_increment,
            "difference of the first moment on v from Adam, over Adam's way": float(
                np.linalg.norm(printed[-1] - right[-1]) / np.linalg.norm(right[-1])
            ),
        },
        charts=(
            Chart(
                "One weight under noisy gradients",
                "step",
                "weight",
                (
                    curve("Adam", range(51), right[:, 0]),
                    curve("first moment on v", range(51), printed[:, 0]),
                    curve("+ 1 under the bar", range(51), reference_adam(gradients, floor=1)[:, 0]),
                ),
            ),
        ),
    )


@claim(
    name="adam-on-a-valley",
    title="Adam and RMSProp in a long valley",
    decks=("D0",),
    section="momentum#m6",
    says=(
        "On an ill-conditioned bowl with noisy gradients Adam and RMSProp are ahead of SGD, and "
        "Adam's way is smoother than RMSProp's."
    ),
    targets=(
        Target("loss of RMSProp over that of SGD", 1.0, 0.0, "at most", source="[D]"),
        Target("loss of Adam over that of SGD", 1.0, 0.0, "at most", source="[D]"),
        Target("roughness of Adam's way over that of RMSProp's", 1.0, 0.0, "at most",
               source="[D]"),
    ),
    seconds=2,
)  # fmt: skip
def adam_on_a_valley(setting: Setting) -> Outcome:
    """Curvatures 1 and 1e-3 along the axes, start (1, 1), noise 0.01, best of seven rates each."""
    curvatures = torch.tensor([1.0, 1e-3], dtype=torch.float64)
    makes = {
        "SGD": lambda w, lr: torch.optim.SGD([w], lr=lr),
        "RMSProp": lambda w, lr: torch.optim.RMSprop([w], lr=lr),
        "Adam": lambda w, lr: torch.optim.Adam([w], lr=lr),
    }
    middle = {"SGD": 0.1, "RMSProp": 1e-2, "Adam": 1e-2}
    best: dict[str, tuple[float, float, np.ndarray]] = {}
    for name, make in makes.items():
        for power in range(-3, 4):
            lr = middle[name] * 10 ** (power / 2)
            path = _valley(lambda w, lr=lr, make=make: make(w, lr), curvatures, setting.seed)
            loss = float(np.mean(0.5 * (path[-50:] ** 2) @ curvatures.numpy()))
            if np.isfinite(loss) and (name not in best or loss < best[name][0]):
                best[name] = (loss, lr, path)
    same = {n: _valley(lambda w, n=n: makes[n](w, 1e-2), curvatures, setting.seed) for n in makes}
    k = np.arange(301)
    return Outcome(
        {
            "loss of RMSProp over that of SGD": best["RMSProp"][0] / best["SGD"][0],
            "loss of Adam over that of SGD": best["Adam"][0] / best["SGD"][0],
            "roughness of Adam's way over that of RMSProp's": _roughness(same["Adam"])
            / _roughness(same["RMSProp"]),
        },
        charts=(
            Chart(
                "Loss in the valley, each at its best rate",
                "step",
                "loss",
                tuple(
                    curve(f"{n} at {lr:.2g}", k, 0.5 * (path**2) @ curvatures.numpy())
                    for n, (_, lr, path) in best.items()
                ),
                y_log=True,
            ),
            Chart(
                "The way across and along the valley, rate 0.01",
                "flat direction",
                "steep direction",
                tuple(curve(n, path[:, 1], path[:, 0]) for n, path in same.items()),
            ),
        ),
    )


def _valley(make, curvatures: torch.Tensor, seed: int) -> np.ndarray:
    w = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
    optimizer, generator = make(w), torch.Generator().manual_seed(seed)
    path = [np.ones(2)]
    for _ in range(300):
        noise = 0.01 * torch.randn(2, generator=generator, dtype=torch.float64)
        w.grad = curvatures * w.detach() + noise
        optimizer.step()
        path.append(w.detach().numpy().copy())
    return np.stack(path)


def _roughness(path: np.ndarray) -> float:
    """Mean change of the step over the mean step."""
    steps = np.diff(path, axis=0)
    turns = np.linalg.norm(np.diff(steps, axis=0), axis=1).mean()
    return float(turns / np.linalg.norm(steps, axis=1).mean())
