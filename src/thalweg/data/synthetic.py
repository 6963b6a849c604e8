"""Which problems have answers known in closed form? A linear unit and a quadratic bowl."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

CURVATURES = (0.036, 0.84)  # eigenvalues printed in the lectures and in Efficient BackProp
CENTRE = (0.4, 0.8)
DEVIATION = 0.2  # the decks print no class variance; 0.2 gives expected eigenvalues 0.04 and 0.84


def linear_unit(kind: str = "exact", seed: int = 0, n: int = 100) -> tuple[np.ndarray, np.ndarray]:
    r"""Two balanced Gaussian classes at ±(0.4, 0.8) with targets ±1.

    With :math:`f(w) = \frac1{2n}\sum_i (y_i - w^\top x_i)^2` the Hessian is
    :math:`C = \frac1n\sum_i x_i x_i^\top`, the uncentred second moment, so gradient descent
    diverges above :math:`2/\lambda_{\max} = 2/0.84 = 2.38`.

    Args:
        kind: ``"exact"``: drawn, then stretched along the eigenvectors of C so that its
            eigenvalues are 0.036 and 0.84 to rounding. ``"gaussian"``: as drawn (standard
            deviation 0.2 per axis; expected eigenvalues 0.04 and 0.84).
        seed: Whole number >= 0.
        n: Number of samples, even, >= 4.

    Returns:
        Inputs ``(n, 2)`` and targets ``(n,)``, float64, classes in random order.

    Raises:
        ValueError: Unknown kind, or n odd or below 4.

    References:
        LeCun, Bottou, Orr, Müller, "Efficient BackProp", 1998, section 5.2.
    """
    if kind not in ("exact", "gaussian"):
        raise ValueError(f"kind is {kind!r}; known: exact, gaussian.")
    if n < 4 or n % 2:
        raise ValueError(f"n is {n}; two balanced classes need an even number >= 4.")
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat([-1.0, 1.0], n // 2))
    x = y[:, None] * np.array(CENTRE) + DEVIATION * rng.standard_normal((n, 2))
    return (_with_moment(x, np.array(CURVATURES)) if kind == "exact" else x), y


class Quadratic(NamedTuple):
    r"""The bowl :math:`f(w) = \frac1{2n}\sum_i (w - c_i)^\top A (w - c_i)` and its answers."""

    matrix: np.ndarray  # A (p, p), symmetric: the Hessian everywhere
    root: np.ndarray  # A^(1/2) (p, p), symmetric
    centres: np.ndarray  # c (n, p), mean exactly 0: so the minimum is at w = 0
    minimum: float  # f(0) = noise² trace(A) / 2


def quadratic(
    spectrum: Sequence[float], n: int = 256, noise: float = 0.1, seed: int = 0, draw: int = 0
) -> Quadratic:
    r"""A quadratic with the given curvatures in random directions, and noisy gradients.

    The gradient of sample i is :math:`A(w - c_i)`: curvature without noise, gradient noise that
    does not fade at the minimum. The centres have mean 0 and second moment ``noise² I`` exactly,
    so every number is known: the minimum is at 0 with value ``noise² trace(A)/2``, one gradient
    has variance ``noise² A²`` (samples drawn uniformly), descent diverges above
    :math:`2/\lambda_{\max}`.

    Args:
        spectrum: Eigenvalues of A ``(p,)``, each >= 0.
        n: Number of samples; more than p, or 0 noise.
        noise: Standard deviation of the centres per direction, >= 0.
        seed: Chooses the directions (eigenvectors).
        draw: Chooses the centres: other draws are fresh samples of the same problem.

    Returns:
        Matrix, root, centres and the minimum, float64.

    Raises:
        ValueError: A negative or non-finite curvature, or too few samples for exact moments.
    """
    values = np.asarray(spectrum, np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all() or values.min() < 0:
        raise ValueError(f"the spectrum must be a list of finite curvatures >= 0; got {spectrum}.")
    if not (math.isfinite(noise) and noise >= 0):
        raise ValueError(f"noise is {noise}; it must be finite and >= 0.")
    p = len(values)
    if n < 1 or (noise > 0 and n <= p):
        raise ValueError(f"{n} samples cannot have {p} exact second moments; take n > {p}.")
    q, r = np.linalg.qr(np.random.default_rng(seed).standard_normal((p, p)))
    q = q * np.sign(np.diag(r))  # uniform over rotations (Mezzadri 2007)
    centres = np.zeros((n, p))
    if noise > 0:
        centres = np.random.default_rng((seed, draw + 1)).standard_normal((n, p))
        centres = noise * _with_moment(centres - centres.mean(0), np.ones(p))
    matrix, root = (q * values) @ q.T, (q * np.sqrt(values)) @ q.T
    return Quadratic(
        (matrix + matrix.T) / 2, (root + root.T) / 2, centres, float(noise**2 * values.sum() / 2)
    )


def _with_moment(x: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Stretch along the eigenvectors V of C = XᵀX/n: X V diag(sqrt(target/w)) Vᵀ."""
    w, v = np.linalg.eigh(x.T @ x / len(x))
    return x @ (v * np.sqrt(target / w)) @ v.T
