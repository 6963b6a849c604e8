"""What is a solver, and which one fits a problem?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg.sparse.energy import Energy, relative

# x (b, n) float64 and, where given, a start (b, m) -> codes (b, m) float64 and iterations (b,)
Solve = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]]

SIDED = ("non-negative", "non-negative-elastic-net")  # no entry of a code below zero
LASSO_LIKE = ("l1", "weighted-l1", "elastic-net", *SIDED)
CONVEX = (*LASSO_LIKE, "group")


@dataclass(frozen=True, slots=True)
class Options:
    """How exactly and how long to solve.

    Args:
        tol: Duality gap over ``½‖x‖²`` at which a sample is done.
        max_iterations: Limit per sample in the solver's own unit; None is the solver's default.
        threads: CPU threads for solvers that place their own; None takes torch's number.
        dtype: Of the codes to be returned.
        samples: How many samples there are in all; None if unknown.
    """

    tol: float = 1e-6
    max_iterations: int | None = None
    threads: int | None = None
    dtype: torch.dtype = torch.float64
    samples: int | None = None


@dataclass(frozen=True, slots=True)
class Solver:
    """A method, what it applies to, and how to set it up.

    Args:
        name: As in the registry.
        penalties: Names of the penalties it can minimise.
        devices: ``"cpu"``, ``"cuda"``: where it runs.
        prepare: Does the work shared by all samples, returns the function that solves a batch.
    """

    name: str
    penalties: tuple[str, ...]
    devices: tuple[str, ...]
    prepare: Callable[[Energy, Options], Solve]

    def check(self, energy: Energy) -> None:
        """Raise ``ValueError`` where the solver does not apply, naming what does.

        Raises:
            ValueError: For a penalty or device that the solver cannot work with.
        """
        if energy.penalty.name not in self.penalties:
            raise ValueError(
                f"solver '{self.name}' cannot minimise the '{energy.penalty.name}' penalty, only "
                f"{', '.join(self.penalties)}; solver='auto' picks one that can"
            )
        device = energy.datafit.dictionary.device.type
        if device not in self.devices:
            raise ValueError(
                f"solver '{self.name}' runs on {' and '.join(self.devices)}, the data is on "
                f"{device}; solver='auto' picks one that runs there"
            )


def choose(penalty: str, device: str) -> str:
    """The solver that ``solver="auto"`` stands for."""
    if penalty == "k-sparse":
        return "omp"
    return "working-set" if device == "cpu" and penalty in LASSO_LIKE else "fista"


class Open:
    """The samples of a batch that are not done yet; the others have left it.

    ``codes (b, m)`` and ``iterations (b,)`` hold the answers; ``x (left, n)`` and ``index (left,)``
    the signals still worked on.
    """

    def __init__(self, energy: Energy, options: Options, x: Tensor, start: Tensor | None) -> None:
        atoms = energy.datafit.dictionary.shape[1]
        self.energy, self.tol, self.signals = energy, options.tol, x
        self.codes = x.new_zeros(len(x), atoms) if start is None else start.clone()
        self.codes[x.square().sum(-1) == 0] = 0.0  # the answer for x = 0, whatever the start
        self.iterations = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        self.index = torch.arange(len(x), device=x.device)
        self.x = x

    def gap(self, z: Tensor, rows: Tensor | None = None) -> Tensor:
        """Relative duality gap of codes of the open samples, or of the given rows of them."""
        x = self.x if rows is None else self.x[rows]
        found = self.energy.certificate(x, z).gap
        if found is None:
            raise ValueError(f"the {self.energy.penalty.name} penalty has no duality gap")
        return relative(found, x)

    def close(
        self, done: int, z: Tensor, *more: Tensor, gap: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Write ``z`` down; samples within tolerance leave. Returns the rows of the others."""
        self.codes[self.index] = z.to(self.codes.dtype)
        self.iterations[self.index] = done
        rest = (self.gap(z) if gap is None else gap) > self.tol
        self.index, self.x = self.index[rest], self.x[rest]
        return tuple(rows[rest] for rows in (z, *more))
