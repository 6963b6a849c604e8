"""What the benchmarks of curvature products and eigenvalues have in common: problems and peers.

Three problems, one thread, float32: the lectures' LeNet without dropout on 2,000 images, a
character transformer of 137 thousand weights on 16 windows of 64 codes, a residual network of 20
layers on 64 colour images with stored batch statistics. Images and codes are random: products cost
the same on any.

Every peer's operator is a function of a list of batches; which batch size suits it best is tried.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vjp
from torch.nn.attention import SDPBackend, sdpa_kernel

from thalweg.models import CharTransformer, LeNetD1

Batches = list[tuple[Tensor, Tensor]]
Times = Callable[[Tensor], Tensor]


class Residual(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.two = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.norm_one, self.norm_two = nn.BatchNorm2d(after), nn.BatchNorm2d(after)
        self.stride, self.extra = stride, after - before

    def forward(self, x: Tensor) -> Tensor:
        """``(b, before, h, w)`` to ``(b, after, h / stride, w / stride)``."""
        y = self.norm_two(self.two(F.relu(self.norm_one(self.one(x)))))
        short = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))
        return F.relu(y + short)


def resnet20() -> nn.Module:
    """He et al. 2016, section 4.2, n = 3."""
    parts: list[nn.Module] = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    width = 16
    for wide in (16, 32, 64):
        for place in range(3):
            parts.append(Residual(width, wide, 2 if place == 0 and wide > 16 else 1))
            width = wide
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


@dataclass(frozen=True)
class Case:
    """A model with data, and the sizes of chunks worth trying."""

    name: str
    model: nn.Module
    data: tuple[Tensor, Tensor]
    sizes: tuple[int, ...]

    def batches(self, size: int) -> Batches:
        """The data in chunks."""
        x, y = self.data
        return list(zip(x.split(size), y.split(size), strict=True))

    @property
    def weights(self) -> list[nn.Parameter]:
        """What is differentiated."""
        return list(self.model.parameters())

    @property
    def p(self) -> int:
        """How many numbers these are."""
        return sum(w.numel() for w in self.weights)


def loss(output: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy over classes, at every place where there are many."""
    return F.cross_entropy(output.flatten(0, -2), target.flatten())


def case(name: str, samples: int | None = None, seed: int = 0) -> Case:
    """``lenet``, ``transformer`` or ``resnet``, on the first ``samples``."""
    g = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name == "lenet":
            model: nn.Module = LeNetD1(p_drop=0.0)
            x = torch.randn(2000, 1, 32, 32, generator=g)
            y, sizes = torch.randint(0, 10, (2000,), generator=g), (250, 125)
        elif name == "transformer":
            model = CharTransformer(256)
            x, y = torch.randint(0, 256, (2, 16, 64), generator=g)
            sizes = (16, 8)
        elif name == "resnet":
            model = resnet20()
            x = torch.randn(64, 3, 32, 32, generator=g)
            y, sizes = torch.randint(0, 10, (64,), generator=g), (64, 16)
        else:
            raise ValueError(f"no case is called {name!r}; known: lenet, transformer, resnet.")
    x, y = x[:samples], y[:samples]
    fitting = tuple(dict.fromkeys(min(size, len(x)) for size in sizes))
    return Case(name, model.eval(), (x, y), fitting)


# ---------------------------------------------------------------- what is multiplied, and how


def gradient(case: Case, batches: Batches) -> Tensor:
    """The yardstick: one gradient of the mean loss."""
    total = torch.zeros(case.p, dtype=case.weights[0].dtype)
    for x, y in batches:
        found = torch.autograd.grad(loss(case.model(x), y), case.weights)
        total += torch.cat([t.reshape(-1) for t in found]) * (len(x) / len(case.data[0]))
    return total


def _cut(case: Case, v: Tensor) -> list[Tensor]:
    parts = v.split([w.numel() for w in case.weights])
    return [part.view_as(w) for part, w in zip(parts, case.weights, strict=True)]


def _sum(case: Case, batches: Batches, one: Callable[[Tensor, Tensor, list[Tensor]], Any]) -> Times:
    def times(v: Tensor) -> Tensor:
        total = torch.zeros(case.p, dtype=case.weights[0].dtype)
        parts = _cut(case, v)
        for x, y in batches:
            found = one(x, y, parts)
            total += torch.cat([t.reshape(-1) for t in found]).detach() * (
                len(x) / len(case.data[0])
            )
        return total

    return times


def twice_backward(case: Case, batches: Batches) -> Times:
    """Gradient with a graph, then its own backward pass: what most write."""

    def one(x: Tensor, y: Tensor, v: list[Tensor]) -> Any:
        g = torch.autograd.grad(loss(case.model(x), y), case.weights, create_graph=True)
        return torch.autograd.grad(g, case.weights, v)

    return _sum(case, batches, one)


def graph_kept(case: Case, batches: Batches) -> Times:
    """The graph of the gradient kept for all products, as PyHessian keeps that of one batch."""
    graphs = {
        id(x): torch.autograd.grad(loss(case.model(x), y), case.weights, create_graph=True)
        for x, y in batches
    }

    def one(x: Tensor, y: Tensor, v: list[Tensor]) -> Any:
        return torch.autograd.grad(graphs[id(x)], case.weights, v, retain_graph=True)

    return _sum(case, batches, one)


def _function(case: Case, x: Tensor) -> Callable[[tuple[Tensor, ...]], Tensor]:
    names = [n for n, _ in case.model.named_parameters()]
    return lambda w: functional_call(case.model, dict(zip(names, w, strict=True)), (x,))


def forward_over_reverse(case: Case, batches: Batches) -> Times:
    """``torch.func``: jvp of grad."""
    w = tuple(t.detach() for t in case.weights)

    def one(x: Tensor, y: Tensor, v: list[Tensor]) -> Any:
        out = _function(case, x)
        return jvp(grad(lambda w: loss(out(w), y)), (w,), (tuple(v),))[1]

    return _sum(case, batches, one)


def ggn_func(case: Case, batches: Batches) -> Times:
    """``torch.func``: jvp, the Hessian in the outputs, vjp."""
    w = tuple(t.detach() for t in case.weights)

    def one(x: Tensor, y: Tensor, v: list[Tensor]) -> Any:
        out = _function(case, x)
        z, moved = jvp(out, (w,), (tuple(v),))
        bent = jvp(grad(lambda z: loss(z, y)), (z,), (moved,))[1]
        return vjp(out, w)[1](bent)[0]

    return _sum(case, batches, one)


class Flat(nn.Module):
    """The model with places as samples, for peers whose losses know ``(rows, classes)`` only."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.inner = model

    def forward(self, x: Tensor) -> Tensor:
        """Logits, one row a place."""
        return self.inner(x).flatten(0, -2)


def _flat(case: Case, batches: Batches) -> tuple[nn.Module, Batches]:
    return Flat(case.model), [(x, y.flatten()) for x, y in batches]


def curvlinops(name: str) -> Callable[[Case, Batches], Times]:
    """``HessianLinearOperator`` or ``GGNLinearOperator``; vectors ``(p,)`` or ``(p, k)``."""

    def make(case: Case, batches: Batches) -> Times:
        import curvlinops as peer

        model, data = _flat(case, batches)
        count = sum(len(y) for _, y in data)
        op = getattr(peer, name)(
            model,
            nn.CrossEntropyLoss(),
            case.weights,
            data,
            check_deterministic=False,
            num_data=count,
            batch_size_fn=lambda x: x.numel() if x.dtype == torch.int64 else len(x),  # targets
        )
        return lambda v: op @ v

    return make


def eigenthings(name: str) -> Callable[[Case, Batches], Times]:
    """``HessianOperator`` or ``GGNOperator`` of hessian-eigenthings."""

    def make(case: Case, batches: Batches) -> Times:
        import hessian_eigenthings as peer

        model, data = _flat(case, batches)
        if name == "HessianOperator":
            op = peer.HessianOperator(model, data, peer.supervised_loss(F.cross_entropy))
        else:
            op = peer.GGNOperator(
                model,
                data,
                peer.supervised_forward,
                peer.supervised_loss_of_output(F.cross_entropy),
            )
        return op.matvec

    return make


# ---------------------------------------------------------------- clocks


def cpu(work: Callable[[], Any]) -> float:
    """Seconds of this process."""
    start = time.process_time()
    work()
    return time.process_time() - start


def plain_attention(work: Callable[[], Any]) -> Callable[[], Any]:
    """The kernel that can be differentiated twice, without which every peer fails on attention."""

    def inside() -> Any:
        with sdpa_kernel(SDPBackend.MATH):
            return work()

    return inside


@dataclass(frozen=True)
class Chosen:
    """Work at its fastest chunk size, and what building it cost."""

    size: int
    work: Callable[[], Any]
    set_up: float  # seconds of building and the first run, less those of the second


def best(case: Case, make: Callable[[Case, Batches], Callable[[], Any]]) -> Chosen:
    """Every chunk size is tried."""
    found: list[tuple[float, Chosen]] = []
    for size in case.sizes:
        start = time.process_time()
        work = make(case, case.batches(size))
        work()
        first = time.process_time() - start
        later = cpu(work)
        found.append((later, Chosen(size, work, max(0.0, first - later))))
    return min(found, key=lambda pair: pair[0])[1]


def interleaved(works: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Every work once a round, in turning order."""
    names = list(works)
    found: dict[str, list[float]] = {name: [] for name in names}
    for r in range(rounds):
        for name in names[r % len(names) :] + names[: r % len(names)]:
            found[name].append(cpu(works[name]))
    return found


def ratio(a: Iterable[float], b: Iterable[float]) -> float:
    """Median of paired ratios."""
    return median(x / y for x, y in zip(a, b, strict=True))
