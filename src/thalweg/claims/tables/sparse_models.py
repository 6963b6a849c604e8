"""What sparse codes build: maps, pools, filters, encoders of one pass, recurrent codes."""

from __future__ import annotations

from thalweg.registry import Member

SPARSE_MODELS = (
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
    Member(
        "convolutional-filters",
        "thalweg.claims.sparse_filters:convolutional_filters",
        "Sliding filters differ where atoms of patches repeat each other",
        "sparse#s10",
    ),
    Member(
        "psd-one-pass",
        "thalweg.claims.amortised:psd_one_pass",
        "One pass of a PSD encoder is nearly optimal",
        "sparse#s6",
    ),
    Member(
        "sparse-kl",
        "thalweg.claims.amortised:sparse_kl",
        "Units held at a mean activity of 0.05 become edge detectors",
        "generative#v3",
    ),
    Member(
        "drsae-digits",
        "thalweg.claims.recurrent_codes:drsae_digits",
        "Parts and categorical units",
        "sparse#s8",
    ),
    Member(
        "drsae-mnist",
        "thalweg.claims.recurrent_codes:drsae_mnist",
        "1.08 % on MNIST with 400 units",
        "sparse#s8",
    ),
)
