r"""The rules themselves: what one exchange does to a worker and to the centre.

References:
    Zhang, Choromanska and LeCun, "Deep learning with elastic averaging SGD", NeurIPS 2015.
    Dean et al., "Large scale distributed deep networks", NeurIPS 2012.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def elastic_pull(x: Tensor, centre: Tensor, alpha: float) -> Tensor:
    r"""What moves from the worker to the centre: :math:`d = \alpha (x - \tilde x)`.

    The worker subtracts it, the centre adds it, so :math:`x + \tilde x` stays what it was.
    """
    return alpha * (x - centre)


def synchronous_update(workers: Tensor, centre: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    r"""One exchange of all workers ``(p, n)`` at once, from values of the same time (Jacobi).

    .. math:: x^i \leftarrow x^i - \alpha (x^i - \tilde x), \qquad
        \tilde x \leftarrow (1 - p\alpha)\,\tilde x + \alpha \textstyle\sum_i x^i

    Returns:
        New workers and new centre.
    """
    d = elastic_pull(workers, centre, alpha)
    return workers - d, centre + d.sum(0)


def momentum_push(
    centre: Tensor, velocity: Tensor, gradient: Tensor, lr: float, momentum: float
) -> tuple[Tensor, Tensor]:
    r"""MDOWNPOUR's master, which stores the lookahead point.

    .. math:: v \leftarrow \delta v - \eta g, \qquad
        \tilde x \leftarrow \tilde x - \eta g + \delta v
    """
    velocity = momentum * velocity - lr * gradient
    return centre - lr * gradient + momentum * velocity, velocity


def stable_alpha(lr: float, curvature: float = 1.0) -> float:
    r"""Largest elastic rate at which a round-robin exchange cannot grow errors.

    On :math:`h x^2/2` the exchange is the symmetric map
    :math:`[[1 - \eta h - \alpha, \alpha], [\alpha, 1 - \alpha]]`, which is non-expansive if and
    only if :math:`0 \le \eta h \le 2` and :math:`\alpha \le (4 - 2\eta h)/(4 - \eta h)`, whatever
    the number of workers. Sufficient, not necessary: whole sweeps can be stable a little above.

    Returns:
        The bound; negative where no elastic rate helps.
    """
    step = lr * curvature
    return (4 - 2 * step) / (4 - step) if 0 <= step <= 2 else -math.inf


def stable_alpha_synchronous(lr: float, workers: int, curvature: float = 1.0) -> float:
    r"""The same for the synchronous form: :math:`(4 - 2\eta h)/(2 + p(2 - \eta h))`."""
    step = lr * curvature
    return (4 - 2 * step) / (2 + workers * (2 - step)) if 0 <= step <= 2 else -math.inf


def centre_variance(
    lr: float, alpha: float, workers: int, noise: float, curvature: float = 1.0
) -> float:
    r"""Stationary variance of the centre on :math:`h x^2/2` with gradient noise of deviation noise.

    Solves the 2 x 2 Lyapunov equation of (mean of workers, centre) under the synchronous rule:
    the mean of p workers sees noise of variance :math:`\eta^2\sigma^2/p`.

    Raises:
        ValueError: The setting is not stable, so nothing is stationary.
    """
    step, beta = lr * curvature, workers * alpha
    a = torch.tensor([[1 - step - alpha, alpha], [beta, 1 - beta]], dtype=torch.float64)
    radius = float(torch.linalg.eigvals(a).abs().max())
    if radius >= 1 or abs(1 - step - alpha) > 1:
        raise ValueError(f"not stable: spectral radius {radius:.4g}")
    q = torch.zeros(2, 2, dtype=torch.float64)
    q[0, 0] = (lr * noise) ** 2 / workers
    system = torch.eye(4, dtype=torch.float64) - torch.kron(a, a)
    return float(torch.linalg.solve(system, q.reshape(-1))[3])


def centre_variance_limit(lr: float, beta: float, noise: float, curvature: float = 1.0) -> float:
    r"""What :math:`p\,\mathrm{Var}(\tilde x)` tends to with many workers at fixed :math:`\beta`.

    .. math:: \frac{\beta\eta h}{(2-\beta)(2-\eta h)}\cdot
        \frac{2 - \beta - \eta h + \beta\eta h}{\beta + \eta h - \beta\eta h}\cdot
        \frac{\sigma^2}{h^2}
    """
    s = lr * curvature
    first = beta * s / ((2 - beta) * (2 - s))
    second = (2 - beta - s + beta * s) / (beta + s - beta * s)
    return first * second * noise**2 / curvature**2
