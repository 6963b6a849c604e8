"""How is a model started by the name of a rule?"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from thalweg.conditioning import INITIALISATIONS


def init_(
    model: nn.Module,
    scheme: str = "he",
    *,
    generator: torch.Generator | None = None,
    **settings: Any,
) -> Any:
    """Start every layer of ``model`` anew, in place.

    Set are the weights of linear, convolutional (transposed too), recurrent (gate by gate) and
    attention layers, tied ones once; norms, embeddings and frozen parameters are left, and named.

    Args:
        model: Any module.
        scheme: A name of ``INITIALISATIONS``: ``fan-in lecun glorot glorot-normal he he-uniform
            orthogonal sparse zero lsuv``.
        generator: Of the random numbers; None for torch's own.
        settings: The scheme's: ``bias`` (0; None keeps them), ``gain``, ``k``, ``std``; for
            ``lsuv``: ``batch`` (required), ``tol``, ``max_attempts``, ``center``.

    Returns:
        What was set and what was left; for ``lsuv`` the variance of each layer.

    Raises:
        ValueError: Unknown scheme, a setting out of range, or no layer to set.

    >>> unit = nn.Linear(3, 1)
    >>> init_(unit, "zero", bias=0.5).changed, unit(torch.ones(1, 3)).item()
    (('weight', 'bias'), 0.5)
    """
    return INITIALISATIONS.load(scheme)(model, generator=generator, **settings)
