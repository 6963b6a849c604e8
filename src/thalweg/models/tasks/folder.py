"""The built-in tasks on images from a folder that the user names."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from thalweg.data.cifar import read_cifar10
from thalweg.data.files import locate
from thalweg.data.idx import read_labelled_idx
from thalweg.data.splits import split
from thalweg.models.convnet import SmallConvNet
from thalweg.models.lenet import LeNetD1
from thalweg.models.small_lenet import SmallLeNet
from thalweg.models.tasks.arrays import Parts, classes
from thalweg.task import Recipe, Task

_IDX = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_MNIST = ("mnist", "MNIST", "MNIST/raw", ".")
_FASHION = ("fashion-mnist", "fashion_mnist", "fashion", "FashionMNIST", "FashionMNIST/raw", ".")
_MNIST_COUNTS = (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)


def mnist(data: str | None = None) -> Task:
    """The lectures' LeNet on MNIST, padded to 32x32: 50,000 train, 10,000 select, 10,000 test.

    Args:
        data: Folder with the four idx files (plain or gzip), in itself or in ``mnist/``.
    """
    folder = _needed("mnist", data, _IDX)
    return _mnist_like("mnist", *_read_mnist(folder))


def mnist_small_lenet(data: str | None = None) -> Task:
    """The small LeNet (47,658 weights) of the spectrum figure on MNIST at its own 28x28.

    Args:
        data: Folder with the four idx files (plain or gzip), in itself or in ``mnist/``.
    """
    folder = _needed("mnist-small-lenet", data, _IDX)
    x, y, xt, yt = _read_mnist(folder)
    parts = _parts(x[:, None], y, xt[:, None], yt)
    recipe = Recipe(optimizer="sgd", lr=0.01, momentum=0.9, batch_size=32, epochs=10)
    return classes("mnist-small-lenet", SmallLeNet, parts, recipe)


def fashion_mnist(data: str | None = None) -> Task:
    """The lectures' LeNet on Fashion-MNIST, padded to 32x32; parts as in ``mnist``.

    Args:
        data: Folder with the four idx files (plain or gzip), in itself or in ``fashion-mnist/``.
    """
    folder = _needed("fashion-mnist", data, _IDX)
    x, y, xt, yt = _read_idx(folder, _FASHION)
    if tuple(np.bincount(y, minlength=10)) == _MNIST_COUNTS:
        raise ValueError(
            f"the idx files in {folder} are MNIST's digits; put those of Fashion-MNIST into a "
            "subfolder fashion-mnist, or name their own folder."
        )
    return _mnist_like("fashion-mnist", x, y, xt, yt)


def cifar10(data: str | None = None) -> Task:
    """A small convolutional network on CIFAR-10: 5/6 of the training images train, 1/6 select.

    Args:
        data: Folder with the binary version or an npz, in itself or in a subfolder.
    """
    wanted = ("data_batch_1.bin ... with test_batch.bin, or cifar*.npz",)
    x, y, xt, yt = read_cifar10(_needed("cifar10", data, wanted))
    recipe = Recipe(optimizer="sgd", lr=0.02, momentum=0.9, batch_size=64, epochs=10)
    return classes("cifar10", SmallConvNet, _parts(x, y, xt, yt), recipe)


def _needed(name: str, data: str | None, files: tuple[str, ...]) -> str:
    if data is None:
        raise ValueError(
            f"task '{name}' reads your own files: pass data=FOLDER or set THALWEG_DATA to a folder "
            f"with {', '.join(files)}."
        )
    return data


def _read_mnist(folder: str) -> tuple[np.ndarray, ...]:
    x, y, xt, yt = _read_idx(folder, _MNIST)
    if len(y) == 60_000 and len(set(np.bincount(y))) == 1:
        raise ValueError(
            f"the idx files in {folder} are balanced, as Fashion-MNIST's are; MNIST's are not. "
            "Load the task fashion-mnist, or put MNIST into a subfolder mnist."
        )
    return x, y, xt, yt


def _read_idx(folder: str, places: tuple[str, ...]) -> tuple[np.ndarray, ...]:
    found = locate(folder, _IDX, places)
    parts = [read_labelled_idx(found[_IDX[i]], found[_IDX[i + 1]], 10) for i in (0, 2)]
    for x, _ in parts:
        if x.shape[1:] != (28, 28):
            raise ValueError(f"the images in {folder} are {x.shape[1:]}; expected 28 x 28.")
    return (*parts[0], *parts[1])


def _mnist_like(name: str, x: np.ndarray, y: np.ndarray, xt: np.ndarray, yt: np.ndarray) -> Task:
    parts = _parts(x[:, None], y, xt[:, None], yt, rim=2)
    recipe = Recipe(optimizer="sgd", lr=0.01, momentum=0.9, batch_size=64, epochs=10)
    return classes(name, LeNetD1, parts, recipe)


def _parts(x: np.ndarray, y: np.ndarray, xt: np.ndarray, yt: np.ndarray, rim: int = 0) -> Parts:
    """Train and held out 5 : 1 (seed 0, stratified), the official test part; scaled per channel.

    ``rim`` background pixels (level 0) are put around each image before it is scaled.
    """
    known, selected = split(len(y), (5 / 6, 1 / 6), seed=0, labels=y)
    train = x[known]
    scales = [_scale(train[:, channel], rim) for channel in range(x.shape[1])]
    return Parts(
        (_scaled(train, scales, rim), torch.from_numpy(y[known])),
        (_scaled(x[selected], scales, rim), torch.from_numpy(y[selected])),
        (_scaled(xt, scales, rim), torch.from_numpy(yt)),
    )


def _scale(levels: np.ndarray, rim: int) -> tuple[float, float]:
    """Mean and deviation of grey levels ``(n, rows, columns)``, summed exactly as integers."""
    n, rows, columns = levels.shape
    count = n * (rows + 2 * rim) * (columns + 2 * rim)  # the rim adds nothing to the sums
    mean = int(levels.sum(dtype=np.int64)) / count
    square = int(np.einsum("nij,nij->", levels, levels, dtype=np.int64)) / count
    return mean, math.sqrt(max(square - mean**2, 0.0)) or 1.0


def _scaled(images: np.ndarray, scales: list[tuple[float, float]], rim: int) -> Tensor:
    """Images ``(n, c, rows, columns)`` uint8 as standardised float32 with a rim."""
    x = F.pad(torch.from_numpy(images), (rim,) * 4).float()
    for channel, (mean, deviation) in enumerate(scales):
        x[:, channel].sub_(mean).div_(deviation)
    return x
