"""Wide valleys and workers: Entropy-SGD, local entropy, elastic averaging."""

from __future__ import annotations

from thalweg.registry import Member

FLAT_MINIMA = (
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
)
