"""A task as f(w): fresh models, batches by seed and step, the loss, and held-out scores."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.risk import source, tree
from thalweg.risk.criterion import BLOCKS, Scores, class_axis, correct, loss_parts
from thalweg.risk.feed import Feed
from thalweg.risk.order import Order, generator, stream
from thalweg.task import Task

EVALUATE_AT_ONCE = 1024  # samples per held-out forward pass, at most ...
EVALUATE_BYTES = 16 * 2**20  # ... and bytes of input, so that activations stay modest


AUTOCAST = (None, "bfloat16")


def pick_device(device: str | torch.device) -> torch.device:
    """``"auto"`` is CUDA where there is one, else the CPU; anything else is checked to exist."""
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"device '{device}' is unknown to torch. Use auto, cpu or cuda."
        ) from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device '{device}': this torch sees no CUDA device. Use cpu or auto.")
    if chosen.type not in ("cpu", "cuda"):
        raise ValueError(f"device '{device}' is not supported. Use auto, cpu or cuda.")
    return chosen


def pick_dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    """``"float32"`` or ``"float64"`` (or torch's own); None keeps the task's types."""
    names = {"float32": torch.float32, "float64": torch.float64}
    if dtype is None or dtype in names.values():
        return dtype if isinstance(dtype, torch.dtype) else None
    if str(dtype).removeprefix("torch.") in names:
        return names[str(dtype).removeprefix("torch.")]
    raise ValueError(f"dtype '{dtype}' is not supported. Use float32 or float64.")


def fork(task: Task) -> nn.Module:
    """A model of the task: built anew by its function, or a copy of the instance it names."""
    made = copy.deepcopy(task.model) if isinstance(task.model, nn.Module) else task.model()
    if not isinstance(made, nn.Module):
        raise TypeError(
            f"task '{task.name}': model() returned {type(made).__name__}; wanted a torch.nn.Module."
        )
    return made


class Risk:
    """The empirical risk of one task on one device.

    Args:
        task: What the user handed in.
        device: ``auto``, ``cpu`` or ``cuda``.
        dtype: ``float32``, ``float64`` or None (keep the task's).
        split_seed: Decides which held-out samples form the selection and the confirmation part.
        autocast: ``bfloat16`` for mixed precision in forward passes; None: none.

    Raises:
        ValueError: Data that cannot be read; see :mod:`thalweg.risk.door` for the deep checks.
    """

    def __init__(
        self,
        task: Task,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype | None = None,
        split_seed: int = 0,
        autocast: str | None = None,
    ) -> None:
        if autocast not in AUTOCAST:
            raise ValueError(f"autocast={autocast!r} is not supported. Use bfloat16, or None.")
        self.task, self.autocast, self._whole = task, autocast, False
        self.device, self.dtype = pick_device(device), pick_dtype(dtype)
        self.notes: list[str] = []
        self._read = source.read(task.train, "train", self.device, self.dtype)
        self.train = self._read.source
        self.selection, self.confirmation = self._held_out(split_seed)
        self.order_kind = self._read.kind or task.recipe.order
        self._feeds: dict[tuple[int, int], Feed] = {}
        self._weights: dict[str, Tensor] = {}

    # ------------------------------------------------------------------ data

    def _held_out(self, seed: int) -> tuple[source.Source, source.Source]:
        task = self.task
        if task.held_out is None:
            held = self._take_from_train(seed)
        else:
            held = source.read(task.held_out, "held_out", self.device, self.dtype).source
        if task.test is not None:
            return held, source.read(task.test, "test", self.device, self.dtype).source
        if held.n < 2:
            raise ValueError(
                f"held_out has {held.n} sample; it is split into a selection and a confirmation "
                "part, so at least 2 are needed (hundreds for a verdict), or pass test= as well."
            )
        shuffled = torch.randperm(held.n, generator=generator(seed, "held-out"))
        half = (held.n + 1) // 2
        return _subset(held, shuffled[:half].sort()[0]), _subset(held, shuffled[half:].sort()[0])

    def _take_from_train(self, seed: int) -> source.Source:
        """Hold out a quarter of the training data where the user named no held-out data."""
        if self._read.custom is not None:
            raise ValueError(
                "held_out is missing and train has a sampler of its own, so nothing can be held "
                "out of it. Pass held_out=(inputs, targets)."
            )
        n = self.train.n
        if n < 8:
            raise ValueError(f"held_out is missing and train has only {n} samples. Pass held_out=.")
        shuffled = torch.randperm(n, generator=generator(seed, "held-out of train"))
        cut = n // 4
        held = _subset(self.train, shuffled[:cut].sort()[0])
        self.train = _subset(self.train, shuffled[cut:].sort()[0])
        self.notes.append(f"No held-out data given: {cut} of {n} training samples were held out.")
        return held

    def batch_size(self, asked: int | None = None) -> int:
        """The batch size in use: asked for, the loader's, or the recipe's; at most all samples."""
        return min(asked or self._read.batch_size or self.task.recipe.batch_size, self.train.n)

    def order(self, batch_size: int) -> Order:
        """The order in which training samples are visited."""
        r = self._read
        if r.custom is not None and r.batch_size not in (None, batch_size):
            raise ValueError(
                f"batch_size={batch_size}: the training DataLoader has a sampler of its own, whose "
                f"batches of {r.batch_size} are kept as they are. Leave batch_size out of the race."
            )
        return Order(self.train.n, batch_size, self.order_kind, r.drop_last, r.custom)

    def feed(self, seed: int, batch_size: int) -> Feed:
        """The training batches of one seed (one init and one order per seed, for everyone)."""
        key = seed, batch_size
        if key not in self._feeds:
            self._feeds[key] = Feed(self.train, self.order(batch_size), seed)
        return self._feeds[key]

    def forget_feeds(self) -> None:
        """Drop the gathered epochs (they hold a copy of the training set per seed)."""
        self._feeds.clear()

    # ------------------------------------------------------------------ model and loss

    def model(self, seed: int) -> nn.Module:
        """The initial model under ``seed``: the same for every configuration."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(stream(seed, "init"))
            model = fork(self.task).to(self.device)
            if self.dtype is not None:
                model = model.to(self.dtype)
            if any(isinstance(p, nn.parameter.UninitializedParameter) for p in model.parameters()):
                self.forward(model, self.feed(seed, self.batch_size()).batch(0))  # lazy layers
        return model.train()

    def forward(self, model: nn.Module, batch: Any) -> Any:
        """``model(input)`` of a pair; dicts and tuples are spread over the arguments."""
        inputs = self.input(batch)
        if isinstance(inputs, Mapping):
            return model(**inputs)
        if isinstance(inputs, list | tuple):
            return model(*inputs)
        return model(inputs)

    def input(self, batch: Any) -> Any:
        """The model's input of a batch (the whole batch for ``forward="batch"``)."""
        return batch[0] if self.task.forward == "pair" else batch

    def precision(self) -> Any:
        """The context of forward passes: autocast where it was asked for."""
        if self.autocast is None or self._whole:
            return nullcontext()
        return torch.autocast(self.device.type, getattr(torch, self.autocast))

    @contextmanager
    def full_precision(self) -> Iterator[None]:
        """No autocast within the block."""
        before, self._whole = self._whole, True
        try:
            yield
        finally:
            self._whole = before

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """The loss of one batch, a scalar with its graph."""
        if self.autocast is not None:
            with self.precision():
                return self._plain_loss(model, batch)
        return self._plain_loss(model, batch)

    def _plain_loss(self, model: nn.Module, batch: Any) -> Tensor:
        if self.task.forward == "pair":
            return self.task.loss(self.forward(model, batch), batch[1])
        return self.task.loss(model, batch)

    @cached_property
    def direct_loss(self) -> Callable[[nn.Module, Any], Tensor]:
        """:meth:`loss` without its questions, for hot loops over one kind of batch."""
        loss = self.task.loss
        if self.autocast is not None:
            return self.loss
        if self.task.forward != "pair":
            return loss
        if isinstance(self.input(self.feed(0, self.batch_size()).batch(0)), Tensor):
            return lambda model, batch: loss(model(batch[0]), batch[1])
        return self.loss

    def weight(self, batch: Any) -> float:
        """What the mean of this batch runs over: samples, or what ``task.weight`` says."""
        if self.task.weight is not None:
            return float(self.task.weight(batch))
        return float(tree.count(batch[1] if self.task.forward == "pair" else batch))

    # ------------------------------------------------------------------ held-out scores

    @cached_property
    def metric(self) -> str:
        """``accuracy``, ``loss`` or the name of the user's own metric."""
        if callable(self.task.metric):
            return getattr(self.task.metric, "__name__", type(self.task.metric).__name__)
        if self.task.metric is not None:
            return self.task.metric
        if self.task.forward != "pair":
            return "loss"
        batch = next(iter(self.selection.chunks(min(64, self.selection.n))))
        with evaluating(probe := self.model(0)):
            axis = class_axis(self.forward(probe, batch), batch[1])
        return "accuracy" if axis is not None and axis >= 0 else "loss"

    @cached_property
    def _loss_parts(self) -> Any:
        if self.task.forward != "pair" or self.task.weight is not None:
            return None
        batch = next(iter(self.selection.chunks(min(64, self.selection.n))))
        with evaluating(probe := self.model(0)):
            return loss_parts(self.task.loss, self.forward(probe, batch), batch[1])

    @property
    def per_sample(self) -> bool:
        """Whether the criterion is known sample by sample (else by blocks of samples)."""
        if callable(self.task.metric):
            return False
        return (self.metric == "accuracy" and self.task.forward == "pair") or bool(self._loss_parts)

    @cached_property
    def _at_once(self) -> int:
        first = tree.tensors(next(iter(self.selection.chunks(1))))
        size = sum(t.numel() * t.element_size() for t in first)
        fits = EVALUATE_BYTES // max(1, size)
        return max(self.batch_size(), min(EVALUATE_AT_ONCE, fits), 1)

    def block_size(self, part: str) -> int:
        """Samples of a held-out part that are scored at once."""
        return self._at_once if self.per_sample else max(1, -(-getattr(self, part).n // BLOCKS))

    def score_block(self, model: nn.Module, part: str, first: int) -> Tensor:
        """Criterion values of one block of a held-out part, from its ``first`` sample on."""
        data = getattr(self, part)
        rows = torch.arange(first, min(first + self.block_size(part), data.n))
        with evaluating(model), self.precision():
            return self._score_chunk(model, data.take(rows))[0].double().cpu()

    def score(self, model: nn.Module, part: str, most: int | None = None) -> Scores:
        """The criterion on ``"selection"`` or ``"confirmation"``, in evaluation mode.

        Args:
            model: Its mode is put back afterwards.
            part: Which of the two.
            most: Samples that suffice (the first ones; at least one block); None: all.
        """
        data = self.selection if part == "selection" else self.confirmation
        size = self.block_size(part)
        wanted = data.n if most is None else min(most, data.n)
        values, weights, losses, masses = [], [], [], []
        with evaluating(model), self.precision():
            for batch in itertools.islice(data.chunks(min(size, wanted)), -(-wanted // size)):
                value, weight, loss, mass = self._score_chunk(model, batch)
                values.append(value)
                weights.append(weight)
                losses.append(loss * mass)
                masses.append(mass)
        weight = torch.cat(weights).double().cpu()
        weight = weight / weight.sum()
        if wanted == data.n:
            self._weights[part] = weight
        return Scores(torch.cat(values).double().cpu(), weight, sum(losses) / sum(masses))

    def unit_weights(self, part: str) -> Tensor:
        """``(u,)`` weights of the units that the criterion is known for: the same for any model."""
        if part not in self._weights:
            self.score(self.model(0), part)
        return self._weights[part]

    def _score_chunk(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor, float, float]:
        task, mass = self.task, self.weight(batch)
        if task.forward != "pair":
            loss = float(task.loss(model, batch))
            value = task.metric(model, batch) if callable(task.metric) else -loss
            return _one(value), _one(mass), loss, mass
        output = self.forward(model, batch)
        loss = float(task.loss(output, batch[1]))
        if callable(task.metric):
            return _one(task.metric(output, batch[1])), _one(mass), loss, mass
        if self.metric == "accuracy":
            found = correct(output, batch[1])
            if found is None:
                raise ValueError(
                    "metric 'accuracy' needs integer class targets and an output with one score a "
                    "class; give metric='loss' or a function (output, target) -> float."
                )
            return *found, loss, mass
        if self._loss_parts is None:
            return _one(-loss), _one(mass), loss, mass
        values, weights = self._loss_parts(output, batch[1])
        return -values, weights, loss, mass


def _one(value: Any) -> Tensor:
    return torch.tensor([float(value)], dtype=torch.float64)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; every module's own mode is put back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def _subset(data: source.Source, indices: Tensor) -> source.Source:
    if isinstance(data, source.Resident):
        return source.Resident(data.take(indices), len(indices))
    picked = torch.utils.data.Subset(data.dataset, indices.tolist())
    return source.Items(picked, data.collate, len(indices), data.device, data.dtype, data.random)
