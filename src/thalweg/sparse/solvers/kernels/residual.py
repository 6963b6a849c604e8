"""What a sparse code leaves of its signal, judged on its support: only atoms in use are read."""

from __future__ import annotations

import numpy as np

from thalweg.sparse.solvers.kernels import compiled


@compiled
def residuals(atoms: np.ndarray, x: np.ndarray, z: np.ndarray, r: np.ndarray) -> None:
    """``r = x - D z`` with ``atoms = Dᵀ (m, n)``, ``x`` and ``r`` ``(b, n)``, ``z (b, m)``."""
    n, m = x.shape[1], z.shape[1]
    for sample in range(x.shape[0]):
        rest, code = r[sample], z[sample]
        for i in range(n):
            rest[i] = x[sample, i]
        for j in range(m):
            v = code[j]
            if v != 0.0:
                atom = atoms[j]
                for i in range(n):
                    rest[i] -= v * atom[i]


@compiled
def on_support(
    atoms: np.ndarray,
    x: np.ndarray,
    z: np.ndarray,
    r: np.ndarray,
    gradient: np.ndarray,
    scale: np.ndarray,
    used: np.ndarray,
) -> None:
    """Largest ``|dᵀr|`` and ``|dᵀx|`` over the atoms in use, and their number, each ``(b,)``.

    ``atoms = Dᵀ (m, n)``, ``x`` and ``r = x - D z`` ``(b, n)``, ``z (b, m)``.
    """
    n, m = x.shape[1], z.shape[1]
    for sample in range(x.shape[0]):
        rest, signal, code = r[sample], x[sample], z[sample]
        steep, high, count = 0.0, 0.0, 0
        for j in range(m):
            if code[j] != 0.0:
                atom, a, b = atoms[j], 0.0, 0.0
                for i in range(n):
                    a += atom[i] * rest[i]
                    b += atom[i] * signal[i]
                steep, high, count = max(steep, abs(a)), max(high, abs(b)), count + 1
        gradient[sample], scale[sample], used[sample] = steep, high, count
