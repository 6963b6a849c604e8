"""Where does the climb to the highest rate begin? At the limit that the loss surface admits.

The largest curvature of the first minibatches bounds the rates at which the first steps are stable
(exactly on quadratics). It is where the climb starts, no more: what is raced is decided by runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from thalweg.optim.methods import defaults
from thalweg.race import ladder
from thalweg.race.space import Configuration
from thalweg.risk import Risk

PLAIN = ("sgd", "momentum", "nesterov")
ADAPTIVE = ("adam", "adamw", "amsgrad")
BATCHES = 2  # minibatches whose mean loss is looked at
PRODUCTS = 10  # at most, of each matrix: Lanczos knows the top to a few per cent by then
TOLERANCE = 0.05  # rungs are a factor 3 apart
COST = 100  # gradients that one matrix takes, about (both together: 140 to 320 on built-in tasks)
SHARE = 0.05  # of the race's gradients that may go into this


@dataclass(frozen=True, slots=True)
class Footing:
    """Where each climb begins.

    Attributes:
        starts: Learning rate by optimiser.
        curvature: Largest eigenvalue of the Hessian; None where it was not looked at.
        limits: Rate up to which the first steps are stable, by optimiser.
        reasons: By optimiser why its climb begins elsewhere.
    """

    starts: dict[str, float]
    curvature: float | None
    limits: dict[str, float]
    reasons: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """For the plan."""
        return {
            "starts": dict(self.starts),
            "curvature": self.curvature,
            "limits": dict(self.limits),
            "reasons": dict(self.reasons),
        }


def footing(risk: Risk, configurations: Mapping[str, Configuration], gradients: int) -> Footing:
    """Where the climbs of these optimisers begin; dropout is off for the look at curvature.

    Args:
        risk: The task on its device.
        configurations: By optimiser the one whose rate is sought.
        gradients: What the whole race will execute, about.

    Returns:
        The limits where curvature could be had for a :data:`SHARE` of the race; elsewhere ten times
        the library's default, with the reason. No failure is passed on: modules that refuse
        double differentiation race like others.
    """
    starts = {name: _usual(name) for name in configurations}
    reasons: dict[str, str] = {}
    wanted = []
    for name in configurations:
        if name in PLAIN or name in ADAPTIVE:
            wanted.append(name)
        else:
            reasons[name] = "no closed form of its limit"
    matrices = any(n in PLAIN for n in wanted) + any(n in ADAPTIVE for n in wanted)
    needed = round(COST * (matrices + 0.25) / SHARE)  # Adam's mean square is over few gradients
    if wanted and gradients < needed:
        why = f"a race of about {gradients} gradients; curvature is looked at from {needed} on"
        return Footing(starts, None, {}, reasons | dict.fromkeys(wanted, why))
    if not wanted:
        return Footing(starts, None, {}, reasons)
    try:
        top, limits = _limits(risk, {n: configurations[n] for n in wanted})
    except Exception as error:  # whatever the user's modules or torch raise
        words = " ".join(str(error).split())[:300]
        why = f"its curvature cannot be had: {type(error).__name__}: {words}"
        return Footing(starts, None, {}, reasons | dict.fromkeys(wanted, why))
    for name in wanted:
        limit = limits.get(name, math.inf)
        if 0 < limit < math.inf:
            starts[name] = ladder.rate(ladder.rung(limit))
        else:
            reasons[name] = "the loss curves nowhere upwards at the first weights"
    finite = {name: limit for name, limit in limits.items() if 0 < limit < math.inf}
    return Footing(starts, top if math.isfinite(top) else None, finite, reasons)


def _usual(name: str) -> float:
    """Ten times the library's default."""
    return ladder.rate(ladder.rung(float(defaults(name)["lr"]) * 10))


def _limits(
    risk: Risk, configurations: Mapping[str, Configuration]
) -> tuple[float, dict[str, float]]:
    """Largest curvature and limit by optimiser, of the first minibatches of the first seed."""
    from thalweg.curvature import hessian
    from thalweg.curvature.admissible import adaptive
    from thalweg.linalg import eigenvalues
    from thalweg.steps import max_learning_rate

    size = next(iter(configurations.values())).batch_size
    feed, task = risk.feed(0, size), risk.task
    steps = min(BATCHES, max(1, risk.order(size).steps_per_epoch))
    op = hessian(
        risk.model(0),
        task.loss,
        [feed.batch(step) for step in range(steps)],
        forward=task.forward,
        weight=task.weight,
        mode="train",
        engine="graph",
    )

    def largest(matrix: Any) -> float:
        found = eigenvalues(matrix, tol=TOLERANCE, max_products=PRODUCTS)
        return max(0.0, float(found.values[0]))

    top, bent, limits = largest(op), None, {}
    for name, configuration in configurations.items():
        known = defaults(name) | dict(configuration.hyperparameters)
        if name in PLAIN:
            decay = float(known.get("weight_decay") or 0.0)
            momentum = 0.0 if name == "sgd" else float(known["momentum"])
            limits[name] = max_learning_rate(top + decay, name, momentum)
        else:
            bent = largest(adaptive(op, batch_size=size)) if bent is None else bent
            limits[name] = max_learning_rate(bent, name, betas=known["betas"])
    return top, limits
