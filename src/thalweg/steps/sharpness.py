"""How does the largest curvature move along training? λmax every few steps, each from the last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from thalweg.linalg.lanczos import eigenvalues
from thalweg.linalg.operator import LinearOperator
from thalweg.steps.adaptive import preconditioned

OF = ("hessian", "preconditioned")


class Sharp(NamedTuple):
    """One measurement: the step, λmax, within what it is certain, and the rate in use."""

    step: int
    value: float
    residual: float
    products: int
    lr: float

    @property
    def stability(self) -> float:
        """``lr λmax``: plain descent is stable on the local quadratic below 2.

        Of the preconditioned Hessian it is to be held against ``(2 + 2β₁)/(1 - β₁)`` for Adam.
        """
        return self.lr * self.value


class Sharpness:
    """Measures λmax every few steps, warm-started from the last eigenvector.

    Works as a hook of ``thalweg.train`` and, through :meth:`measure`, in any loop of one's own;
    weights, gradients and random numbers stay as they would have been if ``operator`` sees to that.

    Args:
        operator: ``model -> Hessian`` (p, p) over its trainable parameters in their order, such as
            ``lambda m: hessian(m, loss, data)``.
        every: Steps between measurements, at least 1.
        tol: Relative error wanted.
        seed: Of the first start.
        of: ``"hessian"``, or ``"preconditioned"``: in the coordinates of an optimiser that divides
            by root mean squares (:func:`thalweg.steps.preconditioned`), measured from its first
            step on.

    Raises:
        ValueError: ``every`` below 1 or an unknown ``of``.
    """

    def __init__(
        self,
        operator: Callable[[nn.Module], LinearOperator],
        every: int = 50,
        tol: float = 1e-2,
        seed: int = 0,
        of: str = "hessian",
    ) -> None:
        if of not in OF:
            raise ValueError(f"of is {of!r}; known: {', '.join(OF)}.")
        if isinstance(every, bool) or int(every) != every or every < 1:
            raise ValueError(f"every must be a whole number of at least 1, got {every!r}")
        self._operator, self.every, self._tol, self._seed = operator, every, tol, seed
        self.of = of
        self._last: Tensor | None = None
        self.history: list[Sharp] = []

    def measure(
        self,
        step: int,
        model: nn.Module,
        lr: float = float("nan"),
        optimizer: torch.optim.Optimizer | None = None,
    ) -> Sharp:
        """λmax now; kept in ``history``.

        Args:
            step: Noted with the number.
            model: Where.
            lr: The rate in use.
            optimizer: Whose preconditioner counts; needed for ``of="preconditioned"``.
        """
        op = self._operator(model)
        if self.of == "preconditioned":
            if optimizer is None:
                raise ValueError("of='preconditioned' needs the optimizer whose steps are taken.")
            op = preconditioned(op, optimizer, [p for p in model.parameters() if p.requires_grad])
        fits = self._last is not None and self._last.shape[0] == op.shape[0]
        found = eigenvalues(op, tol=self._tol, seed=self._seed, start=self._last if fits else None)
        self._last = found.vectors[:, 0]
        sharp = Sharp(
            step, float(found.values[0]), float(found.residuals[0]), found.products, float(lr)
        )
        self.history.append(sharp)
        return sharp

    # the methods of a training hook

    def batch(self, training: Any, step: int, batch: Any) -> Any:
        """The batch, as it is; measures before the first step and every ``every`` steps."""
        if step % self.every == 0 and (self.of == "hessian" or step > 0):
            self.measure(step, training.model, training.lr, training.optimizer)
        return batch

    def loss(self, training: Any, model: nn.Module, batch: Any, loss: Tensor) -> Tensor:
        """The loss, as it is."""
        return loss

    def after_step(self, training: Any) -> None:
        """Nothing."""

    def after_look(self, training: Any, numbers: Mapping[str, float]) -> None:
        """Nothing."""
