"""Is this task sound? Every check that can be made before the first step, each with one clear line.

What is wrong with certainty raises ``ValueError``; what is only unusual becomes a note.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.risk import source, tree
from thalweg.risk.criterion import IGNORED, class_axis
from thalweg.risk.risk import Risk, evaluating

SCAN_ITEMS = 512  # samples looked at in data sets that are read item by item
TRIED = 3  # blocks of a held-out part that are scored: its first, a middle one, its shorter last


@dataclass(frozen=True, slots=True)
class Facts:
    """What the door learnt: sizes, whether training draws random numbers, and notes."""

    parameters: int
    train: int
    selection: int
    confirmation: int
    stochastic: bool  # the training forward pass draws random numbers (dropout)
    batch_coupled: bool  # samples of a batch influence each other (batch norm in training)
    notes: tuple[str, ...]


def check(risk: Risk) -> Facts:
    """Check data, model, loss and metric; return what was learnt.

    Raises:
        ValueError: One line: what was got, where, and what to do.
    """
    name = f"task '{risk.task.name}'"
    notes = list(risk.notes)
    if risk.train.n < 2:
        raise ValueError(f"{name}: train has {risk.train.n} sample(s); at least 2 are needed.")
    for what in ("train", "selection", "confirmation"):
        _check_data(risk, getattr(risk, what), "held_out" if what == "selection" else what)
    model = risk.model(0)
    trainable = _check_model(name, model, notes)
    batch = risk.feed(0, risk.batch_size()).batch(0)
    _check_shape_of_pair(name, risk, batch)
    stochastic = _check_forward(name, risk, model, batch)
    _check_labels(name, risk, model, batch)
    _check_loss(name, risk, model, batch, trainable, notes)
    _check_mean(name, risk, model, batch, notes)
    _check_held_out(name, risk, model)
    if min(risk.selection.n, risk.confirmation.n) < 50:
        notes.append(
            f"Held-out parts are small ({risk.selection.n} for selection, {risk.confirmation.n} for"
            " confirmation): expect many ties."
        )
    coupled = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules())
    return Facts(
        trainable,
        risk.train.n,
        risk.selection.n,
        risk.confirmation.n,
        stochastic,
        coupled,
        tuple(notes),
    )


def _check_data(risk: Risk, data: source.Source, what: str) -> None:
    if data.n == 0:
        raise ValueError(f"task '{risk.task.name}': {what} is empty (0 samples).")
    if isinstance(data, source.Resident):
        _finite(data.samples, what, risk, data.n)
        return
    for start in range(0, min(data.n, SCAN_ITEMS), 64):
        indices = range(start, min(start + 64, data.n))
        _finite(_attempt(f"{what}: collating samples {start}..", data.take, indices), what, risk, 0)


def _finite(samples: Any, what: str, risk: Risk, n: int) -> None:
    pair = risk.task.forward == "pair" and isinstance(samples, tuple | list) and len(samples) == 2
    for path, leaf in tree.leaves(samples):
        if not isinstance(leaf, Tensor) or not leaf.is_floating_point():
            continue
        if bool(torch.isfinite(leaf.sum())):  # one pass; a finite sum has finite terms
            continue
        bad = ~torch.isfinite(leaf)
        if not bool(bad.any()):
            continue  # the sum overflowed, the numbers are fine
        rows = bad.flatten(1).any(1).nonzero()[:, 0] if leaf.dim() > 1 else bad.nonzero()[:, 0]
        part = {"[0]": " inputs", "[1]": " targets"}.get(path[:3], path) if pair else path
        raise ValueError(
            f"task '{risk.task.name}': {what}{part} hold {int(bad.sum())} NaN or infinite "
            f"number(s) in {len(rows)} of {leaf.shape[0]} samples, the first at index "
            f"{int(rows[0])}. Remove or replace those samples."
        )


def _check_model(name: str, model: nn.Module, notes: list[str]) -> int:
    every = list(model.parameters())
    trainable = [p for p in every if p.requires_grad]
    if not every:
        raise ValueError(f"{name}: the model has no parameters, so there is nothing to train.")
    if not trainable:
        raise ValueError(
            f"{name}: all {len(every)} parameters of the model are frozen (requires_grad=False)."
        )
    for key, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise ValueError(f"{name}: initial weights of '{key}' hold NaN or infinite numbers.")
        if parameter.is_complex():
            raise ValueError(f"{name}: parameter '{key}' is complex; only real ones can be raced.")
    if len(trainable) < len(every):
        notes.append(f"{len(every) - len(trainable)} of {len(every)} parameters are frozen.")
    return sum(p.numel() for p in trainable)


def _check_shape_of_pair(name: str, risk: Risk, batch: Any) -> None:
    if risk.task.forward != "pair":
        return
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        got = f"{len(batch)} parts" if isinstance(batch, tuple | list) else type(batch).__name__
        raise ValueError(
            f"{name}: a batch is {got}, but forward='pair' wants (input, target). Use "
            "forward='batch' and a loss (model, batch) -> scalar for other shapes."
        )


def describe(item: Any) -> str:
    """Shapes and types of a tree, for messages."""
    if isinstance(item, Tensor):
        return f"{tuple(item.shape)} {str(item.dtype).removeprefix('torch.')}"
    if isinstance(item, dict):
        return "{" + ", ".join(f"{key}: {describe(value)}" for key, value in item.items()) + "}"
    if isinstance(item, list | tuple):
        return "(" + ", ".join(describe(value) for value in item) + ")"
    return type(item).__name__


def _attempt(doing: str, call: Callable[..., Any], *arguments: Any) -> Any:
    """Call the user's code; what it raises becomes one line."""
    try:
        return call(*arguments)
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{doing} failed: {type(error).__name__}: {reason}") from error


def _check_forward(name: str, risk: Risk, model: nn.Module, batch: Any) -> bool:
    """One training forward pass on a copy; tells whether it draws random numbers."""
    twin = copy.deepcopy(model)
    shape = describe(risk.input(batch))
    before = torch.random.get_rng_state()
    with torch.no_grad(), torch.random.fork_rng(devices=_devices(risk)):
        cuda = torch.cuda.get_rng_state(risk.device) if risk.device.type == "cuda" else None
        if risk.task.forward == "pair":
            _attempt(f"{name}: model(input) on a batch of {shape}", risk.forward, twin, batch)
        else:
            _attempt(f"{name}: loss(model, batch) on a batch of {shape}", risk.loss, twin, batch)
        drew = not torch.equal(before, torch.random.get_rng_state())
        if cuda is not None:
            drew = drew or not torch.equal(cuda, torch.cuda.get_rng_state(risk.device))
    return drew


def _devices(risk: Risk) -> list[torch.device]:
    return [risk.device] if risk.device.type == "cuda" else []


def _check_labels(name: str, risk: Risk, model: nn.Module, batch: Any) -> None:
    """Class labels must name a class the output has, in every part of the data."""
    if risk.task.forward != "pair":
        return
    with evaluating(model):
        output = risk.forward(model, batch)
    axis = class_axis(output, batch[1])
    if axis is None or axis < 0:
        return
    classes = output.shape[axis]
    for what in ("train", "selection", "confirmation"):
        data = getattr(risk, what)
        if not isinstance(data, source.Resident):
            continue
        targets = data.samples[1]
        wrong = ((targets < 0) & (targets != IGNORED)) | (targets >= classes)
        if bool(wrong.any()):
            bad = targets[wrong]
            where = int(wrong.flatten(1).any(1).nonzero()[0]) if wrong.dim() > 1 else None
            where = int(wrong.nonzero()[0]) if where is None else where
            raise ValueError(
                f"{name}: {what} targets hold class labels outside 0..{classes - 1} (lowest "
                f"{int(bad.min())}, highest {int(bad.max())}, the first at index {where}); the "
                f"model's output has {classes} classes."
            )


def _check_loss(
    name: str, risk: Risk, model: nn.Module, batch: Any, trainable: int, notes: list[str]
) -> None:
    twin = copy.deepcopy(model)
    with torch.random.fork_rng(devices=_devices(risk)), warnings.catch_warnings():
        # torch warns where target and output only match by broadcasting: a wrong loss, silently
        warnings.filterwarnings("error", message=".*target size.*", category=UserWarning)
        loss = _attempt(
            f"{name}: the loss on targets {describe(batch[1]) if _pair(risk) else 'of a batch'}",
            risk.loss,
            twin,
            batch,
        )
    if not isinstance(loss, Tensor):
        raise ValueError(
            f"{name}: the loss returned {type(loss).__name__}; wanted a scalar tensor."
        )
    if loss.numel() != 1:
        raise ValueError(
            f"{name}: the loss returned a tensor of shape {tuple(loss.shape)}; wanted one number, "
            "the mean over the batch. Drop reduction='none' or take .mean()."
        )
    if not bool(torch.isfinite(loss)):
        raise ValueError(
            f"{name}: the loss at the initial weights is {float(loss.detach())}. Check targets, "
            "initialisation and logs or divisions in the loss."
        )
    if not loss.requires_grad:
        raise ValueError(
            f"{name}: the loss does not depend on any trainable parameter (no gradient reaches "
            "one). Look for .detach(), .item(), argmax or no_grad in the model or the loss."
        )
    parameters = [p for p in twin.parameters() if p.requires_grad]
    grads = _attempt(
        f"{name}: the backward pass",
        lambda: torch.autograd.grad(loss.reshape(()), parameters, allow_unused=True),
    )
    unused = sum(g is None for g in grads)
    if unused == len(grads):
        raise ValueError(f"{name}: no parameter receives a gradient from the loss.")
    if unused:
        notes.append(f"{unused} of {len(grads)} parameter tensors receive no gradient.")
    if any(g is not None and not bool(torch.isfinite(g).all()) for g in grads):
        raise ValueError(
            f"{name}: the gradient at the initial weights holds NaN or infinite numbers. Look for "
            "sqrt, log, norm or division at zero."
        )


def _pair(risk: Risk) -> bool:
    return risk.task.forward == "pair"


def _check_mean(name: str, risk: Risk, model: nn.Module, batch: Any, notes: list[str]) -> None:
    """Whole = weighted sum of chunks, in evaluation mode; a wrong ``weight`` is an error."""
    m = tree.count(batch[1] if _pair(risk) else batch)
    if m < 3 or any(t.dim() == 0 or t.shape[0] != m for t in tree.tensors(batch)):
        return
    cut = m // 3
    pieces = [tree.tree_map(lambda t: t[:cut], batch), tree.tree_map(lambda t: t[cut:], batch)]
    with evaluating(model), torch.random.fork_rng(devices=_devices(risk)):
        try:
            whole = float(risk.loss(model, batch))  # evaluating() turned gradients off
            parts = [float(risk.loss(model, piece)) for piece in pieces]
        except Exception:  # a loss that wants whole batches
            return
        masses = [_attempt(f"{name}: weight(batch)", risk.weight, piece) for piece in pieces]
    if not all(mass >= 0 for mass in masses) or sum(masses) <= 0:
        raise ValueError(f"{name}: weight(batch) returned {masses}; wanted positive numbers.")
    mean = sum(w * x for w, x in zip(masses, parts, strict=True)) / sum(masses)
    if abs(mean - whole) <= 1e-4 * max(abs(whole), 1e-3):
        return
    gap = f"loss of a batch {whole:.6g}, weighted mean of its two parts {mean:.6g}"
    if risk.task.weight is not None:
        raise ValueError(
            f"{name}: weight does not fit the loss: {gap}. Weight by what it averages."
        )
    notes.append(
        f"The loss is not a mean over samples ({gap}); held-out numbers are means over blocks. "
        "If it averages over something else (tokens, class weights), pass weight=."
    )


def _check_held_out(name: str, risk: Risk, model: nn.Module) -> None:
    for part in ("selection", "confirmation"):
        doing = f"{name}: scoring the {part} part of held_out"
        starts = range(0, getattr(risk, part).n, _attempt(doing, risk.block_size, part))
        if len(starts) <= TRIED:
            values = _attempt(doing, risk.score, model, part).values
        else:  # all of it may cost as much as dozens of steps
            tried = [starts[0], starts[len(starts) // 2], starts[-1]]
            tried += _weightless(name, risk, part, starts)[:1]
            values = torch.cat([_attempt(doing, risk.score_block, model, part, k) for k in tried])
        if not bool(torch.isfinite(values).all()):
            raise ValueError(
                f"{name}: the criterion '{risk.metric}' is not finite on the {part} part at the "
                "initial weights."
            )


def _weightless(name: str, risk: Risk, part: str, starts: range) -> list[int]:
    """Where blocks begin that weigh nothing: one of padding alone may have no loss."""
    data = getattr(risk, part)
    if risk.task.weight is None or not isinstance(data, source.Resident):
        return []
    doing, blocks = f"{name}: weight(batch) on the {part} part", data.chunks(starts.step)
    return [k for k, b in zip(starts, blocks, strict=True) if not _attempt(doing, risk.weight, b)]
