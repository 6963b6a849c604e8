"""What is minimised and in which order: orders, schedules, surrogate losses, empirical risk."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.claims.curves import curve
from thalweg.data.bundled import digits
from thalweg.records_claims import Chart
from thalweg.risk.order import Order
from thalweg.steps.schedules import inverse_time, is_robbins_monro, linear


def _digits() -> tuple[Tensor, Tensor]:
    x, y = digits()
    images = torch.from_numpy(np.asarray(x, np.float64)).flatten(1)
    images = (images - images.mean(0)) / images.std(0).clamp(min=1e-3)
    return images.float(), torch.from_numpy(np.asarray(y)).long()


@claim(
    name="shuffling",
    title="Sorted samples slow training down",
    decks=("D4",),
    section="gradient#g5",
    says="Samples sorted by class leave a higher training loss than a new order in every epoch.",
    targets=(
        Target("training loss of sorted over reshuffled", 1.0, 0.0, "at least", source="[D]"),
        Target("indices not visited exactly once an epoch", 0, 0, source="[C]"),
    ),
    seconds=1,
)
def shuffling(setting: Setting) -> Outcome:
    """Softmax regression on the digits, minibatches of 32 at a rate of 0.1, five epochs."""
    x, y = _digits()
    order = torch.argsort(y, stable=True)
    x, y = x[order], y[order]
    losses: dict[str, list[float]] = {}
    missed = 0
    for kind in ("reshuffle", "once", "iid", "ordered"):
        visits = Order(len(x), 32, kind)
        w, b = torch.zeros(10, 64), torch.zeros(10)
        losses[kind] = [float(np.log(10))]
        for epoch in range(5):
            for index in visits.batches(setting.seed, epoch):
                gap = torch.softmax(x[index] @ w.mT + b, 1) - F.one_hot(y[index], 10)
                w -= 0.1 * gap.mT @ x[index] / len(index)
                b -= 0.1 * gap.mean(0)
            losses[kind].append(float(F.cross_entropy(x @ w.mT + b, y)))
            if kind != "iid":
                seen = torch.cat(list(visits.batches(setting.seed, epoch)))
                missed += int((seen.bincount(minlength=len(x)) != 1).sum())
    names = {
        "reshuffle": "new order each epoch",
        "once": "one order kept",
        "iid": "drawn with replacement",
        "ordered": "sorted by class",
    }
    return Outcome(
        {
            "training loss of sorted over reshuffled": losses["ordered"][-1]
            / losses["reshuffle"][-1],
            "indices not visited exactly once an epoch": missed,
        },
        charts=(
            Chart(
                "Training loss of softmax regression on the digits",
                "epoch",
                "loss",
                tuple(curve(names[k], range(6), v, "both") for k, v in losses.items()),
                y_log=True,
            ),
        ),
    )


@claim(
    name="schedules",
    title="Rates that fall, and which of them suffice",
    decks=("D0", "D4"),
    section="gradient#g6",
    says=(
        "The linear schedule falls to 1 % of the rate at step tau and stays; rates guarantee "
        "convergence if they sum to infinity and their squares do not."
    ),
    targets=(
        Target("linear schedule at 0", 1.0, 1e-12, source="[D]"),
        Target("linear schedule at tau/2", 0.505, 1e-12, source="[D]"),
        Target("linear schedule at tau", 0.01, 1e-12, source="[D]"),
        Target("linear schedule at 10 tau", 0.01, 1e-12, source="[D]"),
        Target("powers of inverse time judged wrongly", 0, 0, source="[C]"),
        Target("endings in a constant judged sufficient", 0, 0, source="[D]"),
    ),
    seconds=1,
)
def schedules(setting: Setting) -> Outcome:
    """The sums are judged by blocks that double in length: they shrink where a sum is finite."""
    tau = 400
    powers = (0.3, 0.5, 0.6, 0.75, 1.0, 1.2)
    far = 2 ** np.arange(24, 34, dtype=np.float64)

    def grows(power: float) -> bool:
        # a block from K to 2K sums to about K · rate(K); its trend decides where power ≠ 1
        blocks = far * (1 + far / 10) ** -power
        return bool(blocks[-1] >= blocks[0] * (1 - 1e-3))

    wrong = sum(
        is_robbins_monro("inverse-time", power) != (grows(power) and not grows(2 * power))
        for power in powers
    )
    constant = sum(is_robbins_monro(name) for name in ("constant", "linear", "milestones"))
    steps = np.arange(0, 3 * tau)
    return Outcome(
        {
            **{
                f"linear schedule at {name}": linear(k, tau)
                for name, k in (("0", 0), ("tau/2", tau // 2), ("tau", tau), ("10 tau", 10 * tau))
            },
            "powers of inverse time judged wrongly": wrong,
            "endings in a constant judged sufficient": constant,
        },
        charts=(
            Chart(
                "Share of the first rate",
                "step",
                "factor",
                (
                    curve("linear, tau = 400", steps, [linear(int(k), tau) for k in steps]),
                    curve("1/(1 + k/10)", steps, [inverse_time(int(k), 10.0) for k in steps]),
                    curve("(1 + k/10)^-0.6", steps, [inverse_time(int(k), 10, 0.6) for k in steps]),
                ),
                y_log=True,
            ),
        ),
    )


@claim(
    name="surrogate-loss",
    title="The surrogate goes on where the error has ended",
    decks=("D4",),
    section="gradient#g8",
    says=(
        "The negative log-likelihood bounds the 0-1 loss and keeps falling, margins growing, after "
        "the training error has reached 0."
    ),
    targets=(
        Target("surrogate at the end over that at the first error of 0", 1.0, 0.0, "at most",
               source="[D]"),
        Target("smallest margin at the end over that then", 1.0, 0.0, "at least", source="[D]"),
        Target("samples whose 0-1 loss exceeds NLL / log 2", 0, 0, source="[C]"),
        Target("accuracy after descent on the loss as printed", 0.1, 0.0, "at most", source="[C]"),
    ),
    seconds=1,
    correction="The slide calls the mean of log p a loss; right is minus it, or to maximise it.",
)  # fmt: skip
def surrogate_loss(setting: Setting) -> Outcome:
    """Softmax regression on 300 digits, full batch."""
    x, y = _digits()
    x, y = x[:300].double(), y[:300]
    errors, losses, margins = [], [], []
    w = torch.zeros(10, 64, dtype=torch.float64)
    for _ in range(3000):
        scores = x @ w.mT
        errors.append(float((scores.argmax(1) != y).double().mean()))
        losses.append(float(F.cross_entropy(scores, y)))
        margins.append(_margin(scores, y))
        w = w - 0.2 * (torch.softmax(scores, 1) - F.one_hot(y, 10)).mT @ x / len(x)
    first = next(k for k in range(3000) if not any(errors[k:]))
    printed = torch.zeros(10, 64, dtype=torch.float64)
    for _ in range(20):
        gap = torch.softmax(x @ printed.mT, 1) - F.one_hot(y, 10)
        printed = printed + 0.2 * gap.mT @ x / len(x)
    generator = torch.Generator().manual_seed(setting.seed)
    logits = 3 * torch.randn(20_000, 10, generator=generator, dtype=torch.float64)
    classes = torch.randint(10, (20_000,), generator=generator)
    nll = F.cross_entropy(logits, classes, reduction="none")
    broken = int(((logits.argmax(1) != classes).double() > nll / np.log(2) + 1e-12).sum())
    return Outcome(
        {
            "surrogate at the end over that at the first error of 0": losses[-1] / losses[first],
            "smallest margin at the end over that then": margins[-1] / margins[first],
            "samples whose 0-1 loss exceeds NLL / log 2": broken,
            "accuracy after descent on the loss as printed": float(
                ((x @ printed.mT).argmax(1) == y).double().mean()
            ),
        },
        charts=(
            Chart(
                "Softmax regression on 300 digits",
                "step",
                "training error and loss",
                (
                    curve("negative log-likelihood", range(1, 3001), losses),
                    curve("0-1 error", range(1, 3001), errors),
                ),
                x_log=True,
                caption=f"The error is 0 from step {first + 1} on.",
            ),
        ),
    )


def _margin(scores: Tensor, y: Tensor) -> float:
    """The smallest lead of the right class."""
    right = scores.gather(1, y[:, None])[:, 0]
    others = scores.scatter(1, y[:, None], -torch.inf).amax(1)
    return float((right - others).min())


@claim(
    name="empirical-risk",
    title="The loss over samples is not the risk",
    decks=("D4",),
    section="gradient#g8",
    says=(
        "What is minimised is the mean over samples; the expectation over the data's distribution "
        "is larger at its minimum, and the difference is the generalisation error."
    ),
    targets=(
        Target("training loss over the noise variance", 0.5, 0.02, source="closed form 1 - n/P"),
        Target("risk over the noise variance", 1 + 20 / 19, 0.06,
               source="closed form 1 + n/(P - n - 1)"),
    ),
    seconds=1,
    correction=(
        "The slide calls an expectation over p_data the loss over samples; right is the "
        "expectation over the empirical distribution."
    ),
)  # fmt: skip
def empirical_risk(setting: Setting) -> Outcome:
    """Least squares with 20 inputs and 40 samples, noise of variance 1; 2,000 data sets."""
    rng = np.random.default_rng(setting.seed)

    def both(samples: int, sets: int) -> tuple[float, float]:
        x = rng.standard_normal((sets, samples, 20))
        noise = rng.standard_normal((sets, samples, 1))
        off = np.linalg.pinv(x) @ noise  # what the fit is off by
        train = float(np.mean((noise - x @ off) ** 2))
        return train, 1 + float(np.mean(np.sum(off**2, axis=(1, 2))))

    sizes = (30, 40, 60, 100, 200)
    pairs = [both(p, 2000 if p == 40 else 200) for p in sizes]
    return Outcome(
        {
            "training loss over the noise variance": pairs[1][0],
            "risk over the noise variance": pairs[1][1],
        },
        charts=(
            Chart(
                "Squared error of least squares with 20 inputs",
                "samples P",
                "over the noise variance",
                (
                    curve("on the samples", sizes, [a for a, _ in pairs], "points"),
                    curve("1 - n/P", sizes, [1 - 20 / p for p in sizes]),
                    curve("risk", sizes, [b for _, b in pairs], "points"),
                    curve("1 + n/(P - n - 1)", sizes, [1 + 20 / (p - 21) for p in sizes]),
                ),
                x_log=True,
            ),
        ),
    )
