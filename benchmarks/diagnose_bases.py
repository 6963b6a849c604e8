"""Healthy trainings, from real data: what the planted faults are planted into.

    THALWEG_DATA=... python benchmarks/diagnose_bases.py     tries every base around its own rate

Every base is a function of a seed, which draws the subset of the data and its split, so that no two
cases see the same samples. Rates were chosen by that sweep: the best of a half-decade ladder over
three seeds, by held-out score.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thalweg.task import Recipe, Task

Arrays = tuple[np.ndarray, np.ndarray]


# ---------------------------------------------------------------- data


def _folder(name: str) -> Path:
    root = os.environ.get("THALWEG_DATA")
    if not root or not (Path(root) / name).is_dir():
        raise FileNotFoundError(f"THALWEG_DATA names no folder with {name}")
    return Path(root) / name


@lru_cache(maxsize=1)
def _mnist() -> Arrays:
    from thalweg.data import read_idx

    folder = _folder("mnist")
    return (
        read_idx(folder / "train-images-idx3-ubyte.gz").astype(np.float32) / 255,
        read_idx(folder / "train-labels-idx1-ubyte.gz").astype(np.int64),
    )


@lru_cache(maxsize=1)
def _cifar() -> Arrays:
    with np.load(next(_folder("cifar10-subset").glob("*.npz"))) as found:
        names = sorted(found.files)
        x = next(found[n] for n in names if "train" in n and found[n].ndim == 4)
        y = next(found[n] for n in names if "train" in n and found[n].ndim == 1)
    x = x.astype(np.float32) / 255
    return (x if x.shape[1] == 3 else x.transpose(0, 3, 1, 2)).copy(), y.astype(np.int64)


@lru_cache(maxsize=1)
def _ptb() -> str:
    import gzip

    return gzip.open(_folder("ptb") / "ptb.valid.txt.gz", "rt").read()


def _split(
    x: np.ndarray, y: np.ndarray, seed: int, most: int = 10**9
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Two thirds to train, one third held out, of at most so many samples."""
    picked = np.random.default_rng(seed).permutation(len(x))[:most]
    cut = len(picked) * 2 // 3
    a, b = picked[:cut], picked[cut:]
    return (
        torch.tensor(x[a]),
        torch.tensor(y[a]),
        torch.tensor(x[b]),
        torch.tensor(y[b]),
    )


def _standard(train: Tensor, other: Tensor, features: bool = True) -> tuple[Tensor, Tensor]:
    """Zero mean and unit variance of the training part: of each feature, or of all together."""
    axes = 0 if features else tuple(range(train.ndim))
    mean = train.mean(axes, keepdim=True)
    std = train.std(axes, keepdim=True).clamp_min(1e-2)
    return (train - mean) / std, (other - mean) / std


def _table(name: str, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    from thalweg import data

    x, y = getattr(data, name)()
    xt, yt, xv, yv = _split(x.astype(np.float32), y, seed)
    xt, xv = _standard(xt, xv)
    if y.dtype.kind == "f":
        yt, yv = _standard(yt.float()[:, None], yv.float()[:, None])
    return xt, yt, xv, yv


def _digits(seed: int, images: bool = False) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    from thalweg.data import digits

    x, y = digits()
    xt, yt, xv, yv = _split(x.astype(np.float32), y, seed)
    xt, xv = _standard(xt, xv, features=False)
    if images:
        return xt[:, None], yt, xv[:, None], yv
    return xt.flatten(1), yt, xv.flatten(1), yv


def _windows(seed: int, length: int = 12, most: int = 9000) -> tuple[Tensor, ...]:
    text = _ptb()
    letters = sorted(set(text))
    codes = np.array([letters.index(c) for c in text[:200_000]])
    starts = np.random.default_rng(seed).permutation(len(codes) - length - 1)[:most]
    x = np.stack([codes[s : s + length] for s in starts])
    return _split(x, codes[starts + length], seed)


# ---------------------------------------------------------------- networks


def mlp(sizes: tuple[int, ...], activation: type[nn.Module], norm: str = "") -> nn.Module:
    """Linear layers with an activation between them, started for that activation."""
    layers: list[nn.Module] = []
    for k, (a, b) in enumerate(itertools.pairwise(sizes)):
        linear = nn.Linear(a, b)
        gain = math.sqrt(2) if activation is nn.ReLU else 1.0
        nn.init.normal_(linear.weight, std=gain / math.sqrt(a))
        nn.init.zeros_(linear.bias)
        layers.append(linear)
        if k < len(sizes) - 2:
            if norm == "batch":
                layers.append(nn.BatchNorm1d(b))
            if norm == "layer":
                layers.append(nn.LayerNorm(b))
            layers.append(activation())
        else:
            nn.init.normal_(linear.weight, std=1 / math.sqrt(a))
    return nn.Sequential(*layers)


def conv(channels: int, size: int, norm: bool = False) -> nn.Module:
    """Two convolutions, two poolings and a linear layer; ten classes."""

    def block(a: int, b: int) -> list[nn.Module]:
        made = nn.Conv2d(a, b, 3, padding=1)
        nn.init.kaiming_normal_(made.weight, nonlinearity="relu")
        nn.init.zeros_(made.bias)
        return [made, *([nn.BatchNorm2d(b)] if norm else []), nn.ReLU(), nn.MaxPool2d(2)]

    return nn.Sequential(
        *block(channels, 12), *block(12, 24), nn.Flatten(), nn.Linear(24 * (size // 4) ** 2, 10)
    )


class Residual(nn.Module):
    """Blocks ``x + f(norm(x))`` on a table or flat images."""

    def __init__(self, inputs: int, width: int, blocks: int, classes: int) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(blocks))
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.last = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = self.first(x)
        for norm, block in zip(self.norms, self.blocks, strict=True):
            x = x + F.relu(block(norm(x)))
        return self.last(x)


class Letters(nn.Module):
    """The next letter from those before it: an embedding, an LSTM or a perceptron, and logits."""

    def __init__(self, recurrent: bool, letters: int = 60, length: int = 12) -> None:
        super().__init__()
        self.recurrent = recurrent
        self.embed = nn.Embedding(letters, 16)
        self.body: nn.Module = (
            nn.LSTM(16, 48, batch_first=True)
            if recurrent
            else nn.Sequential(nn.Flatten(), nn.Linear(16 * length, 96), nn.ReLU())
        )
        self.head = nn.Linear(48 if recurrent else 96, letters)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(b, letters)``."""
        e = self.embed(x)
        return self.head(self.body(e)[0][:, -1] if self.recurrent else self.body(e))


# ---------------------------------------------------------------- bases


def _task(
    name: str,
    model: Callable[[], nn.Module],
    parts: tuple[Tensor, ...],
    loss: Callable[..., Tensor] = F.cross_entropy,
    **recipe: object,
) -> Task:
    xt, yt, xv, yv = parts
    return Task(name, model, loss, train=(xt, yt), held_out=(xv, yv), recipe=Recipe(**recipe))


_SGD = {"optimizer": "nesterov", "momentum": 0.9, "schedule": "cosine"}
_ADAM = {"optimizer": "adam", "schedule": "cosine"}


def _digits_relu(seed: int) -> Task:
    return _task("digits-relu", partial(mlp, (64, 64, 32, 10), nn.ReLU), _digits(seed),
                 **_SGD, lr=0.03, batch_size=32, epochs=12, weight_decay=1e-3)  # fmt: skip


def _digits_tanh(seed: int) -> Task:
    return _task("digits-tanh", partial(mlp, (64, 48, 48, 10), nn.Tanh), _digits(seed),
                 **_SGD, lr=0.03, batch_size=32, epochs=12, weight_decay=1e-3)  # fmt: skip


def _digits_norm(seed: int) -> Task:
    return _task("digits-batchnorm", partial(mlp, (64, 64, 64, 10), nn.ReLU, "batch"),
                 _digits(seed), **_SGD, lr=0.03, batch_size=64, epochs=12,
                 weight_decay=1e-3)  # fmt: skip


def _digits_conv(seed: int) -> Task:
    return _task("digits-conv", partial(conv, 1, 8), _digits(seed, images=True),
                 **_SGD, lr=0.03, batch_size=32, epochs=10, weight_decay=1e-3)  # fmt: skip


def _digits_residual(seed: int) -> Task:
    return _task("digits-residual", partial(Residual, 64, 48, 3, 10), _digits(seed),
                 **_ADAM, lr=0.003, batch_size=64, epochs=12)  # fmt: skip


def _digits_layer(seed: int) -> Task:
    return _task("digits-layernorm", partial(mlp, (64, 64, 64, 10), nn.ReLU, "layer"),
                 _digits(seed), **_ADAM, lr=0.003, batch_size=64, epochs=12)  # fmt: skip


def _cancer(seed: int) -> Task:
    return _task("cancer", partial(mlp, (30, 16, 2), nn.ReLU), _table("breast_cancer", seed),
                 **_SGD, lr=0.01, batch_size=32, epochs=15, weight_decay=1e-2)  # fmt: skip


def _wine(seed: int) -> Task:
    return _task("wine", partial(mlp, (13, 16, 3), nn.Tanh), _table("wine", seed),
                 **_SGD, lr=0.02, batch_size=16, epochs=15, weight_decay=1e-2)  # fmt: skip


def _diabetes(seed: int) -> Task:
    return _task("diabetes", partial(mlp, (10, 8, 1), nn.Tanh), _table("diabetes", seed),
                 F.mse_loss, **_SGD, lr=0.01, batch_size=32, epochs=15,
                 weight_decay=1e-1)  # fmt: skip


def _mnist_conv(seed: int) -> Task:
    x, y = _mnist()
    xt, yt, xv, yv = _split(x[:, None], y, seed, 3600)
    xt, xv = _standard(xt, xv, features=False)
    return _task("mnist-conv", partial(conv, 1, 28), (xt, yt, xv, yv),
                 **_SGD, lr=0.02, batch_size=64, epochs=5, weight_decay=1e-3)  # fmt: skip


def _mnist_relu(seed: int) -> Task:
    x, y = _mnist()
    xt, yt, xv, yv = _split(x.reshape(len(x), -1), y, seed, 4500)
    xt, xv = _standard(xt, xv, features=False)
    return _task("mnist-relu", partial(mlp, (784, 64, 10), nn.ReLU), (xt, yt, xv, yv),
                 **_SGD, lr=0.05, batch_size=64, epochs=6, weight_decay=1e-3)  # fmt: skip


def _cifar_conv(seed: int) -> Task:
    xt, yt, xv, yv = _split(*_cifar(), seed, 4500)
    xt, xv = _standard(xt, xv, features=False)
    return _task("cifar-conv", partial(conv, 3, 32, True), (xt, yt, xv, yv),
                 **_SGD, lr=0.03, batch_size=64, epochs=5, weight_decay=5e-3)  # fmt: skip


def _letters_mlp(seed: int) -> Task:
    return _task("letters-mlp", partial(Letters, False), _windows(seed),
                 **_ADAM, lr=0.003, batch_size=64, epochs=4)  # fmt: skip


def _letters_lstm(seed: int) -> Task:
    return _task("letters-lstm", partial(Letters, True), _windows(seed),
                 **_ADAM, lr=0.01, batch_size=64, epochs=4)  # fmt: skip


BASES: dict[str, Callable[[int], Task]] = {
    "digits-relu": _digits_relu,
    "digits-tanh": _digits_tanh,
    "digits-batchnorm": _digits_norm,
    "digits-conv": _digits_conv,
    "digits-residual": _digits_residual,
    "digits-layernorm": _digits_layer,
    "cancer": _cancer,
    "wine": _wine,
    "diabetes": _diabetes,
    "mnist-conv": _mnist_conv,
    "mnist-relu": _mnist_relu,
    "cifar-conv": _cifar_conv,
    "letters-mlp": _letters_mlp,
    "letters-lstm": _letters_lstm,
}


def main() -> None:
    """Print the held-out score around each base's rate."""
    import thalweg as tw

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(BASES))
    torch.set_num_threads(1)
    for name in parser.parse_args().names:
        cells = []
        for factor in (0.1, 0.3, 1, 3, 10):
            scores, losses = [], []
            for seed in range(2):
                task = BASES[name](100 + seed)
                recipe = replace(task.recipe, lr=task.recipe.lr * factor)
                run = tw.train(replace(task, recipe=recipe), seed=seed)
                scores.append(run.held_out)
                losses.append(run.trace.train_loss[-1])
            cells.append(f"x{factor:g}: {np.mean(scores):.3f} ({np.mean(losses):.3f})")
        print(name.ljust(18), "   ".join(cells), flush=True)


if __name__ == "__main__":
    main()
