"""Sparse codes: exact inference with certificates, dictionaries, learned encoders.

Importing this package is cheap; names are resolved when they are used.
"""

from __future__ import annotations

from typing import Any

from thalweg.registry import Member, Registry, resolve

PENALTIES = Registry(
    "penalty",
    Member("l1", "thalweg.sparse.penalties.l1:L1", "α ‖z‖₁", "Olshausen and Field 1996"),
    Member("weighted-l1", "thalweg.sparse.penalties.l1:WeightedL1", "Σ αᵢ |zᵢ|", "Zou 2006"),
    Member(
        "non-negative",
        "thalweg.sparse.penalties.l1:NonNegativeL1",
        "Σ αᵢ zᵢ with z ≥ 0",
        "Hoyer 2002",
    ),
    Member(
        "elastic-net",
        "thalweg.sparse.penalties.elastic_net:ElasticNet",
        "α ‖z‖₁ + β/2 ‖z‖²",
        "Zou and Hastie 2005",
    ),
    Member(
        "non-negative-elastic-net",
        "thalweg.sparse.penalties.elastic_net:NonNegativeElasticNet",
        "Σ αᵢ zᵢ + β/2 ‖z‖² with z ≥ 0",
        "Zou and Hastie 2005",
    ),
    Member(
        "group",
        "thalweg.sparse.penalties.group:Group",
        "α Σ ‖z_g‖₂ over pools that do not overlap",
        "Yuan and Lin 2006",
    ),
    Member(
        "k-sparse",
        "thalweg.sparse.penalties.k_sparse:KSparse",
        "at most k entries of z are not zero",
        "Pati, Rezaiifar and Krishnaprasad 1993",
    ),
)

SOLVERS = Registry(
    "solver",
    Member(
        "working-set",
        "thalweg.sparse.solvers.working_set:SOLVER",
        "working set on the Gram matrix with a Cholesky finish; CPU",
        "Osborne, Presnell and Turlach 2000",
    ),
    Member(
        "fista",
        "thalweg.sparse.solvers.fista:SOLVER",
        "accelerated proximal gradient with restart, compaction and polish; CPU and CUDA",
        "Beck and Teboulle 2009",
    ),
    Member(
        "ista",
        "thalweg.sparse.solvers.ista:SOLVER",
        "proximal gradient; CPU and CUDA",
        "Daubechies, Defrise and De Mol 2004",
    ),
    Member(
        "coordinate-descent",
        "thalweg.sparse.solvers.coordinate_descent:SOLVER",
        "greedy coordinate descent, batched; CPU and CUDA",
        "Li and Osher 2009",
    ),
    Member(
        "block-coordinate-descent",
        "thalweg.sparse.solvers.block_coordinate_descent:SOLVER",
        "greedy descent over pools, batched; CPU and CUDA",
        "Qin, Scheinberg and Goldfarb 2013",
    ),
    Member(
        "omp",
        "thalweg.sparse.solvers.omp:SOLVER",
        "orthogonal matching pursuit, batched; CPU and CUDA",
        "Pati, Rezaiifar and Krishnaprasad 1993",
    ),
)

_LAZY = {
    "encode": "thalweg.sparse.inference:encode",
    "certify": "thalweg.sparse.inference:certify",
    "refit": "thalweg.sparse.refitting:refit",
    "learn_dictionary": "thalweg.sparse.learning:learn_dictionary",
    "LISTA": "thalweg.sparse.encoders:LISTA",
    "LCoD": "thalweg.sparse.encoders:LCoD",
    "PSD": "thalweg.sparse.psd:PSD",
    "SparseCoder": "thalweg.sparse.estimators:SparseCoder",
    "DictionaryLearner": "thalweg.sparse.estimators:DictionaryLearner",
    "ConvDictionaryLearner": "thalweg.sparse.estimators:ConvDictionaryLearner",
    "ListaEncoder": "thalweg.sparse.estimators:ListaEncoder",
    "L1": "thalweg.sparse.penalties.l1:L1",
    "WeightedL1": "thalweg.sparse.penalties.l1:WeightedL1",
    "NonNegativeL1": "thalweg.sparse.penalties.l1:NonNegativeL1",
    "ElasticNet": "thalweg.sparse.penalties.elastic_net:ElasticNet",
    "NonNegativeElasticNet": "thalweg.sparse.penalties.elastic_net:NonNegativeElasticNet",
    "Group": "thalweg.sparse.penalties.group:Group",
    "KSparse": "thalweg.sparse.penalties.k_sparse:KSparse",
}

__all__ = ["PENALTIES", "SOLVERS", *_LAZY]  # pyrefly: ignore


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return resolve(_LAZY[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
