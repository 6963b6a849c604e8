"""Adam and its two variants: decoupled weight decay (AdamW) and rates that never grow (AMSGrad)."""

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
    Pair,
    Params,
    add_scaled_,
    cast,
    decayed,
    decayed_into,
    is_zero,
    mean_square_,
    zeros,
)

_BETAS = Hyperparameter("betas", (0.9, 0.999), "shares of mean and mean square kept", high=1.0)
_EPS = Hyperparameter("eps", 1e-8, "added to the root")


class AdamState(NamedTuple):
    """Updates so far, mean gradient ``m`` and mean square ``v``."""

    step: int | Tensor
    mean: Params
    square_mean: Params


class AMSGradState(NamedTuple):
    """Updates so far, ``m``, ``v`` and the largest ``v`` seen."""

    step: int | Tensor
    mean: Params
    square_mean: Params
    square_max: Params


def _moments(g: Tensor, m: Tensor, v: Tensor, betas: Pair) -> tuple[Tensor, Tensor]:
    b1, b2 = betas
    m = cast(b1, g) * m + cast(1 - b1, g) * g
    return m, cast(b2, g) * v + cast(1 - b2, g) * g * g


def _corrections(step: int | Tensor, betas: Pair) -> tuple[Number, Number]:
    """Bias corrections of the two means after ``step`` updates; the second as a root."""
    return 1 - betas[0] ** step, (1 - betas[1] ** step) ** 0.5


def _move(
    w: Tensor, m: Tensor, v: Tensor, step: int | Tensor, lr: Number, betas: Pair, eps: Number
) -> Tensor:
    first, second = _corrections(step, betas)
    return w - cast(lr / first, w) * m / (v.sqrt() / cast(second, w) + cast(eps, w))


def _moments_(g: Tensor, m: Tensor, v: Tensor, betas: Pair, root: Tensor) -> None:
    m.lerp_(g, cast(1 - betas[0], g))
    mean_square_(v, g, betas[1], root)


def _move_(
    w: Tensor, m: Tensor, v: Tensor, step: int | Tensor, columns: Mapping[str, Any], root: Tensor
) -> None:
    # √v/c + ε over c is √v + cε: the correction c moves into two small numbers, a pass less
    first, second = _corrections(step, columns.get("betas", (0.9, 0.999)))
    rate = columns["lr"] * (second / first)
    torch.sqrt(v, out=root).add_(cast(columns.get("eps", 1e-8) * second, w))
    if isinstance(rate, Tensor):
        add_scaled_(w, torch.div(m, root, out=root), rate, -1.0)
    else:
        w.addcdiv_(m, root, value=-rate)


@dataclass(frozen=True, slots=True)
class Adam:
    r"""Mean gradient over root mean square, both corrected for their start at zero.

    .. math:: m_t = \beta_1 m_{t-1} + (1-\beta_1) g_t, \quad
        v_t = \beta_2 v_{t-1} + (1-\beta_2) g_t^2, \quad
        w_{t+1} = w_t - \eta \frac{m_t/(1-\beta_1^t)}{\sqrt{v_t/(1-\beta_2^t)} + \epsilon}

    The first step has size :math:`\eta` wherever :math:`|g| \gg \epsilon`. Weight decay enters the
    gradient, so that it is rescaled with it.

    References:
        Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015.
    """

    needs: ClassVar[tuple[str, ...]] = ("grad",)
    kernel: ClassVar[str] = "adam"
    vectorises: ClassVar[bool] = True
    scratch: ClassVar[int] = 2
    hyperparameters: ClassVar[tuple[Hyperparameter, ...]] = (LR, _BETAS, _EPS, WEIGHT_DECAY)

    def init(self, params: Params, hyperparameters: Mapping[str, Any] = NOTHING) -> AdamState:
        """Both means start at zero."""
        return AdamState(0, zeros(params), zeros(params))

    def update(
        self,
        oracle: Oracle,
        params: Params,
        state: AdamState,
        *,
        lr: Number,
        betas: Pair = (0.9, 0.999),
        eps: Number = 1e-8,
        weight_decay: Number = 0.0,
    ) -> tuple[Params, AdamState]:
        """One step."""
        gradients, step = oracle.grad(params), state.step + 1
        new, mean, square = {}, {}, {}
        for k, w in params.items():
            g = decayed(gradients[k], w, weight_decay)
            mean[k], square[k] = _moments(g, state.mean[k], state.square_mean[k], betas)
            new[k] = _move(w, mean[k], square[k], step, lr, betas, eps)
        return new, AdamState(step, mean, square)

    def step_(
        self,
        w: Tensor,
        g: Tensor,
        state: AdamState,
        columns: Mapping[str, Any],
        scratch: Sequence[Tensor],
    ) -> AdamState:
        """:meth:`update` in place: six or seven passes, one more with decay."""
        m, v = state.mean[FLAT], state.square_mean[FLAT]
        g = decayed_into(scratch[1], g, w, columns.get("weight_decay", 0.0))
        _moments_(g, m, v, columns.get("betas", (0.9, 0.999)), scratch[0])
        _move_(w, m, v, state.step + 1, columns, scratch[0])
        return AdamState(state.step + 1, state.mean, state.square_mean)


@dataclass(frozen=True, slots=True)
class AdamW:
    r"""Adam with the weight decay taken out of the gradient.

    .. math:: w \leftarrow (1 - \eta\lambda)\,w \quad\text{and then Adam's step.}

    References:
        Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019.
    """

    needs: ClassVar[tuple[str, ...]] = ("grad",)
    kernel: ClassVar[str] = "adamw"
    vectorises: ClassVar[bool] = True
    scratch: ClassVar[int] = 1
    hyperparameters: ClassVar[tuple[Hyperparameter, ...]] = (
        LR,
        _BETAS,
        _EPS,
        Hyperparameter("weight_decay", 1e-2, "shrinks w by the factor 1 - lr times weight_decay"),
    )

    def init(self, params: Params, hyperparameters: Mapping[str, Any] = NOTHING) -> AdamState:
        """Both means start at zero."""
        return AdamState(0, zeros(params), zeros(params))

    def update(
        self,
        oracle: Oracle,
        params: Params,
        state: AdamState,
        *,
        lr: Number,
        betas: Pair = (0.9, 0.999),
        eps: Number = 1e-8,
        weight_decay: Number = 1e-2,
    ) -> tuple[Params, AdamState]:
        """One step."""
        g, step = oracle.grad(params), state.step + 1
        new, mean, square = {}, {}, {}
        for k, w in params.items():
            mean[k], square[k] = _moments(g[k], state.mean[k], state.square_mean[k], betas)
            shrunk = w * cast(1 - lr * weight_decay, w)
            new[k] = _move(shrunk, mean[k], square[k], step, lr, betas, eps)
        return new, AdamState(step, mean, square)

    def step_(
        self,
        w: Tensor,
        g: Tensor,
        state: AdamState,
        columns: Mapping[str, Any],
        scratch: Sequence[Tensor],
    ) -> AdamState:
        """:meth:`update` in place: six or seven passes, one more with decay."""
        m, v = state.mean[FLAT], state.square_mean[FLAT]
        weight_decay = columns.get("weight_decay", 1e-2)
        if not is_zero(weight_decay):
            w.mul_(cast(1 - columns["lr"] * weight_decay, w))
        _moments_(g, m, v, columns.get("betas", (0.9, 0.999)), scratch[0])
        _move_(w, m, v, state.step + 1, columns, scratch[0])
        return AdamState(state.step + 1, state.mean, state.square_mean)


@dataclass(frozen=True, slots=True)
class AMSGrad:
    r"""Adam that divides by the largest mean square seen, so that rates never grow.

    .. math:: \hat v_t = \max(\hat v_{t-1}, v_t) \quad\text{in place of } v_t.

    References:
        Reddi, Kale and Kumar, "On the convergence of Adam and beyond", ICLR 2018.
    """

    needs: ClassVar[tuple[str, ...]] = ("grad",)
    kernel: ClassVar[str] = "amsgrad"
    vectorises: ClassVar[bool] = True
    scratch: ClassVar[int] = 2
    hyperparameters: ClassVar[tuple[Hyperparameter, ...]] = (LR, _BETAS, _EPS, WEIGHT_DECAY)

    def init(self, params: Params, hyperparameters: Mapping[str, Any] = NOTHING) -> AMSGradState:
        """All three start at zero."""
        return AMSGradState(0, zeros(params), zeros(params), zeros(params))

    def update(
        self,
        oracle: Oracle,
        params: Params,
        state: AMSGradState,
        *,
        lr: Number,
        betas: Pair = (0.9, 0.999),
        eps: Number = 1e-8,
        weight_decay: Number = 0.0,
    ) -> tuple[Params, AMSGradState]:
        """One step."""
        gradients, step = oracle.grad(params), state.step + 1
        new, mean, square, largest = {}, {}, {}, {}
        for k, w in params.items():
            g = decayed(gradients[k], w, weight_decay)
            mean[k], square[k] = _moments(g, state.mean[k], state.square_mean[k], betas)
            largest[k] = torch.maximum(state.square_max[k], square[k])
            new[k] = _move(w, mean[k], largest[k], step, lr, betas, eps)
        return new, AMSGradState(step, mean, square, largest)

    def step_(
        self,
        w: Tensor,
        g: Tensor,
        state: AMSGradState,
        columns: Mapping[str, Any],
        scratch: Sequence[Tensor],
    ) -> AMSGradState:
        """:meth:`update` in place: seven or eight passes, one more with decay."""
        m, v, largest = state.mean[FLAT], state.square_mean[FLAT], state.square_max[FLAT]
        g = decayed_into(scratch[1], g, w, columns.get("weight_decay", 0.0))
        _moments_(g, m, v, columns.get("betas", (0.9, 0.999)), scratch[0])
        torch.maximum(largest, v, out=largest)
        _move_(w, m, largest, state.step + 1, columns, scratch[0])
        return AMSGradState(state.step + 1, state.mean, state.square_mean, state.square_max)
