"""Faults between output and loss: what does the loss do to answers that are known to be right?"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from thalweg.diagnose.observation import Observation
from thalweg.diagnose.suspect import Suspicion, step
from thalweg.diagnose.unbounded import unbounded
from thalweg.risk.criterion import class_axis

SAME = 1e-4


def nondeterministic_loss(seen: Observation) -> Suspicion | None:
    """Two values of one loss under one random state."""
    a, b = seen.repeats
    if a == b or not (math.isfinite(a) and math.isfinite(b)):
        return None
    gap = abs(a - b) / max(abs(a), abs(b), 1e-12)
    threshold = 1e-5
    if gap <= threshold:
        return None
    return Suspicion(
        "nondeterministic-loss",
        "The loss is not a function of weights, data and random state",
        f"One batch, one set of weights, one random state: {a:.6g} the first time, {b:.6g} the "
        "second. Runs cannot be repeated, and gradients belong to no fixed loss.",
        "Look for state that changes between calls: counters, clocks, random numbers from "
        "numpy or Python, inputs changed in place.",
        plain=True,
        measured=gap,
        threshold=threshold,
        derivation="Rounding of a float32 mean in another order stays below about 100 units in the "
        "last place, 1e-5.",
    )


def loss_mismatch(seen: Observation) -> Suspicion | None:
    """The first of several contradictions between output, target and loss."""
    pass_ = seen.anatomy
    output, target = pass_.output, pass_.target
    if seen.bench.risk.task.forward != "pair":
        return None
    if not isinstance(output, Tensor) or not isinstance(target, Tensor):
        return None
    output = output.detach()
    if not bool(torch.isfinite(output).all()):
        return None

    def loss(o: Tensor, t: Tensor = target) -> float:
        try:
            with torch.no_grad():
                return float(seen.bench.risk.task.loss(o, t))
        except Exception:  # a loss that refuses such an answer
            return math.nan

    tests: tuple[Callable[..., Suspicion | None], ...] = (
        _broadcast, _one_unit, _twice_softmax, _scores_as_log, _twice_sigmoid, _reversed, _falls,
        _range, _bounded_scores,
    )  # fmt: skip
    for test in tests:
        found = test(seen, output, target, loss)
        if found is not None:
            return found
    return None


def _made(title: str, message: str, remedy: str, cure: Any, **fields: Any) -> Suspicion:
    fields = {"plain": True, "severity": "error", "where": "loss", **fields}
    return Suspicion("loss-mismatch", title, message, remedy, cure, **fields)


def _broadcast(seen: Observation, o: Tensor, t: Tensor, loss: Any) -> Suspicion | None:
    if not t.is_floating_point() or o.shape == t.shape or o.numel() != t.numel():
        return None
    given, meant = loss(o), loss(o, t.reshape(o.shape))
    if not math.isfinite(meant) or abs(given - meant) <= SAME * max(1e-9, abs(meant)):
        return None
    return _made(
        "Output and target are broadcast against each other",
        f"The output has shape {tuple(o.shape)}, the target {tuple(t.shape)}: the loss compares "
        f"every answer with every target ({given:.4g} instead of {meant:.4g}), so the best answer "
        "is the mean.",
        "Give targets the shape of the output (target[:, None] or output.squeeze(1)).",
        ((step("matched_shapes", "targets in the output's shape"),),),
        measured=given,
        threshold=meant,
        derivation="The loss of the same numbers in equal shapes.",
    )


def _one_unit(seen: Observation, o: Tensor, t: Tensor, loss: Any) -> Suspicion | None:
    if seen.anatomy.last != "softmax" or o.dim() != 2 or o.shape[1] != 1:
        return None
    return _made(
        "A softmax over a single unit is constant",
        "The model ends in a softmax over one number, which is 1 whatever the input; no gradient "
        "passes it.",
        "Use a sigmoid for one unit, or two units.",
        (
            (step("other_activation", "a sigmoid in place of the softmax", old="softmax",
                  new="sigmoid"),),
            (step("without_output_activation", "softmax left out"),),
        ),
        measured=float(o.std()) if o.numel() > 1 else 0.0,
        threshold=0.0,
        derivation="exp(x)/exp(x) = 1.",
        where=seen.anatomy.last_where or "output",
    )  # fmt: skip


def _is_simplex(o: Tensor, axis: int) -> bool:
    return bool((o >= 0).all()) and float((o.sum(axis) - 1).abs().max()) < 1e-3


def _twice_softmax(seen: Observation, o: Tensor, t: Tensor, loss: Any) -> Suspicion | None:
    axis = class_axis(o, t)
    if (axis is None or axis < 0) and o.shape == t.shape and o.dim() > 1 and _is_simplex(t, 1):
        axis = 1
    if axis is None or axis < 0 or o.shape[axis] < 2 or not _is_simplex(o, axis):
        return None
    base, shifted = loss(o), loss(o + 3.0)
    if not abs(shifted - base) <= SAME * max(1.0, abs(base)):
        return _scores_as_log(seen, o, t, loss)
    c = o.shape[axis]
    floor = math.log(1 + (c - 1) * math.exp(-1))
    return _made(
        "Softmax is applied twice",
        "The outputs are probabilities already, and the loss does not change when a constant is "
        "added to them: it applies a softmax of its own. The loss cannot fall below "
        f"{floor:.3g}, and gradients shrink by the slope of the first softmax.",
        "Leave the softmax out of the model; the loss wants scores.",
        ((step("probabilities_as_such", "the output taken as probabilities, not as scores"),),),
        measured=base,
        threshold=floor,
        derivation=f"−log softmax of a one-hot vector of {c} classes: log(1 + (C − 1)/e).",
        where=seen.anatomy.last_where or "output",
    )


def _scores_as_log(seen: Observation, o: Tensor, t: Tensor, loss: Any) -> Suspicion | None:
    axis = class_axis(o, t)
    if axis is None or axis < 0:
        return None
    draw = torch.Generator().manual_seed(0)
    probe = torch.randn(o.shape, generator=draw).to(o)  # the model's own scores may be huge
    base, shifted = loss(probe), loss(probe + 3.0)
    if not abs(shifted - base + 3.0) <= 1e-3:
        return None
    gap = float(torch.logsumexp(o, axis).abs().max())
    if gap < 1e-2:
        return None
    if _is_simplex(o, axis):
        cure = step("probabilities_as_such", "the logarithm of the probabilities")
        said = "probabilities, where the loss wants their logarithms"
    else:
        cure = step("normalised_scores", "log-softmax before the loss")
        said = "scores, where the loss wants logarithms of probabilities"
    return _made(
        "The loss wants log-probabilities",
        f"The model answers {said}: adding 3 to all of them lowers the loss by 3, so it can fall "
        "without bound and says nothing.",
        "End the model in log_softmax, or use cross-entropy on scores.",
        ((cure,),),
        measured=gap,
        threshold=0.0,
        derivation="Logarithms of probabilities have logsumexp 0.",
        where="output",
    )


def _twice_sigmoid(seen: Observation, o: Tensor, t: Tensor, loss: Any) -> Suspicion | None:
    if not t.is_floating_point() or o.shape != t.shape or seen.anatomy.last != "sigmoid":
        return None
    if not bool(((t >= 0) & (t <= 1)).all()):
        return None
    if not abs(loss(torch.zeros_like(o)) - math.log(2)) <= 1e-3:
        return None
    if not abs(loss(torch.full_like(o, 20.0), torch.zeros_like(t)) - 20.0) <= 1e-2:
        return None
    return _made(
        "Sigmoid is applied twice",
        "The model ends in a sigmoid, and the loss applies one of its own (at 0 it is log 2 for "
        "every target): answers stay between 0.5 and 0.73.",
        "Leave the sigmoid out of the model; the loss wants logits.",
        ((step("logits_of_probabilities", "the sigmoid undone before the loss"),),),
        measured=loss(torch.zeros_like(o)),
        threshold=math.log(2),
        derivation="A loss of logits is log 2 at 0 and grows linearly.",
        where=seen.anatomy.last_where or "output",
    )


def _reversed(seen: Observation, o: Tensor, t: Tensor, loss: Any) -> Suspicion | None:
    axis = class_axis(o, t)
    if axis is not None and axis >= 0 and t.dim() == 1 and bool((t >= 0).all()):
        hot = torch.nn.functional.one_hot(t, o.shape[axis]).to(o.dtype)
        right, wrong = loss(4 * hot), loss(4 * hot.roll(1, 1))
    elif o.shape == t.shape and t.is_floating_point() and len(t) > 1:
        right, wrong = loss(t.to(o.dtype)), loss(t.to(o.dtype).roll(1, 0))
    else:
        return None
    if not (math.isfinite(right) and math.isfinite(wrong)):
        return None
    if right <= wrong + 1e-6 * abs(wrong) or right == wrong:
        return None
    return _made(
        "The loss rewards wrong answers",
        f"Right answers cost {right:.4g}, answers that belong to other samples {wrong:.4g}: "
        "descent leads away from the targets.",
        "Check the sign of the loss and the order of its arguments.",
        (),
        measured=right,
        threshold=wrong,
        derivation="A loss must be lower for the targets themselves than for shuffled ones.",
    )


def _falls(seen: Observation, o: Tensor, t: Tensor, loss: Any) -> Suspicion | None:
    if o.shape != t.shape or not t.is_floating_point():
        return None
    slope = unbounded(loss, o, t)
    if slope < 1e-3:
        return None
    data = seen.data
    return _made(
        "The loss can fall without bound",
        f"Large answers lower the loss by {slope:.3g} a unit, forever; targets lie between "
        f"{data.target_low:.3g} and {data.target_high:.3g}.",
        "Use a loss that fits the targets: binary cross-entropy wants 0 to 1, other numbers want "
        "squared or absolute errors.",
        ((step("squared_error", "squared errors"),),),
        measured=slope,
        threshold=0.0,
        derivation="A loss that measures errors has a lowest value.",
    )


RANGES = {"relu": (0.0, math.inf), "sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}


def _range(seen: Observation, o: Tensor, t: Tensor, loss: Any) -> Suspicion | None:
    last = seen.anatomy.last
    if not t.is_floating_point() or last not in RANGES or o.numel() != t.numel():
        return None
    low, high = RANGES[last]
    flat = t.double()
    variance = float((flat - flat.mean()).square().mean())
    missed = float((flat - flat.clamp(low, high)).square().mean())
    if variance <= 0 or missed / variance < 0.01:
        return None
    data = seen.data
    cure = [(step("without_output_activation", f"the last {last} left out"),)]
    if math.isfinite(high):
        cure.append(
            (
                step(
                    "output_range",
                    f"the last {last} stretched to the targets' range",
                    low=low,
                    high=high,
                    to_low=data.target_low,
                    to_high=data.target_high,
                ),
            )
        )
    return _made(
        "The output cannot reach the targets",
        f"The model ends in a {last}, which answers {low:g} to {high:g}; targets lie between "
        f"{data.target_low:.3g} and {data.target_high:.3g}. {missed / variance:.0%} of their "
        "variance is out of reach.",
        "Leave the last activation out, or bring targets into its range.",
        tuple(cure),
        measured=missed / variance,
        threshold=0.01,
        derivation="Mean squared distance of the targets to the output's range, over their variance"
        ": that share of the error stays whatever the weights.",
        where=seen.anatomy.last_where or "output",
    )  # fmt: skip


def _bounded_scores(seen: Observation, o: Tensor, t: Tensor, loss: Any) -> Suspicion | None:
    axis, last = class_axis(o, t), seen.anatomy.last
    if axis is None or axis < 0 or last not in RANGES:
        return None
    base = loss(o)
    if not abs(loss(o + 3.0) - base) <= SAME * max(1.0, abs(base)):
        return None
    low, high = RANGES[last]
    c = o.shape[axis]
    floor = math.log(1 + (c - 1) * math.exp(-(high - low))) if math.isfinite(high) else 0.0
    return _made(
        f"Class scores go through a {last}",
        f"The scores that the loss takes are the output of a {last}: "
        + (f"the loss cannot fall below {floor:.3g}." if floor else
           "a class whose score is below zero gets no gradient."),
        "Leave the last activation out; the loss wants free scores.",
        ((step("without_output_activation", f"the last {last} left out"),),),
        plain=False,
        measured=floor,
        threshold=0.0,
        derivation="Softmax of scores within a range of width r is at most 1/(1 + (C − 1)e^−r).",
        where=seen.anatomy.last_where or "output",
    )  # fmt: skip
