"""Gradient steps without and with a velocity: SGD, heavy ball, Nesterov."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from thalweg.optim.rule import (
    FLAT,
    LR,
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
    zeros,
)


class PlainState(NamedTuple):
    """Updates so far; plain descent remembers nothing else."""

    step: int | Tensor


class VelocityState(NamedTuple):
    """Updates so far and the velocity ``p`` of each parameter."""

    step: int | Tensor
    velocity: Params


@dataclass(frozen=True, slots=True)
class SGD:
    r"""Stochastic gradient descent.

    .. math:: w_{t+1} = w_t - \eta\,(\nabla f(w_t) + \lambda w_t)

    torch's ``SGD`` has a ``momentum`` as well, so it is a hyperparameter here; it must be zero for
    this rule: :func:`thalweg.optim.population.rule_for` takes :class:`HeavyBall` where it is not.

    References:
        Robbins and Monro, "A stochastic approximation method", 1951.
    """

    needs: ClassVar[tuple[str, ...]] = ("grad",)
    kernel: ClassVar[str] = "sgd"
    vectorises: ClassVar[bool] = True
    scratch: ClassVar[int] = 1
    hyperparameters: ClassVar[tuple[Hyperparameter, ...]] = (
        LR,
        Hyperparameter("momentum", 0.0, "share of the velocity kept per step", high=1.0),
        WEIGHT_DECAY,
    )

    def init(self, params: Params, hyperparameters: Mapping[str, Any] = NOTHING) -> PlainState:
        """Nothing to remember."""
        return PlainState(0)

    def update(
        self,
        oracle: Oracle,
        params: Params,
        state: PlainState,
        *,
        lr: Number,
        momentum: Number = 0.0,
        weight_decay: Number = 0.0,
    ) -> tuple[Params, PlainState]:
        """One gradient step.

        Raises:
            ValueError: ``momentum`` is not the number zero.
        """
        _no_momentum(momentum)
        g = oracle.grad(params)
        new = {k: w - cast(lr, w) * decayed(g[k], w, weight_decay) for k, w in params.items()}
        return new, PlainState(state.step + 1)

    def step_(
        self,
        w: Tensor,
        g: Tensor,
        state: PlainState,
        columns: Mapping[str, Any],
        scratch: Sequence[Tensor],
    ) -> PlainState:
        """:meth:`update` in place: one pass, two with decay."""
        _no_momentum(columns.get("momentum", 0.0))
        g = decayed_into(scratch[0], g, w, columns.get("weight_decay", 0.0))
        add_scaled_(w, g, columns["lr"], -1.0)
        return PlainState(state.step + 1)


def _no_momentum(momentum: Any) -> None:
    if isinstance(momentum, Tensor) or momentum != 0:
        raise ValueError(
            f"SGD keeps no velocity, so momentum must be 0, got {momentum!r}; "
            "use HeavyBall (population.rule_for chooses)"
        )


@dataclass(frozen=True, slots=True)
class HeavyBall:
    r"""Gradient descent with a ball of mass :math:`\beta`, in torch's form.

    .. math:: p_{t+1} = \beta p_t + \nabla f(w_t) + \lambda w_t, \qquad w_{t+1} = w_t - \eta p_{t+1}

    The velocity starts at zero, so the first step is a gradient step (torch, dampening 0). The
    effective rate is :math:`\eta/(1-\beta)`.

    References:
        Polyak, "Some methods of speeding up the convergence of iteration methods", 1964.
    """

    needs: ClassVar[tuple[str, ...]] = ("grad",)
    kernel: ClassVar[str] = "heavy_ball"
    vectorises: ClassVar[bool] = True
    scratch: ClassVar[int] = 1
    hyperparameters: ClassVar[tuple[Hyperparameter, ...]] = (
        LR,
        Hyperparameter("momentum", 0.9, "share of the velocity kept per step", high=1.0),
        WEIGHT_DECAY,
    )

    def init(self, params: Params, hyperparameters: Mapping[str, Any] = NOTHING) -> VelocityState:
        """Start at rest."""
        return VelocityState(0, zeros(params))

    def update(
        self,
        oracle: Oracle,
        params: Params,
        state: VelocityState,
        *,
        lr: Number,
        momentum: Number = 0.9,
        weight_decay: Number = 0.0,
    ) -> tuple[Params, VelocityState]:
        """One step along the new velocity."""
        g = oracle.grad(params)
        new, velocity = {}, {}
        for k, w in params.items():
            p = cast(momentum, w) * state.velocity[k] + decayed(g[k], w, weight_decay)
            new[k], velocity[k] = w - cast(lr, w) * p, p
        return new, VelocityState(state.step + 1, velocity)

    def step_(
        self,
        w: Tensor,
        g: Tensor,
        state: VelocityState,
        columns: Mapping[str, Any],
        scratch: Sequence[Tensor],
    ) -> VelocityState:
        """:meth:`update` in place: three passes, four with decay."""
        p = state.velocity[FLAT]
        g = decayed_into(scratch[0], g, w, columns.get("weight_decay", 0.0))
        p.mul_(cast(columns.get("momentum", 0.9), w)).add_(g)
        add_scaled_(w, p, columns["lr"], -1.0)
        return VelocityState(state.step + 1, state.velocity)


@dataclass(frozen=True, slots=True)
class Nesterov:
    r"""Momentum whose gradient is taken ahead of the ball, in torch's form.

    .. math:: p_{t+1} = \beta p_t + g_t, \qquad w_{t+1} = w_t - \eta\,(g_t + \beta p_{t+1}),
        \qquad g_t = \nabla f(w_t) + \lambda w_t

    torch's ``w`` is the point ahead, :math:`\theta + \beta v` of Sutskever et al.

    References:
        Nesterov, "A method of solving a convex programming problem with convergence rate
        O(1/k²)", 1983. Sutskever, Martens, Dahl and Hinton, ICML 2013.
    """

    needs: ClassVar[tuple[str, ...]] = ("grad",)
    kernel: ClassVar[str] = "nesterov"
    vectorises: ClassVar[bool] = True
    scratch: ClassVar[int] = 2
    hyperparameters: ClassVar[tuple[Hyperparameter, ...]] = (
        LR,
        Hyperparameter(
            "momentum", 0.9, "share of the velocity kept per step", high=1.0, low_open=True
        ),
        WEIGHT_DECAY,
    )

    def init(self, params: Params, hyperparameters: Mapping[str, Any] = NOTHING) -> VelocityState:
        """Start at rest."""
        return VelocityState(0, zeros(params))

    def update(
        self,
        oracle: Oracle,
        params: Params,
        state: VelocityState,
        *,
        lr: Number,
        momentum: Number = 0.9,
        weight_decay: Number = 0.0,
    ) -> tuple[Params, VelocityState]:
        """One step along the velocity that the next step would have."""
        gradients = oracle.grad(params)
        new, velocity = {}, {}
        for k, w in params.items():
            g, beta = decayed(gradients[k], w, weight_decay), cast(momentum, w)
            p = beta * state.velocity[k] + g
            new[k], velocity[k] = w - cast(lr, w) * (g + beta * p), p
        return new, VelocityState(state.step + 1, velocity)

    def step_(
        self,
        w: Tensor,
        g: Tensor,
        state: VelocityState,
        columns: Mapping[str, Any],
        scratch: Sequence[Tensor],
    ) -> VelocityState:
        """:meth:`update` in place: four passes, five with decay."""
        p, beta = state.velocity[FLAT], cast(columns.get("momentum", 0.9), w)
        g = decayed_into(scratch[0], g, w, columns.get("weight_decay", 0.0))
        p.mul_(beta).add_(g)
        if isinstance(beta, Tensor):
            ahead = torch.addcmul(g, p, beta, out=scratch[1])
        else:
            ahead = torch.add(g, p, alpha=beta, out=scratch[1])
        add_scaled_(w, ahead, columns["lr"], -1.0)
        return VelocityState(state.step + 1, state.velocity)
