"""Codes of a batch in compressed rows: a few atoms a sample instead of sixteen thousand."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor


class Rows(NamedTuple):
    """Sample i holds ``atoms[starts[i]:starts[i+1]]`` with ``values`` alike; values are not 0."""

    starts: np.ndarray  # (b + 1,) int64
    atoms: np.ndarray  # (held,) int64, ascending in a sample
    values: np.ndarray  # (held,) float64

    @property
    def l0(self) -> np.ndarray:
        """Atoms a sample ``(b,)``."""
        return np.diff(self.starts)

    def dense(self, m: int) -> np.ndarray:
        """The codes ``(b, m)``."""
        z = np.zeros((len(self.starts) - 1, m))
        z[np.repeat(np.arange(len(z)), self.l0), self.atoms] = self.values
        return z


def pack(counts: Any, atoms: Any, values: Any) -> Rows:
    """Rows from the number of atoms of each sample, all atoms and all values."""
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Rows(
        starts, np.ascontiguousarray(atoms, np.int64), np.ascontiguousarray(values, np.float64)
    )


def from_dense(z: Tensor) -> Rows:
    """The entries of codes ``(b, m)`` that are not zero."""
    rows, columns = z.nonzero(as_tuple=True)
    counts = torch.bincount(rows, minlength=len(z)).cpu().numpy()
    return pack(counts, columns.cpu().numpy(), z[rows, columns].double().cpu().numpy())


def from_csr(z: Any) -> Rows:
    """What ``encode(…, output="csr")`` gave for torch signals; stored zeros are dropped."""
    starts = z.crow_indices().cpu().numpy()
    atoms, values = z.col_indices().cpu().numpy(), z.values().double().cpu().numpy()
    keep = values != 0
    counts = np.add.reduceat(np.append(keep, False), starts[:-1]) if len(starts) > 1 else []
    counts = np.where(np.diff(starts) > 0, counts, 0) if len(starts) > 1 else counts
    return pack(counts, atoms[keep], values[keep])


def join(parts: list[Rows]) -> Rows:
    """Batches one after the other."""
    if not parts:
        return pack([], [], [])
    return pack(
        np.concatenate([part.l0 for part in parts]),
        np.concatenate([part.atoms for part in parts]),
        np.concatenate([part.values for part in parts]),
    )


def shared(a: Rows, b: Rows) -> np.ndarray:
    """How many atoms two batches of codes share, per sample ``(b,)``."""
    count = len(a.starts) - 1
    width = 1 + max(int(a.atoms.max(initial=0)), int(b.atoms.max(initial=0)))
    keys = [np.repeat(np.arange(count), rows.l0) * width + rows.atoms for rows in (a, b)]
    both = np.intersect1d(keys[0], keys[1], assume_unique=True)
    return np.bincount(both // width, minlength=count)
