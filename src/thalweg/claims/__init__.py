"""Every claim and figure of the lectures as a command: ours beside the published number.

One line a claim, in the table of its theme under ``thalweg.claims.tables``: its name, where it is,
its title and its section of the theme. The claim itself says its targets before it is run
(``thalweg.claims.base``).
"""

from __future__ import annotations

from thalweg.claims.tables.architectures import ARCHITECTURES
from thalweg.claims.tables.conditioning import CONDITIONING
from thalweg.claims.tables.curriculum import CURRICULUM, ON_MNIST
from thalweg.claims.tables.curvature import CURVATURE
from thalweg.claims.tables.flat_minima import FLAT_MINIMA
from thalweg.claims.tables.generative import GENERATIVE
from thalweg.claims.tables.gradient import GRADIENT
from thalweg.claims.tables.momentum import MOMENTUM, UNDER_NOISE
from thalweg.claims.tables.slips import SLIPS
from thalweg.claims.tables.sparse import SPARSE
from thalweg.claims.tables.sparse_models import SPARSE_MODELS
from thalweg.registry import Registry

CLAIMS = Registry(  # in this order they are listed, run and drawn
    "claim",
    *FLAT_MINIMA,
    *GRADIENT,
    *MOMENTUM,
    *SPARSE_MODELS,
    *CURVATURE,
    *SPARSE,
    *ARCHITECTURES,
    *CONDITIONING,
    *UNDER_NOISE,
    *GENERATIVE,
    *CURRICULUM,
    *SLIPS,
    *ON_MNIST,
)
