"""Nonlinear conjugate gradients as a torch optimiser with a closure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from thalweg.steps.linesearch import Probe, strong_wolfe

BETAS = ("polak-ribiere", "fletcher-reeves")


class NonlinearCG(torch.optim.Optimizer):
    r"""Each step searches along :math:`d_k = -g_k + \beta_k d_{k-1}` for a strong Wolfe point.

    .. math:: \beta^{PR+}_k = \max\Big(0, \frac{g_k^\top(g_k - g_{k-1})}{g_{k-1}^\top g_{k-1}}\Big),
        \qquad \beta^{FR}_k = \frac{g_k^\top g_k}{g_{k-1}^\top g_{k-1}}

    For deterministic losses (full batches, no dropout): the line search and the directions compare
    values and gradients of one function. On a quadratic of n unknowns an exact search ends after n
    steps. All parameters form one group, as with ``torch.optim.LBFGS``.

    Args:
        params: Parameters (one group).
        lr: Length of the very first trial step over ``max(1, |g|_1)``; later ones are guessed from
            the step before. The search corrects it either way.
        beta: ``"polak-ribiere"`` or ``"fletcher-reeves"``.
        c1: Sufficient decrease, in (0, c2).
        c2: Slope condition, in (c1, 1); 0.1 as is usual here. Close to ``c1`` the search is nearly
            exact, at the price of evaluations.
        restart: Steps after which the direction is the gradient again; ``None`` for the number of
            unknowns.
        max_evaluations: Closure calls per search.
        tolerance_grad: A step does nothing where no entry of the gradient exceeds it.
        check: Call the closure twice at the start and refuse one that gives different values.

    Raises:
        ValueError: A value out of range, more than one group, or a closure that is not
            deterministic.

    >>> w = torch.nn.Parameter(torch.tensor([3.0, -2.0], dtype=torch.float64))
    >>> optimizer = NonlinearCG([w])
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = (w[0] - 1) ** 2 + 5 * w[1] ** 2
    ...     loss.backward()
    ...     return loss
    >>> for _ in range(12):
    ...     loss = optimizer.step(closure)
    >>> [round(x, 5) + 0.0 for x in w.tolist()]
    [1.0, 0.0]

    References:
        Nocedal and Wright, "Numerical Optimization", 2006, section 5.2.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1.0,
        beta: str = "polak-ribiere",
        c1: float = 1e-4,
        c2: float = 0.1,
        restart: int | None = None,
        max_evaluations: int = 25,
        tolerance_grad: float = 0.0,
        check: bool = True,
    ) -> None:
        if not (math.isfinite(lr) and lr > 0):
            raise ValueError(f"lr must be > 0, got {lr!r}")
        if beta not in BETAS:
            raise ValueError(f"beta is {beta!r}; known: {', '.join(BETAS)}")
        if not 0 < c1 < c2 < 1:
            raise ValueError(f"wanted 0 < c1 < c2 < 1, got c1={c1!r}, c2={c2!r}")
        if restart is not None and restart < 1:
            raise ValueError(f"restart must be at least 1 or None, got {restart!r}")
        if max_evaluations < 1 or not tolerance_grad >= 0:
            raise ValueError(
                f"wanted max_evaluations >= 1 and tolerance_grad >= 0, got {max_evaluations!r}, "
                f"{tolerance_grad!r}"
            )
        defaults = {
            "lr": lr,
            "beta": beta,
            "c1": c1,
            "c2": c2,
            "restart": restart,
            "max_evaluations": max_evaluations,
            "tolerance_grad": tolerance_grad,
            "check": check,
        }
        super().__init__(params, defaults)  # pyrefly: ignore
        if len(self.param_groups) != 1:
            raise ValueError("NonlinearCG takes all parameters in one group")

    @property
    def evaluations(self) -> int:
        """Closure calls so far."""
        return self._kept().get("evaluations", 0)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any]) -> Any:  # pyrefly: ignore
        """One direction, one search.

        Args:
            closure: Zeroes the gradients, evaluates the loss and calls ``backward``; the same
                function every time.

        Returns:
            The loss before the step, as the closure returned it.

        Raises:
            ValueError: The closure is not deterministic.
        """
        group, kept = self.param_groups[0], self._kept()
        loss, value, g = self._gradient(closure, group["check"])
        if not math.isfinite(value) or float(g.abs().max()) <= group["tolerance_grad"]:
            return loss
        d, slope, steepest = self._direction(g, kept, group)
        where = self._flat()
        for _ in range(2):
            start = Probe(0.0, value, slope)
            found = strong_wolfe(
                lambda t, d=d: self._probe(closure, where, d, t),
                start,
                self._first(kept, slope, g, group["lr"], steepest),
                group["c1"],
                group["c2"],
                group["max_evaluations"],
            )
            if found.probe.step > 0 or steepest:
                break
            d, slope, steepest = -g, -float(g.dot(g)), True  # conjugacy is spent: start again
        self._take(where, d, found.probe, kept, g, slope, loss)
        return loss

    def _gradient(self, closure: Callable[[], Any], check: bool) -> tuple[Any, float, Tensor]:
        """Loss and gradient where the weights are, from the last search where that ended here."""
        kept = self._kept()
        if "weights" in kept and torch.equal(kept["weights"], self._flat()):
            return kept["loss"], float(kept["loss"]), kept["here"]
        loss, value, g = self._evaluate(closure)
        if check and self.evaluations == 1:
            _, again, g2 = self._evaluate(closure)
            same = value == again or (value != value and again != again)
            if not same or not torch.equal(g.nan_to_num(), g2.nan_to_num()):
                raise ValueError(
                    f"the closure gave {value!r} and then {again!r} at the same weights: "
                    "NonlinearCG needs a deterministic loss. Use the full batch, evaluation mode "
                    "for dropout, or check=False for differences of rounding"
                )
        return loss, value, g

    def _direction(
        self, g: Tensor, kept: dict[str, Any], group: dict[str, Any]
    ) -> tuple[Tensor, float, bool]:
        """The next direction, its slope, and whether it is the steepest one."""
        square = float(g.dot(g))
        age, limit = kept.get("age", 0), group["restart"] or g.numel()
        if "direction" in kept and 0 < age < limit:
            old, down = kept["gradient"], kept["square"]
            if group["beta"] == "fletcher-reeves":
                beta = square / down
            else:
                beta = max(0.0, (square - float(g.dot(old))) / down)
            d = torch.add(-g, kept["direction"], alpha=beta)
            slope = float(g.dot(d))
            if slope < 0 and math.isfinite(slope):
                return d, slope, beta == 0.0
        kept["age"] = 0
        return -g, -square, True

    @staticmethod
    def _first(kept: dict[str, Any], slope: float, g: Tensor, lr: float, steepest: bool) -> float:
        """The first trial: as much first-order decrease as the step before brought."""
        if "decrease" in kept and not (steepest and kept["age"] == 0 and kept["step"] == 0):
            guess = kept["decrease"] / slope
            if math.isfinite(guess) and guess > 0:
                return guess
        return lr / max(1.0, float(g.abs().sum()))

    def _probe(self, closure: Callable[[], Any], where: Tensor, d: Tensor, t: float) -> Probe:
        self._put(torch.add(where, d, alpha=t))
        loss, value, g = self._evaluate(closure)
        return Probe(t, value, float(g.dot(d)), (loss, g))

    def _take(
        self,
        where: Tensor,
        d: Tensor,
        probe: Probe,
        kept: dict[str, Any],
        g: Tensor,
        slope: float,
        loss: Any,
    ) -> None:
        """Move, and keep what the next direction needs."""
        self._put(torch.add(where, d, alpha=probe.step) if probe.step > 0 else where)
        arrived, gradient = probe.extra if probe.step > 0 else (loss, g)
        arrived = arrived.detach() if isinstance(arrived, Tensor) else arrived
        kept["weights"], kept["loss"], kept["here"] = self._flat(), arrived, gradient
        kept["direction"], kept["gradient"], kept["square"] = d, g, float(g.dot(g))
        kept["age"] = kept.get("age", 0) + 1 if probe.step > 0 else 0
        kept["step"], kept["decrease"] = probe.step, probe.step * slope

    def _evaluate(self, closure: Callable[[], Any]) -> tuple[Any, float, Tensor]:
        with torch.enable_grad():
            loss = closure()
        kept = self._kept()
        kept["evaluations"] = kept.get("evaluations", 0) + 1
        parts = [
            (torch.zeros_like(p) if p.grad is None else p.grad).detach().reshape(-1)
            for p in self._params
        ]
        value = float(loss.detach() if isinstance(loss, Tensor) else loss)
        return loss, value, torch.cat(parts)

    @property
    def _params(self) -> list[Tensor]:
        return self.param_groups[0]["params"]

    def _kept(self) -> dict[str, Any]:
        return self.state[self._params[0]]

    def _flat(self) -> Tensor:
        return torch.cat([p.detach().reshape(-1) for p in self._params])

    def _put(self, flat: Tensor) -> None:
        for p, part in zip(
            self._params, flat.split([p.numel() for p in self._params]), strict=True
        ):
            p.copy_(part.view_as(p))
