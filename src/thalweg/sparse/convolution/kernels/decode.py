"""The image that few atoms add up to: only coefficients in use are read."""

from __future__ import annotations

import numpy as np

from thalweg.sparse.solvers.kernels import compiled


@compiled
def add_atoms(z: np.ndarray, atoms: np.ndarray, sign: float, image: np.ndarray) -> None:
    """``image (c, H, W) += sign · Σ z atoms``; ``z (h, w, K)``, ``atoms (K, c, a, b)``.

    Atoms that reach beyond the far edges come in again at the near ones.
    """
    h, w, K = z.shape
    channels, a, b = atoms.shape[1:]
    H, W = image.shape[1:]
    for i in range(h):
        for j in range(w):
            for k in range(K):
                v = sign * z[i, j, k]
                if v != 0.0:
                    for c in range(channels):
                        for y in range(a):
                            row = i + y if i + y < H else i + y - H
                            if j + b <= W:
                                for x in range(b):
                                    image[c, row, j + x] += v * atoms[k, c, y, x]
                            else:
                                for x in range(b):
                                    column = j + x if j + x < W else j + x - W
                                    image[c, row, column] += v * atoms[k, c, y, x]
