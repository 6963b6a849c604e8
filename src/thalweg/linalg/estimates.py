"""What are the trace and the diagonal? Estimates from random products, with standard errors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg.linalg.checks import multiply, probe_symmetry, signs, square
from thalweg.linalg.operator import LinearOperator

METHODS = ("hutch++", "hutchinson")
AT_ONCE = 8  # vectors multiplied in one block


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """A number, or one for each coordinate, with its standard error.

    Attributes:
        value: A float tensor: ``()`` for a trace, ``(p,)`` for a diagonal; float64.
        stderr: Of the same shape; zero where the answer is exact.
        products: Products with single vectors.
    """

    value: Tensor
    stderr: Tensor
    products: int


def trace(
    op: LinearOperator,
    *,
    products: int = 60,
    rtol: float | None = None,
    max_products: int = 3000,
    method: str = "hutch++",
    seed: int = 0,
) -> Estimate:
    r"""The trace of a symmetric operator, with a standard error.

    Hutchinson: the mean of :math:`z^\top A z` over random signs z, of variance
    :math:`2 (\|A\|_F^2 - \sum_i A_{ii}^2)`. Hutch++ takes a third of the products to find the
    leading directions, another third to have their part exactly, and estimates only the rest: the
    error falls as 1/products instead of its root where eigenvalues decay. Where ``products``
    reaches p the answer is exact.

    >>> from thalweg.linalg import DenseOperator
    >>> found = trace(DenseOperator(torch.diag(torch.arange(1.0, 5.0))))
    >>> float(found.value), float(found.stderr)
    (10.0, 0.0)

    Args:
        op: Symmetric operator ``(p, p)``.
        products: How many to spend, at least 6.
        rtol: Go on until the standard error is at most this share of the estimate.
        max_products: Where ``rtol`` must stop.
        method: ``"hutch++"`` or ``"hutchinson"``.
        seed: Of the random signs.

    Returns:
        Value and standard error, ``()`` each. The standard error comes from the spread of the
        samples: with few of them it is itself uncertain (by about 1/√(2·samples)).

    Raises:
        ValueError: An argument out of range; a product that is not finite.

    References:
        Hutchinson 1989; Meyer, Musco, Musco and Woodruff, "Hutch++", 2021.
    """
    p = square(op)
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; known: {', '.join(METHODS)}")
    if products < 6 or max_products < products:
        raise ValueError(f"wanted 6 <= products <= max_products, got {products} and {max_products}")
    if rtol is not None and not 0 < rtol < 1:
        raise ValueError(f"rtol must be between 0 and 1, got {rtol!r}")
    if products >= p:
        return _exact(op, p)
    op.expect(products)
    generator = torch.Generator().manual_seed(seed)
    third = products // 3
    known, basis, used = 0.0, None, 0
    if method == "hutch++":
        sketch = _blocks(op, signs(p, third, generator, op), 0)
        basis = torch.linalg.qr(sketch).Q
        known = float((basis * _blocks(op, basis, third)).double().sum())
        used = 2 * third
    samples: list[float] = []
    target = products
    while True:
        while used < target:
            z = signs(p, min(AT_ONCE, target - used), generator, op)
            if basis is not None:
                for _ in range(2):
                    z = z - basis @ (basis.mT @ z)
            image = multiply(op, z, used)
            samples += (z.double() * image.double()).sum(0).tolist()
            used += z.shape[1]
        drawn = torch.tensor(samples, dtype=torch.float64)
        value = known + float(drawn.mean())
        stderr = float(drawn.std()) / math.sqrt(len(samples))
        if rtol is None or stderr <= rtol * abs(value) or used >= max_products:
            return Estimate(_number(value), _number(stderr), used)
        target = min(max_products, used + max(AT_ONCE, len(samples) // 2))


def diagonal(op: LinearOperator, *, products: int = 100, seed: int = 0) -> Estimate:
    r"""The diagonal of an operator, coordinate by coordinate, with standard errors.

    The mean of :math:`z \odot A z` over random signs z; the variance in coordinate i is the sum of
    the squares of row i off the diagonal, so it is slow where rows are long. Exact where
    ``products`` reaches p.

    Args:
        op: Square operator ``(p, p)``.
        products: How many to spend, at least 2.
        seed: Of the random signs.

    Returns:
        Value and standard error, ``(p,)`` each.

    Raises:
        ValueError: An argument out of range; a product that is not finite.

    References:
        Bekas, Kokiopoulou and Saad, "An estimator for the diagonal of a matrix", 2007.
    """
    p = square(op)
    if products < 2:
        raise ValueError(f"products must be at least 2, got {products}")
    if products >= p:
        return _exact_diagonal(op, p)
    op.expect(products)
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(p, dtype=torch.float64, device=op.device)
    square_sum = torch.zeros_like(total)
    used = 0
    while used < products:
        z = signs(p, min(AT_ONCE, products - used), generator, op)
        sample = (z * multiply(op, z, used)).double()
        total += sample.sum(1)
        square_sum += sample.square().sum(1)
        used += z.shape[1]
    mean = total / used
    variance = ((square_sum - used * mean.square()) / (used - 1)).clamp(min=0)
    return Estimate(mean, (variance / used).sqrt(), used)


def _exact(op: LinearOperator, p: int) -> Estimate:
    probe_symmetry(op)
    found = _exact_diagonal(op, p)
    return Estimate(found.value.sum(), torch.zeros_like(found.value.sum()), p + 2)


def _exact_diagonal(op: LinearOperator, p: int) -> Estimate:
    parts = []
    op.expect(p)
    for first in range(0, p, AT_ONCE):
        places = torch.arange(first, min(first + AT_ONCE, p), device=op.device)
        unit = torch.zeros(p, len(places), dtype=op.dtype, device=op.device)
        unit[places, places - first] = 1
        parts.append(multiply(op, unit, first)[places, places - first].double())
    value = torch.cat(parts)
    return Estimate(value, torch.zeros_like(value), p)


def _blocks(op: LinearOperator, v: Tensor, before: int) -> Tensor:
    parts = v.split(AT_ONCE, dim=1)
    return torch.cat(
        [multiply(op, part.contiguous(), before + i * AT_ONCE) for i, part in enumerate(parts)], 1
    )


def _number(x: float) -> Tensor:
    return torch.tensor(x, dtype=torch.float64)
