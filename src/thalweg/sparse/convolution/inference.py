"""Which code maps explain an image best? The public door to convolutional inference."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thalweg.records import Codes
from thalweg.sparse.convolution import admm, greedy
from thalweg.sparse.convolution.energy import ConvEnergy
from thalweg.sparse.convolution.inputs import read_filters, read_images, read_weights
from thalweg.sparse.convolution.operator import Boundary, ConvDictionary
from thalweg.sparse.convolution.problem import Problem
from thalweg.sparse.inputs import read_count, read_tol

SOLVERS = ("auto", "greedy", "admm")


def encode_images(
    images: Any,
    filters: Any,
    l1: Any,
    *,
    boundary: Boundary = "full",
    non_negative: bool = False,
    solver: str = "auto",
    tol: float = 1e-4,
    start: Any = None,
    max_iterations: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    threads: int | None = None,
) -> Codes:
    r"""Find the code maps of least energy for each image, with a certificate.

    .. math:: Z^\star(Y) = \arg\min_Z \tfrac12\Big\|Y - \sum_k W_k * Z_k\Big\|^2
              + \alpha \sum_k \|Z_k\|_1

    On a CPU ``"auto"`` begins with ``"greedy"``, made for sparse codes, and hands an image over to
    ``"admm"`` once its codes prove dense; on CUDA it is ``"admm"``.

    >>> import numpy as np
    >>> image = np.zeros((1, 4, 4))
    >>> image[0, 1, 1:3] = 3.0
    >>> codes = encode_images(image, np.full((1, 1, 2), 0.5**0.5), 1.0, tol=1e-12)
    >>> codes.z[0, 0, 1].round(4)
    array([0.    , 3.2426, 0.    ])

    Args:
        images: ``(H, W)``, ``(b, H, W)`` or ``(b, c, H, W)``; numpy or torch, float32 or float64.
        filters: ``(K, a, b)`` or ``(K, c, a, b)``. Norms other than one are allowed.
        l1: Weight α, a positive number or one per filter ``(K,)``.
        boundary: ``"full"``: every atom lies inside the image, codes are
            ``(b, K, H - a + 1, W - b + 1)``. ``"circular"``: the image is a torus.
        non_negative: Allow no negative codes.
        solver: ``"auto"``, ``"greedy"`` (CPU) or ``"admm"``.
        tol: Duality gap over ``½‖Y‖²`` at which an image counts as solved.
        start: Codes ``(b, K, h, w)`` to begin from; they change the time, not the answer.
        max_iterations: Limit per image: rounds of ``greedy``, iterations of ``admm``.
        progress: Called with (images done, images in all).
        threads: CPU threads; None takes what torch may use.

    Returns:
        ``Codes`` with ``z (b, K, h, w)`` of the kind and dtype of ``images``; ``energy``, ``gap``,
        ``iterations`` and ``converged`` are ``(b,)``, measured from the codes as returned.

    Raises:
        TypeError: For arrays that are not real numbers.
        ValueError: For shapes, weights or names that make no sense.
    """
    given, kernels = read_images(images), read_filters(filters)
    Y = given.data
    if kernels.shape[1] != Y.shape[1]:
        raise ValueError(
            f"images have {Y.shape[1]} channels and filters {kernels.shape[1]}; they must agree"
        )
    if solver not in SOLVERS:
        raise ValueError(f"unknown solver {solver!r}; choose one of {', '.join(SOLVERS)}")
    if solver == "greedy" and Y.device.type != "cpu":
        raise ValueError(f"the greedy solver works on a CPU, the images are on {Y.device}")
    weights, tol = read_weights(l1, len(kernels)), read_tol(tol)
    dictionary = ConvDictionary(kernels.to(Y.device), (Y.shape[2], Y.shape[3]), boundary)
    energy = ConvEnergy(dictionary, weights.to(Y.device), bool(non_negative))
    begin = _read_start(start, energy, len(Y))
    limit = read_count(max_iterations, "max_iterations")
    count = read_count(threads, "threads") or torch.get_num_threads()
    method = _on_cpu if Y.device.type == "cpu" and solver != "admm" else _by_admm
    solve_tol = tol * (0.5 if given.dtype == torch.float32 else 1.0)
    z, iterations = method(energy, Y, begin, solve_tol, limit, count, solver, progress)
    z = z.to(given.dtype)
    return _judge(energy, Y, z, iterations, tol, given)


def certify_images(
    images: Any,
    filters: Any,
    codes: Any,
    l1: Any,
    *,
    boundary: Boundary = "full",
    non_negative: bool = False,
    tol: float = 1e-4,
) -> Codes:
    """Judge given code maps, an encoder's say: energy and duality gap per image.

    Args:
        images: As in `encode_images`.
        filters: As there.
        codes: ``(b, K, h, w)``.
        l1: As there.
        boundary: As there.
        non_negative: As there.
        tol: Gap at which an image counts as solved.
    """
    given, kernels = read_images(images), read_filters(filters)
    Y = given.data
    dictionary = ConvDictionary(kernels.to(Y.device), (Y.shape[2], Y.shape[3]), boundary)
    weights = read_weights(l1, len(kernels)).to(Y.device)
    energy = ConvEnergy(dictionary, weights, bool(non_negative))
    z = _read_start(codes, energy, len(Y))
    if z is None:
        raise TypeError("codes must be an array (images, filters, height, width), got None")
    return _judge(energy, Y, z, torch.zeros(len(Y), dtype=torch.int64), read_tol(tol), given)


def _read_start(start: Any, energy: ConvEnergy, count: int) -> Tensor | None:
    if start is None:
        return None
    wanted = (count, *energy.dictionary.code_shape)
    if tuple(np.shape(start)) != wanted:
        raise ValueError(f"codes must have shape {wanted}, got {tuple(np.shape(start))}")
    return read_images(start, "codes").data.to(energy.dictionary.device)


def _judge(
    energy: ConvEnergy, Y: Tensor, z: Tensor, iterations: Tensor, tol: float, given: Any
) -> Codes:
    """Certificates of the codes as they are returned, in float64."""
    values, gaps = [], []
    for y, one in zip(Y.split(1), z.split(1), strict=True):
        one = one.to(torch.float64)
        values.append(energy.value(y, one))
        gaps.append(energy.relative_gap(y, one))
    empty = torch.zeros(0, dtype=torch.float64)
    value, gap = torch.cat([empty.to(Y), *values]), torch.cat([empty.to(Y), *gaps])
    converged = gap <= tol
    open_ = int((~converged).sum())
    status = (
        f"all {len(Y)} images within {tol:g} of their optimum"
        if not open_
        else f"{open_} of {len(Y)} images stopped above the gap {tol:g} (worst "
        f"{float(gap.max()):.2g}); raise max_iterations, or tol"
    )
    return Codes(
        given.give(z),
        given.give(value),
        given.give(gap),
        given.give(iterations),
        given.give(converged),
        status,
    )


def _by_admm(
    energy: ConvEnergy,
    Y: Tensor,
    start: Tensor | None,
    tol: float,
    limit: int | None,
    threads: int,
    solver: str,
    progress: Callable[[int, int], None] | None,
) -> tuple[Tensor, Tensor]:
    # single precision bottoms out near 1e-6; one image at a time keeps memory to a few codes
    dtype = torch.float32 if tol >= 2e-5 else torch.float64
    dictionary = energy.dictionary
    work = ConvEnergy(
        ConvDictionary(dictionary.filters.to(dtype), dictionary.size, dictionary.boundary),
        energy.l1.to(dtype),
        energy.non_negative,
    )
    options = admm.AdmmOptions(tol=0.8 * tol, iterations=limit or admm.AdmmOptions().iterations)
    found = []
    for i in range(len(Y)):
        first = None if start is None else start[i : i + 1].to(dtype)
        found.append(admm.solve(work, Y[i : i + 1].to(dtype), first, options))
        if progress is not None:
            progress(i + 1, len(Y))
    if not found:
        return Y.new_zeros(0, *dictionary.code_shape), torch.zeros(0, dtype=torch.int64)
    return torch.cat([z for z, _ in found]).to(torch.float64), torch.cat([n for _, n in found])


def _on_cpu(
    energy: ConvEnergy,
    Y: Tensor,
    start: Tensor | None,
    tol: float,
    limit: int | None,
    threads: int,
    solver: str,
    progress: Callable[[int, int], None] | None,
) -> tuple[Tensor, Tensor]:
    problem = Problem.of(
        energy.dictionary.filters.numpy(),
        energy.l1.numpy(),
        energy.non_negative,
        energy.dictionary.boundary == "circular",
    )
    table = problem.table()
    wide = min(threads, len(Y))
    options = greedy.Options(
        tol=tol,
        rounds=limit or greedy.Options().rounds,
        threads=threads if wide <= 1 else 1,
        forced=solver == "greedy",
    )
    norms = problem.norms
    z = np.zeros((len(Y), *energy.dictionary.code_shape[1:], len(norms)))
    iterations = np.zeros(len(Y), dtype=np.int64)
    finished = []

    def one(i: int) -> None:
        first = None if start is None else start[i].permute(1, 2, 0).numpy() * norms
        try:
            code, iterations[i] = greedy.solve(problem, table, Y[i].numpy(), first, options)
        except greedy.Dense as dense:
            begin = torch.from_numpy(dense.z / norms).permute(2, 0, 1)[None]
            found, count = _by_admm(energy, Y[i : i + 1], begin, tol, limit, 1, solver, None)
            code, iterations[i] = found[0].permute(1, 2, 0).numpy() * norms, int(count[0])
        z[i] = code / norms
        finished.append(i)
        if progress is not None:
            progress(len(finished), len(Y))

    if wide <= 1:
        for i in range(len(Y)):
            one(i)
    else:
        with ThreadPoolExecutor(wide) as pool:
            list(pool.map(one, range(len(Y))))
    return torch.from_numpy(z).permute(0, 3, 1, 2), torch.from_numpy(iterations)
