"""Momentum, Nesterov's method and adaptive rates."""

from __future__ import annotations

from thalweg.registry import Member

MOMENTUM = (
    Member(
        "momentum-rate",
        "thalweg.claims.momentum:momentum_rate",
        "Momentum's rate on the linear unit",
        "momentum#m1",
    ),
    Member(
        "momentum-forms",
        "thalweg.claims.momentum:momentum_forms",
        "Three forms of momentum are not one",
        "momentum#m1",
    ),
    Member(
        "nesterov-forms",
        "thalweg.claims.momentum:nesterov_forms",
        "Two forms of Nesterov's momentum are one method",
        "momentum#m2",
    ),
    Member(
        "nesterov-rate",
        "thalweg.claims.acceleration:nesterov_rate",
        "Nesterov's method is a power faster on convex functions",
        "momentum#m2",
    ),
    Member(
        "delta-bar-delta",
        "thalweg.claims.acceleration:delta_bar_delta",
        "A rate for every weight, learnt from signs",
        "momentum#m3",
    ),
    Member(
        "adaptive-rates",
        "thalweg.claims.adaptive:adaptive_rates",
        "Adaptive rates fall with the gradients seen",
        "momentum#m4",
    ),
    Member(
        "rmsprop-floor",
        "thalweg.claims.adaptive:rmsprop_floor",
        "RMSProp's floor stands outside the root",
        "momentum#m4",
    ),
    Member(
        "moving-average",
        "thalweg.claims.adaptive:moving_average",
        "The moving average starts too low",
        "momentum#m5",
    ),
    Member(
        "optimizer-memory",
        "thalweg.claims.adaptive:optimizer_memory",
        "What an optimiser keeps for every weight",
        "momentum#m9",
    ),
    Member(
        "adam-first-step",
        "thalweg.claims.adam:adam_first_step",
        "Adam's first step is the rate itself",
        "momentum#m6",
    ),
    Member(
        "adam-as-printed",
        "thalweg.claims.adam:adam_as_printed",
        "Adam as the slides print it",
        "momentum#m6",
    ),
    Member(
        "adam-on-a-valley",
        "thalweg.claims.adam:adam_on_a_valley",
        "Adam and RMSProp in a long valley",
        "momentum#m6",
    ),
    Member(
        "adaptive-generalisation",
        "thalweg.claims.adaptive_failures:adaptive_generalisation",
        "Adaptive methods can generalise worse",
        "momentum#m7",
    ),
    Member(
        "adam-diverges",
        "thalweg.claims.adaptive_failures:adam_diverges",
        "Adam need not converge",
        "momentum#m8",
    ),
)

UNDER_NOISE = (
    Member(
        "nesterov-under-noise",
        "thalweg.claims.acceleration:nesterov_under_noise",
        "Nesterov's gain does not survive noise",
        "momentum#m2",
    ),
    Member(
        "momentum-in-networks",
        "thalweg.claims.acceleration:momentum_in_networks",
        "On networks both momenta behave alike",
        "momentum#m2",
    ),
)
