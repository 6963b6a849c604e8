"""The amortisation gap: what one encoder pass costs against the best codes of the same decoder."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thalweg.sparse.amortisation import kernels
from thalweg.sparse.amortisation.pursuit import Pursuit
from thalweg.sparse.amortisation.result import Gap, Measured
from thalweg.sparse.amortisation.rows import Rows, from_csr, from_dense, join, shared
from thalweg.sparse.inference import encode as solve
from thalweg.sparse.inputs import read, read_count, read_tol
from thalweg.sparse.penalties.l1 import NonNegativeL1, WeightedL1
from thalweg.sparse.solvers.working_set import in_threads

_ENCODE_BYTES = 2**26  # dense codes of the encoder held at once
SAME = "same"  # k = "same": as many atoms as the encoder uses, sample by sample


def amortisation_gap(
    encode: Callable[[Any], Any],
    W_dec: Any,
    b_dec: Any,
    X: Any,
    *,
    l1: float | None = None,
    k: int | str | None = None,
    codes: str = "non-negative",
    weights: str = "decoder-norms",
    tol: float = 1e-6,
    swaps: int | None = None,
    threads: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Gap:
    r"""Measure what an encoder's codes lose against the best codes of its own decoder.

    With :math:`y = x - b` and the decoder's rows :math:`d_j` the energies are

    .. math:: E(z) = \tfrac12\|y - \sum_j z_j d_j\|^2 + \alpha \sum_j \|d_j\|\,|z_j|
        \qquad\text{or}\qquad \tfrac12\|y - \sum_j z_j d_j\|^2 \text{ with } \|z\|_0 \le k.

    With ``l1`` the optimum is exact and carries a duality gap. With ``k`` the optimum is NP-hard;
    "optimal" then means the *best known* code: the better of orthogonal matching pursuit and the
    encoder's own support refitted, improved by exchanging single atoms (one goes out, the least
    useful first, the best correlated with what it leaves comes in) until no exchange helps. The gap
    to it bounds the true one from below.

    No Gram matrix of the decoder is formed where it would be large, and codes are kept as
    compressed rows: memory grows with ``(n + a few) · m`` and with the number of non-zeros.

    Args:
        encode: Signals ``(b, n)`` to codes ``(b, m)``; called with some rows of ``X`` at a time, in
            the kind of ``X`` (numpy or torch). What it does to the bias is its own business.
        W_dec: Decoder ``(m, n)``, one atom a row, of any norm.
        b_dec: Decoder bias ``(n,)``, or None.
        X: Signals ``(b, n)``, float32 or float64; computing is in float64, correlations of the
            pursuit in float32.
        l1: Weight α of the absolute values. Either this or ``k``.
        k: Budget of atoms; ``"same"``: as many as the encoder uses, sample by sample.
        codes: ``"non-negative"``, or ``"signed"`` where amplitudes may be negative.
        weights: ``"decoder-norms"`` prices atom j at ``α‖d_j‖``, so that scale moved from decoder
            to encoder changes nothing; ``"equal"`` prices all at α.
        tol: Relative duality gap of the optimal codes (``l1``).
        swaps: Most attempts at an exchange a sample (``k``); None: three times its budget.
        threads: CPU threads; None takes what the process may use.
        progress: Called as ``progress(stage, done, total)``.

    Returns:
        The `Gap`.

    Raises:
        TypeError: For arrays that are not real numbers, or numpy mixed with torch.
        ValueError: For shapes or settings that make no sense, or codes that do not fit.

    References:
        O'Neill et al., "Compute optimal inference and provable amortisation gap in sparse
        autoencoders", ICML 2025; Natarajan, "Sparse approximate solutions to linear systems", 1995.
    """
    budget = _budget(l1, k)
    for name, value, known in (
        ("codes", codes, ("non-negative", "signed")),
        ("weights", weights, ("decoder-norms", "equal")),
    ):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
    signed = codes == "signed"
    work = threads or torch.get_num_threads()
    signals, rows, bias = _read(X, W_dec, b_dec)
    say = progress or (lambda stage, done, total: None)
    data = signals.rows(0, signals.shape[0])
    mean = data.mean(0)
    variance = (data - mean).square().sum(1).cpu().numpy()
    shifted = data - bias
    Y = np.ascontiguousarray(shifted.cpu().numpy())
    given = _encoded(encode, X, len(Y), len(rows), signed, say)
    norms = np.linalg.norm(rows, axis=1) if weights == "decoder-norms" else np.ones(len(rows))
    price = (l1 or 0.0) * norms

    def measured(found: Rows) -> Measured:
        error = np.empty(len(Y))
        in_threads(
            lambda some: kernels.errors(
                rows, Y[some], found.starts[_reach(some)], found.atoms, found.values, error[some]
            ),
            len(Y),
            work,
        )
        cost = _per_sample(price[found.atoms] * np.abs(found.values), found)
        fvu = np.where(error > 0, np.inf, 0.0)
        np.divide(error, variance, out=fvu, where=variance > 0)
        return Measured(found, 0.5 * error + cost, error, fvu, found.l0)

    def fitted(found: Rows, weight: np.ndarray) -> Rows:
        out = np.zeros_like(found.values)
        in_threads(
            lambda some: kernels.on_support(
                rows,
                Y[some],
                found.starts[_reach(some)],
                found.atoms,
                found.values,
                weight,
                signed,
                out,
            ),
            len(Y),
            work,
        )
        keep = out != 0
        counts = _per_sample(keep.astype(np.float64), found).astype(np.int64)
        return Rows(np.append(0, counts.cumsum()), found.atoms[keep], out[keep])

    say("refit", 0, len(Y))
    free = np.zeros(len(rows))
    encoder, refit = measured(given), measured(fitted(given, free))
    half = 0.5 * np.einsum("bn,bn->b", Y, Y)
    certificate, over = None, 0
    if l1 is not None:
        best, certificate = _lasso(shifted, rows, price, l1, weights, signed, tol, threads, say)
        on_own = measured(fitted(given, price)).energy
    else:
        say("search", 0, len(Y))
        allowed = given.l0 if budget is None else np.full(len(Y), budget)
        over = int((given.l0 > allowed).sum())
        best = Pursuit(rows, signals.device, signed, work).solve(Y, allowed, refit.codes, swaps)
        on_own = refit.energy
    optimal = measured(best)
    both = shared(given, best)
    return Gap(
        encoder=encoder,
        refit=refit,
        optimal=optimal,
        optimal_refit=measured(fitted(best, free)),
        excess=encoder.energy - optimal.energy,
        excess_of_support=on_own - optimal.energy,
        certificate=certificate,
        wrong=(both < given.l0) | (both < best.l0),
        missed=1 - _share(both, best.l0),
        extra=1 - _share(both, given.l0),
        variance=variance,
        half=half,
        problem="l1" if l1 is not None else "k-sparse",
        l1=l1,
        k=k,
        over_budget=over,
        signed=signed,
        atoms=len(rows),
    )


def _budget(l1: float | None, k: int | str | None) -> int | None:
    if (l1 is None) == (k is None):
        raise ValueError(
            f"give either l1 (a price) or k (a budget of atoms), got l1={l1!r} and k={k!r}"
        )
    if l1 is not None and not (l1 > 0 and math.isfinite(l1)):
        raise ValueError(f"l1 must be positive and finite, got {l1!r}")
    if isinstance(k, str):
        if k != SAME:
            raise ValueError(f"k must be a number of atoms or 'same', got {k!r}")
        return None
    return read_count(k, "k")


def _read(X: Any, W_dec: Any, b_dec: Any) -> tuple[Any, np.ndarray, Tensor]:
    """Signals, atoms ``(m, n)`` float64 on the CPU, bias ``(n,)`` beside the signals."""
    signals, decoder = read(X, "X", "(samples, inputs)"), read(W_dec, "W_dec", "(atoms, inputs)")
    count, n = signals.shape
    m, width = decoder.shape
    if count == 0 or m == 0:
        raise ValueError(f"X has {count} samples and W_dec {m} atoms; at least one of each")
    if width != n:
        hint = "; it looks transposed: pass W_dec.T" if m == n else ""
        raise ValueError(
            f"X has {n} inputs per sample, so W_dec must have shape (atoms, {n}), got "
            f"{(m, width)}{hint}"
        )
    rows = np.ascontiguousarray(decoder.rows(0, m).cpu().numpy())
    if not rows.any(axis=1).all():
        dead = int((~rows.any(axis=1)).sum())
        raise ValueError(f"{dead} rows of W_dec are zero; drop these atoms and their codes")
    bias = torch.zeros(n, dtype=torch.float64, device=signals.device)
    if b_dec is not None:
        given = (
            b_dec if isinstance(b_dec, Tensor) else torch.from_numpy(np.array(b_dec, np.float64))
        )
        if given.shape != (n,) or not bool(torch.isfinite(given).all()):
            raise ValueError(f"b_dec must be {n} finite numbers, got shape {tuple(given.shape)}")
        bias = given.detach().to(bias)
    return signals, rows, bias


def _encoded(
    encode: Callable[[Any], Any], X: Any, count: int, m: int, signed: bool, say: Any
) -> Rows:
    some, parts = max(1, min(4096, _ENCODE_BYTES // (8 * m))), []
    for low in range(0, count, some):
        high = min(low + some, count)
        with torch.no_grad():
            z = encode(X[low:high])
        z = z.detach() if isinstance(z, Tensor) else torch.from_numpy(np.asarray(z))
        if z.shape != (high - low, m):
            raise ValueError(
                f"encode gave shape {tuple(z.shape)} for {high - low} samples; expected "
                f"{(high - low, m)}, one code per atom of W_dec"
            )
        if not bool(torch.isfinite(z).all()):
            raise ValueError(f"encode gave NaN or infinite codes among samples {low} … {high - 1}")
        if not signed and bool((z < 0).any()):
            raise ValueError("encode gave negative codes; pass codes='signed' to allow them")
        parts.append(from_dense(z))
        say("encode", high, count)
    return join(parts)


def _lasso(
    Y: Tensor,
    rows: np.ndarray,
    price: np.ndarray,
    l1: float,
    weights: str,
    signed: bool,
    tol: float,
    threads: int | None,
    say: Any,
) -> tuple[Rows, np.ndarray]:
    weight: Any = l1 if weights == "equal" and not signed else torch.from_numpy(price)
    found = solve(
        Y,
        torch.from_numpy(rows).to(Y.device).T,
        penalty=WeightedL1(torch.from_numpy(price)) if signed else NonNegativeL1(weight),
        tol=read_tol(tol),
        output="csr",
        threads=threads,
        progress=lambda done, total: say("optimal codes", done, total),
    )
    return from_csr(found.z), found.gap.cpu().numpy()


def _reach(some: slice) -> slice:
    """The starts of these samples and the end of the last."""
    return slice(some.start, some.stop + 1)


def _per_sample(values: np.ndarray, found: Rows) -> np.ndarray:
    count = len(found.starts) - 1
    return np.bincount(np.repeat(np.arange(count), found.l0), weights=values, minlength=count)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """``part / whole``, and 1 where there is nothing to share."""
    return np.divide(part, whole, out=np.ones(len(part)), where=whole > 0)
