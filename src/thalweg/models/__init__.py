"""Which networks are at hand? Those of the lectures and those of the built-in tasks.

Nothing is imported until a name is used.
"""

from __future__ import annotations

from typing import Any

from thalweg.registry import resolve

_NAMES = {
    "LeNetD1": "thalweg.models.lenet",
    "MLP": "thalweg.models.mlp",
    "SmallConvNet": "thalweg.models.convnet",
    "CharTransformer": "thalweg.models.transformer",
    "SmallLeNet": "thalweg.models.small_lenet",
    "OneOneOne": "thalweg.models.one_one_one",
    "LinearUnit": "thalweg.models.linear",
    "QuadraticBowl": "thalweg.models.linear",
    "CharLSTM": "thalweg.models.char_lstm",
    "Maxout": "thalweg.models.activations",
    "NoisyReLU": "thalweg.models.activations",
    "ScaledTanh": "thalweg.models.activations",
    "DropoutMLP": "thalweg.models.dropout",
    "WeightScaledDropout": "thalweg.models.dropout",
    "mc_dropout": "thalweg.models.dropout",
    "StochasticDepthBlock": "thalweg.models.stochastic_depth",
    "StochasticDepthNet": "thalweg.models.stochastic_depth",
    "linear_decay": "thalweg.models.stochastic_depth",
    "Autoencoder": "thalweg.models.autoencoder",
    "LinearAutoencoder": "thalweg.models.autoencoder",
    "pca_reference": "thalweg.models.autoencoder",
    "VAE": "thalweg.models.vae",
    "LatentEnergyModel": "thalweg.models.latent_energy",
    "AdversarialPair": "thalweg.models.gan",
    "fit_perceptron": "thalweg.models.perceptron",
    "perceptron_loss": "thalweg.models.perceptron",
    "logistic_loss": "thalweg.models.perceptron",
    "half_squared_error": "thalweg.models.losses",
    "token_cross_entropy": "thalweg.models.losses",
}

__all__ = sorted(_NAMES)  # pyrefly: ignore


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'thalweg.models' has no attribute '{name}'")
    return resolve(f"{_NAMES[name]}:{name}")


def __dir__() -> list[str]:
    return __all__
