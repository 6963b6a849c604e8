"""How an encoder is trained: Adam on the error to exact codes, resumable to the bit."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from thalweg.records import Record

if TYPE_CHECKING:
    from thalweg.sparse.encoders.base import Encoder

Progress = Callable[[int, int, float], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast: see `Encoder.fit`."""

    steps: int
    lr: float
    batch_size: int
    seed: int
    every: int

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "every"):
            value = getattr(self, name)
            if int(value) != value or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise ValueError(f"lr must be positive and finite, got {self.lr!r}")


@dataclass(frozen=True, slots=True)
class Training(Record):
    """The curve of one training: at ``steps[i]``, the mean relative loss since the entry before."""

    steps: tuple[int, ...] = ()
    losses: tuple[float, ...] = ()


def train(
    encoder: Encoder,
    X: Any,
    codes: Any,
    plan: Plan,
    progress: Progress | None = None,
    checkpoint: str | Path | None = None,
) -> Training:
    """Train ``encoder`` in place; see `Encoder.fit` for the arguments."""
    X, codes = _pairs(encoder, X, codes)
    scale = float(codes.double().square().sum(1).mean()) or 1.0  # all codes zero: nothing to scale
    parameters = [p for p in encoder.parameters() if p.requires_grad]
    adam = torch.optim.Adam(parameters, lr=plan.lr, fused=X.device.type in ("cpu", "cuda"))
    keeper = None if checkpoint is None else _Keeper(checkpoint, encoder, adam, plan, X, codes)
    start, steps, losses = keeper.restore() if keeper else (0, [], [])
    batches = Batches(len(X), plan.batch_size, plan.seed, X.device)
    running, since = torch.zeros((), dtype=torch.float64, device=X.device), start
    for step in range(start, plan.steps):
        rows = batches[step]
        for group in adam.param_groups:
            group["lr"] = 0.5 * plan.lr * (1 + math.cos(math.pi * step / plan.steps))
        loss = (encoder(X[rows]) - codes[rows]).square().sum(1).mean() / scale
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        encoder.project_()
        running += loss.detach()
        if (step + 1) % plan.every and step + 1 < plan.steps:
            continue
        mean = float(running) / (step + 1 - since)
        if not math.isfinite(mean):
            raise FloatingPointError(
                f"training diverged before step {step + 1} (loss {mean}); "
                f"lower lr (it is {plan.lr:g}) or check the scale of X"
            )
        steps.append(step + 1)
        losses.append(mean)
        running, since = torch.zeros_like(running), step + 1
        if keeper:
            keeper.save(step + 1, steps, losses)
        if progress:
            progress(step + 1, plan.steps, mean)
    return Training(tuple(steps), tuple(losses))


class Batches:
    """Row indices of step s: a function of (seed, s) alone, reshuffled every epoch."""

    def __init__(self, n: int, batch_size: int, seed: int, device: torch.device) -> None:
        self.n, self.size, self.seed, self.device = n, min(batch_size, n), seed, device
        self.per_epoch = n // self.size
        self._epoch, self._order = -1, torch.empty(0)

    def __getitem__(self, step: int) -> Tensor:
        epoch, position = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            order = np.random.default_rng([self.seed, epoch]).permutation(self.n)
            self._epoch, self._order = epoch, torch.from_numpy(order).to(self.device)
        return self._order[position * self.size : (position + 1) * self.size]


def _pairs(encoder: Encoder, X: Any, codes: Any) -> tuple[Tensor, Tensor]:
    """Signals and their codes as tensors of the encoder's kind, checked."""
    X = encoder.signals(X)
    if len(X) == 0:
        raise ValueError("cannot train an encoder on an empty batch of signals")
    if codes is None:
        from thalweg.sparse import encode

        codes = encode(X, encoder.D, encoder.l1).z
    codes = codes if isinstance(codes, Tensor) else torch.from_numpy(np.array(codes))
    codes = codes.detach().to(X)
    if codes.shape != (len(X), encoder.m):
        raise ValueError(f"codes must have shape {(len(X), encoder.m)}, got {tuple(codes.shape)}")
    if not torch.isfinite(codes).all():
        raise ValueError("the codes to learn from hold NaN or infinity")
    return X, codes


class _Keeper:
    """Writes and reads what a training needs to go on: weights, Adam's moments, the curve."""

    def __init__(
        self,
        directory: str | Path,
        encoder: Encoder,
        adam: torch.optim.Adam,
        plan: Plan,
        X: Tensor,
        codes: Tensor,
    ) -> None:
        from thalweg.rundir.checkpoint import Checkpoints

        self.files = Checkpoints(Path(directory), keep=2)
        self.encoder, self.adam = encoder, adam
        digest = hashlib.sha256()
        for tensor in (X, codes, encoder.D):
            digest.update(np.ascontiguousarray(tensor.cpu().numpy()))
        kind = type(encoder).__name__
        self.identity = {"encoder": kind, "data": digest.hexdigest(), **asdict(plan)}

    def save(self, step: int, steps: list[int], losses: list[float]) -> None:
        tensors = {f"model.{k}": v for k, v in self.encoder.state_dict().items()}
        for i, state in self.adam.state_dict()["state"].items():
            tensors |= {f"adam.{i}.{k}": torch.as_tensor(v) for k, v in state.items()}
        meta = {"identity": self.identity, "step": step, "steps": steps, "losses": losses}
        self.files.save(f"step-{step:09d}", tensors, meta)

    def restore(self) -> tuple[int, list[int], list[float]]:
        names = self.files.names()
        if not names:
            return 0, [], []
        tensors, meta = self.files.load(names[-1])
        changed = [k for k, v in self.identity.items() if meta["identity"].get(k) != v]
        if changed:
            raise ValueError(
                f"the checkpoint in {self.files.directory} belongs to another training "
                f"(different {', '.join(changed)}); give the same arguments or another directory"
            )
        model = {k[6:]: v for k, v in tensors.items() if k.startswith("model.")}
        self.encoder.load_state_dict(model)
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("adam."):
                _, i, name = key.split(".")
                state.setdefault(int(i), {})[name] = value
        groups = self.adam.state_dict()["param_groups"]
        self.adam.load_state_dict({"state": state, "param_groups": groups})
        return int(meta["step"]), list(meta["steps"]), list(meta["losses"])
