"""What is a solver, and which one fits a problem?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg.sparse.energy import Energy

# x (b, n) float64 and, where given, a start (b, m) -> codes (b, m) float64 and iterations (b,)
Solve = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class Options:
    """How exactly and how long to solve.

    Args:
        tol: Duality gap over ``½‖x‖²`` at which a sample is done.
        max_iterations: Limit per sample in the solver's own unit; None is the solver's default.
        threads: CPU threads for solvers that place their own; None takes every core given to us.
        dtype: Of the codes to be returned.
    """

    tol: float = 1e-6
    max_iterations: int | None = None
    threads: int | None = None
    dtype: torch.dtype = torch.float64


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
                f"solver '{self.name}' runs on {' and '.join(self.devices)}, the data is on {device}; "
                "solver='auto' picks one that runs there"
            )


def choose(penalty: str, device: str) -> str:
    """The solver that ``solver="auto"`` stands for."""
    if penalty == "k-sparse":
        return "omp"
    if penalty == "group":
        return "fista"
    return "fista"
