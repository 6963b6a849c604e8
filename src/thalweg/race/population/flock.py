"""K members of one model in step: weights, gradients, buffers and optimisers as matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.optim.population import Population
from thalweg.race.population.flat import Layout, Unsupported, layout
from thalweg.race.space import Configuration, Member
from thalweg.risk import Risk
from thalweg.risk.order import stream
from thalweg.steps import SCHEDULES


@dataclass(frozen=True, slots=True)
class Family:
    """Neighbouring rows that share an optimiser."""

    rows: slice
    population: Population


def gradient_names(risk: Risk, batch_size: int, seed: int) -> tuple[str, ...]:
    """The parameters that receive a gradient in the first step (torch leaves the others alone)."""
    model = risk.model(seed)
    devices = [risk.device] if risk.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(stream(seed, "step", 0))
        risk.loss(model, risk.feed(seed, batch_size).batch(0)).backward()
    return tuple(n for n, p in model.named_parameters() if p.grad is not None)


class Flock:
    """Members of one batch size as rows, ordered by optimiser and then by seed.

    Args:
        risk: The task on its device.
        members: Training runs.
        labels: The engine's index of each.
        total: Steps of each run.
        names: The trained parameters, see :func:`gradient_names`.

    Attributes:
        members: Configuration and seed of each row.
        labels: The engine's index of each row.
        w: Weights ``(K, P)``.
        g: Gradients ``(K, P)``, to be filled before :meth:`step`.
        views: Each trained parameter ``(K, *shape)`` in ``w``.
        gradients: Likewise in ``g``.
        frozen: Parameters that are not trained, ``(K, *shape)`` or expanded to it.
        buffers: Every buffer ``(K, *shape)``.
        seeds: The distinct seeds, in order of appearance.
        seed_of: For each row the place of its seed in ``seeds``.

    Raises:
        Unsupported: Parameters of several dtypes.
    """

    def __init__(
        self,
        risk: Risk,
        members: Sequence[Member],
        labels: Sequence[int],
        total: int,
        names: Sequence[str],
    ) -> None:
        optimizers = list(dict.fromkeys(m.configuration.optimizer for m in members))
        seeds = list(dict.fromkeys(m.seed for m in members))

        def place(i: int) -> tuple[int, int]:
            m = members[i]
            return optimizers.index(m.configuration.optimizer), seeds.index(m.seed)

        order = sorted(range(len(members)), key=place)
        self.risk, self.total = risk, total
        self.members = tuple(members[i] for i in order)
        self.labels = tuple(labels[i] for i in order)
        self.batch_size = self.members[0].configuration.batch_size
        models = {seed: risk.model(seed) for seed in seeds}
        self.template = models[self.members[0].seed]
        self.layout: Layout = layout(self.template, names)
        self.w = self.layout.zeros(len(order))
        with torch.no_grad():
            self._start(models)
        self._bind()
        self.families = self._make_families()
        self._settings()

    # ------------------------------------------------------------------ building

    def _start(self, models: dict[int, nn.Module]) -> None:
        trained = {slot.name for slot in self.layout.slots}
        rows: dict[int, list[int]] = {}
        for row, member in enumerate(self.members):
            rows.setdefault(member.seed, []).append(row)
        for seed, model in models.items():
            for name, view in self.layout.views(self.w).items():
                view[rows[seed]] = model.get_parameter(name).detach()
        self.frozen = {
            name: self._per_member(models, name, parameter=True)
            for name, _ in self.template.named_parameters()
            if name not in trained
        }
        self.buffers = {
            name: self._per_member(models, name, parameter=False).contiguous()
            for name, _ in self.template.named_buffers()
        }

    def _per_member(self, models: dict[int, nn.Module], name: str, parameter: bool) -> Tensor:
        get = nn.Module.get_parameter if parameter else nn.Module.get_buffer
        if len(models) == 1:
            only = get(self.template, name).detach()
            return only.expand(len(self.members), *only.shape)
        return torch.stack([get(models[m.seed], name).detach() for m in self.members])

    def _make_families(self) -> tuple[Family, ...]:
        found, start = [], 0
        names = [m.configuration.optimizer for m in self.members]
        while start < len(names):
            stop = start
            while stop < len(names) and names[stop] == names[start]:
                stop += 1
            rows = slice(start, stop)
            hyper = [dict(m.configuration.hyperparameters) for m in self.members[rows]]
            found.append(Family(rows, Population(names[start], hyper, self.w[rows])))
            start = stop
        return tuple(found)

    def _bind(self) -> None:
        self.g = torch.zeros_like(self.w)
        self.views, self.gradients = self.layout.views(self.w), self.layout.views(self.g)

    def _settings(self) -> None:
        how = [m.configuration for m in self.members]
        self.seeds = tuple(dict.fromkeys(m.seed for m in self.members))
        self.seed_of = tuple(self.seeds.index(m.seed) for m in self.members)
        device = self.w.device
        self._seed_index = torch.tensor(self.seed_of, device=device)
        clips = [float("inf") if c.clip is None else c.clip for c in how]
        self._clip = None
        if any(c.clip is not None for c in how):
            self._clip = torch.tensor(clips, dtype=torch.float64, device=device)[:, None]
            self._clip = self._clip.to(self.w.dtype)
        self._scheduled = [
            any(c.schedule != "constant" for c in how[family.rows]) for family in self.families
        ]

    # ------------------------------------------------------------------ batches

    def __len__(self) -> int:
        return len(self.members)

    def batches(self, step: int) -> list[Any]:
        """The batch of every seed at ``step``, in the order of ``seeds``."""
        return [self.risk.feed(seed, self.batch_size).batch(step) for seed in self.seeds]

    def spread(self, per_seed: Sequence[Tensor]) -> Tensor:
        """One tensor ``(b, ...)`` a seed to every member's: ``(K, b, ...)``, maybe expanded."""
        if len(per_seed) == 1:
            return per_seed[0].expand(len(self.members), *per_seed[0].shape)
        return torch.stack(list(per_seed)).index_select(0, self._seed_index)

    # ------------------------------------------------------------------ training

    def rates(self, first: int, stop: int) -> list[Tensor | None]:
        """For each family the rates ``(stop - first, k, 1)`` of the coming steps, if they vary."""
        made: list[Tensor | None] = []
        for family, scheduled in zip(self.families, self._scheduled, strict=True):
            if not scheduled:
                made.append(None)
                continue
            how = [m.configuration for m in self.members[family.rows]]
            factors = {c.schedule: SCHEDULES.load(c.schedule) for c in how}
            table = [
                [_rate(c, factors[c.schedule](t, self.total)) for c in how]
                for t in range(first, stop)
            ]
            made.append(torch.tensor(table, dtype=torch.float64, device=self.w.device)[..., None])
        return made

    def step(self, rates: Sequence[Tensor | None]) -> None:
        """Clip and step every member; ``rates`` holds this step's ``(k, 1)`` per family."""
        if self._clip is not None:
            norm = torch.linalg.vector_norm(self.g, dim=1, keepdim=True)
            scale = torch.clamp(self._clip / (norm + 1e-6), max=1.0)
            # an overflown norm must not touch members without clipping: inf / inf is no number
            self.g.mul_(torch.where(torch.isinf(self._clip), 1.0, scale))
        for family, rate in zip(self.families, rates, strict=True):
            family.population.step(self.g[family.rows], rate)

    def finite(self) -> Tensor:
        """Which members have only finite weights, ``(K,)``."""
        return torch.isfinite(self.w).all(1)

    # ------------------------------------------------------------------ who stays, what is kept

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows only (ascending); everything is moved together."""
        index = torch.tensor(rows, device=self.w.device)
        families, at, w = [], 0, self.w[index]
        for family in self.families:
            local = [r - family.rows.start for r in rows if r in _span(family.rows)]
            if local:
                block = slice(at, at + len(local))
                chosen = torch.tensor(local, device=self.w.device)
                families.append(Family(block, family.population.keep(chosen, w[block])))
                at += len(local)
        self.w, self.families = w, tuple(families)
        self.members = tuple(self.members[r] for r in rows)
        self.labels = tuple(self.labels[r] for r in rows)
        self.frozen = {
            name: t[: len(rows)] if t.stride(0) == 0 else t[index]
            for name, t in self.frozen.items()
        }
        self.buffers = {name: t[index] for name, t in self.buffers.items()}
        self._bind()
        self._settings()

    def export(self) -> dict[str, Any]:
        """Weights, buffers and optimiser states, for :func:`thalweg.rundir.checkpoint.pack`."""
        optimizers = []
        for family in self.families:
            tensors, step = family.population.export()
            optimizers.append({"tensors": tensors, "step": step})
        return {"w": self.w, "buffers": dict(self.buffers), "optimizers": optimizers}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`export` gave of the same rows."""
        if state["w"].shape != self.w.shape:
            raise ValueError(
                f"the saved weights are {tuple(state['w'].shape)}, wanted {tuple(self.w.shape)}"
            )
        self.w.copy_(state["w"])
        for name, saved in state["buffers"].items():
            self.buffers[name].copy_(saved)
        for family, saved in zip(self.families, state["optimizers"], strict=True):
            family.population.load(saved["tensors"], saved["step"])

    def module(self, row: int) -> nn.Module:
        """One member as an ordinary module: the same object each time, with this row's numbers."""
        trained = self.views
        with torch.no_grad():
            for name, p in self.template.named_parameters():
                p.copy_(trained[name][row] if name in trained else self.frozen[name][row])
            for name, b in self.template.named_buffers():
                b.copy_(self.buffers[name][row])
        return self.template


def _span(rows: slice) -> range:
    return range(rows.start, rows.stop)


def _rate(how: Configuration, factor: float) -> float:
    return how.lr * factor


__all__ = ["Family", "Flock", "Unsupported", "gradient_names"]
