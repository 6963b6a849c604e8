"""Adversarial games, autoencoders and latent variables."""

from __future__ import annotations

from thalweg.registry import Member

GENERATIVE = (
    Member(
        "gan-best-answer",
        "thalweg.claims.generative:gan_best_answer",
        "The best discriminator, and what it is worth",
        "generative#v1",
    ),
    Member(
        "gan-discrete",
        "thalweg.claims.generative:gan_discrete",
        "The game on ten points ends at D = 1/2",
        "generative#v1",
    ),
    Member(
        "gan-gaussian",
        "thalweg.claims.generative:gan_gaussian",
        "Two small networks learn a Gaussian",
        "generative#v1",
    ),
    Member(
        "gan-saturation",
        "thalweg.claims.generative_game:gan_saturation",
        "The minimax loss gives a losing generator no slope",
        "generative#v1",
    ),
    Member(
        "gan-noise-prior",
        "thalweg.claims.generative_game:gan_noise_prior",
        "The generator's noise comes from p_z",
        "generative#v1",
    ),
    Member(
        "gan-ring",
        "thalweg.claims.generative_game:gan_ring",
        "Eight modes on a ring",
        "generative#v1",
    ),
    Member(
        "linear-autoencoder-pca",
        "thalweg.claims.generative_codes:linear_autoencoder_pca",
        "A linear autoencoder finds PCA's subspace",
        "generative#v2",
    ),
    Member(
        "reconstruction-exponent",
        "thalweg.claims.generative_codes:reconstruction_exponent",
        "The reconstruction error is squared",
        "generative#v2",
    ),
    Member(
        "incompressible",
        "thalweg.claims.generative_codes:incompressible",
        "Structure compresses, noise does not",
        "generative#v2",
    ),
    Member(
        "vae-linear",
        "thalweg.claims.generative_latent:vae_linear",
        "A linear VAE's bound is the likelihood",
        "generative#v4",
    ),
    Member(
        "autoencoder-energy",
        "thalweg.claims.generative_latent:autoencoder_energy",
        "An autoencoder is an energy with a latent variable",
        "generative#v5",
    ),
)
