"""Gathering chunks of codes into one answer, each judged as it will be returned."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thalweg.records import Codes
from thalweg.sparse.energy import Energy, relative
from thalweg.sparse.inputs import Signals
from thalweg.sparse.penalties.k_sparse import KSparse
from thalweg.sparse.refitting import refitted
from thalweg.sparse.solvers.base import SIDED, Options


class Sink:
    """Takes chunks, certifies them after rounding to the dtype asked for, and gives ``Codes``."""

    def __init__(
        self,
        signals: Signals,
        energy: Energy,
        options: Options,
        output: str,
        refit: bool = False,
    ) -> None:
        if output not in ("dense", "csr"):
            raise ValueError(f"output must be 'dense' or 'csr', got {output!r}")
        self.signals, self.energy, self.options = signals, energy, options
        self.refit = refit
        count, self.atoms = signals.shape[0], energy.datafit.dictionary.shape[1]
        like: dict[str, Any] = {"device": signals.device}
        self.atoms_in_rows = energy.datafit.matrix.mT.contiguous()
        self.values = torch.zeros(count, dtype=torch.float64, **like)
        self.gaps = (
            torch.zeros(count, dtype=torch.float64, **like) if energy.penalty.has_dual else None
        )
        self.iterations = torch.zeros(count, dtype=torch.int64, **like)
        self.converged = torch.ones(count, dtype=torch.bool, **like)
        self.rounded = 0  # samples that met the tolerance before rounding but not after
        self.dense = (
            torch.empty(count, self.atoms, dtype=options.dtype, **like)
            if output == "dense"
            else None
        )
        self.parts: list[tuple[Tensor, Tensor, Tensor]] = []

    def add(self, begin: int, x: Tensor, z: Tensor, iterations: Tensor) -> None:
        """Take the codes ``z`` of the samples ``x`` that start at ``begin``."""
        end = begin + len(x)
        returned = z.to(self.options.dtype)
        judged = returned.to(torch.float64)
        gap, self.values[begin:end], met = self._judge(x, judged)
        if self.gaps is not None and gap is not None:
            self.gaps[begin:end] = gap
        self.converged[begin:end] = met
        self.iterations[begin:end] = iterations
        if returned.dtype != z.dtype and not bool(met.all()):
            missed = ~met
            self.rounded += int(self._judge(x[missed], z[missed])[2].sum())
        if self.refit:
            sided = self.energy.penalty.name in SIDED
            returned = refitted(x, self.atoms_in_rows, z, sided).to(returned.dtype)
        if self.dense is not None:
            self.dense[begin:end] = returned
        else:
            rows, columns = returned.nonzero(as_tuple=True)
            self.parts.append(
                (torch.bincount(rows, minlength=len(x)), columns, returned[rows, columns])
            )

    def _judge(self, x: Tensor, z: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        residual = self._residual(x, z)
        found = self.energy.certificate(x, z, residual)
        if found.gap is not None:
            gap = relative(found.gap, x)
            return gap, found.energy, gap <= self.options.tol
        return None, found.energy, self._stationary(x, z, residual)

    def _stationary(self, x: Tensor, z: Tensor, residual: Tensor | None) -> Tensor:
        """Is the distance to stationarity within tolerance, as a share of the largest ``|dᵀx|``?"""
        penalty = self.energy.penalty
        if residual is None or not isinstance(penalty, KSparse):
            return self._everywhere(x, z, residual)
        from thalweg.sparse.solvers.kernels.residual import on_support

        gradient, scale = x.new_empty(len(x)), x.new_empty(len(x))
        used = torch.empty(len(x), dtype=torch.int64)
        on_support(
            self.atoms_in_rows.numpy(), x.numpy(), z.contiguous().numpy(), residual.numpy(),
            gradient.numpy(), scale.numpy(), used.numpy(),
        )  # fmt: skip
        # with the budget used up only atoms in use count, and the scale is no less than on them
        met = (used == penalty.k) & (gradient <= self.options.tol * scale)
        if not bool(met.all()):
            rest = ~met
            met[rest] = self._everywhere(x[rest], z[rest], residual[rest])
        return met

    def _everywhere(self, x: Tensor, z: Tensor, residual: Tensor | None) -> Tensor:
        scale = self.energy.datafit.correlate(x).abs().amax(-1)
        return self.energy.distance(x, z, residual) <= self.options.tol * scale

    def _residual(self, x: Tensor, z: Tensor) -> Tensor | None:
        if x.device.type != "cpu":
            return None
        from thalweg.sparse.solvers.kernels.residual import residuals

        r = torch.empty_like(x)
        residuals(self.atoms_in_rows.numpy(), x.numpy(), z.contiguous().numpy(), r.numpy())
        return r

    def codes(self) -> Codes:
        """Everything taken so far."""
        give = self.signals.give
        return Codes(
            z=give(self.dense) if self.dense is not None else self._csr(),
            energy=give(self.values),
            gap=None if self.gaps is None else give(self.gaps),
            iterations=give(self.iterations),
            converged=give(self.converged),
            status=self._status(),
        )

    def _status(self) -> str:
        count, missed = len(self.converged), int((~self.converged).sum())
        goal = (
            f"a relative gap of {self.options.tol:g}" if self.gaps is not None else "stationarity"
        )
        if not missed:
            return f"all {count} samples reached {goal}"
        text = f"{missed} of {count} samples did not reach {goal}"
        if self.rounded:
            text += f"; {self.rounded} of them lost it to rounding to float32 only: pass float64 "
            text += "or a larger tol"
        if missed > self.rounded:
            text += "; raise max_iterations or tol, or try solver='auto'"
        return text

    def _csr(self) -> Any:
        shape, device = (len(self.values), self.atoms), self.values.device
        empty = torch.zeros(0, dtype=torch.int64, device=device)
        counts = torch.cat([part[0] for part in self.parts] or [empty])
        columns = torch.cat([part[1] for part in self.parts] or [empty])
        values = torch.cat([part[2] for part in self.parts] or [empty.to(self.options.dtype)])
        starts = torch.cat([torch.zeros(1, dtype=torch.int64, device=device), counts.cumsum(0)])
        if self.signals.is_torch:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
                return torch.sparse_csr_tensor(
                    starts, columns, values, shape, check_invariants=True
                )
        from scipy.sparse import csr_array

        return csr_array(
            (values.numpy(), columns.numpy().astype(np.int64), starts.numpy()), shape=shape
        )
