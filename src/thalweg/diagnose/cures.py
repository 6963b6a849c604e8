"""Changes of a task, one function each: ``task -> task``. What a cured task file calls.

Every function leaves the task it is given as it is, and takes plain numbers and names only, so
that ``cured.py`` reads like a list of what was changed.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader, Subset

from thalweg.diagnose import entry, patched, pieces, wrapped
from thalweg.risk import tree
from thalweg.task import Task

CORRECTIONS = frozenset({
    "attached", "batch_first", "batch_statistics", "dropout_in_training_only", "finite_samples",
    "logits_of_probabilities", "matched_shapes", "normalised_scores", "probabilities_as_such",
    "shuffled", "without_output_activation",
})  # fmt: skip
"""Changes that put a mistake right: in a cure where they do no harm, even if no gain shows."""


def recipe(task: Task, **changes: Any) -> Task:
    """Train it differently: any fields of ``thalweg.Recipe``."""
    if changes.get("optimizer", task.recipe.optimizer) != task.recipe.optimizer:
        changes = {"momentum": 0.0, "hyperparameters": {}, **changes}
    return dataclasses.replace(task, recipe=dataclasses.replace(task.recipe, **changes))


def larger_batch(task: Task, batch_size: int) -> Task:
    """Average more samples a step; a loader is taken apart into its data set."""
    return recipe(_without_loader(task), batch_size=batch_size)


def shuffled(task: Task) -> Task:
    """Visit the samples in a new random order every epoch."""
    return recipe(_without_loader(task), order="reshuffle")


def standardised_inputs(task: Task) -> Task:
    """Mean 0 and variance 1 for every input variable, as a fixed first layer of the model."""
    layer = pieces.standardising(_train_inputs(task))
    return dataclasses.replace(task, model=partial(pieces.fronted, layer, task.model))


def standardised_entry(task: Task) -> Task:
    """Mean 0 and variance 1 for every number that reaches the first layer with weights."""
    return dataclasses.replace(task, model=entry.standardised(task))


def whitened_inputs(task: Task) -> Task:
    """Uncorrelated inputs of variance 1, as a fixed first layer of the model."""
    layer = pieces.whitening(_train_inputs(task))
    return dataclasses.replace(task, model=partial(pieces.fronted, layer, task.model))


def standardised_targets(task: Task) -> Task:
    """Train on targets of mean 0 and variance 1; the model answers in the old units."""
    targets = torch.cat(list(_targets(task))).double()
    mean, std = float(targets.mean()), float(targets.std(unbiased=False))
    return dataclasses.replace(
        task,
        model=partial(pieces.scaled, task.model, std, mean),
        loss=wrapped.InUnits(task.loss, mean, std),
        metric=_metric(task),
    )


def output_range(task: Task, low: float, high: float, to_low: float, to_high: float) -> Task:
    """Stretch what the model answers from its own range to that of the targets."""
    factor = (to_high - to_low) / (high - low)
    model = partial(pieces.scaled, task.model, factor, to_low - factor * low)
    return dataclasses.replace(task, model=model)


def without_output_activation(task: Task) -> Task:
    """Leave out the activation that makes the model's output."""
    return dataclasses.replace(task, model=partial(pieces.bare, task.model))


def probabilities_as_such(task: Task) -> Task:
    """The model's output are probabilities: cross-entropy of their logarithm, not a 2nd softmax."""
    return dataclasses.replace(task, loss=wrapped.OfLogarithm(task.loss), metric=_metric(task))


def normalised_scores(task: Task) -> Task:
    """Turn scores into logarithms of probabilities before the negative log-likelihood."""
    return dataclasses.replace(task, loss=wrapped.OfLogSoftmax(task.loss), metric=_metric(task))


def logits_of_probabilities(task: Task) -> Task:
    """The model's output went through a sigmoid already: undo it before a loss that applies one."""
    return dataclasses.replace(task, loss=wrapped.OfLogit(task.loss), metric=_metric(task))


def matched_shapes(task: Task) -> Task:
    """Give targets the shape of the output, so that nothing is broadcast."""
    metric = wrapped.Matched(task.metric) if callable(task.metric) else task.metric
    return dataclasses.replace(task, loss=wrapped.Matched(task.loss), metric=metric)


def cross_entropy(task: Task) -> Task:
    """Learn the classes by cross-entropy of the scores."""
    return dataclasses.replace(task, loss=torch.nn.functional.cross_entropy, metric="accuracy")


def squared_error(task: Task) -> Task:
    """Learn numbers by squared errors, which are the criterion too."""
    return dataclasses.replace(task, loss=torch.nn.functional.mse_loss, metric="loss")


def fresh_weights(task: Task, scheme: str = "he") -> Task:
    """Draw the initial weights so that signals keep their size (``thalweg list``: he, glorot)."""
    return dataclasses.replace(task, model=partial(pieces.restarted, task.model, scheme))


def unit_variance(task: Task) -> Task:
    """Orthonormal weights, each layer scaled to outputs of variance 1 on the first samples."""
    start = pieces.first_input(task)
    return dataclasses.replace(task, model=partial(pieces.settled, task.model, start))


def other_activation(task: Task, old: str, new: str) -> Task:
    """Use another activation function wherever ``old`` is called (not for the output)."""
    return dataclasses.replace(task, model=partial(pieces.exchanged, task.model, old, new))


def clipped_gradients(task: Task, norm: float = 1.0) -> Task:
    """Cut the gradient of every weight tensor to this norm."""
    return dataclasses.replace(task, model=partial(pieces.clipped, task.model, norm))


def trainable(task: Task) -> Task:
    """Let every weight be trained."""
    return dataclasses.replace(task, model=partial(pieces.thawed, task.model))


def attached(task: Task) -> Task:
    """Leave out the calls of ``detach`` in the model's forward, so that gradients pass."""
    return dataclasses.replace(task, model=partial(patched.attached, task.model))


def batch_statistics(task: Task, momentum: float = 0.1, eps: float = 1e-5) -> Task:
    """Batch normalisation that follows the data: running averages at torch's usual rate."""
    return dataclasses.replace(task, model=partial(pieces.renormed, task.model, momentum, eps))


def group_norm(task: Task) -> Task:
    """Group normalisation in place of batch normalisation: no statistics of small batches."""
    return dataclasses.replace(task, model=partial(pieces.grouped, task.model))


def without_dropout(task: Task) -> Task:
    """No dropout."""
    return dataclasses.replace(task, model=partial(pieces.undropped, task.model))


def dropout_in_training_only(task: Task) -> Task:
    """Dropout that is off when the model is evaluated."""
    return dataclasses.replace(task, model=partial(patched.modes_heeded, task.model))


def batch_first(task: Task) -> Task:
    """Recurrent and attention layers that take the first axis for samples."""
    return dataclasses.replace(task, model=partial(patched.batches_first, task.model))


def activations(task: Task) -> Task:
    """A ReLU after every layer with weights but the last."""
    return dataclasses.replace(task, model=partial(patched.activated, task.model))


def normalised(task: Task) -> Task:
    """Layer normalisation (of all channels for images) after every layer but the last."""
    return dataclasses.replace(task, model=partial(patched.normalised, task.model))


def aligned_held_out(task: Task) -> Task:
    """Held-out inputs brought to the means and deviations of the training inputs."""
    to = torch.cat(list(_train_inputs(task)))
    parts: dict[str, Any] = {}
    for name in ("held_out", "test"):
        data = getattr(task, name)
        if data is not None:
            x, y = tuple(map(pieces.as_tensors, data))
            parts[name] = (patched.like(x, to), y)
    return dataclasses.replace(task, **parts)


def class_weights(task: Task) -> Task:
    """Weight the loss of each class by the inverse of how often it occurs."""
    targets = torch.cat(list(_targets(task))).long()
    counts = torch.bincount(targets[targets >= 0]).double()
    weights = torch.where(counts > 0, counts.sum() / counts.clamp(min=1), 0.0)
    weights = weights / weights[counts > 0].mean()
    return dataclasses.replace(
        task, loss=wrapped.Weighted(tuple(weights.tolist())), weight=None, metric=_metric(task)
    )


def finite_samples(task: Task) -> Task:
    """Leave out samples that hold NaN or infinite numbers."""
    parts = {}
    for name in ("train", "held_out", "test"):
        data = getattr(task, name)
        if data is not None:
            parts[name] = _finite(data)
    return dataclasses.replace(task, **parts)


def without_samples(task: Task, indices: tuple[int, ...]) -> Task:
    """Leave out these training samples."""
    data = _without_loader(task).train
    gone = set(indices)
    n = len(data) if not isinstance(data, tuple | list) else len(tree.tensors(data)[0])
    return dataclasses.replace(task, train=_picked(data, [i for i in range(n) if i not in gone]))


def _metric(task: Task) -> Any:
    """The criterion as it was, where the loss is about to change."""
    return (
        wrapped.MinusLoss(task.loss)
        if task.metric in (None, "loss") and not task_classes(task)
        else task.metric
    )


def task_classes(task: Task) -> bool:
    """Whether targets are classes."""
    first = next(iter(_targets(task)), None)
    return first is not None and not first.is_floating_point()


def _without_loader(task: Task) -> Task:
    if not isinstance(task.train, DataLoader):
        return task
    size = task.train.batch_size or task.recipe.batch_size
    return recipe(dataclasses.replace(task, train=task.train.dataset), batch_size=size)


def _train_inputs(task: Task) -> Any:
    return [pair[0] for pair in pieces.pairs(task)]


def _targets(task: Task) -> Any:
    return [pair[1] for pair in pieces.pairs(task) if isinstance(pair[1], torch.Tensor)]


def _picked(data: Any, indices: list[int]) -> Any:
    if isinstance(data, tuple | list):
        chosen = torch.tensor(indices)
        return tree.tree_map(lambda t: t[chosen], tuple(map(pieces.as_tensors, data)))
    return Subset(data, indices)


def _finite(data: Any) -> Any:
    loader: Any = data.dataset if isinstance(data, DataLoader) else data
    if isinstance(loader, tuple | list):
        whole = tuple(map(pieces.as_tensors, loader))
        keep = torch.ones(len(tree.tensors(whole)[0]), dtype=torch.bool)
        for leaf in tree.tensors(whole):
            if leaf.is_floating_point():
                keep &= torch.isfinite(leaf.reshape(len(leaf), -1)).all(1)
        return tree.tree_map(lambda t: t[keep], whole)
    fine = []
    for index in range(len(loader)):
        leaves = [t for t in tree.tensors(loader[index]) if t.is_floating_point()]
        if all(bool(torch.isfinite(t).all()) for t in leaves):
            fine.append(index)
    return Subset(loader, fine)
