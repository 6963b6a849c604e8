"""In which order is a hard problem learned? Strategies around the optimiser, for any task.

Each is a function ``(task, *, its options, **training) -> Run``: what ``training`` holds goes to
:func:`thalweg.training.train`, whose runs resume bit for bit. Parts that work without a task
(smoothing, pacing, majorisation) are functions of their own. Nothing is imported until it is used.
"""

from __future__ import annotations

from typing import Any

from thalweg.registry import Member, Registry, resolve

STRATEGIES = Registry(
    "strategy",
    Member(
        "greedy",
        "thalweg.strategies.layerwise:greedy",
        "supervised pretraining layer by layer, then all layers together",
        "Bengio, Lamblin, Popovici, Larochelle 2007",
    ),
    Member(
        "transfer",
        "thalweg.strategies.copying:transfer",
        "first layers from a trained network, frozen or at a smaller rate",
        "Yosinski, Clune, Bengio, Lipson 2014",
    ),
    Member(
        "fitnets",
        "thalweg.strategies.hints:fitnets",
        "a thin deep student learns a teacher's middle layer, then its softened outputs",
        "Romero et al. 2015",
    ),
    Member(
        "continuation",
        "thalweg.strategies.noise:continue_training",
        "the loss averaged over Gaussian noise on the weights that shrinks to none",
        "Mobahi and Fisher 2015",
    ),
    Member(
        "curriculum",
        "thalweg.strategies.paced:curriculum",
        "easy samples first",
        "Bengio, Louradour, Collobert, Weston 2009",
    ),
    Member(
        "stochastic-curriculum",
        "thalweg.strategies.paced:stochastic_curriculum",
        "easy samples first, with some of every difficulty all along",
        "Zaremba and Sutskever 2014",
    ),
    Member(
        "majorise",
        "thalweg.strategies.bounds:majorise",
        "all samples, steps to the minimum of an upper bound: the loss never rises",
        "Hunter and Lange 2004",
    ),
    Member(
        "adversarial",
        "thalweg.strategies.turns:adversarial",
        "a generator and a discriminator in turns (tasks with a pair of networks)",
        "Goodfellow et al. 2014",
    ),
)

_PUBLIC = {
    "greedy": "thalweg.strategies.layerwise:greedy",
    "transfer": "thalweg.strategies.copying:transfer",
    "copy_layers": "thalweg.strategies.copying:copy_layers",
    "ScaledRate": "thalweg.strategies.copying:ScaledRate",
    "fitnets": "thalweg.strategies.hints:fitnets",
    "hint_loss": "thalweg.strategies.hints:hint_loss",
    "kd_loss": "thalweg.strategies.hints:kd_loss",
    "continue_training": "thalweg.strategies.noise:continue_training",
    "continuation": "thalweg.strategies.smoothing:continuation",
    "gaussian_smooth": "thalweg.strategies.smoothing:gaussian_smooth",
    "geometric": "thalweg.strategies.smoothing:geometric",
    "curriculum": "thalweg.strategies.paced:curriculum",
    "stochastic_curriculum": "thalweg.strategies.paced:stochastic_curriculum",
    "difficulty": "thalweg.strategies.scores:difficulty",
    "PACING": "thalweg.strategies.pacing:PACING",
    "majorise": "thalweg.strategies.bounds:majorise",
    "mm": "thalweg.strategies.bounds:mm",
    "adversarial": "thalweg.strategies.turns:adversarial",
    "run": "thalweg.strategies.entrance:run",
}

__all__ = ["STRATEGIES", *_PUBLIC]  # pyrefly: ignore


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'thalweg.strategies' has no attribute {name!r}")
    return resolve(_PUBLIC[name])


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
