"""Entropy-SGD: descent on the local entropy, which prefers wide valleys to narrow ones."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

GROWTH = 100.0  # weights that grow so much since the start are taken for the known trap
_VARIANTS = ("paper", "code")


class EntropySGD(torch.optim.Optimizer):
    r"""Each outer step follows the local entropy, estimated by ``n_langevin`` inner gradients.

    With :math:`x` the weights at the start of a cycle and :math:`\gamma` its scope, the inner loop
    walks :math:`x'` by stochastic gradient Langevin steps and keeps their running mean:

    .. math:: x' \leftarrow x' - \eta'\,[\nabla f(x') - \gamma (x - x')] + \sqrt{\eta'}\,
            \epsilon\, N(0, I), \qquad \mu \leftarrow (1-\alpha)\mu + \alpha x'

    and the outer step is :math:`x \leftarrow x - \eta (x - \mu)` (``rescale=False``:
    :math:`\eta\gamma (x - \mu)`, the gradient of the local entropy itself). The scope grows by
    :math:`\gamma_t = \gamma_0 (1 + \gamma_1)^t`, once per outer step.

    Two ways to use it, the same numbers:

    * *an ordinary loop*: ``loss.backward(); optimizer.step()``. Every call consumes one gradient;
      each ``n_langevin``-th one ends a cycle. Between these the weights are those of the inner
      walk: evaluate and save inside ``with optimizer.at_centre():``.
    * *with a closure*: ``optimizer.step(closure)`` runs a whole cycle and calls the closure
      ``n_langevin`` times (once more, first, with ``data_weight``); it must draw a new minibatch.

    Epochs are gradients either way: count ``n_langevin`` per outer step.

    Args:
        params: Parameters or parameter groups, as every torch optimiser takes them.
        lr: Outer rate :math:`\eta`, 1 (with ``rescale``): the centre moves to the mean.
        lr_inner: Inner rate :math:`\eta'`; ``lr_inner * scope`` must stay below 2.
        n_langevin: Inner gradients per outer step, 5 to 20.
        scope: :math:`\gamma_0`; 1e-4 (MNIST) to 0.03 (CIFAR-10) in the released code.
        scope_rate: :math:`\gamma_1`.
        noise: Thermal noise :math:`\epsilon`, 1e-4 to 1e-3; sqrt(2) samples the Gibbs density.
        average: Weight :math:`\alpha` of the *new* iterate in the mean, in (0, 1].
        momentum: Of the inner loop, which starts at rest in every cycle.
        outer_momentum: Of the outer steps; ``None`` for the same as ``momentum``. See the warning.
        nesterov: Whether both momenta look ahead.
        weight_decay: Adds ``weight_decay * w`` to inner gradients.
        outer_weight_decay: Adds ``outer_weight_decay * w`` to the outer step.
        rescale: Whether the factor :math:`\gamma` of the outer step is left out.
        data_weight: Adds ``data_weight`` times the loss gradient at the centre to the outer step
            (first version of the paper); closures only.
        variant: ``"paper"``, or ``"code"``: noise :math:`\sqrt{2\eta'}`, as in the release, whose
            mean gives the new iterate 0.25: pass ``average=0.25`` for that.
        seed: Of the noise, a pure function of (seed, step): resuming needs no generator state.

    Raises:
        ValueError: A hyperparameter out of its range.
        RuntimeError: A sparse gradient; ``data_weight`` without a closure; a closure in mid-cycle.

    Warns:
        UserWarning: When the weights' norm has grown 100-fold. The published recipe (rate 1,
            momentum 0.9 in both loops) relies on batch normalisation: without it, or without weight
            decay, weights run away while the loss reads zero. Use ``outer_momentum=0`` there.

    References:
        Chaudhari, Choromanska, Soatto, LeCun et al., "Entropy-SGD: biasing gradient descent into
        wide valleys", ICLR 2017.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float | Tensor = 1.0,
        lr_inner: float = 0.1,
        n_langevin: int = 20,
        scope: float = 1e-4,
        scope_rate: float = 1e-3,
        noise: float = 1e-4,
        average: float = 0.75,
        momentum: float = 0.9,
        outer_momentum: float | None = None,
        nesterov: bool = True,
        weight_decay: float = 0.0,
        outer_weight_decay: float = 0.0,
        rescale: bool = True,
        data_weight: float = 0.0,
        variant: str = "paper",
        seed: int = 0,
    ) -> None:
        if variant not in _VARIANTS:
            raise ValueError(f"variant is {variant!r}; known: {', '.join(_VARIANTS)}")
        _require_whole("n_langevin", n_langevin, 1)
        _require_whole("seed", seed, 0)
        self.n_langevin, self.variant, self.seed = n_langevin, variant, seed
        self._start_norm: float | None = None
        self._warned = False
        defaults = {
            "lr": lr,
            "lr_inner": lr_inner,
            "scope": scope,
            "scope_rate": scope_rate,
            "noise": noise,
            "average": average,
            "momentum": momentum,
            "outer_momentum": outer_momentum,
            "nesterov": nesterov,
            "weight_decay": weight_decay,
            "outer_weight_decay": outer_weight_decay,
            "rescale": rescale,
            "data_weight": data_weight,
            "gradients": 0,  # consumed so far: a plain number, so that it is saved and resumed
        }
        super().__init__(params, defaults)  # pyrefly: ignore

    def __getstate__(self) -> dict[str, Any]:
        kept = ("n_langevin", "variant", "seed", "_start_norm", "_warned")
        return {**super().__getstate__(), **{name: getattr(self, name) for name in kept}}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group after checking its hyperparameters; not within a cycle."""
        group = {**self.defaults, **param_group}
        _check(group)
        if self.param_groups:
            if self.inner:
                raise RuntimeError(
                    f"a parameter group cannot join in mid-cycle: {self.inner} of "
                    f"{self.n_langevin} inner gradients are done"
                )
            param_group = {**param_group, "gradients": self.param_groups[0]["gradients"]}
        super().add_param_group(param_group)
        if any(p.is_complex() for p in self.param_groups[-1]["params"]):
            self.param_groups.pop()
            raise ValueError("EntropySGD takes real parameters, got a complex one")

    @property
    def gradients(self) -> int:
        """Inner gradients consumed so far."""
        return self.param_groups[0]["gradients"]

    @property
    def inner(self) -> int:
        """Inner gradients of the current cycle that are done; 0 between cycles."""
        return self.gradients % self.n_langevin

    @property
    def outer_steps(self) -> int:
        """Cycles completed: what the scope grows with."""
        return self.gradients // self.n_langevin

    def scope(self, group: int = 0) -> float:
        r"""The current scope :math:`\gamma_0 (1+\gamma_1)^t` of a group."""
        g = self.param_groups[group]
        return g["scope"] * (1 + g["scope_rate"]) ** self.outer_steps

    @contextmanager
    def at_centre(self) -> Iterator[None]:
        """The weights at the centre ``x`` for the time of the ``with`` block.

        Between cycles that is where they are; within one, the walk goes on afterwards.
        """
        moved = [(p, self.state[p]["centre"], p.detach().clone()) for p in self._walking()]
        with torch.no_grad():
            for p, centre, _ in moved:
                p.copy_(centre)
        try:
            yield
        finally:
            with torch.no_grad():
                for p, _, walk in moved:
                    p.copy_(walk)

    def _walking(self) -> list[Tensor]:
        if not self.inner:
            return []
        return [p for g in self.param_groups for p in g["params"] if "centre" in self.state[p]]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Consume the gradient at hand, or run one whole cycle over ``closure``.

        Args:
            closure: Zeroes the gradients, evaluates the loss on a *new* minibatch, calls
                ``backward`` and returns the loss.

        Returns:
            What the last call of the closure returned, or ``None``.
        """
        data = any(group["data_weight"] != 0 for group in self.param_groups)
        if closure is None:
            if data:
                raise RuntimeError("data_weight needs the gradient at the centre: pass a closure")
            self._inner()
            return None
        if self.inner:
            raise RuntimeError(
                f"{self.inner} of {self.n_langevin} inner gradients were taken without a closure; "
                "finish the cycle the same way"
            )
        loss = None
        if data:
            loss = self._evaluate(closure)
            for group in self.param_groups:
                for p in group["params"]:
                    if p.grad is not None:
                        self.state[p]["data_gradient"] = p.grad.detach().clone()
        for _ in range(self.n_langevin):
            loss = self._evaluate(closure)
            self._inner()
        return loss

    @staticmethod
    def _evaluate(closure: Callable[[], Any]) -> Any:
        with torch.enable_grad():
            return closure()

    def _inner(self) -> None:
        """One Langevin step of every group, and the outer one when the cycle is complete."""
        first, last = self.inner == 0, self.inner == self.n_langevin - 1
        if first:
            self._watch_norm()
        for index, group in enumerate(self.param_groups):
            if first:
                self._forget(p for p in group["params"] if p.grad is None)
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                self._walk(params, group, self.scope(index), first)
        for index, group in enumerate(self.param_groups):
            if last:
                self._move([p for p in group["params"] if "mean" in self.state[p]], index)
            group["gradients"] += 1

    def _forget(self, params: Iterable[Tensor]) -> None:
        """Parameters without a gradient take no part in the cycle that begins."""
        for p in params:
            for name in ("centre", "mean"):
                self.state[p].pop(name, None)

    def _walk(self, params: list[Tensor], group: dict[str, Any], scope: float, first: bool) -> None:
        if any(p.grad.is_sparse for p in params):  # pyrefly: ignore
            raise RuntimeError(
                "EntropySGD does not support sparse gradients; build the embedding with "
                "sparse=False"
            )
        for p in params:
            state = self.state[p]
            if first or "mean" not in state:
                for name in ("centre", "mean"):
                    state[name] = p.clone() if name not in state else state[name].copy_(p)
                if "inner_velocity" in state:
                    state["inner_velocity"].zero_()
        centre = [self.state[p]["centre"] for p in params]
        # dx' = grad + decay x' - scope (x - x'), in one temporary
        gradients = [p.grad for p in params if p.grad is not None]
        d = torch._foreach_add(gradients, params, alpha=group["weight_decay"] + scope)
        torch._foreach_add_(d, centre, alpha=-scope)
        if group["momentum"] != 0:
            d = self._accelerate(params, d, group["momentum"], group["nesterov"], "inner_velocity")
        rate = group["lr_inner"]
        torch._foreach_add_(params, d, alpha=-rate)
        if group["noise"] != 0:
            spread = math.sqrt((2 if self.variant == "code" else 1) * rate) * group["noise"]
            torch._foreach_add_(params, self._normal(params), alpha=spread)
        torch._foreach_lerp_([self.state[p]["mean"] for p in params], params, group["average"])

    def _accelerate(
        self, params: list[Tensor], d: Any, momentum: float, nesterov: bool, name: str
    ) -> Any:
        """The velocity ``v <- momentum v + d``, or ``d + momentum v`` to look ahead."""
        for p in params:
            if name not in self.state[p]:
                self.state[p][name] = torch.zeros_like(p)
        velocity = [self.state[p][name] for p in params]
        torch._foreach_mul_(velocity, momentum)
        torch._foreach_add_(velocity, d)
        if not nesterov:
            return velocity
        torch._foreach_add_(d, velocity, alpha=momentum)
        return d

    def _normal(self, params: list[Tensor]) -> list[Tensor]:
        """Standard normal numbers, a pure function of seed and step."""
        generators: dict[torch.device, torch.Generator] = {}
        drawn = []
        for p in params:
            if p.device not in generators:
                generators[p.device] = torch.Generator(p.device).manual_seed(
                    (self.seed * 0x9E3779B97F4A7C15 + self.gradients) % 2**63
                )
            drawn.append(torch.empty_like(p).normal_(generator=generators[p.device]))
        return drawn

    def _move(self, params: list[Tensor], index: int) -> None:
        """The outer step from the centre; the weights are at the new centre afterwards."""
        group = self.param_groups[index]
        if not params:
            return
        centre = [self.state[p]["centre"] for p in params]
        d = torch._foreach_sub(centre, [self.state[p]["mean"] for p in params])
        if not group["rescale"]:
            torch._foreach_mul_(d, self.scope(index))
        if group["outer_weight_decay"] != 0:
            torch._foreach_add_(d, centre, alpha=group["outer_weight_decay"])
        if group["data_weight"] != 0:
            data = [self.state[p].pop("data_gradient", torch.zeros_like(p)) for p in params]
            torch._foreach_add_(d, data, alpha=group["data_weight"])
        momentum = group["outer_momentum"]
        momentum = group["momentum"] if momentum is None else momentum
        if momentum != 0:
            d = self._accelerate(params, d, momentum, group["nesterov"], "outer_velocity")
        torch._foreach_copy_(params, centre)
        lr = group["lr"]
        if isinstance(lr, Tensor):
            for p, step in zip(params, d, strict=True):
                p.sub_(step * lr.to(p))
        else:
            torch._foreach_add_(params, d, alpha=-lr)

    def _watch_norm(self) -> None:
        """Warn of runaway weights; looks at them every tenth cycle only, since a look waits."""
        if self._warned or self.outer_steps % 10:
            return
        params = [p for group in self.param_groups for p in group["params"]]
        norms = torch._foreach_norm([p for p in params if p.is_floating_point()])
        norm = math.sqrt(sum(float(n) ** 2 for n in norms))
        if self._start_norm is None:
            self._start_norm = norm
        elif self._start_norm > 0 and norm > GROWTH * self._start_norm:
            self._warned = True
            warnings.warn(
                f"the weights' norm grew from {self._start_norm:.3g} to {norm:.3g}: Entropy-SGD's "
                "published recipe needs batch normalisation or weight decay to hold them. Set "
                "outer_momentum=0, or weight_decay in both loops.",
                stacklevel=4,
            )


def _require_whole(name: str, value: Any, low: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ValueError(f"{name} must be a whole number >= {low}, got {value!r}")


def _check(group: dict[str, Any]) -> None:
    """Ranges of a group's hyperparameters."""
    positive = ("lr_inner",)
    at_least_zero = (
        "lr",
        "scope",
        "scope_rate",
        "noise",
        "weight_decay",
        "outer_weight_decay",
        "data_weight",
    )
    for name in (*positive, *at_least_zero):
        value = group[name]
        if isinstance(value, Tensor):
            if name != "lr" or value.numel() != 1:
                raise ValueError(f"{name} must be a number, got a tensor of {value.numel()}")
            continue
        low_open = name in positive
        if not math.isfinite(value) or value < 0 or (low_open and value == 0):
            raise ValueError(f"{name} must be {'> 0' if low_open else '>= 0'}, got {value!r}")
    for name in ("momentum", "outer_momentum"):
        if group[name] is not None and not 0 <= group[name] < 1:
            raise ValueError(f"{name} must be in [0, 1), got {group[name]!r}")
    if not 0 < group["average"] <= 1:
        raise ValueError(f"average must be in (0, 1], got {group['average']!r}")
    if group["lr_inner"] * group["scope"] >= 2:
        raise ValueError(
            f"lr_inner * scope = {group['lr_inner'] * group['scope']:g} must stay below 2: the "
            "inner walk diverges above"
        )
