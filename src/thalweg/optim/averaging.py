"""Averages of the iterates: Polyak's running mean and the exponential one."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

KINDS = ("polyak", "exponential")


class Averaged(AveragedModel):
    r"""torch's ``AveragedModel`` with a burn-in, so that the average forgets the transient.

    ``"polyak"``: :math:`\bar w \leftarrow \bar w + (w - \bar w)/k`, the mean of all iterates since
    the burn-in; ``"exponential"``: :math:`\bar w \leftarrow \beta\bar w + (1-\beta) w`, started at
    the first iterate after the burn-in, so there is no bias to correct. Call
    ``update_parameters(model)`` after each optimiser step and use the module itself to evaluate.
    Where the network has batch normalisation, call ``torch.optim.swa_utils.update_bn`` before.

    Args:
        model: The module being trained; a copy of it is held.
        kind: ``"polyak"`` or ``"exponential"``.
        decay: :math:`\beta` of the exponential average, in [0, 1).
        burn_in: Updates during which the average is the latest iterate. From the first step on
            (0), the starting point is felt as 1/K in Polyak's mean.
        device: Where the copy lives; ``None`` for the model's own.

    Raises:
        ValueError: Unknown kind, or a value out of range.

    References:
        Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992.
    """

    def __init__(
        self,
        model: nn.Module,
        kind: str = "polyak",
        decay: float = 0.999,
        burn_in: int = 0,
        device: torch.device | str | None = None,
    ) -> None:
        if kind not in KINDS:
            raise ValueError(f"kind is {kind!r}; known: {', '.join(KINDS)}")
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {decay!r}")
        if isinstance(burn_in, bool) or not isinstance(burn_in, int) or burn_in < 0:
            raise ValueError(f"burn_in must be a whole number >= 0, got {burn_in!r}")
        average: Any = get_ema_multi_avg_fn(decay) if kind == "exponential" else None
        super().__init__(
            model,
            device=torch.device(device) if isinstance(device, str) else device,
            multi_avg_fn=average,
        )
        self.burn_in = burn_in
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    def update_parameters(self, model: nn.Module) -> None:
        """Take the weights of ``model`` into the average."""
        if int(self.seen) < self.burn_in:
            with torch.no_grad():
                for mean, w in zip(self.module.parameters(), model.parameters(), strict=True):
                    mean.copy_(w)
                for mean, b in zip(self.module.buffers(), model.buffers(), strict=True):
                    mean.copy_(b)
        else:
            super().update_parameters(model)
        self.seen += 1
