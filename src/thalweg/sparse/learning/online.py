"""Online dictionary learning: what a learner remembers of the signals it has met."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from thalweg.linalg.operator import DenseOperator
from thalweg.sparse import SOLVERS
from thalweg.sparse.datafits import Quadratic
from thalweg.sparse.energy import Energy
from thalweg.sparse.inputs import read_penalty, read_tol
from thalweg.sparse.learning.atoms import from_data, remember, sweep
from thalweg.sparse.penalties.base import Penalty
from thalweg.sparse.solvers.base import Options, choose


class OnlineLearner:
    r"""A dictionary that improves with every batch of signals.

    Each `update` codes the batch with the present atoms, adds ``z zᵀ`` and ``z xᵀ`` to statistics
    that are first multiplied by ``(1 − 1/t)^forgetting``, and makes one sweep of block coordinate
    descent over the atoms. Atoms that no signal has used for ``dead_after`` signals are replaced by
    the signals explained worst.

    Args:
        n: Length of a signal.
        m: Number of atoms.
        l1: Weight of the penalty (None if ``penalty`` holds its own).
        penalty: As in `thalweg.sparse.encode`.
        tol: Relative duality gap of the codes learned from; 1e-2 is enough.
        forgetting: How fast old codes fade: 0 never; 10: the last tenth of the batches counts most.
        dead_after: Signals without use after which an atom is replaced; ``10 m`` by default.
        init: First atoms ``(n, m)``; drawn from the first batch when None.
        seed: Decides which signals become the first atoms.
        device: Where to work.
        threads: CPU threads for the codes; None takes what the process may use.

    References:
        Mairal, Bach, Ponce and Sapiro, "Online learning for matrix factorization and sparse
        coding", JMLR 2010.
    """

    def __init__(
        self,
        n: int,
        m: int,
        l1: float | None,
        *,
        penalty: str | Penalty | None = None,
        tol: float = 1e-2,
        forgetting: float = 10.0,
        dead_after: int | None = None,
        init: Any = None,
        seed: int = 0,
        device: torch.device | str = "cpu",
        threads: int | None = None,
    ) -> None:
        for name, value in (("n, the inputs,", n), ("m, the number of atoms,", m)):
            if int(value) != value or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
        if not forgetting >= 0:
            raise ValueError(f"forgetting must be 0 or more, got {forgetting!r}")
        if dead_after is not None and dead_after < 1:
            raise ValueError(f"dead_after counts signals: at least 1, got {dead_after!r}")
        self.l1, self.penalty = l1, read_penalty(l1, penalty, m)
        self.options = Options(read_tol(tol), threads=threads)
        self.solver = SOLVERS.load(choose(self.penalty.name, torch.device(device).type))
        self.forgetting, self.seed = float(forgetting), seed
        self.dead_after = 10 * m if dead_after is None else int(dead_after)
        zeros = torch.zeros(m, m + n, dtype=torch.float64, device=device)
        self.A, self.B = zeros[:, :m].clone(), zeros[:, m:].clone()
        self.unused = torch.zeros(m, dtype=torch.int64, device=device)
        self.atoms = zeros[:, m:].clone()
        self.batches = self.seen = self.reseeded = 0
        if init is not None:
            self.atoms = _start(init, n, m).to(self.atoms).contiguous()
        self._ready = init is not None

    @property
    def D(self) -> Tensor:
        """The dictionary ``(n, m)``, float64, atoms of norm 1."""
        return self.atoms.T

    def update(self, X: Tensor) -> float:
        """Learn from signals ``(b, n)``; returns their mean energy under the atoms *before*.

        The caller promises finite float64 signals on the learner's device.
        """
        if not self._ready:
            self.atoms = from_data(X, len(self.atoms), np.random.default_rng([self.seed, 1]))
            self._ready = True
        energy = Energy(Quadratic(DenseOperator(self.D)), self.penalty)
        z, _ = self.solver.prepare(energy, self.options)(X, None)
        values = energy.value(X, z)
        self.batches += 1
        self.seen += len(X)
        fade = (1 - 1 / self.batches) ** self.forgetting
        self.A.mul_(fade)
        self.B.mul_(fade)
        remember(self.A, self.B, z, X, 1 / len(X))
        self.unused += len(X)
        self.unused[z.ne(0).any(0)] = 0
        sweep(self.atoms, self.A, self.B, floor=1e-12 * float(self.A.diagonal().max()))
        self._reseed(X, values)
        return float(values.mean())

    def _reseed(self, X: Tensor, values: Tensor) -> None:
        """Give dead atoms a new life as the signals that are explained worst."""
        dead = (self.unused >= self.dead_after).nonzero()[:, 0]
        norms = X.norm(dim=1)
        worst = torch.where(norms > 0, values, -torch.inf).argsort(descending=True)
        count = min(len(dead), int((norms > 0).sum()))
        if not count:
            return
        dead, worst = dead[:count], worst[:count]
        self.atoms[dead] = X[worst] / norms[worst, None]
        self.A[dead] = 0
        self.A[:, dead] = 0
        self.B[dead] = 0
        self.unused[dead] = 0
        self.reseeded += count

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that `restore` needs: tensors, and plain values."""
        tensors = {"A": self.A, "B": self.B, "atoms": self.atoms, "unused": self.unused}
        counts = {"batches": self.batches, "seen": self.seen, "reseeded": self.reseeded}
        return tensors, counts | {"ready": self._ready}

    def restore(self, tensors: dict[str, Tensor], counts: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        for name in ("A", "B", "atoms", "unused"):
            own = getattr(self, name)
            if tensors[name].shape != own.shape:
                raise ValueError(
                    f"the state holds {name} of shape {tuple(tensors[name].shape)}, this learner "
                    f"{tuple(own.shape)}; it belongs to another learner"
                )
            setattr(self, name, tensors[name].to(own).contiguous().clone())
        self.batches, self.seen = int(counts["batches"]), int(counts["seen"])
        self.reseeded, self._ready = int(counts["reseeded"]), bool(counts["ready"])


def _start(init: Any, n: int, m: int) -> Tensor:
    """Atoms as unit rows ``(m, n)`` from a matrix ``(n, m)``."""
    matrix = init if isinstance(init, Tensor) else torch.from_numpy(np.array(init, np.float64))
    matrix = matrix.detach().to(torch.float64)
    if matrix.shape != (n, m):
        raise ValueError(
            f"init must have shape {(n, m)} (atoms as columns), got {tuple(matrix.shape)}"
        )
    norms = matrix.norm(dim=0)
    if not bool((torch.isfinite(norms) & (norms > 0)).all()):
        raise ValueError("init holds a zero, NaN or infinite atom; give unit-norm directions")
    return (matrix / norms).T
