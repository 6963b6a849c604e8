"""The vmap engine: torch transforms the plain model, seed by seed. For modules without a rule."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from thalweg.race.population.flat import Unsupported
from thalweg.race.population.flock import Flock
from thalweg.race.population.looped import reseed
from thalweg.risk.order import stream


class Vmapped:
    """Gradients by ``vmap(grad)`` over the members of each seed.

    Members of one seed share the batch and, through ``randomness="same"`` under the seed's own
    number, every random draw: as their sequential runs do.

    Args:
        flock: Members; its ``g`` is filled by :meth:`losses`.
        stochastic: Whether the forward pass draws random numbers.
    """

    solo_differs = True  # vmap picks other kernels for other numbers of members

    def __init__(self, flock: Flock, stochastic: bool) -> None:
        self.flock, self.stochastic = flock, stochastic
        self.model = flock.template
        self._refuse()
        loss = self._loss
        self._gradient = vmap(
            grad_and_value(loss, has_aux=True), in_dims=(0, 0, 0, None), randomness="same"
        )
        self._forward = vmap(self._output, in_dims=(0, 0, 0, None, None), randomness="error")
        self.rebind()

    def _refuse(self) -> None:
        for name, module in self.model.named_modules():
            if isinstance(module, nn.RNNBase | nn.RNNCellBase):
                kind = type(module).__name__
                raise Unsupported(f"'{name}' ({kind}) has a recurrent kernel without a vmap rule")

    def rebind(self) -> None:
        """Follow the flock after members were dropped."""
        flock = self.flock
        self._rows = []
        for at in range(len(flock.seeds)):
            rows = [row for row, seed in enumerate(flock.seed_of) if seed == at]
            whole = rows == list(range(rows[0], rows[-1] + 1))
            index = slice(rows[0], rows[-1] + 1) if whole else torch.tensor(rows)
            self._rows.append(index)

    # ------------------------------------------------------------------ training

    def losses(self, step: int) -> Tensor:
        """The loss of every member ``(K,)`` at ``step``; their gradients go to ``flock.g``."""
        flock = self.flock
        losses = flock.w.new_empty(len(flock))
        for seed, rows, batch in zip(flock.seeds, self._rows, flock.batches(step), strict=True):
            if self.stochastic:
                reseed(flock.w.device, stream(seed, "step", step))
            trained, frozen, buffers = self._take(rows)
            with _quiet():
                found, (values, after) = self._gradient(trained, frozen, buffers, batch)
            losses[rows] = values.detach()
            for name, view in flock.gradients.items():
                view[rows] = found[name]
            for name, value in after.items():
                flock.buffers[name][rows] = value.detach()
        return losses

    def _take(self, rows: Any) -> tuple[dict[str, Tensor], ...]:
        flock = self.flock
        every = flock.views, flock.frozen, flock.buffers
        return tuple({name: t[rows] for name, t in tensors.items()} for tensors in every)

    def _loss(
        self,
        trained: dict[str, Tensor],
        frozen: dict[str, Tensor],
        buffers: dict[str, Tensor],
        batch: Any,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of one member and the buffers that it left."""
        buffers = {name: b.clone() for name, b in buffers.items()}  # batch norm writes in place
        task, state = self.flock.risk.task, {**trained, **frozen, **buffers}
        with self.flock.risk.precision():
            if task.forward == "pair":
                output = functional_call(self.model, state, *_arguments(batch[0]))
                loss = task.loss(output, batch[1]).reshape(())
            else:
                loss = task.loss(_Bound(self.model, state), batch).reshape(())
        return loss, buffers

    # ------------------------------------------------------------------ evaluation

    @torch.no_grad()
    def outputs(self, args: Any, kwargs: Mapping[str, Any]) -> Any:
        """Outputs ``(K, n, ...)`` in evaluation mode of one held-out input of n samples."""
        flock = self.flock
        self.model.eval()
        try:
            with _quiet(), self.flock.risk.precision():
                return self._forward(
                    flock.views, flock.frozen, flock.buffers, tuple(args), dict(kwargs)
                )
        finally:
            self.model.train()

    def _output(
        self,
        trained: dict[str, Tensor],
        frozen: dict[str, Tensor],
        buffers: dict[str, Tensor],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        return functional_call(self.model, {**trained, **frozen, **buffers}, args, kwargs)


class _Bound:
    """The model with one member's numbers, for losses ``(model, batch)``."""

    def __init__(self, model: nn.Module, state: dict[str, Tensor]) -> None:
        self._model, self._state = model, state

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return functional_call(self._model, self._state, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        raise Unsupported(f"the loss asks the model for '{name}', not only for its output")


def _arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    if isinstance(inputs, list | tuple):
        return tuple(inputs), {}
    return (inputs,), {}


def _quiet() -> warnings.catch_warnings:
    """Torch warns where vmap falls back to a loop; the probe times that, so nobody need read it."""
    return warnings.catch_warnings(action="ignore", category=UserWarning)
