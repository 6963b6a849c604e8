"""AdaDelta: steps measured in the weights' own units, so that no rate need be chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from thalweg.optim.rule import (
    FLAT,
    NOTHING,
    WEIGHT_DECAY,
    Hyperparameter,
    Number,
    Oracle,
    Params,
    add_scaled_,
    cast,
    decayed,
    decayed_into,
    mean_square_,
    zeros,
)


class AdaDeltaState(NamedTuple):
    """Updates so far, mean squared gradient ``r`` and mean squared step ``s``."""

    step: int | Tensor
    square_mean: Params
    step_mean: Params


@dataclass(frozen=True, slots=True)
class AdaDelta:
    r"""Root mean square of past steps over that of past gradients.

    .. math:: r_t = \rho r_{t-1} + (1-\rho) g_t^2, \quad
        \Delta_t = \sqrt{\frac{s_{t-1} + \epsilon}{r_t + \epsilon}}\, g_t, \quad
        s_t = \rho s_{t-1} + (1-\rho) \Delta_t^2, \quad w_{t+1} = w_t - \eta \Delta_t

    References:
        Zeiler, "ADADELTA: an adaptive learning rate method", arXiv:1212.5701, 2012.
    """

    needs: ClassVar[tuple[str, ...]] = ("grad",)
    kernel: ClassVar[str] = "adadelta"
    vectorises: ClassVar[bool] = True
    scratch: ClassVar[int] = 3
    hyperparameters: ClassVar[tuple[Hyperparameter, ...]] = (
        Hyperparameter("lr", 1.0, "multiplies the step"),
        Hyperparameter("rho", 0.9, "share of both mean squares kept per step", high=1.0),
        Hyperparameter("eps", 1e-6, "added to both mean squares, under the root"),
        WEIGHT_DECAY,
    )

    def init(self, params: Params, hyperparameters: Mapping[str, Any] = NOTHING) -> AdaDeltaState:
        """Both means start at zero."""
        return AdaDeltaState(0, zeros(params), zeros(params))

    def update(
        self,
        oracle: Oracle,
        params: Params,
        state: AdaDeltaState,
        *,
        lr: Number = 1.0,
        rho: Number = 0.9,
        eps: Number = 1e-6,
        weight_decay: Number = 0.0,
    ) -> tuple[Params, AdaDeltaState]:
        """One step."""
        gradients = oracle.grad(params)
        new, squares, steps = {}, {}, {}
        for k, w in params.items():
            keep, blend, e = cast(rho, w), cast(1 - rho, w), cast(eps, w)
            g = decayed(gradients[k], w, weight_decay)
            squares[k] = keep * state.square_mean[k] + blend * g * g
            delta = (state.step_mean[k] + e).sqrt() / (squares[k] + e).sqrt() * g
            steps[k] = keep * state.step_mean[k] + blend * delta * delta
            new[k] = w - cast(lr, w) * delta
        return new, AdaDeltaState(state.step + 1, squares, steps)

    def step_(
        self,
        w: Tensor,
        g: Tensor,
        state: AdaDeltaState,
        columns: Mapping[str, Any],
        scratch: Sequence[Tensor],
    ) -> AdaDeltaState:
        """:meth:`update` in place: ten passes, one more with decay."""
        r, s = state.square_mean[FLAT], state.step_mean[FLAT]
        delta, other, rho = scratch[0], scratch[1], columns.get("rho", 0.9)
        eps = cast(columns.get("eps", 1e-6), w)
        g = decayed_into(scratch[2], g, w, columns.get("weight_decay", 0.0))
        mean_square_(r, g, rho, other)
        torch.add(r, eps, out=other)
        # one root of the quotient instead of a quotient of two roots: a pass less
        torch.add(s, eps, out=delta).div_(other).sqrt_().mul_(g)
        mean_square_(s, delta, rho, other)
        add_scaled_(w, delta, columns["lr"], -1.0)
        return AdaDeltaState(state.step + 1, state.square_mean, state.step_mean)
