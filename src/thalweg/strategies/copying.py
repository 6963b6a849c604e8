"""What is a trained network's beginning worth elsewhere? Copied layers, frozen or fine-tuned."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.records_training import Run
from thalweg.risk import Risk
from thalweg.strategies.records import annotated, named
from thalweg.task import Task
from thalweg.training import Hook, Training, train
from thalweg.training.saved import NAME, read

MODES = ("finetune", "frozen")


def transfer(
    task: Task,
    *,
    source: nn.Module | Run | str | Path,
    layers: int,
    mode: str = "finetune",
    scale: float = 0.1,
    seed: int = 0,
    run: str | Path | None = None,
    **training: Any,
) -> Run:
    """Train a task from the first layers of another network; the rest starts afresh.

    Args:
        task: The new task.
        source: A trained module, a run, a run's directory or its ``model.safetensors``.
        layers: How many layers with weights are copied, in order.
        mode: ``finetune`` (all layers learn) or ``frozen`` (copied ones extract features).
        scale: Rate of copied layers as a share of the others', for ``finetune``.
        seed: Of the layers that start afresh and of the data order.
        run: Run directory.
        training: As :func:`thalweg.training.train` takes it.

    Raises:
        ValueError: An unknown mode, layers that do not fit, or a negative scale.

    References:
        Yosinski, Clune, Bengio, Lipson, "How transferable are features in deep neural networks?",
        2014.
    """
    if mode not in MODES or not scale >= 0:
        raise ValueError(f"mode {mode!r}, scale {scale}; known: {', '.join(MODES)}; scale >= 0.")
    options: dict[str, Any] = {"source": _word(source), "layers": layers, "mode": mode}
    model = Risk(task, "cpu").model(seed)
    copied = copy_layers(state_of(source), model, layers)
    hooks = list(training.pop("hooks", ()))
    if mode == "frozen":
        for name in copied:
            parameter = dict(model.named_parameters()).get(name)
            if parameter is not None:
                parameter.requires_grad_(False)
        hooks.append(StillNorms(copied))
    else:
        options["scale"] = scale
        hooks.append(ScaledRate(copied, scale))
    ended = train(
        named(task, "transfer", options, model=model), seed=seed, run=run, hooks=hooks, **training
    )
    return annotated(ended, task, "transfer", options, (f"Copied {', '.join(copied)}.",))


def copy_layers(
    source: Mapping[str, Tensor] | nn.Module, model: nn.Module, layers: int
) -> tuple[str, ...]:
    """Copy the first layers with weights, by order, into ``model``; no tensor is shared.

    Args:
        source: A module or its state.
        model: Changed in place.
        layers: How many; batch norms count as layers.

    Returns:
        The names of what was copied, in ``model``.

    Raises:
        ValueError: More layers than there are, or shapes that differ.
    """
    state = source.state_dict() if isinstance(source, nn.Module) else source
    theirs, mine = _groups(state), _groups(model.state_dict())
    if not 1 <= layers <= min(len(theirs), len(mine)):
        raise ValueError(
            f"layers is {layers}; the source has {len(theirs)} with weights, the model {len(mine)}."
        )
    names: list[str] = []
    own = model.state_dict()  # its tensors share memory with the model's
    for (where, group), (place, target) in zip(theirs[:layers], mine[:layers], strict=True):
        if _shapes(group) != _shapes(target):
            raise ValueError(
                f"layer '{where}' of the source is {_shapes(group)}, layer '{place}' of the model "
                f"{_shapes(target)}: copy fewer layers or make them alike."
            )
        for part, value in group.items():
            name = f"{place}.{part}" if place else part
            own[name].copy_(value)
            names.append(name)
    return tuple(names)


def _groups(state: Mapping[str, Any]) -> list[tuple[str, dict[str, Tensor]]]:
    """Tensors by layer, in the state's order, under the last part of their names."""
    groups: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        if isinstance(value, Tensor):
            layer, _, part = name.rpartition(".")
            groups.setdefault(layer, {})[part] = value
    return list(groups.items())


def _shapes(group: Mapping[str, Tensor]) -> str:
    return ", ".join(f"{part} {tuple(t.shape)}" for part, t in sorted(group.items()))


def state_of(source: nn.Module | Run | str | Path) -> Mapping[str, Tensor]:
    """Weights of a module, a run, a run's directory or a file of weights, layer by layer.

    A file does not keep the order of its tensors: of a directory the run's own model gives it;
    of a file alone, names do (numbers in them by value).
    """
    if isinstance(source, nn.Module):
        return source.state_dict()
    if isinstance(source, Run):
        return source.model().state_dict()
    path = Path(source)
    if (path / "train.json").is_file():
        run = Run.from_dict(json.loads((path / "train.json").read_text("utf-8")))
        if run.source is not None:
            return run.model().state_dict()
    state = read(path / NAME if path.is_dir() else path)[0]
    return {name: state[name] for name in sorted(state, key=_natural)}


def _natural(name: str) -> list[tuple[bool, int, str]]:
    return [(p.isdigit(), int(p) if p.isdigit() else 0, p) for p in name.split(".")]


def _word(source: Any) -> str:
    if isinstance(source, Run):
        return source.run or source.task
    return type(source).__name__ if isinstance(source, nn.Module) else str(source)


class ScaledRate(Hook):
    """Some parameters learn at a share of the rate, whatever the optimiser and its schedule.

    The update of each such parameter is multiplied after the step, which for every optimiser whose
    update is a rate times a direction equals a parameter group with ``lr · scale``.

    Args:
        names: Parameters of the model.
        scale: Factor >= 0.
    """

    def __init__(self, names: Iterable[str], scale: float) -> None:
        self.names, self.scale = frozenset(names), scale
        self._before: list[tuple[nn.Parameter, Tensor]] = []

    def batch(self, training: Training, step: int, batch: Any) -> Any:
        """Remember the weights."""
        refuse_average(training, "a share of the rate")
        self._before = [
            (p, p.detach().clone())
            for name, p in training.model.named_parameters()
            if name in self.names and p.requires_grad
        ]
        return batch

    def after_step(self, training: Training) -> None:
        """Take back part of the step."""
        with torch.no_grad():
            for parameter, before in self._before:
                parameter.lerp_(before, 1 - self.scale)


class StillNorms(Hook):
    """Batch norms whose buffers were copied keep their statistics: evaluation mode.

    Args:
        names: Of the copied tensors.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.owners = {name.rpartition(".")[0] for name in names if name.endswith("running_mean")}

    def batch(self, training: Training, step: int, batch: Any) -> Any:
        """Set the mode before each step (scoring puts back what it found)."""
        for owner in self.owners:
            training.model.get_submodule(owner).eval()
        return batch


def refuse_average(training: Training, what: str) -> None:
    """Averages are taken before hooks see a step, so they would hold weights that never were."""
    if training.average is not None:
        raise ValueError(f"average={training.settings.average!r} and {what} do not go together.")
