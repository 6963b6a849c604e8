"""Inputs, normalisation and initial weights."""

from __future__ import annotations

from thalweg.registry import Member

CONDITIONING = (
    Member(
        "whitening",
        "thalweg.claims.conditioning:whitening",
        "Whitened inputs make the bowl round",
        "conditioning#c1",
    ),
    Member(
        "centred-inputs",
        "thalweg.claims.conditioning:centred_inputs",
        "A mean makes one curvature large",
        "conditioning#c1",
    ),
    Member(
        "norm-axes",
        "thalweg.claims.conditioning:norm_axes",
        "What each normalisation averages over",
        "conditioning#c2",
    ),
    Member(
        "three-networks",
        "thalweg.claims.reparametrised:three_steps",
        "Three equal networks take three different steps",
        "conditioning#c3",
    ),
    Member(
        "three-networks-normalised",
        "thalweg.claims.reparametrised:three_networks_normalised",
        "Batch norm makes the three networks one",
        "conditioning#c3",
    ),
    Member(
        "activation-spread",
        "thalweg.claims.initialisation:activation_spread",
        "Glorot's start keeps activations alive",
        "conditioning#c5",
    ),
    Member(
        "equal-units",
        "thalweg.claims.initialisation:equal_units",
        "Equal units stay equal",
        "conditioning#c5",
    ),
    Member(
        "output-bias",
        "thalweg.claims.initialisation:output_bias",
        "A biased start is at the entropy of the classes",
        "conditioning#c5",
    ),
    Member(
        "lsuv",
        "thalweg.claims.initialisation:lsuv",
        "LSUV: every layer's output at variance 1",
        "conditioning#c6",
    ),
    Member(
        "batch-norm-smoothness",
        "thalweg.claims.batch_norm:batch_norm_smoothness",
        "Batch norm smooths the loss surface",
        "conditioning#c4",
    ),
    Member(
        "noisy-batch-norm",
        "thalweg.claims.batch_norm:noisy_batch_norm",
        "Noise behind batch norm does not spoil it",
        "conditioning#c4",
    ),
)
