"""What does one step of an optimiser do to the weights? Gradients before it, updates after it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.watching.ledger import Ledger
from thalweg.watching.probe import local

ENTRIES = 2048  # of each weight tensor: a root mean square is then known to about 2 %


@dataclass
class Row:
    """One trainable tensor of the optimiser."""

    name: str
    tensor: Tensor
    stride: int
    entries: int

    def entries_of(self, tensor: Tensor) -> Tensor:
        """The same entries of any tensor of this shape, in float32 or wider."""
        flat = local(tensor.detach())
        if flat.is_sparse:
            flat = flat.to_dense()
        if flat.is_complex():
            flat = torch.view_as_real(flat)
        picked = flat.reshape(-1)[:: self.stride][: self.entries]
        return picked if picked.dtype == torch.float64 else picked.float()


@dataclass
class Group:
    """Rows on one device in one precision, so that they are read by few kernels."""

    rows: list[Row] = field(default_factory=list)
    before: Tensor | None = None
    gradient: Tensor | None = None  # entries, zeros where there is none

    @property
    def sizes(self) -> list[int]:
        """Entries of each row."""
        return [row.entries for row in self.rows]


class Reader:
    """Reads one optimiser at one step.

    Args:
        optimizer: Its groups are read anew each time: weights may be added later.
        names: Names by weight tensor; others get a number.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, names: dict[Tensor, str]) -> None:
        self.optimizer = optimizer
        self.groups: list[Group] = []
        self.unreached: list[str] = []
        self.reached: list[str] = []
        kinds: dict[Any, Group] = {}
        count = 0
        for group in optimizer.param_groups:
            for tensor in group["params"]:
                count += 1
                if not tensor.requires_grad or isinstance(tensor, nn.UninitializedParameter):
                    continue
                numel = local(tensor.detach()).numel() * (2 if tensor.is_complex() else 1)
                entries = min(numel, ENTRIES)
                stride = max(1, numel // max(1, entries))
                name = names.get(tensor, f"parameter {count - 1}")
                kind = (tensor.device, tensor.dtype == torch.float64)
                made = kinds.setdefault(kind, Group())
                if entries:
                    made.rows.append(Row(name, tensor, stride, entries))
        self.groups = [g for g in kinds.values() if g.rows]

    def rows(self) -> list[Row]:
        """All rows."""
        return [row for group in self.groups for row in group.rows]

    @torch.no_grad()
    def weights(self) -> None:
        """Keep entries of the weights as they are before the step."""
        for group in self.groups:
            group.before = torch.cat([row.entries_of(row.tensor) for row in group.rows])

    @torch.no_grad()
    def gradients(self, ledger: Ledger | None) -> None:
        """Keep entries of the gradients; with a ledger, also every norm in full."""
        scale = _scale(self.optimizer)
        for group in self.groups:
            parts, whole, named = [], [], []
            for row in group.rows:
                gradient = row.tensor.grad
                if gradient is None:
                    parts.append(torch.zeros(row.entries, device=row.tensor.device))
                    if ledger is not None:
                        self.unreached.append(row.name)
                    continue
                parts.append(row.entries_of(gradient))
                full = local(gradient.detach())
                whole.append(full.coalesce().values() if full.is_sparse else full)
                named.append(row.name)
            group.gradient = torch.cat(parts)
            if scale is not None:
                group.gradient = group.gradient / scale.to(group.gradient.device)
            if ledger is None or not whole:
                continue
            self.reached += named
            for name, norm in zip(named, _norms(whole), strict=True):
                ledger.note(("gradient", name), norm if scale is None else norm / scale)

    @torch.no_grad()
    def updates(self, ledger: Ledger) -> None:
        """Note, after the step, how far each weight tensor went relative to its size."""
        for group in self.groups:
            if group.before is None:
                continue
            after = torch.cat([row.entries_of(row.tensor) for row in group.rows])
            moved = after - group.before
            steps = torch._foreach_norm(list(moved.split(group.sizes)))
            sizes = torch._foreach_norm(list(group.before.split(group.sizes)))
            for row, step, size in zip(group.rows, steps, sizes, strict=True):
                if row.tensor.dim() > 1:
                    ledger.note(("ratio", row.name), step / size)
            ledger.note(("weights", id(group)), torch.isfinite(after).all())
            if group.gradient is not None:
                asked = group.gradient != 0
                ledger.note(("asked", id(group)), asked.sum())
                ledger.note(("lost", id(group)), (asked & (moved == 0)).sum())

    def drop(self) -> None:
        """Let go of the weights; the gradient stays for :meth:`compare`."""
        for group in self.groups:
            group.before = None

    @torch.no_grad()
    def compare(self, later: Reader, ledger: Ledger) -> None:
        """Note the inner product of two gradients, one step apart, and their squares."""
        for place, (one, two) in enumerate(zip(self.groups, later.groups, strict=False)):
            if one.gradient is None or two.gradient is None or one.sizes != two.sizes:
                continue
            share = [math.sqrt(r.tensor.numel() / r.entries) for r in one.rows]
            weight = torch.repeat_interleave(
                torch.tensor(share, device=one.gradient.device),
                torch.tensor(one.sizes, device=one.gradient.device),
            )
            g, h = one.gradient * weight, two.gradient * weight
            ledger.note(("dot", place), g @ h)
            ledger.note(("square", place), (g @ g + h @ h) / 2)


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
