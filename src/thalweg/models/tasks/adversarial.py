"""The built-in tasks of two networks: a generator and a discriminator on known densities."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from thalweg.models.gan import AdversarialPair, minus_energy_distance, simultaneous_loss
from thalweg.models.mlp import MLP
from thalweg.task import Recipe, Task

CENTRE, DEVIATION = 4.0, 0.5
MODES, SPREAD = 8, 0.1


def gan_gaussian() -> Task:
    """Two small networks on N(4, 0.5²); a race descends on both losses at once (k = 1)."""
    return _task("gan-gaussian", gaussian, partial(pair, 1, 8, 32))


def gan_ring() -> Task:
    """The same on eight Gaussians around a circle, where modes get lost."""
    return _task("gan-ring", ring, partial(pair, 2, 8, 64))


def gaussian(n: int, rng: np.random.Generator) -> Tensor:
    """Samples ``(n, 1)`` of N(4, 0.5²)."""
    return torch.from_numpy(CENTRE + DEVIATION * rng.standard_normal((n, 1))).float()


def ring(n: int, rng: np.random.Generator) -> Tensor:
    """Samples ``(n, 2)`` of eight equally likely Gaussians, deviation 0.1, on the unit circle."""
    angle = 2 * np.pi * rng.integers(0, MODES, n) / MODES
    centre = np.stack([np.cos(angle), np.sin(angle)], 1)
    return torch.from_numpy(centre + SPREAD * rng.standard_normal((n, 2))).float()


def pair(outputs: int, latent: int, hidden: int, loss: str = "nonsaturating") -> AdversarialPair:
    """Generator and discriminator with two hidden ReLU layers each."""
    generator = MLP((latent, hidden, hidden, outputs))
    return AdversarialPair(generator, MLP((outputs, hidden, hidden, 1)), latent, loss)


def _task(
    name: str,
    sample: Callable[[int, np.random.Generator], Tensor],
    model: Callable[[], AdversarialPair],
) -> Task:
    rng = np.random.default_rng(0)
    noise = model().latent
    parts = [
        (sample(n, rng), torch.from_numpy(rng.standard_normal((n, noise))).float())
        for n in (4096, 1024, 1024)
    ]
    return Task(
        name=name,
        model=model,
        loss=simultaneous_loss,
        forward="batch",
        train=parts[0],
        held_out=parts[1],
        test=parts[2],
        metric=minus_energy_distance,
        recipe=Recipe(
            optimizer="adam",
            lr=1e-3,
            batch_size=128,
            epochs=30,
            hyperparameters={"betas": (0.5, 0.999)},
        ),
    )
