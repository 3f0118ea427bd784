"""The slow twin of ListNetwork: one list at a time, nothing padded or packed, attention head by head and row by row."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from cosdpo.models.list_network import ListNetwork


def slow_scores(network: ListNetwork, features: Tensor, condition: Tensor | None) -> Tensor:
    """Scores [n] of the documents [n, F] of one list under its condition [c]; differentiable in every parameter."""
    p = dict(network.named_parameters())

    def linear(name: str, x: Tensor) -> Tensor:
        return F.linear(x, p[f"{name}.weight"], p.get(f"{name}.bias"))

    def norm(name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], p[f"{name}.weight"], p[f"{name}.bias"])

    def gated(name: str, x: Tensor) -> Tensor:
        weight = p.get(f"{name}.affine.weight")
        return x if weight is None else x * (1 + weight @ condition)

    def attention(name: str, x: Tensor, heads: int) -> Tensor:
        query, key, value = linear(f"{name}.qkv", x).chunk(3, -1)
        size = x.shape[-1] // heads
        rows = []
        for i in range(len(x)):
            parts = []
            for h in range(heads):
                own = slice(h * size, (h + 1) * size)
                attends = torch.stack([query[i, own] @ key[k, own] / size**0.5 for k in range(len(x))]).softmax(0)
                parts.append(sum(attends[k] * value[k, own] for k in range(len(x))))
            rows.append(torch.cat(parts))
        return linear(f"{name}.out", torch.stack(rows))

    if "embed_conditions.weight" in p:
        joined = torch.cat([features, condition.expand(len(features), -1)], -1)
        x = F.linear(joined, torch.cat([p["embed.weight"], p["embed_conditions.weight"]], 1), p["embed.bias"])
    else:
        x = linear("embed", features)
    x = gated("gate", x)
    for number, block in enumerate(network.blocks):
        name = f"blocks.{number}"
        if block.attention is not None:
            x = x + attention(f"{name}.attention", norm(f"{name}.norm_attention", x), block.attention.heads)
        hidden = F.gelu(linear(f"{name}.feed_forward.rise", norm(f"{name}.norm", x)))
        x = x + linear(f"{name}.feed_forward.fall", gated(f"{name}.feed_forward.gate", hidden))
    return norm("norm", x) @ p["head.weight"][0]
