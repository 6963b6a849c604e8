"""How do a model, a loss and data become one function of chosen weights, chunk by chunk?

The model handed in is copied at once; everything afterwards happens to the copy, under random
states of its own that are put back.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from thalweg.curvature import private
from thalweg.curvature.chunks import Chunks, chunks_of, some
from thalweg.curvature.layout import Layout
from thalweg.curvature.weighing import weigher
from thalweg.risk import Risk, tree
from thalweg.risk.order import stream
from thalweg.risk.risk import pick_device, pick_dtype
from thalweg.task import Task

PARTS = ("train", "selection", "confirmation")
Theta = tuple[Tensor, ...]


class Options(TypedDict, total=False):
    """What every operator of this family takes by name.

    Attributes:
        model: With a task: the weights to look from; by default fresh ones under ``seed``.
        part: With a task: ``"train"`` (default), ``"selection"`` or ``"confirmation"``.
        mode: ``"eval"`` (default): stored batch statistics. ``"train"``: statistics of each batch
            as it was given, stored ones untouched.
        dropout: False (default): off. True: masks drawn once under ``seed`` and held fixed.
        forward: Without a task: ``"pair"`` (default) or ``"batch"``, as in ``thalweg.Task``.
        weight: Without a task: ``batch -> number`` that the mean runs over.
        samples: At most so many samples, drawn under ``seed``; default all.
        batch_size: Of batches for ``mode="train"``; default the task's or the loader's.
        seed: Of fresh weights and of every random draw inside.
        device: Default: the model's; of a task ``"auto"``.
        dtype: ``"float32"`` or ``"float64"``; default the model's, float32 for half precision.
        chunk: Samples at once; default: chosen.
        memory: Bytes that kept graphs and work space may take; default 2 GiB.
        engine: ``"auto"`` (default), ``"graph"``, ``"split"``, ``"recompute"``, or ``"compiled"``:
            ``"split"`` through ``torch.compile``, for very many products (it takes up to a minute
            and a C++ compiler; its products are compared with ours before they are used).
    """

    model: nn.Module | None
    part: str
    mode: str
    dropout: bool
    forward: str
    weight: Callable[[Any], Any] | None
    samples: int | None
    batch_size: int | None
    seed: int
    device: str | torch.device | None
    dtype: str | torch.dtype | None
    chunk: int | None
    memory: int
    engine: str


@dataclass(eq=False)
class Problem:
    """f(w): the mean loss over the data as a function of the chosen weights.

    Attributes:
        layout: Names and places of the chosen weights.
        theta: Their values, detached.
        chunks: The data.
        weigh: ``batch -> number``: what the mean of a batch runs over.
        sums: The loss is a sum over samples, not a mean.
        couples: Samples of a batch influence each other, so batches stay as given.
        seed: Of random draws.
        twin: The private copy with its loss.
        original: The model handed in, to recognise its weights inside a loss.
        once: A function on the way that has no second derivative; empty for none.
        notes: What a reader of the numbers should know.
    """

    layout: Layout
    theta: Theta
    chunks: Chunks
    weigh: Callable[[Any], float]
    sums: bool
    couples: bool
    seed: int
    twin: private.Bound
    original: nn.Module
    forward: str
    loss_function: Callable[..., Any]
    dropout: bool
    once: str = ""
    notes: list[str] = field(default_factory=list)
    _masses: dict[int | None, list[float]] = field(default_factory=dict, repr=False)
    _padded: list[tuple[int, int]] | None = field(default=None, repr=False)

    @property
    def dtype(self) -> torch.dtype:
        """Of vectors: the widest of the weights."""
        kinds = {t.dtype for t in self.theta}
        return torch.float64 if torch.float64 in kinds else torch.float32

    @property
    def device(self) -> torch.device:
        """Where weights and vectors live."""
        return self.theta[0].device

    @property
    def dtypes(self) -> list[torch.dtype]:
        """Of each weight."""
        return [t.dtype for t in self.theta]

    def loss(self, theta: Theta, batch: Any) -> Tensor:
        """The loss of one batch at these weights."""
        value = self._call(theta, batch, "loss")
        if not isinstance(value, Tensor) or value.numel() != 1:
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(
                f"the loss returned {got}; wanted one number, the mean over the batch. Drop "
                "reduction='none' or take .mean()."
            )
        return value.reshape(())

    def outputs(self, theta: Theta, batch: Any) -> Any:
        """What the model answers at these weights."""
        return self._call(theta, batch, "outputs")

    def moving(self, v: Theta) -> Theta:
        """A direction without the rows of embeddings that never change (``padding_idx``).

        Backward passes leave them out; forward-mode derivatives do not know of them.
        """
        if self._padded is None:
            weights = {n: i for i, n in enumerate(self.layout.names)}
            self._padded = [
                (weights[name], module.padding_idx)
                for prefix, module in self.twin.model.named_modules()
                if isinstance(module, nn.Embedding) and module.padding_idx is not None
                for name in [f"{prefix}.weight".removeprefix(".")]
                if name in weights
            ]
        found = list(v)
        for i, row in self._padded:
            keep = torch.arange(len(found[i]), device=found[i].device) != row
            found[i] = found[i] * keep[:, None].to(found[i].dtype)
        return tuple(found)

    def _call(self, theta: Theta, batch: Any, what: str) -> Any:
        named = {f"model.{n}": t for n, t in zip(self.layout.names, theta, strict=True)}
        return functional_call(self.twin, named, (batch, what))

    @contextmanager
    def steady(self, index: int = 0) -> Iterator[None]:
        """Kernels for second derivatives; random draws depend on the chunk's index only."""
        devices = [self.device] if self.device.type == "cuda" else []
        state = np.random.get_state(), random.getstate()  # noqa: NPY002
        value = stream(self.seed, "curvature", index)
        with torch.random.fork_rng(devices=devices), private.second_order(self.twin, self.device):
            torch.default_generator.manual_seed(value)
            if devices:
                with torch.cuda.device(self.device):
                    torch.cuda.manual_seed(value)
            np.random.seed(value % 2**32)  # noqa: NPY002
            random.seed(value)
            try:
                yield
            finally:
                np.random.set_state(state[0])  # noqa: NPY002
                random.setstate(state[1])

    def parts(self, size: int | None) -> Iterator[tuple[Any, float]]:
        """Chunks with their shares: f = Σ share · loss(chunk). Empty weights are left out."""
        if self.couples:
            size = None
        if self.sums:
            yield from ((batch, 1.0) for batch in self.chunks.walk(size))
            return
        if size not in self._masses:
            self._masses[size] = [float(self.weigh(batch)) for batch in self.chunks.walk(size)]
        masses = self._masses[size]
        total = sum(masses)
        if not total > 0 or any(mass < 0 for mass in masses):
            raise ValueError(
                f"the weights of the batches sum to {total:g}: nothing that the loss is a mean "
                "over. Look for targets that are all ignored, or at weight=."
            )
        for batch, mass in zip(self.chunks.walk(size), masses, strict=True):
            if mass:  # a chunk of ignored targets only: its mean is 0/0
                yield batch, mass / total


def open_problem(
    problem: Task | nn.Module | Problem,
    loss: Callable[..., Any] | None = None,
    data: Any = None,
    params: Iterable[str | Tensor] | None = None,
    *,
    model: nn.Module | None = None,
    part: str = "train",
    mode: str = "eval",
    dropout: bool = False,
    forward: str = "pair",
    weight: Callable[[Any], Any] | None = None,
    samples: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
) -> Problem:
    """Read a task, or a model with loss and data. Arguments as in :class:`Options`.

    Raises:
        ValueError: Something missing, unknown or without trainable weights; a loss that is not
            deterministic; see :mod:`thalweg.curvature.steady`.
        TypeError: A model, loss or data that is none.
    """
    if isinstance(problem, Problem):
        return problem
    if mode not in private.MODES:
        raise ValueError(f"mode is {mode!r}; known: {', '.join(private.MODES)}.")
    kind = pick_dtype(dtype)
    if isinstance(problem, Task):
        if loss is not None or data is not None:
            raise ValueError("a task brings its own loss and data; pass the task alone.")
        if part not in PARTS:
            raise ValueError(f"part is {part!r}; known: {', '.join(PARTS)}.")
        risk = Risk(problem, device or "auto", kind)
        model = risk.model(seed) if model is None else model
        if kind is None and _half_to_single(model):
            risk = Risk(problem, device or "auto", torch.float32)
        loss, forward, weight = problem.loss, problem.forward, problem.weight
        found, place = getattr(risk, part), risk.device
        chunks = Chunks(None, found, risk.batch_size(batch_size))
    elif isinstance(problem, nn.Module):
        if model is not None:
            raise ValueError("model= goes with a task; the first argument is a model already.")
        if loss is None or data is None:
            raise ValueError("a model alone has no curvature: pass loss and data as well.")
        if not callable(loss):
            raise TypeError(f"loss is a {type(loss).__name__}; pass a function or an nn.Module.")
        model, chunks, place = problem, None, None
    else:
        raise TypeError(
            f"wanted a thalweg.Task, or a torch.nn.Module with loss and data; got "
            f"{type(problem).__name__}."
        )
    if forward not in ("pair", "batch"):
        raise ValueError(f"forward is {forward!r}; known: pair, batch.")
    twin = private.private_copy(model, mode, dropout, kind)
    if place is None and device is not None:
        place = pick_device(device)
    twin = twin if place is None else twin.to(place)
    layout, theta = _choose(model, twin, params)
    bound = private.Bound(
        twin, private.settled(private.rebound(loss, model, twin), theta[0]), forward
    )
    if chunks is None:
        chunks = chunks_of(data, theta[0].device, kind or _half_to_single(model), batch_size)
    chunks = some(chunks, samples, seed, whole=mode == "eval")
    weigh, sums = weigher(loss, forward)
    found = Problem(
        layout,
        theta,
        chunks,
        (lambda batch: float(weight(batch))) if weight is not None else weigh,
        sums and weight is None,
        mode == "train" and any(isinstance(m, private.BATCH_NORMS) for m in twin.modules()),
        seed,
        bound,
        model,
        forward,
        bound.criterion[0],
        dropout,
    )
    from thalweg.curvature.steady import check  # after Problem: it asks one

    check(found)
    return found


def _half_to_single(model: nn.Module) -> torch.dtype | None:
    kinds = {p.dtype for p in model.parameters()}
    return torch.float32 if kinds & set(private.HALF) else None


def _choose(
    model: nn.Module, twin: nn.Module, params: Iterable[str | Tensor] | None
) -> tuple[Layout, Theta]:
    """Names and values of the weights asked for: trainable ones, or those of ``params``."""
    named = dict(twin.named_parameters())
    if params is None:
        names = [name for name, p in named.items() if p.requires_grad]
        if not names:
            raise ValueError(
                f"all {len(named)} parameters of the model are frozen (requires_grad=False); "
                "name the ones to look at with params=."
            )
    else:
        asked = [params] if isinstance(params, str | Tensor) else list(params)
        names = [n for item in asked for n in _named(private.unwrapped(model), item, tuple(named))]
        names = list(dict.fromkeys(names))
        if not names:
            raise ValueError("params is empty; pass names, modules' names or parameters.")
    wrong = [n for n in names if not named[n].is_floating_point()]
    if wrong:
        raise ValueError(f"parameter '{wrong[0]}' is {named[wrong[0]].dtype}; wanted real numbers.")
    for parameter in twin.parameters():
        parameter.requires_grad_(False)
    theta = tuple(named[name].detach() for name in names)
    if not any(t.numel() for t in theta):
        raise ValueError("the chosen parameters hold no numbers.")
    bad = [n for n, t in zip(names, theta, strict=True) if not bool(torch.isfinite(t).all())]
    if bad:
        raise ValueError(f"weights of '{bad[0]}' hold NaN or infinite numbers.")
    return Layout(tuple(names), tuple(t.shape for t in theta)), theta


def _named(model: nn.Module, item: str | Tensor, known: tuple[str, ...]) -> list[str]:
    """The names that one entry of ``params`` stands for: a name, a module's name, a parameter."""
    every = dict(model.named_parameters(remove_duplicate=False))
    if isinstance(item, Tensor):
        found = [n for n, p in every.items() if p is item]
        if not found:
            raise ValueError(
                f"params holds a tensor {tuple(item.shape)} that is no parameter of the model."
            )
    elif isinstance(item, str):
        found = [n for n in every if n == item or n.startswith(item + ".")]
        if not found:
            raise ValueError(
                f"params: no parameter or module is called '{item}'. Known: {', '.join(known)}."
            )
    else:
        raise TypeError(f"params holds a {type(item).__name__}; pass names or parameters.")
    first = {id(p): n for n, p in model.named_parameters()}  # tied weights have one name
    return [first[id(every[n])] for n in found]


def samples_of(batch: Any, size: int) -> Any:
    """The first ``size`` samples of a batch, or the batch where it is not one row a sample."""
    n = tree.count(batch)
    if size >= n or any(t.dim() == 0 or t.shape[0] != n for t in tree.tensors(batch)):
        return batch
    return tree.tree_map(lambda t: t[:size], batch)
