"""Any rule as a ``torch.optim.Optimizer``, so that it drops into an existing training loop.

Hyperparameters live in ``param_groups`` and are read again at every step, so every scheduler of
torch acts on them; tensors live in ``state[p]`` under the names of the rule's state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor

from thalweg.optim.rule import FLAT, Given, Hyperparameter, Rule, require_order


def check_hyperparameter(entry: Hyperparameter, value: Any) -> Any:
    """The value as plain numbers; 0-d tensors pass as they are (reading one would wait for it)."""
    if isinstance(value, Tensor):
        if value.numel() != 1:
            raise ValueError(f"{entry.name} must hold one number, got shape {tuple(value.shape)}")
        return value
    return entry.check(value)


class Shell(torch.optim.Optimizer):
    """Runs a rule on the gradients that ``backward`` left in ``p.grad``.

    Args:
        params: Parameters or parameter groups; a group may override any hyperparameter.
        rule: What to run; it may ask for gradients only.
        in_place: Use the rule's ``step_`` on each parameter (fewer passes over memory). ``False``
            runs the pure ``update``: the same numbers, slower.
        hyperparameters: The rule's, by name; missing ones take the rule's defaults.

    Raises:
        ValueError: an unknown hyperparameter, one out of range, or a complex parameter.
        TypeError: the rule needs more than gradients.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        rule: Rule,
        *,
        in_place: bool = True,
        **hyperparameters: Any,
    ) -> None:
        if rule.needs != ("grad",):
            raise TypeError(
                f"{type(rule).__name__} asks its oracle for {', '.join(rule.needs)}; "
                "a Shell answers grad only"
            )
        known = {entry.name: entry for entry in rule.hyperparameters}
        if unknown := sorted(set(hyperparameters) - set(known)):
            raise ValueError(
                f"{type(rule).__name__} has no hyperparameter '{unknown[0]}'. "
                f"Known: {', '.join(known)}."
            )
        self.rule = rule
        self.in_place = in_place
        defaults = {name: hyperparameters.get(name, entry.default) for name, entry in known.items()}
        super().__init__(params, defaults)  # pyrefly: ignore

    def __getstate__(self) -> dict[str, Any]:
        # torch's own keeps defaults, state and param_groups only: a deep copy would lose the rule
        return {**super().__getstate__(), "rule": self.rule, "in_place": self.in_place}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group after checking its hyperparameters and parameters."""
        group = {**self.defaults, **param_group}
        for entry in self.rule.hyperparameters:
            check_hyperparameter(entry, group[entry.name])
        require_order(group)
        super().add_param_group(param_group)
        if any(p.is_complex() for p in self.param_groups[-1]["params"]):
            self.param_groups.pop()
            raise ValueError(f"{type(self).__name__} takes real parameters, got a complex one")

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], Any]) -> Any: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step.

        Args:
            closure: Evaluates the loss and its gradients again; called once, gradients enabled.

        Returns:
            What the closure returned, or ``None``.

        Raises:
            RuntimeError: a sparse gradient.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            columns = {entry.name: group[entry.name] for entry in self.rule.hyperparameters}
            fixed = not any(isinstance(value, Tensor) for value in columns.values())
            for p in group["params"]:
                if p.grad is not None:
                    values = columns if fixed else _at(columns, p.device)
                    self._step(p, p.grad, values)
        return loss

    def _step(self, p: Tensor, g: Tensor, columns: dict[str, Any]) -> None:
        if g.is_sparse:
            raise RuntimeError(
                f"{type(self).__name__} does not support sparse gradients; "
                "build the embedding with sparse=False"
            )
        store = self.state[p]
        if not store:
            self._start(p, store, columns)
        kind = type(self.rule.init({}))
        fields = ({FLAT: store[name]} if name in store else {} for name in kind._fields[1:])
        state = kind(store["step"], *fields)
        if self.in_place:
            scratch = [torch.empty_like(p) for _ in range(self.rule.scratch)]
            state = self.rule.step_(p, g, state, columns, scratch)
        else:
            params, state = self.rule.update(Given({FLAT: g}), {FLAT: p}, state, **columns)
            p.copy_(params[FLAT])
        self._keep(store, state)

    def _start(self, p: Tensor, store: dict[str, Any], columns: dict[str, Any]) -> None:
        state = self.rule.init({FLAT: p}, columns)
        # a tensor counter, so that a compiled step is not compiled again for every count
        dtype = torch.float64 if p.dtype == torch.float64 else torch.float32
        self._keep(store, state._replace(step=torch.zeros((), dtype=dtype, device=p.device)))

    @staticmethod
    def _keep(store: dict[str, Any], state: Any) -> None:
        for name, value in zip(state._fields, state, strict=True):
            if name == "step":
                store[name] = value
            elif FLAT in value:
                store[name] = value[FLAT]


def _at(columns: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Tensors among the hyperparameters on the parameter's device; numbers as they are."""
    return {k: v.to(device) if isinstance(v, Tensor) else v for k, v in columns.items()}
