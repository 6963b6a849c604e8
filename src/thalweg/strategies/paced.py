"""Does it help to start with what is easy? Samples by difficulty, alone or mixed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from thalweg.records_training import Run
from thalweg.risk import Risk, tree
from thalweg.risk.order import generator
from thalweg.strategies.hints import teacher_of
from thalweg.strategies.pacing import PACING
from thalweg.strategies.records import annotated, named, stage_folder
from thalweg.strategies.scores import difficulty, ranks, take
from thalweg.task import Task
from thalweg.training import Hook, Training, train

ORDERS = ("easy", "hard", "random")
MODES = ("sampling", "weighting")


def curriculum(
    task: Task,
    *,
    scores: Tensor | Sequence[float] | str | Path | None = None,
    teacher: nn.Module | Run | str | Path | None = None,
    teacher_share: float = 0.25,
    pacing: str = "linear",
    order: str = "easy",
    mode: str = "sampling",
    seed: int = 0,
    run: str | Path | None = None,
    **training: Any,
) -> Run:
    """Train on the easiest share of the samples, a share that grows to all of them.

    Args:
        task: Training data in memory.
        scores: Difficulty of each training sample ``(n,)``, or a ``.npy`` file of it; default: its
            loss under ``teacher``.
        teacher: A trained model, a run or a run's directory; default: one trained on the task for
            ``teacher_share`` of the recipe's epochs (``settings["gradients before"]``).
        teacher_share: See there.
        pacing: ``linear``, ``root`` or ``step``: the open share over the run.
        order: ``easy`` first, ``hard`` first (the control that must be run) or ``random``.
        mode: ``sampling`` (batches drawn from the open samples) or ``weighting`` (of the usual
            batch, closed samples weigh 0).
        seed: Of initial weights and draws.
        run: Run directory; a teacher's lies beside it as ``…-teacher``.
        training: As :func:`thalweg.training.train` takes it.

    Raises:
        ValueError: Unknown names, or scores of another length.

    References:
        Bengio, Louradour, Collobert, Weston, "Curriculum learning", 2009.
    """
    if pacing not in PACING or order not in ORDERS or mode not in MODES:
        raise ValueError(
            f"pacing {pacing!r}, order {order!r}, mode {mode!r}; known: {', '.join(PACING)}; "
            f"{', '.join(ORDERS)}; {', '.join(MODES)}."
        )
    options = {"pacing": pacing, "order": order, "mode": mode}
    if not teacher_share > 0:
        raise ValueError(f"teacher_share is {teacher_share}; wanted a number > 0.")
    found, spent = _scores(task, scores, teacher, teacher_share, seed, run, training)
    place = _places(task, found, order, seed)
    hooks = [*training.pop("hooks", ()), Curriculum(place, pacing, mode)]
    ended = train(named(task, "curriculum", options), seed=seed, run=run, hooks=hooks, **training)
    return annotated(ended, task, "curriculum", options, before=spent)


def stochastic_curriculum(
    task: Task,
    *,
    scores: Tensor | Sequence[float] | str | Path | None = None,
    teacher: nn.Module | Run | str | Path | None = None,
    teacher_share: float = 0.25,
    levels: int = 5,
    p_mix: float = 0.2,
    full: float = 0.8,
    cumulative: bool = True,
    seed: int = 0,
    run: str | Path | None = None,
    **training: Any,
) -> Run:
    """Train at a difficulty that grows, with some samples of every difficulty in each batch.

    Each sample of a batch is drawn from a uniformly random level with probability ``p_mix``, else
    from the current level or, where ``cumulative``, from all levels up to it.

    Args:
        task: Training data in memory.
        scores: As :func:`curriculum`.
        teacher: As :func:`curriculum`.
        teacher_share: As :func:`curriculum`.
        levels: Equally large groups by difficulty.
        p_mix: In [0, 1]; 0 is the plain curriculum.
        full: Part of the run after which the last level is reached.
        cumulative: Whether easier levels than the current one are drawn from as well.
        seed: Of initial weights and draws.
        run: Run directory.
        training: As :func:`thalweg.training.train` takes it.

    Raises:
        ValueError: A probability outside [0, 1], or fewer than two levels.

    References:
        Zaremba, Sutskever, "Learning to execute", 2014.
    """
    if not 0 <= p_mix <= 1 or levels < 2 or not 0 < full <= 1:
        raise ValueError(
            f"p_mix {p_mix}, levels {levels}, full {full}; wanted [0, 1], >= 2, (0, 1]."
        )
    options = {"levels": levels, "p_mix": p_mix, "full": full, "cumulative": cumulative}
    found, spent = _scores(task, scores, teacher, teacher_share, seed, run, training)
    level = (_places(task, found, "easy", seed) * levels).long().clamp(max=levels - 1)
    hooks = [*training.pop("hooks", ()), StochasticCurriculum(level, p_mix, full, cumulative)]
    ended = train(
        named(task, "stochastic curriculum", options), seed=seed, run=run, hooks=hooks, **training
    )
    return annotated(ended, task, "stochastic-curriculum", options, before=spent)


class Curriculum(Hook):
    """Replace each batch by samples whose place in the order is open already.

    Args:
        place: Ranks in [0, 1) of the training samples ``(n,)``.
        pacing: A name of ``PACING``.
        mode: ``sampling`` or ``weighting``.
    """

    def __init__(self, place: Tensor, pacing: str = "linear", mode: str = "sampling") -> None:
        self.place, self.pacing, self.mode = place, PACING[pacing], mode

    def weights(self, t: float) -> Tensor:
        """1 for open samples, 0 for closed ones, after a share ``t`` of the run ``(n,)``."""
        share = self.pacing(t)
        return (self.place < share).double() if share < 1 else torch.ones_like(self.place)

    def batch(self, training: Training, step: int, batch: Any) -> Any:
        """Another batch in its place; the very batch once all samples are open."""
        open_ = self.weights(training.evaluations / training.total)
        if bool(open_.all()):
            return batch
        if self.mode == "weighting":
            indices = _visited(training, step)
            kept = indices[open_[indices] > 0]
            if not len(kept):  # of this batch none: the easiest of it
                kept = indices[self.place[indices].argmin()][None]
            return take(training.risk, kept)
        among = open_.nonzero()[:, 0]
        g = generator(training.seed, "curriculum", step)
        size = min(tree.count(batch), len(among))
        return take(training.risk, among[torch.randperm(len(among), generator=g)[:size]])


class StochasticCurriculum(Hook):
    """Replace each batch by a mixture of difficulties.

    Args:
        level: Difficulty of each training sample ``(n,)``, whole numbers from 0.
        p_mix: Probability that a sample comes from a uniformly random level.
        full: Share of the run after which the last level is current.
        cumulative: Draw from easier levels than the current one as well.
    """

    def __init__(
        self, level: Tensor, p_mix: float = 0.2, full: float = 0.8, cumulative: bool = True
    ) -> None:
        self.level, self.p_mix, self.full, self.cumulative = level, p_mix, full, cumulative
        self.by_level = level.argsort(stable=True)
        self.sizes = torch.bincount(level)
        self.starts = self.sizes.cumsum(0) - self.sizes

    def current(self, t: float) -> int:
        """The level that is reached after a share ``t`` of the run."""
        return min(len(self.sizes) - 1, int(t / self.full * len(self.sizes)))

    def draw(self, t: float, size: int, g: torch.Generator) -> Tensor:
        """Indices ``(size,)`` of the mixture, with replacement."""
        last = len(self.sizes)
        mixed = torch.rand(size, generator=g) < self.p_mix
        anywhere = torch.randint(last, (size,), generator=g)
        reached = torch.randint(self.current(t) + 1, (size,), generator=g)
        if not self.cumulative:
            reached = torch.full_like(reached, self.current(t))
        level = torch.where(mixed, anywhere, reached)
        inside = torch.rand(size, generator=g, dtype=torch.float64)
        return self.by_level[self.starts[level] + (inside * self.sizes[level]).long()]

    def batch(self, training: Training, step: int, batch: Any) -> Any:
        """Another batch in its place."""
        g = generator(training.seed, "stochastic curriculum", step)
        t = training.evaluations / training.total
        return take(training.risk, self.draw(t, tree.count(batch), g))


def _visited(training: Training, step: int) -> Tensor:
    """Indices of the samples that the usual order visits in this step."""
    order = training.risk.order(training.batch_size)
    epoch, place = divmod(step, order.steps_per_epoch)
    return order.batches(training.seed, epoch)[place]


def _scores(
    task: Task,
    scores: Tensor | Sequence[float] | str | Path | None,
    teacher: nn.Module | Run | str | Path | None,
    share: float,
    seed: int,
    run: str | Path | None,
    training: dict[str, Any],
) -> tuple[Tensor, int]:
    """Difficulty of each training sample and the gradients that it cost."""
    spent = 0
    if scores is None:
        if teacher is None:
            around = {k: v for k, v in training.items() if k not in ("epochs", "evaluations")}
            around.pop("hooks", None)
            trained = train(
                task,
                seed=seed,
                epochs=max(1.0, share * task.recipe.epochs),
                run=stage_folder(run, "teacher"),
                **around,
            )
            teacher, spent = trained.model(), trained.evaluations
        return difficulty(task, teacher_of(teacher), seed), spent
    return torch.as_tensor(_read(scores), dtype=torch.float64), spent


def _read(scores: Tensor | Sequence[float] | str | Path) -> np.ndarray:
    """Numbers as they are, or from a ``.npy`` file."""
    if not isinstance(scores, str | Path):
        return np.asarray(scores)
    try:
        return np.load(scores, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"scores: {scores} is no .npy file of numbers ({error}).") from error


def _places(task: Task, scores: Tensor, order: str, seed: int) -> Tensor:
    risk = Risk(task, "cpu", split_seed=seed)
    if scores.shape != (risk.train.n,):
        raise ValueError(f"scores have shape {tuple(scores.shape)}; wanted ({risk.train.n},).")
    if order == "random":
        scores = torch.rand(len(scores), generator=generator(seed, "random order")).double()
    elif order == "hard":
        scores = -scores
    samples = getattr(risk.train, "samples", None)
    target = samples[1] if isinstance(samples, tuple) and task.forward == "pair" else None
    plain = isinstance(target, Tensor) and target.ndim == 1 and not target.is_floating_point()
    return ranks(scores, target if plain else None)
