"""AdaGrad: every weight's rate falls with the sum of its squared gradients."""

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
)


class AdaGradState(NamedTuple):
    """Updates so far and the sum ``r`` of squared gradients."""

    step: int | Tensor
    square_sum: Params


@dataclass(frozen=True, slots=True)
class AdaGrad:
    r"""Adaptive subgradient descent.

    .. math:: r_t = r_{t-1} + g_t^2, \qquad
        w_{t+1} = w_t - \frac{\eta}{1 + (t-1)d}\,\frac{g_t}{\sqrt{r_t} + \epsilon}

    For a constant gradient the k-th step is :math:`\eta/\sqrt k` against its sign: it only falls.

    References:
        Duchi, Hazan and Singer, "Adaptive subgradient methods", JMLR 2011.
    """

    needs: ClassVar[tuple[str, ...]] = ("grad",)
    kernel: ClassVar[str] = "adagrad"
    vectorises: ClassVar[bool] = True
    scratch: ClassVar[int] = 2
    hyperparameters: ClassVar[tuple[Hyperparameter, ...]] = (
        Hyperparameter("lr", 1e-2, "learning rate"),
        Hyperparameter("lr_decay", 0.0, "divides lr by 1 + steps taken times lr_decay"),
        WEIGHT_DECAY,
        Hyperparameter("initial_accumulator_value", 0.0, "sum of squares before the first step"),
        Hyperparameter("eps", 1e-10, "added to the root"),
    )

    def init(self, params: Params, hyperparameters: Mapping[str, Any] = NOTHING) -> AdaGradState:
        """Start the sum at ``initial_accumulator_value`` (0 if not given)."""
        start = hyperparameters.get("initial_accumulator_value", 0.0)
        return AdaGradState(0, {k: torch.zeros_like(w) + cast(start, w) for k, w in params.items()})

    def update(
        self,
        oracle: Oracle,
        params: Params,
        state: AdaGradState,
        *,
        lr: Number,
        lr_decay: Number = 0.0,
        weight_decay: Number = 0.0,
        initial_accumulator_value: Number = 0.0,
        eps: Number = 1e-10,
    ) -> tuple[Params, AdaGradState]:
        """One step; ``initial_accumulator_value`` was used by :meth:`init`."""
        gradients = oracle.grad(params)
        rate = lr / (1 + state.step * lr_decay)
        new, sums = {}, {}
        for k, w in params.items():
            g = decayed(gradients[k], w, weight_decay)
            r = state.square_sum[k] + g * g
            new[k], sums[k] = w - cast(rate, w) * g / (r.sqrt() + cast(eps, w)), r
        return new, AdaGradState(state.step + 1, sums)

    def step_(
        self,
        w: Tensor,
        g: Tensor,
        state: AdaGradState,
        columns: Mapping[str, Any],
        scratch: Sequence[Tensor],
    ) -> AdaGradState:
        """:meth:`update` in place: four or five passes, one more with decay."""
        r, root = state.square_sum[FLAT], scratch[0]
        rate = columns["lr"] / (1 + state.step * columns.get("lr_decay", 0.0))
        g = decayed_into(scratch[1], g, w, columns.get("weight_decay", 0.0))
        r.addcmul_(g, g)
        torch.sqrt(r, out=root).add_(cast(columns.get("eps", 1e-10), w))
        if isinstance(rate, Tensor):
            add_scaled_(w, torch.div(g, root, out=root), rate, -1.0)
        else:
            w.addcdiv_(g, root, value=-rate)
        return AdaGradState(state.step + 1, state.square_sum)
