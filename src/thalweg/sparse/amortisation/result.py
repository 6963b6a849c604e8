"""What an amortisation gap consists of: four kinds of codes, and how they differ, per sample."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from thalweg.sparse.amortisation.rows import Rows


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """One kind of codes on a batch; every array has one entry a sample ``(b,)``.

    Attributes:
        codes: The codes in compressed rows (``codes.dense(m)`` for an array).
        energy: What they cost.
        error: ``‖x − x̂‖²``.
        fvu: Fraction of variance unexplained, ``‖x − x̂‖² / ‖x − x̄‖²`` with the mean of the batch.
        l0: Atoms used.
    """

    codes: Rows
    energy: np.ndarray
    error: np.ndarray
    fvu: np.ndarray
    l0: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Gap:
    """The amortisation gap of an encoder, per sample and in four kinds of codes.

    Attributes:
        encoder: Codes of the encoder as they are.
        refit: Its supports with least-squares amplitudes: the cure for shrinkage.
        optimal: Codes of least energy; for k atoms the best known (see `amortisation_gap`).
        optimal_refit: Their supports with least-squares amplitudes.
        excess: Energy of the encoder's codes above the optimal ones ``(b,)``.
        excess_of_support: What of it remains with the best amplitudes on the encoder's support.
        certificate: Bound on how far the optimal energy is above the least, as a share of
            ``½‖x − b‖²``; None for k atoms, where there is none.
        wrong: Whether the support differs from the optimal one ``(b,)``.
        missed: Share of the optimal atoms that the encoder leaves out.
        extra: Share of the encoder's atoms that the optimal code does without.
        variance: ``‖x − x̄‖²``.
        half: ``½‖x − b‖²``, the energy of the zero code.
        problem: "l1" or "k-sparse".
        l1: Its weight, None for k atoms.
        k: The budget, "same" for the encoder's own, None with l1.
        over_budget: Samples on which the encoder uses more than k atoms.
        signed: Whether codes may be negative.
        atoms: Number of atoms of the decoder.
    """

    encoder: Measured
    refit: Measured
    optimal: Measured
    optimal_refit: Measured
    excess: np.ndarray
    excess_of_support: np.ndarray
    certificate: np.ndarray | None
    wrong: np.ndarray
    missed: np.ndarray
    extra: np.ndarray
    variance: np.ndarray
    half: np.ndarray
    problem: str
    l1: float | None
    k: int | str | None
    over_budget: int
    signed: bool
    atoms: int

    def total_fvu(self, which: str) -> float:
        """Fraction of variance unexplained over the batch: ``Σ error / Σ variance``.

        Args:
            which: "encoder", "refit", "optimal" or "optimal_refit".
        """
        total = float(self.variance.sum())
        error = float(getattr(self, which).error.sum())
        return error / total if total > 0 else (0.0 if error == 0 else math.inf)
