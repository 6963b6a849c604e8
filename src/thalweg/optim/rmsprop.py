"""RMSProp: every weight's rate follows the mean square of its recent gradients."""

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
    is_zero,
    mean_square_,
    zeros,
)


class RMSPropState(NamedTuple):
    """Updates so far, the mean square ``r``, and the velocity (no entries where none is kept)."""

    step: int | Tensor
    square_mean: Params
    velocity: Params


@dataclass(frozen=True, slots=True)
class RMSProp:
    r"""Gradient over its root mean square, optionally with momentum, in torch's form.

    .. math:: r_t = \alpha r_{t-1} + (1-\alpha) g_t^2, \qquad
        p_t = \beta p_{t-1} + \frac{g_t}{\sqrt{r_t} + \epsilon}, \qquad w_{t+1} = w_t - \eta p_t

    There is no debiasing: the first step has size :math:`\eta/\sqrt{1-\alpha}`.

    Args:
        keep_velocity: ``False`` stores no velocity; the momentum must then be the number zero, and
            the answers are the same with one tensor less.

    References:
        Tieleman and Hinton, "Lecture 6.5: rmsprop", 2012.
    """

    keep_velocity: bool = True

    needs: ClassVar[tuple[str, ...]] = ("grad",)
    kernel: ClassVar[str] = "rmsprop"
    vectorises: ClassVar[bool] = True
    scratch: ClassVar[int] = 2
    hyperparameters: ClassVar[tuple[Hyperparameter, ...]] = (
        Hyperparameter("lr", 1e-2, "learning rate"),
        Hyperparameter("alpha", 0.99, "share of the mean square kept per step", high=1.0),
        Hyperparameter("eps", 1e-8, "added to the root"),
        WEIGHT_DECAY,
        Hyperparameter("momentum", 0.0, "share of the velocity kept per step", high=1.0),
    )

    def init(self, params: Params, hyperparameters: Mapping[str, Any] = NOTHING) -> RMSPropState:
        """Mean square and velocity start at zero."""
        return RMSPropState(0, zeros(params), zeros(params) if self.keep_velocity else {})

    def update(
        self,
        oracle: Oracle,
        params: Params,
        state: RMSPropState,
        *,
        lr: Number,
        alpha: Number = 0.99,
        eps: Number = 1e-8,
        weight_decay: Number = 0.0,
        momentum: Number = 0.0,
    ) -> tuple[Params, RMSPropState]:
        """One step.

        Raises:
            ValueError: a momentum without a velocity to act on.
        """
        self._admit(momentum)
        gradients = oracle.grad(params)
        new, squares, velocity = {}, {}, {}
        for k, w in params.items():
            g = decayed(gradients[k], w, weight_decay)
            squares[k] = cast(alpha, w) * state.square_mean[k] + cast(1 - alpha, w) * g * g
            p = g / (squares[k].sqrt() + cast(eps, w))
            if self.keep_velocity:
                p = velocity[k] = cast(momentum, w) * state.velocity[k] + p
            new[k] = w - cast(lr, w) * p
        return new, RMSPropState(state.step + 1, squares, velocity)

    def step_(
        self,
        w: Tensor,
        g: Tensor,
        state: RMSPropState,
        columns: Mapping[str, Any],
        scratch: Sequence[Tensor],
    ) -> RMSPropState:
        """:meth:`update` in place: five to seven passes, one more with decay."""
        r, root, lr = state.square_mean[FLAT], scratch[0], columns["lr"]
        momentum = columns.get("momentum", 0.0)
        self._admit(momentum)
        g = decayed_into(scratch[1], g, w, columns.get("weight_decay", 0.0))
        mean_square_(r, g, columns.get("alpha", 0.99), root)
        torch.sqrt(r, out=root).add_(cast(columns.get("eps", 1e-8), w))
        if self.keep_velocity:
            p = state.velocity[FLAT].mul_(cast(momentum, w)).addcdiv_(g, root)
            add_scaled_(w, p, lr, -1.0)
        elif isinstance(lr, Tensor):
            add_scaled_(w, torch.div(g, root, out=root), lr, -1.0)
        else:
            w.addcdiv_(g, root, value=-lr)
        return RMSPropState(state.step + 1, state.square_mean, state.velocity)

    def _admit(self, momentum: Number) -> None:
        if not self.keep_velocity and not is_zero(momentum):
            raise ValueError(
                f"RMSProp(keep_velocity=False) needs momentum 0, got {momentum!r}; "
                "use RMSProp() (population.rule_for chooses)"
            )
