r"""Can a thin, deep student surpass its wide teacher? Hints for its middle, softened outputs.

Stage 1 trains the student up to its *guided* layer, and a regressor r that is dropped afterwards,
on the teacher's *hint* layer: :math:`\tfrac12\|u_h(x) - r(v_g(x))\|^2`. Stage 2 trains all of it
on :math:`H(y, P_S) + \lambda H(P_T^\tau, P_S^\tau)` with :math:`P^\tau = \text{softmax}(a/\tau)`.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thalweg.records_training import Run
from thalweg.risk import Risk
from thalweg.risk.order import stream
from thalweg.strategies.records import annotated, named, stage_folder
from thalweg.task import Task
from thalweg.training import Hook, Training, train

# what both stages are told: where and how to run, not how to descend
_SHARED = (
    "batch_size",
    "device",
    "dtype",
    "threads",
    "resume",
    "fresh",
    "checkpoint_seconds",
    "log",
    "progress",
)


def fitnets(
    task: Task,
    *,
    teacher: nn.Module | Run | str | Path,
    hint: str | int | None = None,
    guided: str | int | None = None,
    hint_epochs: float | None = None,
    hint_evaluations: int | None = None,
    hint_optimizer: str = "rmsprop",
    hint_lr: float = 5e-4,
    temperature: float = 3.0,
    start: float = 4.0,
    end: float = 0.0,
    seed: int = 0,
    run: str | Path | None = None,
    **training: Any,
) -> Run:
    """Train the task's model as a student of ``teacher``.

    Args:
        task: The student's task, classes as targets, ``forward="pair"``.
        teacher: A trained module, a run, or a run's directory.
        hint: Name of the teacher's module whose output is the hint; None together with ``guided``:
            distillation alone.
        guided: Name of the student's module that learns it.
        hint_epochs: Budget of stage 1 in epochs; default: half the recipe's.
        hint_evaluations: The same in gradients, instead.
        hint_optimizer: Of stage 1, whose loss is a sum over units.
        hint_lr: Its rate.
        temperature: τ of the softened outputs.
        start: λ at the start of stage 2, falling linearly ...
        end: ... to this at its end.
        seed: Of initial weights and data order.
        run: Directory of stage 2; stage 1 lies beside it as ``…-hint``.
        training: As :func:`thalweg.training.train` takes it.

    Raises:
        ValueError: An unknown module, or only one of ``hint`` and ``guided``.

    References:
        Romero, Ballas, Kahou, Chassang, Gatta, Bengio, "FitNets: hints for thin deep nets", 2015.
    """
    if (hint is None) != (guided is None):
        raise ValueError("give both hint= (a module of the teacher) and guided= (of the student).")
    if task.forward != "pair":
        raise ValueError(f"task '{task.name}' takes whole batches; fitnets needs forward='pair'.")
    if not temperature > 0 or min(start, end) < 0:
        raise ValueError(
            f"temperature {temperature}, start {start}, end {end}; wanted > 0, >= 0 and >= 0."
        )
    wise = teacher_of(teacher)
    _check_teacher(task, wise, seed)
    options = {"hint": hint, "guided": guided, "temperature": temperature, "start": start}
    options["end"] = end
    around = {k: v for k, v in training.items() if k in _SHARED}
    student, notes, spent = Risk(task, "cpu").model(seed), (), 0
    if hint is not None and guided is not None:
        hint, guided = str(hint), str(guided)  # a command line reads the name 3 as a number
        if hint_epochs is None and hint_evaluations is None:
            hint_epochs = max(1.0, task.recipe.epochs / 2)
        follower = _follower(task, student, wise, hint, guided, seed)
        stage = named(
            task,
            "fitnets hint",
            {"hint": hint, "guided": guided, "lr": hint_lr},
            model=follower,
            forward="batch",
            loss=_Hinted(wise, hint),
            metric=None,
            weight=None,
        )
        first = train(
            stage,
            hint_optimizer,
            {"lr": hint_lr},
            epochs=hint_epochs,
            evaluations=hint_evaluations,
            seed=seed,
            run=stage_folder(run, "hint"),
            **around,
        )
        student.load_state_dict(first.model().student.state_dict())  # pyrefly: ignore
        spent = first.evaluations
        notes = (f"Hint stage: held-out hint loss {-first.held_out:.4g}.",)
    hooks = [*training.pop("hooks", ()), Distil(wise, temperature, start, end)]
    ended = train(
        named(task, "fitnets", {k: v for k, v in options.items() if v is not None}, model=student),
        seed=seed,
        run=run,
        hooks=hooks,
        **training,
    )
    return annotated(ended, task, "fitnets", options, notes, spent)


def hint_loss(hinted: Tensor, regressed: Tensor) -> Tensor:
    r""":math:`\tfrac12\|u - r\|^2`, summed over units, mean over the batch.

    Raises:
        ValueError: Shapes differ.
    """
    if hinted.shape != regressed.shape:
        raise ValueError(f"hint {tuple(hinted.shape)}, regressor {tuple(regressed.shape)}.")
    return (hinted - regressed).square().sum() / (2 * len(hinted))


def kd_loss(
    student: Tensor, teacher: Tensor, y: Tensor, temperature: float = 3.0, lam: float = 1.0
) -> Tensor:
    r""":math:`H(y, P_S) + \lambda H(P_T^\tau, P_S^\tau)`, mean over the batch (no τ² factor).

    Args:
        student: Logits ``(b, c)``.
        teacher: Logits ``(b, c)``.
        y: Classes ``(b,)``.
        temperature: τ > 0.
        lam: λ >= 0.
    """
    return F.cross_entropy(student, y) + lam * softened(student, teacher, temperature)


def softened(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Cross-entropy between softened outputs, logits ``(b, c)`` each."""
    return F.cross_entropy(student / temperature, (teacher / temperature).softmax(1))


class Distil(Hook):
    """Add λ times the softened cross-entropy to a task's loss; λ falls linearly over the run.

    Args:
        teacher: Module that gives logits; never trained.
        temperature: τ.
        start: First λ.
        end: Last λ.
    """

    def __init__(self, teacher: nn.Module, temperature: float, start: float, end: float) -> None:
        self.teacher, self.temperature = teacher, temperature
        self.start, self.end = start, end
        self._seen: Tensor | None = None
        self._handle: Any = None

    def batch(self, training: Training, step: int, batch: Any) -> Any:
        """Watch what the student answers in this step."""
        self.teacher.to(device=training.risk.device, dtype=training.risk.dtype)
        self._handle = training.model.register_forward_hook(self._take)
        return batch

    def _take(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        self._seen = output

    def loss(self, training: Training, model: nn.Module, batch: Any, loss: Tensor) -> Tensor:
        """The task's loss and the teacher's share of it."""
        share = min(1.0, training.evaluations / max(1, training.total - 1))
        lam = self.start + (self.end - self.start) * share
        with torch.no_grad():
            answer = training.risk.forward(self.teacher, batch)
        assert self._seen is not None  # the loss came from a forward pass
        return loss + lam * softened(self._seen, answer, self.temperature)

    def after_step(self, training: Training) -> None:
        """Leave the model as it was, so that it can be copied and saved."""
        self._handle.remove()
        self._seen = None


class Follower(nn.Module):
    """A student up to its guided layer, and a regressor to the shape of the hint.

    Args:
        student: Kept whole; layers behind the guided one get no gradient.
        guided: Name of one of its modules.
        regressor: From that module's output to the hint's shape.
    """

    def __init__(self, student: nn.Module, guided: str, regressor: nn.Module) -> None:
        super().__init__()
        self.student, self.guided, self.regressor = student, guided, regressor

    def forward(self, x: Tensor) -> Tensor:
        """The regressed hint."""
        return self.regressor(output_of(self.student, self.guided, lambda model: model(x)))


class _Hinted:
    """The loss of stage 1: what the teacher's hint layer gives against the follower's guess."""

    def __init__(self, teacher: nn.Module, hint: str) -> None:
        self.teacher, self.hint = teacher, hint

    def __call__(self, model: nn.Module, batch: Any) -> Tensor:
        x = batch[0]
        self.teacher.to(device=x.device, dtype=x.dtype if x.is_floating_point() else None)
        with torch.no_grad():
            hinted = output_of(self.teacher, self.hint, lambda teacher: teacher(x))
        return hint_loss(hinted, model(x))


def output_of(model: nn.Module, name: str, call: Callable[[nn.Module], Any]) -> Tensor:
    """What one of a model's modules gives while ``call(model)`` runs.

    Raises:
        ValueError: No such module, or it was not called.
    """
    known = [n for n, _ in model.named_modules() if n]
    if name not in known:
        raise ValueError(
            f"{type(model).__name__} has no module '{name}'; known: {', '.join(known)}."
        )
    seen: list[Tensor] = []
    handle = model.get_submodule(name).register_forward_hook(lambda m, i, out: seen.append(out))
    try:
        call(model)
    finally:
        handle.remove()
    if not seen:
        raise ValueError(f"module '{name}' of {type(model).__name__} was not called.")
    return seen[-1]


def regressor(guided: Tensor, hinted: Tensor) -> nn.Module:
    """A layer from the guided output to the hint's shape, with a ReLU as the hint layer has.

    Maps keep their places: a convolution with kernel ``student size - teacher size + 1``.

    Args:
        guided: The student's output ``(b, …)``.
        hinted: The teacher's.

    Raises:
        ValueError: Maps of which the student's are smaller.
    """
    if guided.ndim == 4 and hinted.ndim == 4:
        kernel = [s - t + 1 for s, t in zip(guided.shape[2:], hinted.shape[2:], strict=True)]
        if min(kernel) < 1:
            raise ValueError(
                f"guided maps {tuple(guided.shape[2:])} are smaller than the hint's "
                f"{tuple(hinted.shape[2:])}; guide an earlier layer."
            )
        layer: nn.Module = nn.Conv2d(guided.shape[1], hinted.shape[1], (kernel[0], kernel[1]))
        return nn.Sequential(layer, nn.ReLU())
    flat = nn.Linear(guided[0].numel(), hinted[0].numel())
    return nn.Sequential(nn.Flatten(), flat, nn.ReLU(), nn.Unflatten(1, hinted.shape[1:]))


def _follower(
    task: Task, student: nn.Module, teacher: nn.Module, hint: str, guided: str, seed: int
) -> Follower:
    risk = Risk(task, "cpu")
    x = risk.input(risk.feed(seed, min(8, risk.train.n)).batch(0))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(stream(seed, "regressor"))
        twin = copy.deepcopy(student).eval()
        made = regressor(
            output_of(twin, guided, lambda model: model(x)),
            output_of(teacher.cpu(), hint, lambda model: model(x)),
        )
    return Follower(student, guided, made.to(x.dtype))


def _check_teacher(task: Task, teacher: nn.Module, seed: int) -> None:
    """``ValueError`` unless teacher and student answer a batch with scores of the same classes."""
    risk = Risk(task, "cpu")
    batch = risk.feed(seed, min(8, risk.train.n)).batch(0)
    student = risk.model(seed).eval()
    kinds = {p.dtype for p in student.parameters() if p.is_floating_point()}
    teacher.to(device="cpu", dtype=kinds.pop() if len(kinds) == 1 else None)
    try:
        with torch.no_grad():
            wise, mine = (risk.forward(model, batch) for model in (teacher, student))
    except (RuntimeError, TypeError) as error:
        line = str(error).splitlines()[0]
        raise ValueError(f"the teacher cannot read task '{task.name}': {line}") from error
    if wise.shape != mine.shape or wise.ndim != 2 or wise.shape[1] < 2:
        raise ValueError(
            f"the teacher answers with {tuple(wise.shape)}, the student of task '{task.name}' with "
            f"{tuple(mine.shape)}; fitnets needs scores (batch, classes) of the same classes."
        )


def teacher_of(source: nn.Module | Run | str | Path) -> nn.Module:
    """A teacher in evaluation mode without gradients, a copy.

    Args:
        source: A trained module, a run, or a run's directory.

    Raises:
        ValueError: A directory without a training.
    """
    if isinstance(source, str | Path):
        file = Path(source) / "train.json"
        if not file.is_file():
            raise ValueError(f"teacher {source} is no directory of a training (no train.json).")
        source = Run.from_dict(json.loads(file.read_text("utf-8")))
    model = source.model() if isinstance(source, Run) else copy.deepcopy(source)
    return model.eval().requires_grad_(False)
