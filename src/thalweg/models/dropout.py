r"""Which dropout do the lectures mean? Masks in training; scaled weights at test, or scaled masks.

The lectures keep a unit with probability p and multiply weights by p at test; torch's ``p`` is the
probability to *drop*, and it divides by 1-p in training instead. Both agree in expectation; the
weights of one are those of the other times the keep probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

FORMS = ("torch", "lecture")


class WeightScaledDropout(nn.Module):
    r"""The lectures' form: ``x · mask`` in training, ``x · keep`` in evaluation.

    >>> layer = WeightScaledDropout(keep=0.8)
    >>> layer.eval()(torch.ones(2)).tolist()
    [0.800000011920929, 0.800000011920929]

    Args:
        keep: Probability that a unit stays, in (0, 1].

    Raises:
        ValueError: Another number.

    References:
        Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov, "Dropout", 2014, section 4.
    """

    def __init__(self, keep: float = 0.5) -> None:
        super().__init__()
        if not 0 < keep <= 1:
            raise ValueError(f"keep is {keep}; wanted a probability in (0, 1].")
        self.keep = keep

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise, of the shape of ``x``."""
        if not self.training:
            return x * self.keep
        return x * (torch.rand_like(x) < self.keep)

    def extra_repr(self) -> str:
        """Shown when the module is printed."""
        return f"keep={self.keep}"


class DropoutMLP(nn.Module):
    """A ReLU perceptron with dropout behind every hidden layer.

    Args:
        widths: Inputs, hidden widths, outputs.
        drop: Probability that a hidden unit is dropped, in [0, 1).
        form: ``torch`` or ``lecture`` (the masks' scale, see the module).

    Raises:
        ValueError: Another form, or fewer than one hidden layer.
    """

    def __init__(self, widths: Sequence[int], drop: float = 0.5, form: str = "torch") -> None:
        super().__init__()
        if form not in FORMS or len(widths) < 3 or not 0 <= drop < 1:
            raise ValueError(
                f"widths {tuple(widths)}, drop {drop}, form {form!r}; wanted a hidden layer, a "
                f"probability in [0, 1) and one of {', '.join(FORMS)}."
            )
        layers: list[nn.Module] = []
        for wide, narrow in pairwise(widths[:-1]):
            mask = nn.Dropout(drop) if form == "torch" else WeightScaledDropout(1 - drop)
            layers += [nn.Linear(wide, narrow), nn.ReLU(), mask]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1]))

    def forward(self, x: Tensor) -> Tensor:
        """Outputs ``(b, widths[-1])`` of inputs ``(b, …)``, flattened."""
        return self.layers(x.flatten(1))


@torch.no_grad()
def mc_dropout(model: nn.Module, x: Tensor, samples: int, seed: int = 0) -> Tensor:
    """Outputs under ``samples`` masks, everything else in evaluation mode.

    Their mean approximates the average over all thinned networks, their spread how far these
    disagree.

    Args:
        model: Any module with dropout layers; its modes and the random state are put back.
        x: Inputs ``(b, …)``.
        samples: Passes, >= 1.
        seed: Of the masks.

    Returns:
        ``(samples, b, …)``.

    Raises:
        ValueError: No dropout layer, or no passes.
    """
    kinds = (nn.modules.dropout._DropoutNd, WeightScaledDropout)
    masks = [m for m in model.modules() if isinstance(m, kinds)]
    if not masks or samples < 1:
        raise ValueError(f"{len(masks)} dropout layers and {samples} samples; wanted both >= 1.")
    modes = [(module, module.training) for module in model.modules()]
    devices = [x.device] if x.device.type == "cuda" else []
    try:
        model.eval()
        for mask in masks:
            mask.train()
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            return torch.stack([model(x) for _ in range(samples)])
    finally:
        for module, mode in modes:
            module.training = mode
