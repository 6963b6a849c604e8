"""Can a deep network be trained one layer at a time? Greedy supervised pretraining."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.records_training import Run
from thalweg.risk import Risk
from thalweg.risk.order import stream
from thalweg.strategies.chain import Frozen, chain
from thalweg.strategies.records import annotated, named, stage_folder, with_model
from thalweg.task import Task
from thalweg.training import train


def greedy(
    task: Task,
    *,
    stage_epochs: float | None = None,
    stage_evaluations: int | None = None,
    fine_tune: bool = True,
    seed: int = 0,
    run: str | Path | None = None,
    **training: Any,
) -> Run:
    """Train each hidden layer under a head of its own on top of the frozen ones before it.

    The last stage's head stays. The composition need not be optimal, so all layers are then trained
    together; with ``fine_tune=False`` the last stage is the answer.

    Args:
        task: Its model must be a chain of layers (:func:`thalweg.strategies.chain.chain`), the
            last of them linear.
        stage_epochs: Budget of each stage in epochs; default: a quarter of the recipe's.
        stage_evaluations: The same in gradients, instead.
        fine_tune: Train all layers at the end, for the budget in ``training``.
        seed: Of initial weights and data order.
        run: Directory of the last stage; earlier ones lie beside it as ``…-stage-1`` and so on.
        training: As :func:`thalweg.training.train` takes it.

    Returns:
        The record of the last stage; its notes tell of the others, and ``settings["gradients
        before"]`` how many gradients those consumed.

    Raises:
        ValueError: No chain, or fewer than one hidden layer.

    References:
        Bengio, Lamblin, Popovici, Larochelle, "Greedy layer-wise training of deep networks", 2007.
    """
    if task.forward != "pair":
        raise ValueError(f"task '{task.name}' takes whole batches; greedy needs forward='pair'.")
    if stage_epochs is not None and stage_evaluations is not None:
        raise ValueError("give either stage_epochs or stage_evaluations, not both.")
    if stage_epochs is None and stage_evaluations is None:
        stage_epochs = max(1.0, task.recipe.epochs / 4)
    model, blocks, x = _cut(task, seed)
    around = {k: v for k, v in training.items() if k not in ("epochs", "evaluations")}
    options = {"stage_epochs": stage_epochs, "stage_evaluations": stage_evaluations}
    notes: list[str] = []
    spent, hidden, last = 0, blocks[:-1], None
    for k in range(len(hidden)):
        head = (
            blocks[-1] if k == len(hidden) - 1 else _head(hidden[: k + 1], blocks[-1], x, seed, k)
        )
        stage = Stage(hidden[:k], hidden[k], head)
        alone = not fine_tune and k == len(hidden) - 1
        step = named(task, "greedy", {**options, "stage": k + 1}, model=stage)
        last = train(
            step,
            epochs=stage_epochs,
            evaluations=stage_evaluations,
            seed=seed,
            run=run if alone else stage_folder(run, f"stage-{k + 1}"),
            **around,
        )
        _keep(last.model(), stage)
        spent += last.evaluations
        notes.append(f"Layer {k + 1} under a head of its own: held out {last.held_out:.4g}.")
    assert last is not None  # there is a hidden layer
    model = copy.deepcopy(model).requires_grad_(True)
    if not fine_tune:
        composed = with_model(last, model)
        return annotated(composed, task, "greedy", options, tuple(notes), spent - last.evaluations)
    budget = {k: v for k, v in training.items() if k in ("epochs", "evaluations")}
    final = named(task, "greedy", {**options, "fine_tune": fine_tune}, model=model)
    ended = train(final, seed=seed, run=run, **budget, **around)
    return annotated(ended, task, "greedy", options, tuple(notes), spent)


class Stage(nn.Module):
    """Frozen blocks, the one being trained, and its head.

    Args:
        below: Blocks that are trained already.
        block: The one to train.
        head: Linear read-out.
    """

    def __init__(self, below: list[nn.Sequential], block: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.below = Frozen(*below)
        self.block, self.head = block.requires_grad_(True), head.requires_grad_(True)

    def forward(self, x: Tensor) -> Tensor:
        """The head's outputs."""
        with torch.no_grad():
            x = self.below(x)
        return self.head(self.block(x))


def _cut(task: Task, seed: int) -> tuple[nn.Module, list[nn.Sequential], Tensor]:
    risk = Risk(task, "cpu")
    model = risk.model(seed)
    x = risk.input(risk.feed(seed, min(8, risk.train.n)).batch(0))
    if not isinstance(x, Tensor):
        raise ValueError(f"task '{task.name}' has no single tensor as input; greedy needs one.")
    blocks = chain(model, x)
    if len(blocks) < 2 or not isinstance(blocks[-1][0], nn.Linear):
        raise ValueError(
            f"task '{task.name}': {len(blocks)} layers with weights; greedy needs a hidden one and "
            "a linear read-out at the end."
        )
    return model, blocks, x


def _head(
    below: list[nn.Sequential], last: nn.Sequential, x: Tensor, seed: int, k: int
) -> nn.Module:
    """A fresh linear read-out of the last layer's outputs on what the blocks give."""
    read_out: Any = last[0]
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(stream(seed, "head", k))
        width = nn.Sequential(*copy.deepcopy(below)).eval()(x).flatten(1).shape[1]
        linear = nn.Linear(width, read_out.out_features, dtype=read_out.weight.dtype)
    return nn.Sequential(nn.Flatten(), linear)


def _keep(trained: nn.Module, stage: Stage) -> None:
    """Put what a run has trained into the blocks it was built from."""
    stage.load_state_dict(trained.state_dict())
