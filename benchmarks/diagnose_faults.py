"""Faults, planted into healthy trainings.

They are written from what goes wrong in practice, not from the detectors: nothing here reads how
``thalweg diagnose`` decides.

A fault is a function ``(task, seed) -> task``. ``right`` are the findings that name it: the code it
was planted for, and others only where they say the same thing in other words.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thalweg.task import Task

TABLES = ("cancer", "wine", "diabetes")
FLAT = ("digits-relu", "digits-tanh", "cancer", "wine", "diabetes", "mnist-relu")
IMAGES = ("digits-conv", "mnist-conv", "cifar-conv")
CLASSES = ("digits-relu", "digits-tanh", "digits-conv", "cancer", "wine", "mnist-relu")
RELU = ("digits-relu", "digits-conv", "mnist-relu", "cancer")
PLAIN = ("digits-relu", "digits-tanh", "digits-conv", "mnist-relu", "wine")  # no normalisation


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to break a training."""

    name: str
    right: tuple[str, ...]
    bases: tuple[str, ...]
    plant: Callable[[Task, int], Task]
    always: bool = False  # wrong even where the score does not show it
    curable: bool = True  # by a change of the task: data that are lost stay lost


def _data(task: Task, change: Callable[[Tensor], Tensor]) -> Task:
    """The same change of the inputs everywhere: it is how the data come."""
    (xt, yt), (xv, yv) = task.train, task.held_out
    return replace(task, train=(change(xt), yt), held_out=(change(xv), yv))


def _recipe(task: Task, **changes: Any) -> Task:
    return replace(task, recipe=replace(task.recipe, **changes))


def _model(task: Task, change: Callable[[nn.Module], nn.Module | None]) -> Task:
    build = task.model

    def broken() -> nn.Module:
        model = build()
        return change(model) or model

    return replace(task, model=broken)


def _weights(model: nn.Module) -> list[nn.Linear | nn.Conv2d]:
    return [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]


# ---------------------------------------------------------------- data


def shifted(task: Task, seed: int) -> Task:
    """Inputs far from zero, as pixels or years are."""
    return _data(task, lambda x: x + 20)


def enlarged(task: Task, seed: int) -> Task:
    """Inputs in units a hundred times too small."""
    return _data(task, lambda x: 100 * x)


def one_large_feature(task: Task, seed: int) -> Task:
    """One column in other units than the rest."""
    n = task.train[0].shape[1]
    column = int(torch.randint(n, (1,), generator=torch.Generator().manual_seed(seed)))
    factor = torch.ones(n)
    factor[column] = 1000.0
    return _data(task, lambda x: x * factor)


def tiny(task: Task, seed: int) -> Task:
    """Inputs in units a thousand times too large."""
    return _data(task, lambda x: x / 1000)


def correlated(task: Task, seed: int) -> Task:
    """Every column is nearly the same sum of columns."""
    n = task.train[0].shape[1]
    common = torch.ones(n) / math.sqrt(n)
    return _data(task, lambda x: 0.05 * x + (x @ common)[:, None] * common * 3)


def missing(task: Task, seed: int) -> Task:
    """A few numbers are NaN."""
    g = torch.Generator().manual_seed(seed)
    (xt, yt), held = task.train, task.held_out
    xt = xt.clone()
    flat = xt.view(-1)
    flat[torch.randint(len(flat), (5,), generator=g)] = math.nan
    return replace(task, train=(xt, yt), held_out=held)


def infinite(task: Task, seed: int) -> Task:
    """One number is infinite: a division by zero upstream."""
    (xt, yt), held = task.train, task.held_out
    xt = xt.clone()
    xt.view(-1)[seed % xt.numel()] = math.inf
    return replace(task, train=(xt, yt), held_out=held)


def wrong_labels(task: Task, seed: int) -> Task:
    """Almost half the labels are drawn at random."""
    g = torch.Generator().manual_seed(seed)
    (xt, yt), held = task.train, task.held_out
    classes = int(yt.max()) + 1
    swap = torch.rand(len(yt), generator=g) < 0.45
    drawn = torch.randint(classes, yt.shape, generator=g)
    return replace(task, train=(xt, torch.where(swap, drawn, yt)), held_out=held)


def rare_class(task: Task, seed: int) -> Task:
    """One class in fifty: the rest of the rare ones were never collected."""
    (xt, yt), (xv, yv) = task.train, task.held_out

    def thin(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        two = (y >= (int(yt.max()) + 1) // 2).long()
        rare = two.nonzero()[:, 0]
        keep = torch.cat([(two == 0).nonzero()[:, 0], rare[: max(2, int((two == 0).sum()) // 50)]])
        return x[keep], two[keep]

    return replace(task, train=thin(xt, yt), held_out=thin(xv, yv))


def sorted_data(task: Task, seed: int) -> Task:
    """Sorted by class, and read in that order."""
    (xt, yt), held = task.train, task.held_out
    order = yt.flatten().argsort(stable=True)
    return _recipe(replace(task, train=(xt[order], yt[order]), held_out=held), order="ordered")


def few_samples(task: Task, seed: int) -> Task:
    """Forty samples, a wide network, and a hundred passes without decay."""
    (xt, yt), held = task.train, task.held_out
    few = replace(task, train=(xt[:40], yt[:40]), held_out=held)
    return _recipe(few, epochs=100, weight_decay=0.0, batch_size=20)


def large_targets(task: Task, seed: int) -> Task:
    """Targets in small units, far from zero."""
    (xt, yt), (xv, yv) = task.train, task.held_out
    return replace(task, train=(xt, 300 * yt + 1000), held_out=(xv, 300 * yv + 1000))


# ---------------------------------------------------------------- recipe


def rate_high(task: Task, seed: int) -> Task:
    """The rate of another project."""
    return _recipe(task, lr=task.recipe.lr * 100)


def rate_higher(task: Task, seed: int) -> Task:
    """Somebody dropped the decimal point."""
    return _recipe(task, lr=task.recipe.lr * 1000)


def rate_low(task: Task, seed: int) -> Task:
    """Two thousand times too careful."""
    return _recipe(task, lr=task.recipe.lr / 2000)


def rate_lower(task: Task, seed: int) -> Task:
    """A rate with too many zeros."""
    return _recipe(task, lr=task.recipe.lr / 30_000)


def tiny_batches(task: Task, seed: int) -> Task:
    """Two samples a step at the rate that was right for many."""
    return _recipe(task, batch_size=2, schedule=None, lr=task.recipe.lr * 2)


def never_lowered(task: Task, seed: int) -> Task:
    """A rate as large as it can be, held to the end, in small batches."""
    return _recipe(task, schedule=None, lr=task.recipe.lr * 4, batch_size=8)


# ---------------------------------------------------------------- weights


def _scaled(factor: float) -> Callable[[Task, int], Task]:
    def plant(task: Task, seed: int) -> Task:
        def change(model: nn.Module) -> None:
            with torch.no_grad():
                for layer in _weights(model):
                    layer.weight.mul_(factor)

        return _model(task, change)

    return plant


def constant(task: Task, seed: int) -> Task:
    """All weights of a layer start equal."""

    def change(model: nn.Module) -> None:
        for layer in _weights(model):
            nn.init.constant_(layer.weight, 0.02)

    return _model(task, change)


def zeros(task: Task, seed: int) -> Task:
    """All weights start at zero."""

    def change(model: nn.Module) -> None:
        for layer in _weights(model):
            nn.init.zeros_(layer.weight)

    return _model(task, change)


def dead(task: Task, seed: int) -> Task:
    """Rectified units pushed under water by their biases."""

    def change(model: nn.Module) -> None:
        for layer in _weights(model)[:-1]:
            nn.init.constant_(layer.bias, -12.0)

    return _model(task, change)


def _deep(activation: type[nn.Module], gain: float, depth: int) -> Callable[[Task, int], Task]:
    """A chain of ``depth`` layers of width 32 in front of the output."""

    def plant(task: Task, seed: int) -> Task:
        inputs = task.train[0][0].numel()
        target = task.train[1]
        outputs = 1 if target.is_floating_point() else int(target.max()) + 1

        def build() -> nn.Module:
            sizes = [inputs, *([32] * depth), outputs]
            layers: list[nn.Module] = [nn.Flatten()]
            for a, b in itertools.pairwise(sizes):
                linear = nn.Linear(a, b)
                nn.init.normal_(linear.weight, std=gain / math.sqrt(a))
                nn.init.zeros_(linear.bias)
                layers += [linear, activation()]
            return nn.Sequential(*layers[:-1])

        return replace(task, model=build)

    return plant


def saturated(task: Task, seed: int) -> Task:
    """Squashing units whose weights are twenty times too large."""

    def change(model: nn.Module) -> None:
        with torch.no_grad():
            for layer in _weights(model)[:-1]:
                layer.weight.mul_(20)

    return _model(task, change)


def frozen(task: Task, seed: int) -> Task:
    """Everything but the biases was left frozen by an earlier experiment."""

    def change(model: nn.Module) -> None:
        for layer in _weights(model):
            layer.weight.requires_grad_(False)

    return _model(task, change)


class Detached(nn.Module):
    """Cuts the graph between two halves of a model."""

    def forward(self, x: Tensor) -> Tensor:
        """The same numbers, without their history."""
        return x.detach()


def detached(task: Task, seed: int) -> Task:
    """A ``detach`` was forgotten before the last layer."""

    def change(model: nn.Module) -> nn.Module:
        parts = list(model.children())
        return nn.Sequential(*parts[:-1], Detached(), parts[-1])

    return _model(task, change)


# ---------------------------------------------------------------- loss


def softmax_twice(task: Task, seed: int) -> Task:
    """The model ends in a softmax, and the loss has another."""
    return _model(task, lambda model: nn.Sequential(model, nn.Softmax(-1)))


def nll_of_logits(task: Task, seed: int) -> Task:
    """The loss wants log-probabilities and gets logits."""
    return replace(task, loss=F.nll_loss)


def relu_at_the_end(task: Task, seed: int) -> Task:
    """The output cannot be negative, and half the targets are."""
    return _model(task, lambda model: nn.Sequential(model, nn.ReLU()))


def broadcast(task: Task, seed: int) -> Task:
    """Targets ``(n,)`` against outputs ``(n, 1)``: every pair is compared."""
    (xt, yt), (xv, yv) = task.train, task.held_out
    flat = replace(task, train=(xt, yt[:, 0]), held_out=(xv, yv[:, 0]))

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return ((output - target) ** 2).mean()

    return replace(flat, loss=loss)


_NOISE = itertools.count()


def dice(task: Task, seed: int) -> Task:
    """The loss draws from a generator that nobody seeds."""
    inner = task.loss

    def loss(output: Tensor, target: Tensor) -> Tensor:
        g = torch.Generator().manual_seed(next(_NOISE))
        return inner(output + torch.randn(output.shape, generator=g), target)

    return replace(task, loss=loss)


# ---------------------------------------------------------------- normalisation


def norm_of_two(task: Task, seed: int) -> Task:
    """Batch statistics of two samples."""
    return _recipe(task, batch_size=2)


def stale_statistics(task: Task, seed: int) -> Task:
    """Running statistics that hardly move: evaluation sees other numbers than training."""

    def change(model: nn.Module) -> None:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.momentum = 1e-4

    return _model(task, change)


# ---------------------------------------------------------------- surface


class Stretched(nn.Module):
    """A model whose inputs pass through fixed factors of very different size."""

    def __init__(self, model: nn.Module, n: int) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("factors", torch.logspace(-2.5, 0.5, n))

    def forward(self, x: Tensor) -> Tensor:
        """Of the stretched input."""
        return self.model(x * self.factors)


def stretched(task: Task, seed: int) -> Task:
    """Three decades of scales inside the model."""
    n = task.train[0].shape[1]
    return _model(task, lambda model: Stretched(model, n))


# ---------------------------------------------------------------- pairs, modes, shapes


def unpaired(task: Task, seed: int) -> Task:
    """Targets were shuffled apart from their inputs."""
    (xt, yt), held = task.train, task.held_out
    order = torch.randperm(len(yt), generator=torch.Generator().manual_seed(seed))
    return replace(task, train=(xt, yt[order]), held_out=held)


def other_units(task: Task, seed: int) -> Task:
    """The training part was standardised, the held-out part was forgotten."""
    xv, yv = task.held_out
    return replace(task, held_out=(4 * xv + 8, yv))


def trained_on(task: Task, seed: int) -> Task:
    """The held-out part was cut from the training part without taking it out."""
    xt, yt = task.train
    return replace(task, held_out=(xt[: len(xt) // 3].clone(), yt[: len(yt) // 3].clone()))


class Rows(nn.Module):
    """An LSTM over the rows of an image, which reads its first axis as time."""

    def __init__(self, side: int, first: bool) -> None:
        super().__init__()
        self.side = side
        self.read = nn.LSTM(side, 48, batch_first=first)
        self.head = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.head(self.read(x.reshape(len(x), -1, self.side))[0][:, -1])


def rows_healthy(task: Task) -> Task:
    """The twin of :func:`time_first`."""
    side = math.isqrt(task.train[0][0].numel())
    model = partial(Rows, side, True)
    return _recipe(replace(task, model=model), optimizer="adam", lr=0.01, momentum=0.0)


def time_first(task: Task, seed: int) -> Task:
    """``batch_first`` was forgotten."""
    side = math.isqrt(task.train[0][0].numel())
    return replace(rows_healthy(task), model=partial(Rows, side, False))


class Dropping(nn.Module):
    """Drops inputs of the last layer by the function, which knows no mode."""

    def __init__(self, model: nn.Sequential, p: float) -> None:
        super().__init__()
        self.body, self.head, self.p = model[:-1], model[-1], p

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.head(F.dropout(self.body(x), self.p))


def always_dropping(task: Task, seed: int) -> Task:
    """``F.dropout`` without ``training=self.training``."""
    return _model(task, lambda model: Dropping(model, 0.5))


def drops_all(task: Task, seed: int) -> Task:
    """The share to keep was given as the share to drop."""
    return _model(task, lambda model: nn.Sequential(*list(model)[:-1], nn.Dropout(0.95), model[-1]))


def decays_all(task: Task, seed: int) -> Task:
    """Weight decay of 1, where 0.001 was meant."""
    return _recipe(task, weight_decay=1.0)


def softmax_over_samples(task: Task, seed: int) -> Task:
    """``Softmax(dim=0)``."""
    return _model(task, lambda model: nn.Sequential(model, nn.Softmax(0)))


def no_activation(task: Task, seed: int) -> Task:
    """The activations were forgotten between narrow layers."""

    def change(model: nn.Module) -> nn.Module:
        parts = [m for m in model.children() if not isinstance(m, nn.ReLU | nn.Tanh)]
        return nn.Sequential(*parts)

    return _model(task, change)


def signs(task: Task, seed: int) -> Task:
    """Targets -1 and 1 for a cross-entropy that wants 0 and 1, on the output's difference."""
    (xt, yt), (xv, yv) = task.train, task.held_out
    flat = replace(task, train=(xt, 2.0 * yt - 1), held_out=(xv, 2.0 * yv - 1))

    def build() -> nn.Module:
        return nn.Sequential(task.model(), nn.Linear(2, 1), nn.Flatten(0))

    return replace(flat, model=build, loss=F.binary_cross_entropy_with_logits)


def one_epoch(task: Task, seed: int) -> Task:
    """One pass at a third of the rate."""
    return _recipe(task, epochs=1, lr=task.recipe.lr / 3)


def whole_batches(task: Task, seed: int) -> Task:
    """One step a pass: all samples in a batch, and nothing else changed."""
    return _recipe(task, batch_size=len(task.train[1]))


_SYMMETRY = ("symmetric-init", "plateau-or-saddle")
_VANISH = ("vanishing-gradient", "init-scale", "plateau-or-saddle")
FAULTS = (
    Fault("inputs shifted by 20", ("input-scale",), (*FLAT, *IMAGES), shifted),
    Fault("inputs times 100", ("input-scale",), (*FLAT, *IMAGES), enlarged),
    Fault("one feature times 1000", ("input-scale", "ill-conditioned"), TABLES, one_large_feature),
    Fault("inputs over 1000", ("input-scale",), FLAT, tiny),
    Fault("inputs correlated", ("input-correlation", "ill-conditioned", "input-scale"), FLAT,
          correlated),
    Fault("NaN in the data", ("nonfinite-data",), FLAT, missing),
    Fault("infinity in the data", ("nonfinite-data",), (*TABLES, *IMAGES), infinite),
    Fault("labels at random", ("label-noise", "overfitting"), CLASSES, wrong_labels),
    Fault("one class in fifty", ("imbalanced-targets",), ("digits-relu", "mnist-relu",
          "digits-conv", "mnist-conv"), rare_class, curable=False),
    Fault("sorted by class", ("unshuffled-data",), CLASSES, sorted_data),
    Fault("forty samples", ("overfitting",), ("digits-relu", "digits-conv", "mnist-relu",
          "cifar-conv"), few_samples, curable=False),
    Fault("targets in small units", ("target-scale", "loss-mismatch"), ("diabetes",),
          large_targets),
    Fault("rate times 100", ("lr-too-high", "exploding-gradient"), (*FLAT, *IMAGES), rate_high),
    Fault("rate times 1000", ("lr-too-high", "exploding-gradient"), (*FLAT, "letters-mlp"),
          rate_higher),
    Fault("rate over 2000", ("lr-too-low",), (*FLAT, *IMAGES, "letters-lstm"), rate_low),
    Fault("rate over 30000", ("lr-too-low",), (*FLAT, "letters-mlp"), rate_lower),
    Fault("two samples a step", ("batch-noise", "no-decay", "lr-too-high"),
          ("digits-relu", "digits-tanh", "mnist-relu", "digits-conv"), tiny_batches),
    Fault("rate never lowered", ("no-decay", "batch-noise", "lr-too-high"),
          ("digits-relu", "digits-tanh", "mnist-relu", "mnist-conv"), never_lowered),
    Fault("weights over 100", ("init-scale", *_VANISH), PLAIN, _scaled(0.01)),
    Fault("weights times 8", ("init-scale", "exploding-gradient", "saturated-units"), PLAIN,
          _scaled(8.0)),
    Fault("weights all equal", _SYMMETRY, (*PLAIN, "cancer"), constant),
    Fault("weights all zero", _SYMMETRY, (*PLAIN, "cancer"), zeros),
    Fault("biases of -12", ("dead-units",), RELU, dead),
    Fault("twenty sigmoid layers", _VANISH, CLASSES, _deep(nn.Sigmoid, 1.0, 20)),
    Fault("fifteen tanh layers, small weights", _VANISH, CLASSES, _deep(nn.Tanh, 0.4, 15)),
    Fault("twelve linear-growth layers", ("exploding-gradient", "init-scale"), CLASSES,
          _deep(nn.ReLU, 4.0, 12)),
    Fault("tanh weights times 20", ("saturated-units", "init-scale"), ("digits-tanh", "wine",
          "diabetes"), saturated),
    Fault("weights frozen", ("frozen-parameters",), (*PLAIN, "cancer"), frozen),
    Fault("detached before the end", ("frozen-parameters",), (*PLAIN, "cancer"), detached),
    Fault("softmax twice", ("loss-mismatch",), CLASSES, softmax_twice),
    Fault("logits as log-probabilities", ("loss-mismatch",), CLASSES, nll_of_logits),
    Fault("rectified output", ("loss-mismatch", "dead-units"), ("diabetes",), relu_at_the_end),
    Fault("targets broadcast", ("loss-mismatch",), ("diabetes",), broadcast),
    Fault("a loss that draws", ("nondeterministic-loss",), CLASSES, dice),
    Fault("batch norm over two", ("norm-misuse", "batch-noise"), ("digits-batchnorm",
          "cifar-conv"), norm_of_two),
    Fault("stale batch statistics", ("norm-misuse",), ("digits-batchnorm", "cifar-conv"),
          stale_statistics),
    Fault("targets shuffled apart", ("label-noise",), ("digits-relu", "digits-conv", "wine",
          "cancer", "diabetes"), unpaired, curable=False),
    Fault("held-out part in other units", ("held-out-shift",), FLAT, other_units, curable=False),
    Fault("held-out part trained on", ("leaked-samples",), FLAT, trained_on, always=True,
          curable=False),
    Fault("time before samples", ("mixed-samples",), ("digits-relu",), time_first, curable=False),
    Fault("dropout when evaluated", ("dropout-misuse",), ("digits-relu", "digits-tanh", "wine",
          "cancer"), always_dropping, always=True),
    Fault("dropout of 0.95", ("over-regularised",), ("digits-relu", "digits-tanh", "wine"),
          drops_all),
    Fault("weight decay of 1", ("over-regularised", "lr-too-high"), ("digits-relu", "digits-tanh",
          "digits-conv", "cancer", "mnist-relu"), decays_all),
    Fault("softmax over samples", ("mixed-samples", "loss-mismatch"), ("digits-relu",
          "digits-conv", "wine"), softmax_over_samples, always=True),
    Fault("no activation", ("linear-model",), ("digits-conv", "mnist-relu", "mnist-conv"),
          no_activation),
    Fault("one epoch", ("too-few-epochs", "lr-too-low"), ("digits-relu", "digits-tanh",
          "diabetes", "letters-mlp"), one_epoch),
    Fault("all samples in a batch", ("too-few-epochs", "lr-too-low", "sharp-minimum"),
          ("digits-relu", "digits-tanh", "cancer"), whole_batches),
    Fault("signs for probabilities", ("loss-mismatch",), ("cancer",), signs, always=True,
          curable=False),
    Fault("scales inside the model", ("ill-conditioned", "input-scale"), ("digits-relu",
          "digits-tanh", "cancer", "diabetes"), stretched),
)  # fmt: skip
