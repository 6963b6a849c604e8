"""Delta-bar-delta: one learning rate per weight, learnt from the signs of its gradients."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
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
from thalweg.optim.shell import Shell

RELATIVE_GROWTH = 0.05  # growth per agreeing step, as a share of lr, where kappa is None


class DeltaBarDeltaState(NamedTuple):
    """Updates so far, every weight's gain (its rate over ``lr``) and gradient trace."""

    step: int | Tensor
    gain: Params
    trace: Params


@dataclass(frozen=True, slots=True)
class DeltaBarDeltaRule:
    r"""Rates grow by a constant while the gradient keeps its sign and shrink by a factor when not.

    .. math:: \varepsilon \leftarrow \begin{cases}
            \varepsilon + \kappa & \bar\delta_{t-1}\delta_t > 0 \\
            (1-\varphi)\,\varepsilon & \bar\delta_{t-1}\delta_t < 0
        \end{cases} \qquad w \leftarrow w - \varepsilon\,\delta_t \qquad
        \bar\delta_t = (1-\gamma)\,\delta_t + \gamma\,\bar\delta_{t-1}

    in this order, with :math:`\bar\delta_0 = 0`, so the first step never changes a rate. Rates
    start at ``lr`` and stay in ``[lr_min, lr_max]``. What is stored is the gain
    :math:`\varepsilon/\text{lr}`: a schedule of ``lr`` therefore scales every rate learnt so far.

    References:
        Jacobs, "Increased rates of convergence through learning rate adaptation", Neural Networks
        1, 1988.
    """

    needs: ClassVar[tuple[str, ...]] = ("grad",)
    kernel: ClassVar[str] = "delta_bar_delta"
    vectorises: ClassVar[bool] = True
    scratch: ClassVar[int] = 3
    hyperparameters: ClassVar[tuple[Hyperparameter, ...]] = (
        LR,
        Hyperparameter("kappa", None, "added to a rate whose sign holds; None: 0.05 lr"),
        Hyperparameter("phi", 0.1, "share a rate loses when its sign flips", high=1.0),
        Hyperparameter("gamma", 0.7, "share of the gradient trace kept per step", high=1.0),
        Hyperparameter("lr_max", None, "no rate exceeds it; None: no bound", low_open=True),
        Hyperparameter("lr_min", 1e-12, "no rate falls below it"),
        WEIGHT_DECAY,
    )

    def init(
        self, params: Params, hyperparameters: Mapping[str, Any] = NOTHING
    ) -> DeltaBarDeltaState:
        """Every rate at ``lr``, every trace at zero."""
        ones = {name: torch.ones_like(w) for name, w in params.items()}
        return DeltaBarDeltaState(0, ones, zeros(params))

    def update(
        self,
        oracle: Oracle,
        params: Params,
        state: DeltaBarDeltaState,
        *,
        lr: Number,
        kappa: Number | None = None,
        phi: Number = 0.1,
        gamma: Number = 0.7,
        lr_max: Number | None = None,
        lr_min: Number = 1e-12,
        weight_decay: Number = 0.0,
    ) -> tuple[Params, DeltaBarDeltaState]:
        """One step."""
        gradients = oracle.grad(params)
        new, gains, traces = {}, {}, {}
        for k, w in params.items():
            g, gain, trace = decayed(gradients[k], w, weight_decay), state.gain[k], state.trace[k]
            # signs before the product: two tiny gradients must not underflow to "no sign"
            agreement = torch.sign(trace) * torch.sign(g)
            shrunk = torch.where(agreement < 0, gain * cast(1 - phi, w), gain)
            gain = torch.where(agreement > 0, gain + cast(_growth(kappa, lr), w), shrunk)
            gains[k] = _bound(gain, lr, lr_min, lr_max)
            new[k] = w - cast(lr, w) * gains[k] * g
            traces[k] = torch.lerp(trace, g, cast(1 - gamma, w))  # as step_ does: signs must agree
        return new, DeltaBarDeltaState(state.step + 1, gains, traces)

    def step_(
        self,
        w: Tensor,
        g: Tensor,
        state: DeltaBarDeltaState,
        columns: Mapping[str, Any],
        scratch: Sequence[Tensor],
    ) -> DeltaBarDeltaState:
        """:meth:`update` in place: ten or eleven passes, one more with decay."""
        gain, trace, lr = state.gain[FLAT], state.trace[FLAT], columns["lr"]
        sign, other = scratch[0], scratch[1]
        g = decayed_into(scratch[2], g, w, columns.get("weight_decay", 0.0))
        torch.sign(g, out=sign).mul_(trace).sign_()
        add_scaled_(gain, torch.clamp(sign, min=0, out=other), _growth(columns.get("kappa"), lr))
        sign.clamp_(max=0).mul_(cast(columns.get("phi", 0.1), w))
        gain.addcmul_(gain, sign)
        _bound(gain, lr, columns.get("lr_min", 1e-12), columns.get("lr_max"), out=gain)
        if isinstance(lr, Tensor):
            add_scaled_(w, torch.mul(gain, g, out=sign), lr, -1.0)
        else:
            w.addcmul_(gain, g, value=-lr)
        trace.lerp_(g, cast(1 - columns.get("gamma", 0.7), w))
        return DeltaBarDeltaState(state.step + 1, state.gain, state.trace)


def _growth(kappa: Number | None, lr: Number) -> Number:
    """What a gain grows by. A column holds NaN for the members that left ``kappa`` at ``None``."""
    if kappa is None:
        return RELATIVE_GROWTH
    growth = _over(kappa, lr, 0.0)
    if isinstance(kappa, Tensor):
        return torch.where(torch.isnan(kappa), RELATIVE_GROWTH, growth)
    return growth


def _over(rate: Number, lr: Number, where_zero: float) -> Number:
    """``rate / lr``; ``where_zero`` where a schedule has brought ``lr`` to zero."""
    if isinstance(lr, Tensor):
        return torch.where(lr > 0, rate / lr, where_zero)
    if isinstance(rate, Tensor):
        return rate / lr if lr > 0 else torch.full_like(rate, where_zero)
    return rate / lr if lr > 0 else where_zero


def _bound(
    gain: Tensor,
    lr: Number,
    lr_min: Number,
    lr_max: Number | None,
    out: Tensor | None = None,
) -> Tensor:
    """Keep every rate ``lr * gain`` within the two limits."""
    low = _over(lr_min, lr, 0.0)
    if isinstance(lr_max, Tensor):  # NaN: this member left it at None
        lr_max = torch.nan_to_num(lr_max, nan=math.inf, posinf=math.inf)
    high = math.inf if lr_max is None else _over(lr_max, lr, math.inf)
    if not isinstance(low, Tensor) and not isinstance(high, Tensor):
        return torch.clamp(gain, min=low, max=high, out=out)
    gain = torch.clamp(gain, min=cast(low, gain), out=out)
    return gain if lr_max is None else torch.clamp(gain, max=cast(high, gain), out=out)


class DeltaBarDelta(Shell):
    r"""Delta-bar-delta as a ``torch.optim.Optimizer``: one learning rate per weight.

    A rate grows by ``kappa`` while its gradient keeps the sign of the running trace and loses the
    share ``phi`` when the sign flips (:class:`DeltaBarDeltaRule` has the equations). Made for full
    batches: sign noise of small minibatches shrinks the rates towards ``lr_min``. Rates grow
    linearly and may cross the stable limit 2/λ; ``lr_max`` holds them below it.

    Args:
        params: Parameters or parameter groups, as every torch optimiser takes them.
        lr: Every rate's start, 1e-3; a schedule of it scales all rates.
        kappa: Growth per step, in the units of ``lr``; ``None`` means ``0.05 * lr``.
        phi: Share lost when the sign flips, in [0, 1).
        gamma: Share of the trace kept per step, in [0, 1).
        lr_max: No rate exceeds it; ``None`` for no bound.
        lr_min: No rate falls below it.
        weight_decay: Adds ``weight_decay * w`` to the gradient.

    Raises:
        ValueError: a hyperparameter out of its range.

    >>> import torch
    >>> w = torch.nn.Parameter(torch.tensor([1.0, 1.0], dtype=torch.float64))
    >>> optimizer = DeltaBarDelta([w], lr=0.5, kappa=0.5)
    >>> for _ in range(2):  # gradients (1, 1), then again: rates 0.5, then 1.0
    ...     w.grad = torch.ones_like(w)
    ...     _ = optimizer.step()
    >>> w.tolist()
    [-0.5, -0.5]

    References:
        Jacobs, "Increased rates of convergence through learning rate adaptation", 1988.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float | Tensor = 1e-3,
        kappa: float | None = None,
        phi: float = 0.1,
        gamma: float = 0.7,
        lr_max: float | None = None,
        lr_min: float = 1e-12,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(
            params,
            DeltaBarDeltaRule(),
            lr=lr,
            kappa=kappa,
            phi=phi,
            gamma=gamma,
            lr_max=lr_max,
            lr_min=lr_min,
            weight_decay=weight_decay,
        )
