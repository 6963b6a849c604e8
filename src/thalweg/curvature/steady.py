"""Does the loss answer the same when asked twice, and if not, which module or function is to blame?

Also: does the loss of a batch equal the weighted mean of its parts, and does it read weights of the
model behind our back? What would make products silently wrong is refused with its cause.
"""

from __future__ import annotations

import random
import types
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from thalweg.curvature.once import once
from thalweg.curvature.private import HALF
from thalweg.curvature.problem import Problem, samples_of
from thalweg.risk import tree

ROUNDING = {torch.float32: 1e-4, torch.float64: 1e-9}  # kernels that sum in no fixed order
LOOK = 64  # samples that are looked at


def check(problem: Problem) -> None:
    """All checks; adds to ``problem.notes`` and sets ``problem.couples``.

    Raises:
        ValueError: Not deterministic under equal random states; not a mean over ``weight``; a loss
            that reads the model's own parameters, or none.
    """
    whole = next(iter(problem.chunks.walk(None)))
    batch = whole if problem.couples else samples_of(whole, LOOK)
    _twice(problem, batch)
    _data_twice(problem)
    _means(problem, batch)


def _value_and_gradient(problem: Problem, batch: Any) -> tuple[Tensor, list[Tensor], Tensor]:
    with problem.steady():
        theta = tuple(t.clone().requires_grad_() for t in problem.theta)
        loss = problem.loss(theta, batch)
        _reads_original(problem, loss)
        problem.once = once(loss)
        grads = (
            torch.autograd.grad(loss, theta, allow_unused=True)
            if loss.requires_grad
            else [None] * len(theta)
        )
        state = torch.get_rng_state()
    found = [torch.zeros_like(t) if g is None else g for g, t in zip(grads, theta, strict=True)]
    return loss.detach(), found, state


def _twice(problem: Problem, batch: Any) -> None:
    first, second = _Record(problem.twin.model), _Record(problem.twin.model)
    with problem.steady():
        before = torch.get_rng_state()
    buffers = _state(problem.twin)
    with first:
        one = _value_and_gradient(problem, batch)
    changed = [name for name, (old, new) in _both(buffers, _state(problem.twin)) if old != new]
    with second:
        two = _value_and_gradient(problem, batch)
    if not bool(torch.isfinite(one[0])):
        raise ValueError(
            f"the loss at these weights is {float(one[0])}; its curvature means nothing. Look for "
            "logs and divisions in the loss, and at the weights."
        )
    if not _agree(problem, one, two):
        raise ValueError(
            f"the loss is not deterministic: under equal random states it was {float(one[0]):.8g}, "
            f"then {float(two[0]):.8g}. {_cause(problem, first, second, changed)}"
        )
    half = [n for n, (t, _) in first.seen if any(x.dtype in HALF for x in t)]
    if half:
        _note(
            problem, f"module '{half[0]}' computes in half precision: products are off by percents."
        )
    if not torch.equal(before, one[2]) and not problem.dropout:
        _note(
            problem,
            f"{first.drew or 'the loss'} draws random numbers; one draw under seed {problem.seed} "
            "is held fixed, so the curvature is that of this draw.",
        )
    if not any(bool(g.any()) for g in one[1]):
        problem.notes.append("the gradient is zero for every chosen weight on the first samples.")


def _agree(problem: Problem, one: Any, two: Any) -> bool:
    tol = ROUNDING[problem.dtype]
    if abs(float(one[0] - two[0])) > tol * abs(float(one[0])):
        return False
    size = max(float(g.norm()) for g in one[1])
    gap = max(float((a - b).norm()) for a, b in zip(one[1], two[1], strict=True))
    return gap <= 10 * tol * size


def _note(problem: Problem, text: str) -> None:
    problem.notes.append(text)
    warnings.warn(text, UserWarning, stacklevel=5)


class _Record:
    """What every module answered, in order, and which one drew random numbers first."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.seen: list[tuple[str, tuple[list[Tensor], list[Tensor]]]] = []
        self.drew = ""

    def __enter__(self) -> None:
        self.handles, self.states = [], []
        for name, module in self.model.named_modules():
            self.handles.append(module.register_forward_pre_hook(self._before))
            self.handles.append(module.register_forward_hook(self._after(name, module)))

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()

    def _before(self, module: nn.Module, inputs: Any) -> None:
        self.states.append(torch.get_rng_state())

    def _after(self, name: str, module: nn.Module) -> Callable[..., None]:
        label = f"module '{name}' ({type(module).__name__})" if name else type(module).__name__

        def hook(_: nn.Module, inputs: Any, output: Any) -> None:
            before = self.states.pop()
            if not self.drew and not torch.equal(before, torch.get_rng_state()):
                self.drew = label  # children end before their parents: the innermost comes first
            self.seen.append((label, (_detached(output), _detached(inputs))))

        return hook


def _detached(item: Any) -> list[Tensor]:
    found = tree.tensors(item)
    return [t.detach().clone() for t in found]


def _state(module: nn.Module) -> dict[str, Any]:
    """Buffers and plain attributes of every module: what a forward pass may change."""
    found: dict[str, Any] = {}
    for name, part in module.named_modules():
        place = name.removeprefix("model").removeprefix(".")
        for key, value in vars(part).items():
            if isinstance(value, int | float | str):
                found[f"{place}.{key}".removeprefix(".")] = value
        for key, buffer in part.named_buffers(recurse=False):
            found[f"{place}.{key}".removeprefix(".")] = buffer.detach().cpu().numpy().tobytes()
    return found


def _both(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, tuple[Any, Any]]]:
    return [(key, (old.get(key), value)) for key, value in new.items()]


def _cause(problem: Problem, first: _Record, second: _Record, changed: list[str]) -> str:
    """One sentence: where the two runs part, and what could be the reason there."""
    remedy = "Make it draw from torch's global generator, or keep it out of the loss."
    for (label, (out, given)), (_, (again, gave)) in zip(first.seen, second.seen, strict=False):
        if not _same(out, again) and _same(given, gave):
            name = label.split("'")[1] if "'" in label else ""
            owner = dict(problem.twin.model.named_modules()).get(name, problem.twin.model)
            mine = [key for key in changed if key.rpartition(".")[0] == name]
            why = f" It changes its '{mine[0]}' in every forward pass." if mine else ""
            why = why or _generator(owner) or _generator(type(owner).forward)
            return f"Cause: {label} gives different outputs for equal inputs.{why} {remedy}"
    function = problem.loss_function
    name = getattr(function, "__qualname__", type(function).__name__)
    inputs = "the model's outputs are equal both times" if first.seen else "no module was called"
    return f"Cause: the loss function '{name}' itself ({inputs}).{_generator(function)} {remedy}"


def _same(a: list[Tensor], b: list[Tensor]) -> bool:
    return len(a) == len(b) and all(
        x.shape == y.shape and bool(torch.allclose(x.double(), y.double(), rtol=1e-5, atol=1e-7))
        for x, y in zip(a, b, strict=True)
    )


GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)


def _generator(owner: Any) -> str:
    """Name a random generator that an object holds or a function closes over."""
    held: list[tuple[str, Any]] = []
    if isinstance(owner, types.MethodType):
        held += list(getattr(owner.__self__, "__dict__", {}).items())
        owner = owner.__func__
    if isinstance(owner, types.FunctionType):
        code = owner.__code__
        cells = owner.__closure__ or ()
        for key, cell in zip(code.co_freevars, cells, strict=True):
            try:
                held.append((key, cell.cell_contents))
            except ValueError:  # an empty cell
                continue
        held += [(k, owner.__globals__[k]) for k in code.co_names if k in owner.__globals__]
        calls = [k for k in code.co_names if k in ("time", "perf_counter", "urandom", "uuid4")]
        if calls:
            return f" It calls '{calls[0]}'."
    else:
        held += list(getattr(owner, "__dict__", {}).items())
    for key, value in held:
        if isinstance(value, GENERATORS):
            return f" It draws from its own generator '{key}' ({type(value).__name__})."
    return ""


def _reads_original(problem: Problem, loss: Tensor) -> None:
    """Refuse a loss whose graph ends in parameters of the model that was handed in."""
    theirs = {id(p): name for name, p in problem.original.named_parameters()}
    seen, todo = set(), [loss.grad_fn]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if variable is not None and id(variable) in theirs:
            raise ValueError(
                f"the loss reads '{theirs[id(variable)]}' of the model itself (a penalty on "
                "weights?), which is not seen as a function of the weights looked at. Pass "
                "forward='batch' and a loss (model, batch) -> scalar that uses the model it gets."
            )
        todo.extend(parent for parent, _ in node.next_functions)


def _data_twice(problem: Problem) -> None:
    a, b = (next(iter(problem.chunks.walk(None))) for _ in range(2))
    if not tree.same(samples_of(a, LOOK), samples_of(b, LOOK)):
        raise ValueError(
            "the data are not deterministic: the first batch read twice differs. Cause: the data "
            "set (random augmentation with a generator of its own?). Pass tensors, or switch "
            "augmentation off."
        )


def _means(problem: Problem, batch: Any) -> None:
    """Whole = Σ of the parts by weight; where it is not, batches stay as they were given."""
    m = tree.count(batch)
    alone = problem.chunks.n <= problem.chunks.largest()
    if problem.couples or m < 2:
        return
    cut = max(1, m // 3)
    pieces = [tree.tree_map(lambda t: t[:cut], batch), tree.tree_map(lambda t: t[cut:], batch)]
    splits = all(t.dim() and t.shape[0] == m for t in tree.tensors(batch))
    whole, parts, masses = float("nan"), [], []
    if splits:
        try:
            masses = [float(problem.weigh(piece)) for piece in pieces]
            pairs = [(p, w) for p, w in zip(pieces, masses, strict=True) if w]
            whole = _plain(problem, batch)
            parts = [(_plain(problem, piece), w) for piece, w in pairs]
        except (RuntimeError, ValueError, IndexError, TypeError):  # wants whole batches
            splits = False
    if splits and parts:
        total = sum(w for _, w in parts)
        mean = sum(x * (1.0 if problem.sums else w / total) for x, w in parts)
        scale = max(abs(whole), *(abs(x) for x, _ in parts), 1e-3)
        if abs(mean - whole) <= ROUNDING[problem.dtype] * scale:
            return
    problem.couples = True
    if alone:
        problem.notes.append("the loss cannot be taken apart over samples: one batch at once.")
        return
    problem.notes.append(
        f"the loss of a batch ({whole:.6g}) is not the weighted mean of its parts; batches of up to"
        f" {problem.chunks.largest()} samples are taken as given and weigh by their size."
    )
    warnings.warn(problem.notes[-1] + " If it averages tokens, say, pass weight=.", stacklevel=5)


def _plain(problem: Problem, batch: Any) -> float:
    with problem.steady(), torch.no_grad():
        return float(problem.loss(problem.theta, batch))
