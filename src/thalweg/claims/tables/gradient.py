"""Descent, single samples, minibatches, rates, averages and the risk."""

from __future__ import annotations

from thalweg.registry import Member

GRADIENT = (
    Member(
        "descent-rate",
        "thalweg.claims.gradient:descent_rate",
        "How fast descent converges on a quadratic",
        "gradient#g1",
    ),
    Member(
        "linear-unit",
        "thalweg.claims.gradient:linear_unit",
        "Single linear unit: the rates it admits",
        "gradient#g2",
    ),
    Member(
        "half-in-the-loss",
        "thalweg.claims.gradient:half_in_the_loss",
        "The linear unit's loss needs its half",
        "gradient#g2",
    ),
    Member(
        "linear-unit-bias",
        "thalweg.claims.gradient:linear_unit_bias",
        "A bias sharpens the linear unit",
        "gradient#g2",
    ),
    Member(
        "update-sign",
        "thalweg.claims.gradient:update_sign",
        "Descent subtracts the gradient",
        "gradient#g1",
    ),
    Member(
        "linear-unit-sgd",
        "thalweg.claims.gradient_noise:linear_unit_sgd",
        "One pass of single samples beats one batch step",
        "gradient#g2",
    ),
    Member(
        "redundant-data",
        "thalweg.claims.gradient_noise:redundant_data",
        "Single samples profit from redundancy, batches do not",
        "gradient#g3",
    ),
    Member(
        "noise-escapes",
        "thalweg.claims.gradient_noise:noise_escapes",
        "Noise carries descent out of a shallow well",
        "gradient#g3",
    ),
    Member(
        "minibatch-noise",
        "thalweg.claims.gradient_noise:minibatch_noise",
        "The error of a minibatch gradient falls as one over root m",
        "gradient#g4",
    ),
    Member(
        "noise-floor",
        "thalweg.claims.gradient_averages:noise_floor",
        "A constant rate leaves a floor of noise",
        "gradient#g12",
    ),
    Member(
        "iterate-averaging",
        "thalweg.claims.gradient_averages:iterate_averaging",
        "Averaged iterates pass below the noise floor",
        "gradient#g11",
    ),
    Member(
        "exponential-averaging",
        "thalweg.claims.gradient_averages:exponential_averaging",
        "The exponential average recurses on itself",
        "gradient#g11",
    ),
    Member(
        "sgd-rates",
        "thalweg.claims.gradient_averages:sgd_rates",
        "How fast the excess error of SGD falls",
        "gradient#g7",
    ),
    Member(
        "shuffling",
        "thalweg.claims.gradient_risk:shuffling",
        "Sorted samples slow training down",
        "gradient#g5",
    ),
    Member(
        "schedules",
        "thalweg.claims.gradient_risk:schedules",
        "Rates that fall, and which of them suffice",
        "gradient#g6",
    ),
    Member(
        "surrogate-loss",
        "thalweg.claims.gradient_risk:surrogate_loss",
        "The surrogate goes on where the error has ended",
        "gradient#g8",
    ),
    Member(
        "empirical-risk",
        "thalweg.claims.gradient_risk:empirical_risk",
        "The loss over samples is not the risk",
        "gradient#g8",
    ),
    Member(
        "conjugate-gradients",
        "thalweg.claims.gradient_methods:conjugate_gradients",
        "Conjugate gradients end after n steps",
        "gradient#g9",
    ),
    Member(
        "coordinate-descent",
        "thalweg.claims.gradient_methods:coordinate_descent",
        "One coordinate at a time",
        "gradient#g10",
    ),
    Member(
        "bounded-dictionary",
        "thalweg.claims.gradient_methods:bounded_dictionary",
        "Sparse factors need bounded atoms",
        "gradient#g10",
    ),
)
