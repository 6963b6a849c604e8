"""Learn a dictionary from an array of signals: order, budget, progress and resume."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from thalweg.sparse.batches import Batches
from thalweg.sparse.inputs import Signals, read, read_count
from thalweg.sparse.learning.online import OnlineLearner
from thalweg.sparse.patches import Preprocessing
from thalweg.sparse.penalties.base import Penalty
from thalweg.sparse.resume import Keeper, fingerprint
from thalweg.sparse.storage import Dictionary


def learn_dictionary(
    X: Any,
    atoms: int,
    l1: float | None,
    *,
    penalty: str | Penalty | None = None,
    passes: float = 5.0,
    seconds: float | None = None,
    batch_size: int | None = None,
    tol: float = 1e-2,
    forgetting: float = 10.0,
    dead_after: int | None = None,
    init: Any = None,
    seed: int = 0,
    preprocessing: Preprocessing | None = None,
    progress: Callable[[int, int, float], None] | None = None,
    checkpoint: str | Path | None = None,
    every: int = 100,
    threads: int | None = None,
) -> Dictionary:
    r"""Minimise the mean of ``min_z ½‖x − Dz‖² + l1 ‖z‖₁`` over dictionaries of unit-norm atoms.

    >>> import numpy as np
    >>> X = np.repeat(np.eye(3), 50, axis=0)
    >>> np.abs(learn_dictionary(X, 3, 0.1, batch_size=150).D).sum(0).round(6)
    array([1., 1., 1.])

    Args:
        X: Signals ``(N, n)``; numpy or torch.
        atoms: Atoms m to learn.
        l1: Weight of the penalty (None if ``penalty`` holds its own).
        penalty: As in `thalweg.sparse.encode`.
        passes: Times each signal is seen.
        seconds: Stop after so long, if the passes are not done before. What is learned then depends
            on the machine.
        batch_size: Signals between two moves of the atoms; None: 512, down to 32 where there
            are less than 8192 signals, so that a pass has 16 moves.
        tol: Relative duality gap of the codes learned from.
        forgetting: How fast old codes fade, see `OnlineLearner`.
        dead_after: Signals without use after which an atom is replaced; ``10 m`` by default.
        init: First atoms ``(n, m)``; signals of the first batch when None.
        seed: Decides the order and the first atoms.
        preprocessing: How ``X`` was prepared; kept with the dictionary, not applied here.
        progress: Called as ``progress(step, steps, mean energy)`` every ``every`` steps.
        checkpoint: Directory for a checkpoint every ``every`` steps; a second call with the same
            arguments goes on from the last one and ends with the same bits.
        every: Steps between progress reports, points of the curve and checkpoints.
        threads: CPU threads; None takes what the process may use.

    Returns:
        `Dictionary` with ``D (n, m)`` of the kind and dtype of ``X``.

    Raises:
        TypeError: For arrays that are not real numbers.
        ValueError: For empty data, or settings that make no sense.
    """
    signals = read(X, "X", "(samples, inputs)")
    N, n = signals.shape
    if N == 0 or n == 0:
        raise ValueError(f"X has shape {(N, n)}; there is nothing to learn from")
    if not passes > 0 or (seconds is not None and not seconds > 0):
        raise ValueError(f"passes and seconds must be positive, got {passes!r} and {seconds!r}")
    size = read_count(batch_size, "batch_size") or max(32, min(512, N // 16))
    every = read_count(every, "every") or 100
    learner = OnlineLearner(
        n,
        atoms,
        l1,
        penalty=penalty,
        tol=tol,
        forgetting=forgetting,
        dead_after=dead_after,
        init=init,
        seed=seed,
        device=signals.device,
        threads=threads,
    )
    batches = Batches(N, size, seed, signals.device if signals.is_torch else None)
    steps = max(1, round(passes * batches.per_epoch))
    keeper = None
    if checkpoint is not None:
        keeper = Keeper(checkpoint, _identity(signals, learner, size, steps, seed))
    curve = _run(learner, signals, batches, steps, seconds, every, progress, keeper)
    D = learner.D.to(signals.dtype).contiguous()
    return Dictionary(
        D=D if signals.is_torch else D.numpy(),
        l1=l1,
        preprocessing=preprocessing or Preprocessing(),
        seen=learner.seen,
        batches=learner.batches,
        reseeded=learner.reseeded,
        curve_seen=tuple(curve[0]),
        curve_energy=tuple(curve[1]),
    )


def _run(
    learner: OnlineLearner,
    signals: Signals,
    batches: Batches,
    steps: int,
    seconds: float | None,
    every: int,
    progress: Callable[[int, int, float], None] | None,
    keeper: Keeper | None,
) -> tuple[list[int], list[float]]:
    """Take the steps; the curve as (signals seen, mean energies)."""
    seen, energies, begin = [], [], 0
    if keeper and (saved := keeper.restore()):
        begin, tensors, meta = saved
        learner.restore(tensors, meta["learner"])
        seen, energies = list(meta["seen"]), list(meta["energies"])
    deadline = None if seconds is None else time.monotonic() + seconds
    total, since = 0.0, begin
    for step in range(begin, steps):
        total += learner.update(take(signals, batches[step]))
        late = deadline is not None and time.monotonic() > deadline
        if (step + 1) % every and step + 1 < steps and not late:
            continue
        seen.append(learner.seen)
        energies.append(total / (step + 1 - since))
        total, since = 0.0, step + 1
        if keeper:
            tensors, counts = learner.state()
            meta = {"learner": counts, "seen": seen, "energies": energies}
            keeper.save(step + 1, tensors, meta)
        if progress:
            progress(step + 1, steps, energies[-1])
        if late:
            break
    return seen, energies


def take(signals: Signals, rows: Tensor) -> Tensor:
    """Some signals in float64."""
    data = signals.data[rows] if signals.is_torch else torch.from_numpy(signals.data[rows.numpy()])
    return data.to(torch.float64)


def _identity(
    signals: Signals, learner: OnlineLearner, size: int, steps: int, seed: int
) -> dict[str, Any]:
    data = signals.data if signals.is_torch else torch.from_numpy(signals.data.copy())
    return {
        "data": fingerprint(data, learner.atoms),
        "penalty": repr(learner.penalty),
        "forgetting": learner.forgetting,
        "dead_after": learner.dead_after,
        "tol": learner.options.tol,
        "batch_size": size,
        "steps": steps,
        "seed": seed,
    }
