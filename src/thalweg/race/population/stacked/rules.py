"""Which leaf module is replaced by what? The table, and the few modules that no rule can serve."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from thalweg.race.population.flat import Unsupported
from thalweg.race.population.stacked.attention import Attention
from thalweg.race.population.stacked.embedding import Embedding
from thalweg.race.population.stacked.linear import Linear
from thalweg.race.population.stacked.noise import Dropout
from thalweg.race.population.stacked.norms import BatchNorm, Normalised, plain_norm
from thalweg.race.population.stacked.stack import Stack
from thalweg.race.population.stacked.wide import Convolution, Wide

Find = Callable[[str], Any]  # a parameter's name within its module -> its ref, None if absent
Rule = Callable[[Stack, str, Any, Find], nn.Module]


def _linear(stack: Stack, where: str, module: nn.Linear, find: Find) -> nn.Module:
    return Linear(stack, where, find("weight"), find("bias"))


def _convolution(stack: Stack, where: str, module: Any, find: Find) -> nn.Module:
    stage = Convolution(stack, module, find("weight"), find("bias"))
    return Wide(stack, where, [stage], module.weight.dim() - 2)


def _batch_norm(stack: Stack, where: str, module: Any, find: Find) -> nn.Module:
    return BatchNorm(stack, where, module, find("weight"), find("bias"))


def _norm(stack: Stack, where: str, module: nn.Module, find: Find) -> nn.Module:
    plain, channels = plain_norm(module)
    eps = module.eps if isinstance(module, nn.LayerNorm) else None
    return Normalised(stack, where, plain, find("weight"), find("bias"), channels, eps)


def _embedding(stack: Stack, where: str, module: nn.Embedding, find: Find) -> nn.Module:
    if module.max_norm is not None or module.sparse:
        raise Unsupported(f"'{where}': an embedding with max_norm or sparse gradients")
    return Embedding(stack, where, module, find("weight"))


def _attention(stack: Stack, where: str, module: nn.MultiheadAttention, find: Find) -> nn.Module:
    return Attention(stack, where, module, find)


def _dropout(stack: Stack, where: str, module: nn.Dropout, find: Find) -> nn.Module:
    return Dropout(stack, where, module.p, features=type(module) is not nn.Dropout)


RULES: dict[type[nn.Module], Rule] = {
    nn.Linear: _linear,
    nn.Conv1d: _convolution,
    nn.Conv2d: _convolution,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.LayerNorm: _norm,
    nn.RMSNorm: _norm,
    nn.GroupNorm: _norm,
    nn.Embedding: _embedding,
    nn.MultiheadAttention: _attention,
    nn.Dropout: _dropout,
    nn.Dropout1d: _dropout,
    nn.Dropout2d: _dropout,
    nn.Dropout3d: _dropout,
}

RANDOM = (nn.AlphaDropout, nn.FeatureAlphaDropout, nn.RReLU)  # draw numbers that no rule shares

# What maps every channel on its own, so that it may run on members side by side.
CHANNELWISE = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.ELU,
    nn.SELU,
    nn.CELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Tanh,
    nn.Sigmoid,
    nn.Hardtanh,
    nn.Hardswish,
    nn.Softplus,
    nn.Identity,
)
POOLING = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
