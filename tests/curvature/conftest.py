"""Small networks of every kind, each with data and a loss, and their Hessians by brute force."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

F64 = torch.float64


@dataclass(frozen=True)
class Net:
    """A model, what it is trained on, and how it is looked at."""

    model: nn.Module
    loss: Callable[..., Tensor]
    data: Any
    mode: str = "eval"


class Tied(nn.Module):
    """One matrix used twice, forth and back."""

    def __init__(self) -> None:
        super().__init__()
        self.there, self.back = nn.Linear(4, 4), nn.Linear(4, 4)
        self.back.weight = self.there.weight

    def forward(self, x: Tensor) -> Tensor:
        """Forth, tanh, back."""
        return self.back(torch.tanh(self.there(x)))


class Unused(nn.Module):
    """A layer that nothing passes through, beside one that counts."""

    def __init__(self) -> None:
        super().__init__()
        self.idle, self.used = nn.Linear(3, 2), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Only the second."""
        return torch.tanh(self.used(x))


class Recurrent(nn.Module):
    """A recurrent layer read at its last step."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.core, self.head = kind(2, 3, batch_first=True), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, t, 2)`` to ``(b, 2)``."""
        return self.head(self.core(x)[0][:, -1])


class Attending(nn.Module):
    """One block of self-attention with the fused kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(4, 12, bias=False), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, t, 4)`` to ``(b, 3)``."""
        q, k, v = (t.unflatten(-1, (2, 2)).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out((x + seen.transpose(1, 2).flatten(2)).mean(1))


class TwoHeads(nn.Module):
    """A dict of two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.a, self.b = nn.Linear(4, 3), nn.Linear(3, 2), nn.Linear(3, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Two answers to one input."""
        h = torch.tanh(self.body(x))
        return {"class": self.a(h), "number": self.b(h)}


def two_losses(output: dict[str, Tensor], target: Tensor) -> Tensor:
    """Cross-entropy of one head and a square of the other."""
    number = output["number"].squeeze(1)
    return F.cross_entropy(output["class"], target) + F.mse_loss(number, target.to(number.dtype))


def _mlp(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 5), *layers, nn.Linear(5, 3))


def _lenet() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(2, 3, 2), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3),
    )  # fmt: skip


def _frozen() -> nn.Sequential:
    model = _mlp(nn.Tanh())
    model[0].weight.requires_grad_(False)
    return model


def _encoder() -> nn.Sequential:
    layer = nn.TransformerEncoderLayer(4, 2, 5, dropout=0.1, batch_first=True)
    return nn.Sequential(layer, nn.Flatten(), nn.Linear(12, 2))


def _sequence(classes: int = 3, width: int = 2) -> Callable[[torch.Generator], Any]:
    return lambda g: (
        torch.randn(6, 3, width, generator=g, dtype=F64),
        torch.randint(0, classes, (6,), generator=g),
    )


def _vectors(g: torch.Generator) -> Any:
    return torch.randn(7, 4, generator=g, dtype=F64), torch.randint(0, 3, (7,), generator=g)


def _images(g: torch.Generator) -> Any:
    x = torch.randn(5, 1, 8, 8, generator=g, dtype=F64)
    return x, torch.randint(0, 3, (5,), generator=g)


def _numbers(width: int) -> Callable[[torch.Generator], Any]:
    return lambda g: tuple(torch.randn(7, n, generator=g, dtype=F64) for n in (4, width))


def _words(g: torch.Generator) -> Any:
    return torch.randint(0, 6, (5, 4), generator=g), torch.randint(0, 2, (5,), generator=g)


def _switches(g: torch.Generator) -> Any:
    x = torch.randn(7, 4, generator=g, dtype=F64)
    return x, torch.randint(0, 2, (7, 3), generator=g).to(F64)


def _norm_image(norm: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 4, 3), norm, nn.Tanh(), nn.Flatten(), nn.Linear(144, 1))


def _one_pixel(g: torch.Generator) -> Any:
    return tuple(torch.randn(4, *s, generator=g, dtype=F64) for s in ((1, 8, 8), (1,)))


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[..., Tensor], Any, str]] = {
    "mlp": (lambda: _mlp(nn.Tanh()), F.cross_entropy, _vectors, "eval"),
    "relu": (lambda: _mlp(nn.ReLU()), nn.CrossEntropyLoss(), _vectors, "eval"),
    "softmax": (lambda: nn.Linear(4, 3), F.cross_entropy, _vectors, "eval"),
    "lenet": (_lenet, F.cross_entropy, _images, "eval"),
    "batchnorm-eval": (
        lambda: _mlp(nn.BatchNorm1d(5), nn.Tanh()), F.cross_entropy, _vectors, "eval"),
    "batchnorm-train": (
        lambda: _mlp(nn.BatchNorm1d(5), nn.Tanh()), F.cross_entropy, _vectors, "train"),
    "layernorm": (lambda: _mlp(nn.LayerNorm(5), nn.GELU()), F.cross_entropy, _vectors, "eval"),
    "groupnorm": (lambda: _norm_image(nn.GroupNorm(2, 4)), F.mse_loss, _one_pixel, "eval"),
    "instancenorm": (
        lambda: _norm_image(nn.InstanceNorm2d(4, affine=True)), F.mse_loss, _one_pixel, "train"),
    "dropout": (lambda: _mlp(nn.Tanh(), nn.Dropout(0.5)), F.cross_entropy, _vectors, "train"),
    "attention": (Attending, F.cross_entropy, _sequence(width=4), "eval"),
    "transformer": (_encoder, F.cross_entropy, _sequence(2, 4), "eval"),
    "lstm": (lambda: Recurrent(nn.LSTM), F.cross_entropy, _sequence(2), "eval"),
    "gru": (lambda: Recurrent(nn.GRU), F.cross_entropy, _sequence(2), "eval"),
    "tied": (Tied, F.mse_loss, _numbers(4), "eval"),
    "unused": (Unused, F.cross_entropy, _vectors, "eval"),
    "frozen": (_frozen, F.cross_entropy, _vectors, "eval"),
    "embedding": (
        lambda: nn.Sequential(nn.Embedding(6, 3, padding_idx=0), nn.Flatten(), nn.Linear(12, 2)),
        nn.CrossEntropyLoss(label_smoothing=0.1), _words, "eval"),
    "switches": (lambda: _mlp(nn.Tanh()), F.binary_cross_entropy_with_logits, _switches, "eval"),
    "two-heads": (
        TwoHeads, two_losses,
        lambda g: (torch.randn(7, 4, generator=g, dtype=F64),
                   torch.randint(0, 2, (7,), generator=g)), "eval"),
}  # fmt: skip


def build(name: str) -> Net:
    """The case by name, in float64, always the same."""
    make, loss, data, mode = CASES[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(sum(map(ord, name)))
        model = make().to(F64)
        for p in model.parameters():  # away from symmetric and zero starts
            p.data += 0.3 * torch.randn_like(p)
        for norm in model.modules():
            if isinstance(norm, nn.BatchNorm1d):
                norm.running_mean = torch.randn(5, dtype=F64)
                norm.running_var = 0.5 + torch.rand(5, dtype=F64)
    return Net(model, loss, data(torch.Generator().manual_seed(1)), mode)


def plain_loss(net: Net) -> tuple[Callable[..., Tensor], list[Tensor]]:
    """The loss as a function of the trainable weights, written once more from scratch."""
    model, (x, y) = net.model, net.data
    named = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}

    def value(*weights: Tensor) -> Tensor:
        swapped = dict(zip(named, weights, strict=True))
        return net.loss(functional_call(model, swapped, (x,)), y)

    return value, list(named.values())


def brute_force(net: Net) -> Tensor:
    """The dense Hessian ``(p, p)``: every entry of the gradient differentiated, in float64."""
    modes = [(m, m.training) for m in net.model.modules()]
    buffers = {n: b.clone() for n, b in net.model.named_buffers()}
    net.model.train(net.mode == "train")
    for m in net.model.modules():
        if isinstance(m, nn.Dropout):
            m.eval()
    value, weights = plain_loss(net)
    at = [w.clone().requires_grad_() for w in weights]
    onednn = torch.backends.mkldnn.set_flags(False)[0]
    with sdpa_kernel(SDPBackend.MATH):
        grads = torch.autograd.grad(value(*at), at, create_graph=True, allow_unused=True)
        whole = torch.cat(
            [
                (torch.zeros_like(w) if g is None else g).reshape(-1)
                for g, w in zip(grads, at, strict=True)
            ]
        )
        rows = []
        for entry in whole:
            if not entry.requires_grad:
                rows.append(torch.zeros_like(whole))
                continue
            found = torch.autograd.grad(entry, at, retain_graph=True, allow_unused=True)
            rows.append(
                torch.cat(
                    [
                        (torch.zeros_like(w) if g is None else g).reshape(-1)
                        for g, w in zip(found, at, strict=True)
                    ]
                )
            )
    torch.backends.mkldnn.set_flags(onednn)
    for m, training in modes:
        m.training = training
    for n, b in net.model.named_buffers():
        b.copy_(buffers[n])
    return torch.stack(rows).detach()


@pytest.fixture(params=sorted(CASES))
def net(request: pytest.FixtureRequest) -> Net:
    """Every small network in turn."""
    return build(request.param)


@pytest.fixture
def make_net() -> Callable[[str], Net]:
    """A small network by name."""
    return build


@pytest.fixture
def dense_hessian() -> Callable[[Net], Tensor]:
    """Brute force."""
    return brute_force


@pytest.fixture
def dense() -> Callable[[Any], Tensor]:
    """An operator as a matrix ``(p, p)``."""
    return lambda op: op @ torch.eye(op.shape[0], dtype=op.dtype, device=op.device)
