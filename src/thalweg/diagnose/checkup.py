"""What limits this training? Observe, suspect, try each remedy, and say what held."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import torch

from thalweg.diagnose.bench import Bench
from thalweg.diagnose.cure import together
from thalweg.diagnose.observation import Observation, cost, moving, static
from thalweg.diagnose.private import untouched
from thalweg.diagnose.verdicts import verdicts
from thalweg.optim import methods
from thalweg.records import Progress, Trace
from thalweg.records_diagnosis import Diagnosis, Finding, Ladder, LayerFacts
from thalweg.risk import tree
from thalweg.risk.door import check
from thalweg.risk.threads import worthwhile
from thalweg.rundir.machine import machine
from thalweg.task import Task, task_source

TIED = 0.8  # of the largest gain: the cause, which stands first in the registry, goes first


def checkup(
    task: Task,
    *,
    seed: int = 0,
    seconds: float = 60.0,
    evaluations: int | None = None,
    cure: bool = False,
    device: str | torch.device = "auto",
    progress: Callable[[Progress], None] | None = None,
) -> Diagnosis:
    """Say what limits the training of a task by its own recipe.

    The task's model, its mode, buffers and gradients, and every random state are left as found:
    all work is done on copies.

    Args:
        task: With the recipe it is trained by today.
        seed: Of the held-out split and the first run; trials use this and the following seeds.
        seconds: Time to spend, about; small tasks need less.
        evaluations: Gradients of each run; default: what ``seconds`` allow, at most the recipe's.
            With it the answer does not depend on how fast the machine is, as long as ``seconds``
            suffice.
        cure: Also put the compatible cures together and compare before and after.
        device: ``auto``, ``cpu`` or ``cuda``.
        progress: Called with a :class:`~thalweg.records.Progress` now and then.

    Returns:
        Findings in order of severity, then of what their remedy gained; none that limits where
        nothing was measured to.

    Raises:
        ValueError: Bad input that cannot be run at all, in one line: what, where, what to do.
    """
    if not isinstance(task, Task):
        raise TypeError(f"diagnose needs a thalweg.Task, got a {type(task).__name__}.")
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"seconds={seconds!r}: wanted a positive number.")
    if evaluations is not None and evaluations < 2:
        raise ValueError(f"evaluations={evaluations!r}: wanted at least 2.")
    methods.make(task.recipe.optimizer, [torch.zeros(1, requires_grad=True)])  # imports a lot
    begun = time.monotonic()
    tell = _teller(progress, begun, seconds)
    with untouched():
        seen, notes = _observe(task, device, seed, seconds, evaluations, tell)
        left = _left(begun, seconds)
        findings, cleared = verdicts(seen, left, tell)
        cured = None
        if cure:
            more = seconds  # as much again: the cured copy is looked at in its turn
            until = _left(time.monotonic(), more)
            cured, hidden = together(seen, findings, until, tell, evaluations)
            findings += hidden
        found = _record(seen, findings, cleared, cured, notes, begun)
        return dataclasses.replace(found, source=task_source(task))


def _left(begun: float, seconds: float) -> Callable[[], float]:
    return lambda: begun + seconds - time.monotonic()


def _teller(
    progress: Callable[[Progress], None] | None, begun: float, seconds: float
) -> Callable[[str], None]:
    def tell(message: str) -> None:
        if progress is not None:
            passed = time.monotonic() - begun
            progress(Progress("diagnosing", int(passed), int(max(seconds, passed)), passed,
                              None, (), message))  # fmt: skip

    return tell


def _observe(
    task: Task,
    device: Any,
    seed: int,
    seconds: float,
    evaluations: int | None,
    tell: Callable[[str], None],
) -> tuple[Observation, tuple[str, ...]]:
    tell("reading data and the first pass")
    bench = Bench(task, device, seed)
    tree.tensors(bench.risk.feed(seed, bench.risk.batch_size()).batch(0))
    bench.risk.model(seed)
    try:
        seen = static(bench)
    except (RuntimeError, TypeError, IndexError, KeyError, AttributeError) as error:
        check(bench.risk)  # says in one line what is wrong
        raise ValueError(
            f"task '{task.name}': one forward and backward pass failed: "
            f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        ) from error
    notes = _door(bench, seen)
    # put back by ``untouched``
    torch.set_num_threads(worthwhile(bench.risk.device, lambda: cost(bench, 2, 3)))
    moving(seen, seconds, tell, evaluations)
    return seen, notes


def _door(bench: Bench, seen: Observation) -> tuple[str, ...]:
    """The door's checks, as far as no finding says the same better."""
    pass_ = seen.anatomy
    nothing = pass_.detached or len(pass_.frozen) > 0
    try:
        return check(bench.risk).notes
    except ValueError:
        known = seen.data.nonfinite or nothing or pass_.nonfinite_gradient or _broadcasts(pass_)
        if not known:
            raise
        return ()


def _broadcasts(pass_: Any) -> bool:
    o, t = pass_.output, pass_.target
    return (
        isinstance(o, torch.Tensor)
        and isinstance(t, torch.Tensor)
        and (o.shape != t.shape and o.numel() == t.numel())
    )


def _record(
    seen: Observation, findings: list[Finding], cleared: list[str], cured: Any,
    notes: tuple[str, ...], begun: float,
) -> Diagnosis:  # fmt: skip
    bench = seen.bench
    short = () if seen.whole else (
        f"Runs were {seen.evaluations} gradients long ({seen.epochs:.2g} of "
        f"{seen.recipe.epochs} epochs): faults that show later were not looked for; give more "
        "seconds.",
    )  # fmt: skip
    return Diagnosis(
        task=bench.task.name,
        recipe=seen.recipe.to_dict(),
        criterion=bench.risk.metric,
        findings=tuple(findings),
        numbers=numbers(seen),
        layers=_layers(seen),
        trace=seen.walks[0].trace if seen.walks else Trace(),
        ladder=_ladder(seen),
        considered=tuple(cleared),
        seeds=len(seen.walks),
        evaluations=seen.evaluations,
        samples={p: getattr(bench.risk, p).n for p in ("train", "selection", "confirmation")},
        cured=cured,
        notes=(*dict.fromkeys((*notes, *bench.risk.notes)), *short),
        seconds=round(time.monotonic() - begun, 3),
        machine=machine(),
    )


def _ladder(seen: Observation) -> Ladder:
    found = seen.sweep
    return Ladder() if found is None else Ladder(found.rates, found.losses, found.steps)


def numbers(seen: Observation) -> dict[str, float]:
    """What was measured, by name, NaN left out."""
    sweep, judge = seen.sweep, seen.bench.judge
    walk = seen.walks[0] if seen.walks else None
    found = {
        "criterion reached": seen.value,
        "criterion of a constant answer": judge.floor,
        "skill": seen.skill,
        "initial loss": seen.anatomy.loss,
        "loss of a constant answer": judge.floor_loss,
        "final training loss": walk.train[-1] if walk and walk.train else math.nan,
        "learning rate": seen.recipe.lr,
        "best rate of short runs": sweep.best if sweep else math.nan,
        "failing rate of short runs": sweep.failing if sweep else math.nan,
        "largest curvature at the start": seen.sharp_start,
        "largest curvature at the end": seen.sharp_end,
        "gradient norm at the start": seen.anatomy.gradient_norm,
        "gradient noise scale at the start": seen.noise_start,
        "gradient noise scale at the end": seen.noise_end,
        "mean square of inputs": seen.data.mean_square,
    }
    if methods.method(seen.recipe.optimizer).full_batch:
        found.pop("learning rate")
    return {name: float(value) for name, value in found.items() if value == value}


def _layers(seen: Observation) -> tuple[LayerFacts, ...]:
    lr = seen.recipe.lr
    silent = {a.where: a for a in seen.anatomy.activations}
    lines = []
    for leaf in seen.anatomy.leaves:
        near = silent.get(leaf.name)
        lines.append(
            LayerFacts(
                leaf.name or "model",
                leaf.kind,
                leaf.parameters,
                leaf.output_rms,
                leaf.gradient_rms,
                lr * leaf.gradient_rms / leaf.weight_rms if leaf.weight_rms else math.nan,
                None if near is None or near.silent != near.silent else near.silent,
                None if near is None or near.saturated != near.saturated else near.saturated,
            )
        )
    return tuple(lines)
