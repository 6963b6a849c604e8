"""What does one step of an optimiser do to the weights? Gradients before it, updates after it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from thalweg.watching.ledger import Ledger
from thalweg.watching.plan import Group, Plan, Row, local


class Reader:
    """Reads one optimiser at one step.

    Args:
        optimizer: Asked for the scale of its gradients.
        plan: Says which weights.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, plan: Plan) -> None:
        self.optimizer, self.groups = optimizer, plan.groups
        self.unreached: list[str] = []
        self._before: list[Tensor] = []  # entries of the weights, group by group
        self._gradients: list[Tensor] = []  # entries of the gradients, zeros where there is none

    @torch.no_grad()
    def weights(self) -> None:
        """Keep entries of the weights as they are before the step."""
        self._before = [_entries(g, [row.tensor for row in g.rows]) for g in self.groups]

    @torch.no_grad()
    def gradients(self, ledger: Ledger | None) -> None:
        """Keep entries of the gradients; with a ledger, also every norm in full."""
        scale = _scale(self.optimizer)
        self._gradients = []
        for group in self.groups:
            found = [row.tensor.grad for row in group.rows]
            kept = _entries(group, found)
            self._gradients.append(kept if scale is None else kept / scale.to(kept.device))
            if ledger is None:
                continue
            whole, named = [], []
            for row, gradient in zip(group.rows, found, strict=True):
                if gradient is None:
                    self.unreached.append(row.name)
                    continue
                full = local(gradient)
                whole.append(full.coalesce().values() if full.is_sparse else full)
                named.append(row.name)
            if whole:
                for name, norm in zip(named, _norms(whole), strict=True):
                    ledger.note(("gradient", name), norm if scale is None else norm / scale)

    @torch.no_grad()
    def updates(self, ledger: Ledger) -> None:
        """Note, after the step, how far each weight tensor went relative to its size."""
        for place, (group, before) in enumerate(zip(self.groups, self._before, strict=False)):
            after = _entries(group, [row.tensor for row in group.rows])
            moved = after - before
            steps = torch._foreach_norm(moved.split(group.sizes))
            sizes = torch._foreach_norm(before.split(group.sizes))
            ratios = torch._foreach_div(steps, sizes)
            for row, ratio in zip(group.rows, ratios, strict=True):
                if row.tensor.dim() > 1:
                    ledger.note(("ratio", row.name), ratio)
            ledger.note(("weights", place), torch.isfinite(after).all())
            if self._gradients:
                asked = self._gradients[place] != 0
                ledger.note(("asked", place), asked.sum())
                ledger.note(("lost", place), asked.logical_and_(moved == 0).sum())
        self._before = []  # the gradient stays for :meth:`compare`

    @torch.no_grad()
    def compare(self, later: Reader, ledger: Ledger) -> None:
        """Note the inner product of two gradients, one step apart, and their squares."""
        if self.groups is not later.groups:  # weights were added or taken away
            return
        both = zip(self.groups, self._gradients, later._gradients, strict=False)
        for place, (group, one, two) in enumerate(both):
            weight = group.weight(one)
            g, h = one * weight, two * weight
            ledger.note(("dot", place), g @ h)
            ledger.note(("square", place), (g @ g + h @ h) / 2)


def _entries(group: Group, tensors: list[Any]) -> Tensor:
    """Entries of one tensor for each row, copied; zeros where there is none."""
    parts = [row.entries_of(tensor) if tensor is not None else _nothing(row)
             for row, tensor in zip(group.rows, tensors, strict=True)]  # fmt: skip
    return torch.cat(parts)


def _nothing(row: Row) -> Tensor:
    return torch.zeros(row.entries, device=row.tensor.device)


def _norms(tensors: list[Tensor]) -> list[Tensor]:
    """Norms in float32; complex tensors and mixed precisions one by one."""
    if all(t.dtype == torch.float32 for t in tensors):
        return list(torch._foreach_norm(tensors))
    return [torch.linalg.vector_norm(t, dtype=None if t.is_complex() or t.dtype == torch.float64
                                     else torch.float32) for t in tensors]  # fmt: skip


def _scale(optimizer: Any) -> Tensor | None:
    """The loss scale, where a fused optimiser is handed scaled gradients by a GradScaler."""
    scale = getattr(optimizer, "grad_scale", None)
    if isinstance(scale, Tensor):
        return scale
    inner = getattr(scale, "_scale", None)
    return inner if isinstance(inner, Tensor) else None
