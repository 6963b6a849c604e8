"""Where do biases start? Open forget gates, and outputs that begin at the base rate."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LINKS = ("softmax", "identity", "logit", "log")


@torch.no_grad()
def forget_gate_bias_(model: nn.Module, value: float = 1.0) -> tuple[str, ...]:
    """Set the forget gates' bias of every LSTM to ``value``, so that it remembers at first.

    torch adds two biases; the input one takes ``value``, the recurrent one 0.

    Returns:
        Names of the biases that were set.

    Raises:
        ValueError: There is no LSTM with biases.

    References:
        Jozefowicz, Zaremba and Sutskever, "An empirical exploration of recurrent network
        architectures", 2015.
    """
    changed = []
    for prefix, module in model.named_modules():
        if not isinstance(module, nn.LSTM | nn.LSTMCell):
            continue
        for name, bias in module.named_parameters(recurse=False):
            if "bias" in name:
                quarter = len(bias) // 4  # torch's order: input, forget, cell, output
                bias[quarter : 2 * quarter] = value if "bias_ih" in name else 0.0
                changed.append(f"{prefix}.{name}" if prefix else name)
    if not changed:
        raise ValueError(f"{type(model).__name__} has no LSTM with biases.")
    return tuple(changed)


@torch.no_grad()
def output_bias_(layer: nn.Module, targets: Tensor, link: str = "softmax") -> Tensor:
    r"""Start the output layer at the base rate of the training targets.

    ``"softmax"``: :math:`b_c = \log(n_c/n)`, so with zero weights the loss starts at the entropy of
    the class frequencies; ``"identity"``: the mean; ``"logit"``: :math:`\log(\bar y/(1-\bar y))`;
    ``"log"``: :math:`\log\bar y`.

    Args:
        layer: A layer with a ``bias`` ``(c,)``.
        targets: Class numbers ``(n,)`` for softmax, else ``(n,)`` or ``(n, c)``.
        link: What follows the layer.

    Returns:
        The bias that was set.

    Raises:
        ValueError: No bias, unknown link, or targets that do not fit: a class that never occurs
            would get an infinite bias.

    >>> layer = nn.Linear(2, 2)
    >>> [round(b, 4) for b in output_bias_(layer, torch.tensor([0, 0, 0, 1])).tolist()]
    [-0.2877, -1.3863]
    """
    bias = getattr(layer, "bias", None)
    if not isinstance(bias, Tensor):
        raise ValueError(f"{type(layer).__name__} has no bias to set.")
    if link not in LINKS:
        raise ValueError(f"link is {link!r}; known: {', '.join(LINKS)}.")
    if not len(targets):
        raise ValueError("there are no targets to take a base rate from.")
    value = _class_bias(targets, len(bias)) if link == "softmax" else _mean_bias(targets, link)
    if value.shape not in (bias.shape, torch.Size([])) or not bool(torch.isfinite(value).all()):
        raise ValueError(
            f"targets of shape {tuple(targets.shape)} with link '{link}' give no finite bias of "
            f"shape {tuple(bias.shape)}; their mean must be inside the link's range."
        )
    bias.copy_(value)
    return bias.detach().clone()


def _class_bias(targets: Tensor, classes: int) -> Tensor:
    if targets.is_floating_point() or targets.ndim != 1:
        raise ValueError(
            f"targets are {str(targets.dtype).removeprefix('torch.')} of shape "
            f"{tuple(targets.shape)}; the link 'softmax' needs class numbers (n,)."
        )
    if int(targets.min()) < 0 or int(targets.max()) >= classes:
        raise ValueError(f"targets reach outside the {classes} classes of the layer.")
    counts = torch.bincount(targets, minlength=classes)
    if int(counts.min()) == 0:
        absent = int(counts.argmin())
        raise ValueError(f"class {absent} has no sample: its bias would be minus infinity.")
    return (counts.double() / len(targets)).log()


def _mean_bias(targets: Tensor, link: str) -> Tensor:
    mean = targets.double().mean(0)
    if link == "logit":
        return torch.logit(mean)
    return mean.log() if link == "log" else mean
