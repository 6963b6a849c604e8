"""Every claim and figure of the lectures as a command: ours beside the published number.

One line a claim: its name, where it is, its title and its section of the theme. The claim itself
says its targets before it is run (``thalweg.claims.base``).
"""

from __future__ import annotations

from thalweg.registry import Member, Registry

CLAIMS = Registry(
    "claim",
    Member(
        "wide-well",
        "thalweg.claims.flat_minima:wide_well",
        "Local entropy prefers the wide valley",
        "flat-minima#f1",
    ),
    Member(
        "entropy-gradient",
        "thalweg.claims.flat_minima:entropy_gradient",
        "Entropy-SGD's step is a gradient",
        "flat-minima#f2",
    ),
    Member(
        "entropy-sgd-parity",
        "thalweg.claims.flat_minima:entropy_sgd_parity",
        "Entropy-SGD beside SGD",
        "flat-minima#f2",
    ),
    Member(
        "entropy-sgd-mnist",
        "thalweg.claims.flat_minima:entropy_sgd_mnist",
        "Entropy-SGD and SGD on MNIST",
        "flat-minima#f2",
    ),
    Member(
        "easgd-stability",
        "thalweg.claims.distributed:easgd_stability",
        "EASGD is stable where ADMM is not",
        "flat-minima#f5",
    ),
    Member(
        "easgd-variance",
        "thalweg.claims.distributed:easgd_variance",
        "Noise of the centre",
        "flat-minima#f4",
    ),
    Member(
        "easgd-tau",
        "thalweg.claims.distributed:easgd_tau",
        "Long periods break DOWNPOUR",
        "flat-minima#f5",
    ),
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
    Member(
        "torus-map",
        "thalweg.claims.sparse_groups:torus_map",
        "A map of orientations grows on a torus",
        "sparse#s7",
    ),
    Member(
        "group-sparsity",
        "thalweg.claims.sparse_groups:group_sparsity",
        "Few pools, many units inside",
        "sparse#s7",
    ),
    Member(
        "shift-invariance",
        "thalweg.claims.sparse_groups:shift_invariance",
        "Pools stand shifts and turns better than units",
        "sparse#s7",
    ),
)
