"""Attention of K members: members are folded into the samples, projections are per member."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thalweg.race.population.flat import Unsupported
from thalweg.race.population.stacked.linear import linear
from thalweg.race.population.stacked.noise import dropout
from thalweg.race.population.stacked.stack import Leaf, Stack


class Attention(Leaf):
    """``nn.MultiheadAttention`` with packed or separate projections."""

    def __init__(
        self, stack: Stack, where: str, module: nn.MultiheadAttention, find: Callable[[str], Any]
    ) -> None:
        super().__init__(stack, where)
        if module.bias_k is not None or module.add_zero_attn:
            raise Unsupported(f"'{where}': attention with bias_k or add_zero_attn")
        self.batch_first, self.num_heads = module.batch_first, module.num_heads
        self.p, self.width = module.dropout, module.embed_dim
        self._packed = find("in_proj_weight") if module._qkv_same_embed_dim else None
        names = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
        self._apart = None if self._packed is not None else [find(name) for name in names]
        self._in_bias = find("in_proj_bias") if module.in_proj_bias is not None else None
        self._out = find("out_proj.weight")
        self._out_bias = find("out_proj.bias") if module.out_proj.bias is not None else None

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As ``nn.MultiheadAttention`` answers, for all members."""
        axis = self.axis(query)
        if query.dim() != 3 or axis != (0 if self.batch_first else 1):
            raise Unsupported(f"'{self.where}': attention over inputs without samples")
        if not self.batch_first:
            same = key is value, query is key
            query, value = query.transpose(0, 1), value.transpose(0, 1)
            key = query if same[1] else (value if same[0] else key.transpose(0, 1))
        q, k, v = (self._split(t) for t in self._project(query, key, value))
        mask = self._mask(attn_mask, key_padding_mask, q, k.shape[-2])
        y, weights = self._attend(q, k, v, mask)
        y = y.transpose(1, 2).flatten(2)  # (K b, T, width)
        y = linear(self.stack, y, self._out, self._out_bias)
        y = y if self.batch_first else y.transpose(0, 1)
        if not need_weights:
            return y, None
        return y, weights.mean(1) if average_attn_weights else weights

    def _project(self, query: Tensor, key: Tensor, value: Tensor) -> list[Tensor]:
        if self._packed is not None and query is key and key is value:
            return list(linear(self.stack, query, self._packed, self._in_bias).chunk(3, -1))
        anchor, k = self.stack.anchor, self.stack.k
        if self._packed is not None:
            weights = self._packed.take(anchor).chunk(3, 1)
        else:
            weights = [ref.take(anchor) for ref in self._apart or ()]
        biases: Any = (None,) * 3
        if self._in_bias is not None:
            biases = self._in_bias.take(anchor).chunk(3, 1)
        made = []
        for x, w, bias in zip((query, key, value), weights, biases, strict=True):
            y = x.reshape(k, -1, x.shape[-1]) @ w.mT
            y = y if bias is None else y + bias[:, None]
            made.append(y.view(*x.shape[:-1], -1))
        return made

    def _split(self, t: Tensor) -> Tensor:
        return t.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (K b, heads, T, .)

    def _mask(
        self, attention: Tensor | None, padding: Tensor | None, q: Tensor, keys: int
    ) -> Tensor | None:
        """What is added to the scores, broadcasting over ``(K b, heads, T, keys)``."""
        total = None
        if attention is not None:
            total = _additive(attention, q.dtype)
            if total.dim() == 3:  # (K b heads, T, keys)
                total = total.view(-1, self.num_heads, *total.shape[1:])
        if padding is not None:
            pads = _additive(padding, q.dtype).view(-1, 1, 1, keys)
            total = pads if total is None else total + pads
        return total

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        scores = (q / math.sqrt(q.shape[-1])) @ k.mT
        weights = torch.softmax(scores if mask is None else scores + mask, -1)
        if self.training and self.p:
            # torch draws the mask for (b heads, T, keys): the same numbers in the same order
            weights = dropout(self.stack, weights, self.p, 0)
        return weights @ v, weights


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    if mask.dtype == torch.bool:
        return torch.zeros_like(mask, dtype=dtype).masked_fill_(mask, -math.inf)
    return mask.to(dtype)


class EncoderLayer(nn.Module):
    """``nn.TransformerEncoderLayer`` in its training form, over children that are rules."""

    self_attn: Any
    linear1: Any
    linear2: Any
    norm1: Any
    norm2: Any
    dropout: Any
    dropout1: Any
    dropout2: Any

    def __init__(self, module: nn.TransformerEncoderLayer) -> None:
        super().__init__()
        for name, child in module.named_children():
            self.add_module(name, child)
        self.norm_first, self.activation = module.norm_first, module.activation

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """Attention and perceptron, each added to its input, normalised before or after."""

        def attend(x: Tensor) -> Tensor:
            y, _ = self.self_attn(
                x,
                x,
                x,
                attn_mask=src_mask,
                key_padding_mask=src_key_padding_mask,
                need_weights=False,
            )
            return self.dropout1(y)

        def perceive(x: Tensor) -> Tensor:
            return self.dropout2(self.linear2(self.dropout(self.activation(self.linear1(x)))))

        if self.norm_first:
            src = src + attend(self.norm1(src))
            return src + perceive(self.norm2(src))
        src = self.norm1(src + attend(src))
        return self.norm2(src + perceive(src))


def scaled_dot_product(
    stack: Stack,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """``F.scaled_dot_product_attention`` in the user's own code, with members' shared masks."""
    if not dropout_p:
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask, 0.0, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    if enable_gqa:
        raise Unsupported("grouped-query attention with dropout")
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = (query * factor) @ key.mT
    if is_causal:
        keep = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        scores = scores.masked_fill(~keep, -math.inf)
    if attn_mask is not None:
        if attn_mask.dtype == torch.bool:
            attn_mask = torch.zeros_like(attn_mask, dtype=scores.dtype).masked_fill_(
                ~attn_mask, -math.inf
            )
        scores = scores + attn_mask
    return dropout(stack, torch.softmax(scores, -1), dropout_p, 0) @ value
