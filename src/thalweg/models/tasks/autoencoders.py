"""The built-in tasks that reconstruct their input: 8x8 digits through a narrow middle."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from thalweg.data import bundled
from thalweg.models.autoencoder import LinearAutoencoder, undercomplete
from thalweg.models.latent_energy import LatentEnergyModel, mean_free_energy
from thalweg.models.losses import half_squared_error
from thalweg.models.tasks.arrays import thirds
from thalweg.models.tasks.images import flat_digits
from thalweg.models.vae import VAE, negative_elbo
from thalweg.task import Recipe, Task


def autoencoder() -> Task:
    """64-32-8-32-64 with tanh, half the squared error of standardised digits."""
    recipe = Recipe(optimizer="adam", lr=3e-3, batch_size=64, epochs=40)
    return _reconstruct("autoencoder", partial(undercomplete, 64, 32, 8), recipe)


def linear_autoencoder() -> Task:
    """Eight linear units: the minimum is the span of eight principal components, and known."""
    recipe = Recipe(optimizer="adam", lr=3e-3, batch_size=64, epochs=40)
    return _reconstruct("linear-autoencoder", partial(LinearAutoencoder, 64, 8), recipe)


def energy_autoencoder() -> Task:
    """An autoencoder as a latent-variable energy: codes are inferred, the encoder predicts them."""
    recipe = Recipe(optimizer="adam", lr=3e-3, batch_size=64, epochs=20)
    x = [pair[0] for pair in flat_digits()]
    return _of_batches("energy-autoencoder", _energy_model, mean_free_energy, x, recipe)


def vae() -> Task:
    """A variational autoencoder with 8 latents, grey levels as Bernoulli probabilities."""
    x, y = bundled.digits()
    flat = torch.from_numpy(x / 16).float().flatten(1)
    parts = [flat[torch.from_numpy(index)] for index in thirds(len(y), y)]
    recipe = Recipe(optimizer="adam", lr=3e-3, batch_size=64, epochs=40)
    return _of_batches("vae", _vae, negative_elbo, parts, recipe)


def _energy_model() -> LatentEnergyModel:
    encoder = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 16))
    return LatentEnergyModel(encoder, nn.Linear(16, 64), prediction=1.0, l1=0.1, steps=10, lr=0.1)


def _vae() -> VAE:
    encoder = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 16))
    decoder = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 64))
    return VAE(encoder, decoder, 8)


def _reconstruct(name: str, model: Callable[[], nn.Module], recipe: Recipe) -> Task:
    x = [pair[0] for pair in flat_digits()]
    return Task(
        name=name,
        model=model,
        loss=half_squared_error,
        train=(x[0], x[0]),
        held_out=(x[1], x[1]),
        test=(x[2], x[2]),
        metric="loss",
        recipe=recipe,
    )


def _of_batches(
    name: str,
    model: Callable[[], nn.Module],
    loss: Callable[..., Tensor],
    parts: list[Tensor],
    recipe: Recipe,
) -> Task:
    """The model's own mean energy of a batch is the loss."""
    return Task(
        name=name,
        model=model,
        loss=loss,
        forward="batch",
        train=parts[0],
        held_out=parts[1],
        test=parts[2],
        metric="loss",
        recipe=recipe,
    )
