"""The steps of populations on the CPU, each in one pass over memory (numba).

torch's operations visit memory five to ten times per step; here every weight, gradient and state
is read once and written once. One thread: a race runs one process per core. The formulas are those
of the rules, which stay the reference; ``contract`` lets the compiler fuse multiply and add, so
that last bits differ from torch's.

All kernels take ``(w, g, *state, h, step)``: contiguous ``(K, P)`` arrays of one dtype, the
hyperparameters ``h (K, columns)`` in float64 in the order of the rule's table (``betas`` fills two
columns, NaN stands for ``None``), and the number of this step, from 1.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

# error_model "numpy": a division by zero is an infinity, not a branch, so that loops vectorise
_SETTINGS: dict[str, Any] = {
    "cache": True,
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"contract", "nsz"},
}


@njit(**_SETTINGS)
def sgd(w, g, h, step):
    """Columns: lr, momentum (zero), weight_decay."""
    real = w.dtype.type
    for k in range(w.shape[0]):
        lr, decay = real(h[k, 0]), real(h[k, 2])
        wk, gk = w[k], g[k]
        for i in range(w.shape[1]):
            wk[i] -= lr * (gk[i] + decay * wk[i])


@njit(**_SETTINGS)
def heavy_ball(w, g, velocity, h, step):
    """Columns: lr, momentum, weight_decay."""
    real = w.dtype.type
    for k in range(w.shape[0]):
        lr, beta, decay = real(h[k, 0]), real(h[k, 1]), real(h[k, 2])
        wk, gk, pk = w[k], g[k], velocity[k]
        for i in range(w.shape[1]):
            p = beta * pk[i] + (gk[i] + decay * wk[i])
            pk[i] = p
            wk[i] -= lr * p


@njit(**_SETTINGS)
def nesterov(w, g, velocity, h, step):
    """Columns: lr, momentum, weight_decay."""
    real = w.dtype.type
    for k in range(w.shape[0]):
        lr, beta, decay = real(h[k, 0]), real(h[k, 1]), real(h[k, 2])
        wk, gk, pk = w[k], g[k], velocity[k]
        for i in range(w.shape[1]):
            x = gk[i] + decay * wk[i]
            p = beta * pk[i] + x
            pk[i] = p
            wk[i] -= lr * (x + beta * p)


@njit(**_SETTINGS)
def adagrad(w, g, square_sum, h, step):
    """Columns: lr, lr_decay, weight_decay, initial_accumulator_value, eps."""
    real = w.dtype.type
    for k in range(w.shape[0]):
        lr = real(h[k, 0] / (1.0 + (step - 1) * h[k, 1]))
        decay, eps = real(h[k, 2]), real(h[k, 4])
        wk, gk, rk = w[k], g[k], square_sum[k]
        for i in range(w.shape[1]):
            x = gk[i] + decay * wk[i]
            r = rk[i] + x * x
            rk[i] = r
            wk[i] -= lr * x / (np.sqrt(r) + eps)


@njit(**_SETTINGS)
def _rmsprop(w, g, square_mean, h, step):
    """Columns: lr, alpha, eps, weight_decay, momentum (zero)."""
    real = w.dtype.type
    for k in range(w.shape[0]):
        lr, alpha, blend = real(h[k, 0]), real(h[k, 1]), real(1.0 - h[k, 1])
        eps, decay = real(h[k, 2]), real(h[k, 3])
        wk, gk, rk = w[k], g[k], square_mean[k]
        for i in range(w.shape[1]):
            x = gk[i] + decay * wk[i]
            r = alpha * rk[i] + blend * x * x
            rk[i] = r
            wk[i] -= lr * x / (np.sqrt(r) + eps)


@njit(**_SETTINGS)
def _rmsprop_velocity(w, g, square_mean, velocity, h, step):
    """Columns: lr, alpha, eps, weight_decay, momentum."""
    real = w.dtype.type
    for k in range(w.shape[0]):
        lr, alpha, blend = real(h[k, 0]), real(h[k, 1]), real(1.0 - h[k, 1])
        eps, decay, beta = real(h[k, 2]), real(h[k, 3]), real(h[k, 4])
        wk, gk, rk, pk = w[k], g[k], square_mean[k], velocity[k]
        for i in range(w.shape[1]):
            x = gk[i] + decay * wk[i]
            r = alpha * rk[i] + blend * x * x
            p = beta * pk[i] + x / (np.sqrt(r) + eps)
            rk[i] = r
            pk[i] = p
            wk[i] -= lr * p


def rmsprop(*arguments):
    """Columns: lr, alpha, eps, weight_decay, momentum; with or without a velocity in the state."""
    loop = _rmsprop_velocity if len(arguments) == 6 else _rmsprop
    loop(*arguments)


@njit(**_SETTINGS)
def adadelta(w, g, square_mean, step_mean, h, step):
    """Columns: lr, rho, eps, weight_decay."""
    real = w.dtype.type
    for k in range(w.shape[0]):
        lr, rho, blend = real(h[k, 0]), real(h[k, 1]), real(1.0 - h[k, 1])
        eps, decay = real(h[k, 2]), real(h[k, 3])
        wk, gk, rk, sk = w[k], g[k], square_mean[k], step_mean[k]
        for i in range(w.shape[1]):
            x = gk[i] + decay * wk[i]
            r = rho * rk[i] + blend * x * x
            delta = np.sqrt((sk[i] + eps) / (r + eps)) * x
            rk[i] = r
            sk[i] = rho * sk[i] + blend * delta * delta
            wk[i] -= lr * delta


@njit(**_SETTINGS)
def adam(w, g, mean, square_mean, h, step):
    """Columns: lr, beta1, beta2, eps, weight_decay."""
    real = w.dtype.type
    for k in range(w.shape[0]):
        b1, b2 = real(h[k, 1]), real(h[k, 2])
        c1, c2 = real(1.0 - h[k, 1]), real(1.0 - h[k, 2])
        root = math.sqrt(1.0 - h[k, 2] ** step)
        lr, eps = real(h[k, 0] * root / (1.0 - h[k, 1] ** step)), real(h[k, 3] * root)
        decay = real(h[k, 4])
        wk, gk, mk, vk = w[k], g[k], mean[k], square_mean[k]
        for i in range(w.shape[1]):
            x = gk[i] + decay * wk[i]
            m = b1 * mk[i] + c1 * x
            v = b2 * vk[i] + c2 * x * x
            mk[i] = m
            vk[i] = v
            wk[i] -= lr * m / (np.sqrt(v) + eps)


@njit(**_SETTINGS)
def adamw(w, g, mean, square_mean, h, step):
    """Columns: lr, beta1, beta2, eps, weight_decay."""
    real = w.dtype.type
    for k in range(w.shape[0]):
        b1, b2 = real(h[k, 1]), real(h[k, 2])
        c1, c2 = real(1.0 - h[k, 1]), real(1.0 - h[k, 2])
        root = math.sqrt(1.0 - h[k, 2] ** step)
        lr, eps = real(h[k, 0] * root / (1.0 - h[k, 1] ** step)), real(h[k, 3] * root)
        shrink = real(1.0 - h[k, 0] * h[k, 4])
        wk, gk, mk, vk = w[k], g[k], mean[k], square_mean[k]
        for i in range(w.shape[1]):
            m = b1 * mk[i] + c1 * gk[i]
            v = b2 * vk[i] + c2 * gk[i] * gk[i]
            mk[i] = m
            vk[i] = v
            wk[i] = shrink * wk[i] - lr * m / (np.sqrt(v) + eps)


@njit(**_SETTINGS)
def amsgrad(w, g, mean, square_mean, square_max, h, step):
    """Columns: lr, beta1, beta2, eps, weight_decay."""
    real = w.dtype.type
    for k in range(w.shape[0]):
        b1, b2 = real(h[k, 1]), real(h[k, 2])
        c1, c2 = real(1.0 - h[k, 1]), real(1.0 - h[k, 2])
        root = math.sqrt(1.0 - h[k, 2] ** step)
        lr, eps = real(h[k, 0] * root / (1.0 - h[k, 1] ** step)), real(h[k, 3] * root)
        decay = real(h[k, 4])
        wk, gk, mk, vk, uk = w[k], g[k], mean[k], square_mean[k], square_max[k]
        for i in range(w.shape[1]):
            x = gk[i] + decay * wk[i]
            m = b1 * mk[i] + c1 * x
            v = b2 * vk[i] + c2 * x * x
            u = uk[i] if uk[i] > v else v  # NaN in v goes through, as in torch.maximum
            mk[i] = m
            vk[i] = v
            uk[i] = u
            wk[i] -= lr * m / (np.sqrt(u) + eps)


@njit(**_SETTINGS)
def delta_bar_delta(w, g, gain, trace, h, step):
    """Columns: lr, kappa, phi, gamma, lr_max, lr_min, weight_decay."""
    real = w.dtype.type
    zero = real(0.0)
    for k in range(w.shape[0]):
        lr, moves = real(h[k, 0]), h[k, 0] > 0.0
        growth = h[k, 1] / h[k, 0] if moves else 0.0
        growth = real(0.05 if math.isnan(h[k, 1]) else growth)
        keep, blend = real(1.0 - h[k, 2]), real(1.0 - h[k, 3])
        high = real(h[k, 4] / h[k, 0] if moves and not math.isnan(h[k, 4]) else math.inf)
        low = real(h[k, 5] / h[k, 0] if moves else 0.0)
        decay = real(h[k, 6])
        wk, gk, ek, tk = w[k], g[k], gain[k], trace[k]
        for i in range(w.shape[1]):
            x = gk[i] + decay * wk[i]
            t, e = tk[i], ek[i]
            agree = ((t > zero) & (x > zero)) | ((t < zero) & (x < zero))
            flip = ((t > zero) & (x < zero)) | ((t < zero) & (x > zero))
            e = e + growth if agree else (e * keep if flip else e)
            e = low if e < low else e
            e = high if e > high else e
            ek[i] = e
            tk[i] = t + blend * (x - t)
            wk[i] -= lr * e * x
