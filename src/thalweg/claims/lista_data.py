"""Signals that learned encoders are trained on and judged by, with their exact codes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from thalweg.claims.base import Setting

L1 = 0.05  # on patches of norm 1, which is 0.5 on patches of 100 pixels of variance 1


@dataclass(frozen=True, slots=True)
class Data:
    """Signals to learn from with their codes, held-out ones with exact codes, FISTA's errors."""

    D: Tensor
    X: Tensor
    codes: Tensor
    held_out: Tensor
    exact: Tensor
    fista: list[float]


def natural(setting: Setting, atoms: int, samples: int = 200_000) -> Data:
    """Kodak's 18 landscape photographs to learn from, its 6 portrait ones to judge on."""
    from thalweg.sparse import learn_dictionary
    from thalweg.sparse.patches import Preprocessing, grey, sample_patches

    with np.load(setting.folder("natural-images") / "kodak24_grey.npz") as file:
        train = [grey(image) for image in file["landscape"]]
        test = [grey(image) for image in file["portrait"]]
    prepare = Preprocessing((10, 10), True, "unit").apply
    X = prepare(sample_patches(train, 10, samples, seed=setting.seed))[0]
    held_out = prepare(sample_patches(test, 10, 10_000, seed=setting.seed + 1))[0]
    setting.progress(f"dictionary of {atoms} atoms")
    D = learn_dictionary(X, atoms, L1, passes=200_000 / samples, seed=setting.seed).D
    setting.progress(f"exact codes, {atoms} atoms")
    return _data(D, X, held_out, 200)


def smooth(setting: Setting, samples: int = 20_000) -> Data:
    """A stand-in without pictures: six of 100 smooth random 10x10 atoms, and noise."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(setting.seed)
    atoms = [gaussian_filter(rng.standard_normal((10, 10)), 1.0).ravel() for _ in range(100)]
    D = np.stack(atoms, 1)
    D -= D.mean(0)
    D /= np.linalg.norm(D, axis=0)
    Z = np.zeros((samples + 2000, 100))
    rows = np.repeat(np.arange(len(Z)), 6)
    picked = rng.random(Z.shape).argpartition(6, axis=1)[:, :6].ravel()
    Z[rows, picked] = rng.standard_normal(len(rows))
    X = Z @ D.T
    X += 0.1 * X.std() * rng.standard_normal(X.shape)
    X -= X.mean(1, keepdims=True)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    return _data(D, X[:samples], X[samples:], 100)


def _data(D: np.ndarray, X: np.ndarray, held_out: np.ndarray, iterations: int) -> Data:
    from thalweg.sparse import encode
    from thalweg.sparse.encoders.comparison import fista_errors

    codes = encode(X.astype(np.float32), D.astype(np.float32), L1, tol=1e-5).z
    exact = torch.from_numpy(encode(held_out, D, L1, tol=1e-12).z)
    judged, atoms = torch.from_numpy(held_out), torch.from_numpy(D)
    return Data(
        atoms,
        torch.from_numpy(X.astype(np.float32)),
        torch.from_numpy(codes),
        judged,
        exact,
        fista_errors(judged, atoms, L1, exact, iterations),
    )
