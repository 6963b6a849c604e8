"""How an encoder is trained: Adam on the error to exact codes, resumable to the bit."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from thalweg.records import Record
from thalweg.sparse.batches import Batches
from thalweg.sparse.resume import Keeper, fingerprint

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
    start, steps, losses = 0, [], []
    keeper = None
    if checkpoint is not None:
        keeper = Keeper(checkpoint, _identity(encoder, plan, X, codes))
        if saved := keeper.restore():
            start, tensors, meta = saved
            steps, losses = list(meta["steps"]), list(meta["losses"])
            _unpack(encoder, adam, tensors)
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
            keeper.save(step + 1, _pack(encoder, adam), {"steps": steps, "losses": losses})
        if progress:
            progress(step + 1, plan.steps, mean)
    return Training(tuple(steps), tuple(losses))


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


def _identity(encoder: Encoder, plan: Plan, X: Tensor, codes: Tensor) -> dict[str, Any]:
    kind, data = type(encoder).__name__, fingerprint(X, codes, encoder.D)
    return {"encoder": kind, "data": data, **asdict(plan)}


def _pack(encoder: Encoder, adam: torch.optim.Adam) -> dict[str, Tensor]:
    """Weights, buffers and Adam's moments by name."""
    tensors = {f"model.{k}": v for k, v in encoder.state_dict().items()}
    for i, state in adam.state_dict()["state"].items():
        tensors |= {f"adam.{i}.{k}": torch.as_tensor(v) for k, v in state.items()}
    return tensors


def _unpack(encoder: Encoder, adam: torch.optim.Adam, tensors: dict[str, Tensor]) -> None:
    model = {k[6:]: v for k, v in tensors.items() if k.startswith("model.")}
    encoder.load_state_dict(model)
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("adam."):
            _, i, name = key.split(".")
            state.setdefault(int(i), {})[name] = value
    adam.load_state_dict({"state": state, "param_groups": adam.state_dict()["param_groups"]})
