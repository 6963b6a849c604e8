"""How does the user's forward pass call its leaf modules? Watched once, at two batch sizes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from thalweg.race.population.flat import Unsupported
from thalweg.risk import Risk, tree
from thalweg.risk.order import stream


@dataclass
class Calls:
    """What was seen.

    Attributes:
        axes: Per leaf and call the axis of its first argument that carries samples; the shape
            where it carries none.
        orders: Likewise that argument's axes by falling stride: masks are drawn in memory order.
        noise: Whether the user's own code (not a module) drew dropout masks.
    """

    axes: dict[str, list[int | torch.Size]] = field(default_factory=dict)
    orders: dict[str, list[tuple[int, ...]]] = field(default_factory=dict)
    noise: bool = False


def watch(risk: Risk, seed: int, batch_size: int, leaves: Iterable[str]) -> Calls:
    """Run the plain model at two batch sizes and compare the shapes that its leaves see.

    Raises:
        Unsupported: The model cannot be run at another batch size, or a leaf's input changes with
            it in more than one axis.
    """
    batch = risk.feed(seed, batch_size).batch(0)
    size = tree.count(batch[1] if risk.task.forward == "pair" else batch)
    other = size - 1 if size > 2 else size + 1
    names = list(leaves)
    resized = tree.tree_map(lambda t: _resized(t, size, other), batch)
    (shapes, orders, noise), (changed, *_) = (
        _shapes(risk, seed, each, names) for each in (batch, resized)
    )
    calls = Calls(orders=orders, noise=noise)
    for name in names:
        if len(shapes[name]) != len(changed[name]):
            raise Unsupported(f"'{name}' is called more or less often in smaller batches")
        pairs = zip(shapes[name], changed[name], strict=True)
        calls.axes[name] = [_axis(name, a, b, size, other) for a, b in pairs]
    return calls


def _resized(t: Tensor, size: int, other: int) -> Tensor:
    if t.dim() == 0 or t.shape[0] != size:
        return t
    return t[:other] if other < size else torch.cat([t, t[:1]])


def _axis(name: str, a: torch.Size, b: torch.Size, size: int, other: int) -> int | torch.Size:
    if len(a) != len(b):
        raise Unsupported(f"the input of '{name}' has another rank in smaller batches")
    differ = [i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y]
    if not differ:
        return a
    if len(differ) > 1 or a[differ[0]] * other != b[differ[0]] * size:
        raise Unsupported(f"the input of '{name}' has no single axis of samples")
    return differ[0]


def _shapes(
    risk: Risk, seed: int, batch: Any, names: list[str]
) -> tuple[dict[str, list[torch.Size]], dict[str, list[tuple[int, ...]]], bool]:
    model = risk.model(seed)
    seen: dict[str, list[torch.Size]] = {name: [] for name in names}
    orders: dict[str, list[tuple[int, ...]]] = {name: [] for name in names}
    inside = [0]
    handles = []
    modules = dict(model.named_modules())

    def before(name: str) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            first = args[0] if args else next(iter(kwargs.values()), None)
            if not isinstance(first, Tensor):
                raise Unsupported(f"'{name}' is called without a tensor")
            seen[name].append(first.shape)
            strides = first.stride()
            orders[name].append(tuple(sorted(range(first.dim()), key=lambda i: -strides[i])))
            inside[0] += 1

        return hook

    def after(module: nn.Module, args: Any, output: Any) -> None:
        inside[0] -= 1

    for name in names:
        handles.append(modules[name].register_forward_pre_hook(before(name), with_kwargs=True))
        handles.append(modules[name].register_forward_hook(after))
    watcher = _Watcher(inside)
    devices = [risk.device] if risk.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices), torch.no_grad(), watcher:
            torch.manual_seed(stream(seed, "step", 0))
            if risk.task.forward == "pair":
                risk.forward(model, batch)
            else:
                risk.loss(model, batch)
    except Unsupported:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise Unsupported(f"the model cannot run at another batch size: {reason}") from error
    finally:
        for handle in handles:
            handle.remove()
    return seen, orders, watcher.noise


class _Watcher(TorchFunctionMode):
    """Notes dropout that the user's own code draws."""

    def __init__(self, inside: list[int]) -> None:
        super().__init__()
        self.noise, self._inside = False, inside

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not self._inside[0] and _draws(func, args, kwargs):
            self.noise = True
        return func(*args, **kwargs)


def _draws(func: Any, args: Any, kwargs: Any) -> bool:
    if func is F.scaled_dot_product_attention:
        return bool(kwargs.get("dropout_p", args[4] if len(args) > 4 else 0.0))
    return func in (F.dropout, torch.dropout)
