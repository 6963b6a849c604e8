"""Sparse codes themselves: ISTA, FISTA, atoms, LISTA."""

from __future__ import annotations

from thalweg.registry import Member

SPARSE = (
    Member(
        "ista-rates",
        "thalweg.claims.sparse:ista_rates",
        "ISTA converges as 1/k, FISTA as 1/k²",
        "sparse#s2",
    ),
    Member(
        "ista-majorises",
        "thalweg.claims.sparse:ista_majorises",
        "ISTA minimises a majorant at every step",
        "sparse#s2",
    ),
    Member(
        "soft-threshold",
        "thalweg.claims.sparse:soft_threshold",
        "The soft threshold is the code of one atom",
        "sparse#s2",
    ),
    Member(
        "half-in-the-energy",
        "thalweg.claims.sparse_errata:half_in_the_energy",
        "The sparse-coding energy and ISTA's threshold do not fit",
        "sparse#s1",
    ),
    Member(
        "transpose-in-ista",
        "thalweg.claims.sparse_errata:transpose_in_ista",
        "ISTA's input filter is a transpose",
        "sparse#s2",
    ),
    Member(
        "convolutional-energy",
        "thalweg.claims.sparse_errata:convolutional_energy",
        "The convolutional energy sums inside the norm",
        "sparse#s9",
    ),
    Member(
        "gabor-atoms",
        "thalweg.claims.sparse_atoms:gabor_atoms",
        "Atoms of natural patches are Gabor-like",
        "sparse#s1",
    ),
    Member(
        "digit-parts",
        "thalweg.claims.sparse_atoms:digit_parts",
        "Atoms of digits are parts of digits",
        "sparse#s1",
    ),
    Member(
        "lista-smooth-atoms",
        "thalweg.claims.sparse_lista:lista_smooth_atoms",
        "LISTA on made-up patches",
        "sparse#s4",
    ),
    Member(
        "lista-fista",
        "thalweg.claims.sparse_lista:lista_fista",
        "One LISTA step is worth 18 or 35 FISTA iterations",
        "sparse#s4",
    ),
    Member(
        "lista-fewer-connections",
        "thalweg.claims.sparse_lista:lista_fewer_connections",
        "LISTA keeps its accuracy with a sparse or low-rank S",
        "sparse#s4",
    ),
    Member(
        "lcod-per-multiply",
        "thalweg.claims.sparse_lista:lcod_per_multiply",
        "LCoD beats LISTA per multiplication",
        "sparse#s5",
    ),
)
