r"""Is a ReLU network a polynomial? With its switches fixed, a sum over paths of weight products."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

MOST = 100_000


class PathSum(NamedTuple):
    """``output (b, c)`` summed over paths; ``paths`` there are; ``active (b,)`` of them open."""

    output: Tensor
    paths: int
    active: Tensor


@torch.no_grad()
def active_path_sum(model: nn.Module, x: Tensor) -> PathSum:
    r"""The output as :math:`\sum_{\text{active paths}} x_{start}\prod_{\text{path}} w`.

    A path picks one unit a layer; it is active where every ReLU on it lets through. The sum is
    of degree depth in the weights: level sets are hyperbolic, the landscape is full of saddles.

    Args:
        model: Linear layers without bias, ReLU between some of them.
        x: Inputs ``(b, d)``.

    Raises:
        ValueError: Another kind of layer, a bias, or more than 100,000 paths.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
        >>> active_path_sum(net, torch.ones(1, 2)).paths
        4
    """
    layers = [m for m in model.modules() if next(m.children(), None) is None]
    weights: list[Tensor] = []
    for layer in layers:
        if isinstance(layer, nn.Linear) and layer.bias is None:
            weights.append(layer.weight)
        elif not isinstance(layer, nn.ReLU | nn.Identity | nn.Flatten):
            raise ValueError(f"{layer} is no linear layer without bias and no ReLU.")
    if not weights:
        raise ValueError("the model has no linear layer.")
    count = math.prod([weights[0].shape[1], *(len(w) for w in weights)])
    if count > MOST:
        raise ValueError(f"{count:,} paths are more than {MOST:,}; take a smaller network.")
    # (b, i0, …, il): the weight product along each path so far, 0 where a switch is off
    products = x.flatten(1)
    opened = torch.ones_like(products, dtype=torch.bool)
    value = x.flatten(1)
    for layer in layers:
        if isinstance(layer, nn.Linear):
            value = layer(value)
            products = products[..., None] * layer.weight.mT
            opened = opened[..., None].expand_as(products)
        elif isinstance(layer, nn.ReLU):
            switch = (value > 0).reshape(len(x), *([1] * (products.ndim - 2)), -1)
            value = torch.relu(value)
            products, opened = products * switch, opened & switch
    middle = tuple(range(1, products.ndim - 1))
    return PathSum(products.sum(middle), count, opened.flatten(1).sum(1))
