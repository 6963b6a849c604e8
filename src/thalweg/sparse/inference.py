"""Which code explains a signal best? The public door to sparse inference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from thalweg.linalg.operator import DenseOperator
from thalweg.records import Codes
from thalweg.sparse import SOLVERS
from thalweg.sparse.assemble import Sink
from thalweg.sparse.datafits import Quadratic
from thalweg.sparse.energy import Energy
from thalweg.sparse.inputs import (
    Signals,
    match,
    read,
    read_count,
    read_penalty,
    read_start,
    read_tol,
)
from thalweg.sparse.penalties.base import Penalty
from thalweg.sparse.solvers.base import Options, Solver, choose

_CHUNK_BYTES = 8 * 2**20  # one float64 array (chunk, atoms); a solver keeps a handful of them


def encode(
    X: Any,
    D: Any,
    l1: Any = None,
    penalty: str | Penalty | None = None,
    solver: str = "auto",
    tol: float = 1e-6,
    start: Any = None,
    *,
    max_iterations: int | None = None,
    output: str = "dense",
    chunk: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    threads: int | None = None,
    refit: bool = False,
) -> Codes:
    r"""Find the code of least energy for each sample, with a certificate.

    .. math:: z^\star(x) = \arg\min_z \tfrac12\|x - D z\|^2 + \alpha\|z\|_1

    or with another penalty. Energy and gap are computed in float64 from the codes *as returned*:
    float32 codes are judged after rounding.

    ======================================  ===================  ==================
    penalty                                 ``"auto"`` on a CPU  ``"auto"`` on CUDA
    ======================================  ===================  ==================
    l1, weighted-l1, elastic-net            working-set          fista
    non-negative, non-negative-elastic-net  working-set          fista
    group                                   fista                fista
    k-sparse                                omp                  omp
    ======================================  ===================  ==================

    >>> import numpy as np
    >>> encode(np.array([[3.0, -0.5]]), np.eye(2), 1.0).z
    array([[2., 0.]])

    Args:
        X: Signals ``(b, n)``; numpy or torch, float32 or float64 (integers are read as float64).
        D: Dictionary ``(n, m)``, atoms are columns; same kind and device as ``X``. Atoms need not
            have norm one, but a single ``l1`` only treats them alike if they do.
        l1: Weight α of the penalty, positive; a number, or one per atom ``(m,)``. None if
            ``penalty`` is an object. The budget k for ``penalty="k-sparse"``.
        penalty: None or ``"l1"``, ``"non-negative"``, ``"k-sparse"``, or a penalty such as
            ``ElasticNet(l1, l2)``, ``NonNegativeElasticNet(l1, l2)``, ``Group(l1, pools)``,
            ``KSparse(k)``.
        solver: A name from ``thalweg list solvers``, or ``"auto"`` for the table above.
        tol: Duality gap over ``½‖x‖²`` at which a sample counts as solved.
        start: Codes ``(b, m)`` to start from; changes the time, not the answer.
        max_iterations: Limit per sample in the solver's own unit (rounds, steps or sweeps).
        output: ``"dense"``, or ``"csr"`` for compressed rows (scipy's ``csr_array``, or torch's).
        chunk: Samples worked on at once; None bounds extra memory to some 200 MB.
        progress: Called with (samples done, samples in all) after each chunk.
        threads: CPU threads; None takes what the process may use.
        refit: Return the least-squares code on the support of each exact code, which undoes the
            shrinkage of the penalty (see `thalweg.sparse.refit`). Energy, gap and verdict stay
            those of the exact code.

    Returns:
        ``Codes``: ``z (b, m)`` in the dtype of ``X``; ``energy``, ``gap`` (duality gap over
        ``½‖x‖²``, 0 for ``x = 0``; None for k-sparse codes), ``iterations`` and ``converged``, each
        ``(b,)``; and ``status``, a sentence. ``converged`` says that the gap of the returned code
        is at most ``tol``; for k-sparse codes, that no move within the budget improves to first
        order.

    Raises:
        TypeError: For arrays that are not real numbers, or numpy mixed with torch.
        ValueError: For shapes, weights or values that make no sense; the message says which.

    References:
        Olshausen and Field 1996; for the gap, Kim, Koh, Lustig, Boyd and Gorinevsky 2007.
    """
    signals, dictionary = read(X, "X", "(samples, inputs)"), read(D, "D", "(inputs, atoms)")
    match(signals, dictionary)
    energy = _energy(dictionary, l1, penalty)
    warm = read_start(start, signals, dictionary.shape[1])
    options = Options(
        read_tol(tol),
        read_count(max_iterations, "max_iterations"),
        read_count(threads, "threads"),
        signals.dtype,
        signals.shape[0],
    )
    method: Solver = SOLVERS.load(
        choose(energy.penalty.name, signals.device.type)
        if solver == "auto"
        else SOLVERS[solver].name
    )
    method.check(energy)
    size = read_count(chunk, "chunk") or max(
        64, min(8192, _CHUNK_BYTES // (8 * dictionary.shape[1]))
    )
    sink = Sink(signals, energy, options, output, refit)
    if signals.shape[0]:
        # float32 codes are solved to half the tolerance: the other half is for rounding them
        margin = 0.5 if signals.dtype == torch.float32 else 1.0
        solve = method.prepare(energy, replace(options, tol=margin * options.tol))
        for begin in range(0, signals.shape[0], size):
            end = min(begin + size, signals.shape[0])
            x = signals.rows(begin, end)
            z, iterations = solve(x, None if warm is None else warm.rows(begin, end))
            sink.add(begin, x, z, iterations)
            if progress is not None:
                progress(end, signals.shape[0])
    return sink.codes()


def certify(
    X: Any, D: Any, Z: Any, l1: Any = None, penalty: str | Penalty | None = None, tol: float = 1e-6
) -> Codes:
    """Judge given codes: the certificate of ``encode`` for codes from anywhere, an encoder say.

    Args:
        X: Signals ``(b, n)``.
        D: Dictionary ``(n, m)``, atoms are columns.
        Z: Codes ``(b, m)``, same kind and device as ``X``.
        l1: As in ``encode``.
        penalty: As in ``encode``.
        tol: Gap at which a sample counts as converged.

    Returns:
        ``Codes`` holding ``Z`` as it is, with energy, gap and verdict per sample.
    """
    signals, dictionary = read(X, "X", "(samples, inputs)"), read(D, "D", "(inputs, atoms)")
    match(signals, dictionary)
    codes = read_start(Z, signals, dictionary.shape[1])
    if codes is None:
        raise TypeError("Z must be codes (samples, atoms), got None")
    energy = _energy(dictionary, l1, penalty)
    sink = Sink(signals, energy, Options(read_tol(tol), dtype=codes.dtype), "dense")
    for begin in range(0, signals.shape[0], 4096):
        end = min(begin + 4096, signals.shape[0])
        z = codes.rows(begin, end)
        sink.add(begin, signals.rows(begin, end), z, torch.zeros(len(z), dtype=torch.int64))
    return sink.codes()


def _energy(dictionary: Signals, l1: Any, penalty: str | Penalty | None) -> Energy:
    atoms = dictionary.rows(0, dictionary.shape[0])
    return Energy(Quadratic(DenseOperator(atoms)), read_penalty(l1, penalty, atoms.shape[1]))
