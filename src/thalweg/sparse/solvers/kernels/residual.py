"""What is left of a signal after a sparse code: only the atoms in use are read."""

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
