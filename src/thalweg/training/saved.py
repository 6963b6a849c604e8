"""A trained model as one safetensors file: weights, buffers, and where they belong. No pickle."""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.records_training import Run
from thalweg.risk import Risk
from thalweg.rundir.atomic import atomic_write
from thalweg.task import Task, load_task

FORMAT = "thalweg-model-1"
NAME = "model.safetensors"


def save(path: str | os.PathLike[str], model: nn.Module, facts: Mapping[str, Any]) -> str:
    """Write weights and buffers with ``facts`` beside them, atomically.

    Tied weights are written once for each of their names. Buffers that condition the inputs are
    part of the model and so of the file.

    Args:
        path: The file; its folder must be there.
        model: Any module.
        facts: What a reader should know (JSON-ready), such as the task's name.

    Returns:
        The SHA-256 of the file.

    Raises:
        OSError: The disk refused; an older file is intact.
        TypeError: A tensor of a kind that the format does not know.
    """
    from safetensors.torch import save as pack

    state = {
        key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, value in model.state_dict().items()
        if isinstance(value, Tensor)
    }
    text = json.dumps({"format": FORMAT, **facts}, sort_keys=True, allow_nan=False)
    data = pack(state, {"thalweg": text})  # one entry: several come in any order, and so other bits
    atomic_write(Path(path), data)
    return hashlib.sha256(data).hexdigest()


def load(path: str | os.PathLike[str], task: Task | nn.Module) -> nn.Module:
    """The model with the weights of a file, in evaluation mode on the CPU.

    Args:
        path: A file that :func:`save` or a run wrote.
        task: The task it was trained on (its model is built anew), or a module to be copied.

    Raises:
        ValueError: No such file, not one of ours, or weights of another model; names the first
            difference.
    """
    file = Path(path)
    if file.is_dir():
        file = file / NAME
    state, _ = read(file)
    model = copy.deepcopy(task) if isinstance(task, nn.Module) else Risk(task, "cpu").model(0)
    own = {key: v for key, v in model.state_dict().items() if isinstance(v, Tensor)}
    for key in own.keys() ^ state.keys():
        where = "the model" if key in own else "the file"
        raise ValueError(f"{file} holds weights of another model: only {where} has '{key}'")
    for key, value in own.items():
        if value.shape != state[key].shape:
            raise ValueError(
                f"{file} holds weights of another model: '{key}' is {tuple(state[key].shape)} "
                f"there and {tuple(value.shape)} in the model"
            )
    model.load_state_dict(state, strict=False)
    return model.eval()


def read(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and facts of a file."""
    from safetensors import SafetensorError, safe_open

    if not file.is_file():
        raise ValueError(f"{file} does not exist; give a run directory or its {NAME}")
    try:
        with safe_open(file, framework="pt") as opened:
            meta = opened.metadata() or {}
            state = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{file} cannot be read as safetensors ({error})") from error
    try:
        facts = json.loads(meta.get("thalweg", "{}"))
    except ValueError:
        facts = {}
    return state, facts


def model_of(run: Run) -> nn.Module:
    """See :meth:`thalweg.records_training.Run.model`."""
    live = getattr(run, "_live", None)
    if live is not None:
        return copy.deepcopy(live).eval()
    if not run.run:
        raise ValueError("the run was kept in memory only, and its weights are gone with it")
    if run.source is None:
        raise ValueError(
            f"the task '{run.task}' cannot be loaded by name; use "
            f"thalweg.training.load({run.run!r}, task)"
        )
    file = Path(run.run) / NAME
    if file.is_file() and run.weights:
        found = hashlib.sha256(file.read_bytes()).hexdigest()
        if found != run.weights:
            raise ValueError(f"{file} is not the file that the run wrote (another SHA-256)")
    return load(file, load_task(run.source))
