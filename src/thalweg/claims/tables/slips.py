"""Sentences of the lectures that hold only with a condition, a bound or a missing term."""

from __future__ import annotations

from thalweg.registry import Member

SLIPS = (
    Member(
        "local-entropy-limit",
        "thalweg.claims.entropy_errata:local_entropy_limit",
        "Local entropy nears minus the loss only up to a constant",
        "flat-minima#f1",
    ),
    Member(
        "gibbs-signs",
        "thalweg.claims.entropy_errata:gibbs_signs",
        "Both terms of the Gibbs density are negative",
        "flat-minima#f1",
    ),
    Member(
        "entropy-sgd-step",
        "thalweg.claims.entropy_errata:entropy_sgd_step",
        "In practice Entropy-SGD's step leaves out its scope",
        "flat-minima#f2",
    ),
    Member(
        "entropy-sgd-runaway",
        "thalweg.claims.entropy_errata:entropy_sgd_runaway",
        "Without batch norm Entropy-SGD's weights run away",
        "flat-minima#f2",
    ),
    Member(
        "easgd-beyond-bound",
        "thalweg.claims.elastic_bounds:easgd_beyond_bound",
        "Elastic averaging's bound suffices; it is not needed",
        "flat-minima#f5",
    ),
    Member(
        "easgd-synchronous",
        "thalweg.claims.elastic_bounds:easgd_synchronous",
        "Where synchronous elastic averaging is stable",
        "flat-minima#f4",
    ),
    Member(
        "smooth-shrinkage",
        "thalweg.claims.shrinkage:smooth_shrinkage",
        "The smooth threshold is odd only with its bracket",
        "sparse#s10",
    ),
    Member(
        "ista-overcomplete",
        "thalweg.claims.shrinkage:ista_overcomplete",
        "ISTA is slow where atoms outnumber dimensions",
        "sparse#s2",
    ),
    Member(
        "second-moment",
        "thalweg.claims.second_moments:second_moment",
        "A linear unit's Hessian is no covariance",
        "gradient#g2",
    ),
    Member(
        "batch-norm-variance",
        "thalweg.claims.second_moments:batch_norm_variance",
        "Batch norm divides by the batch's deviation",
        "conditioning#c2",
    ),
    Member(
        "data-parallel",
        "thalweg.claims.shared_work:data_parallel",
        "Shards weighted by their size are the whole batch",
        "flat-minima#f8",
    ),
    Member(
        "downpour",
        "thalweg.claims.shared_work:downpour",
        "One DOWNPOUR worker is SGD, and p of them a p-fold rate",
        "flat-minima#f6",
    ),
    Member(
        "coordinate-codes",
        "thalweg.claims.shared_work:coordinate_codes",
        "The best coordinate first: sparse codes at O(m) a step",
        "sparse#s3",
    ),
    Member(
        "long-valley",
        "thalweg.claims.valleys:long_valley",
        "What the best fixed rate leaves of a long valley",
        "momentum#m3",
    ),
)
