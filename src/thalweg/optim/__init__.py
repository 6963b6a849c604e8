"""Optimisers: the rules that races run, and the public ``torch.optim.Optimizer`` classes.

Importing this package loads neither torch nor any rule; names resolve on first use.
"""

from __future__ import annotations

from typing import Any

from thalweg.registry import Member, Registry, resolve

_ROBBINS = "Robbins and Monro 1951"
_DUCHI = "Duchi, Hazan and Singer 2011"
_KINGMA = "Kingma and Ba 2015"

OPTIMIZERS = Registry(
    "optimizer",
    Member("sgd", "thalweg.optim.sgd:SGD", "gradient step", _ROBBINS),
    Member(
        "momentum", "thalweg.optim.sgd:HeavyBall", "gradient step of a heavy ball", "Polyak 1964"
    ),
    Member("nesterov", "thalweg.optim.sgd:Nesterov", "momentum that looks ahead", "Nesterov 1983"),
    Member(
        "adagrad", "thalweg.optim.adagrad:AdaGrad", "rates fall with the sum of squares", _DUCHI
    ),
    Member(
        "rmsprop", "thalweg.optim.rmsprop:RMSProp", "rates follow the mean square", "Hinton 2012"
    ),
    Member(
        "adadelta",
        "thalweg.optim.adadelta:AdaDelta",
        "steps in the weights' own units",
        "Zeiler 2012",
    ),
    Member("adam", "thalweg.optim.adam:Adam", "mean over root mean square, debiased", _KINGMA),
    Member(
        "adamw",
        "thalweg.optim.adam:AdamW",
        "Adam, weight decay apart",
        "Loshchilov and Hutter 2019",
    ),
    Member(
        "amsgrad",
        "thalweg.optim.adam:AMSGrad",
        "Adam whose rates never grow",
        "Reddi, Kale and Kumar 2018",
    ),
    Member(
        "delta-bar-delta",
        "thalweg.optim.delta_bar_delta:DeltaBarDeltaRule",
        "one rate per weight: up while the sign holds, down when it flips",
        "Jacobs 1988",
    ),
)

# Everything one can train with: a method that is no rule of the race is driven by its own step.
METHODS = Registry(
    "optimizer",
    *OPTIMIZERS,
    Member(
        "entropy-sgd",
        "thalweg.optim.entropy_sgd:EntropySGD",
        "descent on the local entropy: towards wide valleys",
        "Chaudhari et al. 2017",
    ),
    Member(
        "nonlinear-cg",
        "thalweg.optim.nonlinear_cg:NonlinearCG",
        "conjugate directions with a strong Wolfe search; full batches",
        "Fletcher and Reeves 1964",
    ),
    Member(
        "lbfgs",
        "torch.optim:LBFGS",
        "quasi-Newton from a short memory, strong Wolfe search; full batches",
        "Liu and Nocedal 1989",
    ),
)

_PUBLIC = {
    "DeltaBarDelta": "thalweg.optim.delta_bar_delta:DeltaBarDelta",
    "EntropySGD": "thalweg.optim.entropy_sgd:EntropySGD",
    "NonlinearCG": "thalweg.optim.nonlinear_cg:NonlinearCG",
    "block_coordinate_descent": "thalweg.optim.coordinate:block_coordinate_descent",
    "coordinate_descent_quadratic": "thalweg.optim.coordinate:coordinate_descent_quadratic",
    "Averaged": "thalweg.optim.averaging:Averaged",
    "Shell": "thalweg.optim.shell:Shell",
    "Population": "thalweg.optim.population:Population",
    **{member.target.partition(":")[2]: member.target for member in OPTIMIZERS},
}

__all__ = ["METHODS", "OPTIMIZERS", *_PUBLIC]  # pyrefly: ignore


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'thalweg.optim' has no attribute {name!r}")
    return resolve(_PUBLIC[name])


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
