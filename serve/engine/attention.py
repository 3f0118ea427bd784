"""Attention of one pass over the tokens of many rows, each with keys and values of its own.

The decoding rows of a pool attend in one call, as they lie in memory; every chunk of prompt tokens attends in a call
of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from cosdpo.models.packing import AttentionLayer, dot_product_attention
from serve.engine.kv_memory import Pool
from serve.engine.row_conditioning import RowConditioning


def _added(hidden: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to logits so that nothing is seen where `hidden` is true."""
    return torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill_(hidden, float("-inf"))


@dataclass(eq=False)
class PrefillChunk:
    """New tokens of one prompt, written to `start` and after in one stretch of memory."""

    conditioning: RowConditioning
    ids: list[int]
    """Token ids; any where a soft token stands."""
    soft: Tensor | None
    """[k, H] soft tokens among them, from index `soft_at` on."""
    soft_at: int
    start: int
    keys: list[Tensor]
    """[heads, length, head_size] of each layer."""
    values: list[Tensor]
    span: slice = field(default_factory=lambda: slice(0))
    """Its tokens in the pass."""
    masks: dict[int | None, Tensor] = field(default_factory=dict)
    """[m, start + m] added to attention's logits, by the window that a layer's queries see."""

    def lay(self, at: int) -> None:
        """Places it in the pass."""
        self.span = slice(at, at + len(self.ids))

    def mask(self, layer: AttentionLayer, dtype: torch.dtype, device: torch.device) -> Tensor | None:
        """What is added to the layer's logits; None where all is seen: from a single token."""
        m, end = len(self.ids), self.start + len(self.ids)
        window = layer.window_in(end)
        if m == 1 and window is None:
            return None
        if window not in self.masks:
            hidden = torch.ones(m, end, dtype=torch.bool, device=device).triu_(self.start + 1)
            if window is not None:
                hidden |= torch.ones_like(hidden).tril_(self.start - window)
            self.masks[window] = _added(hidden, dtype)
        return self.masks[window]

    def attend(self, layer: AttentionLayer, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """[m, heads, head_size] from the same."""
        end = self.start + len(self.ids)
        keys, values = self.keys[layer.index], self.values[layer.index]
        keys[:, self.start : end] = key.transpose(0, 1)
        values[:, self.start : end] = value.transpose(0, 1)
        m, heads, size = query.shape
        groups = heads // len(keys)
        # Query heads that share a key head become further queries of it: no key is copied.
        q = query.view(m, len(keys), groups, size).permute(1, 2, 0, 3).reshape(1, len(keys), groups * m, size)
        mask = self.mask(layer, query.dtype, query.device)
        mask = mask if mask is None or groups == 1 else mask.repeat(groups, 1)
        sinks = layer.sinks if layer.sinks is None else layer.sinks.view(len(keys), groups).repeat_interleave(m, 1)
        out = dot_product_attention(q, keys[None, :, :end], values[None, :, :end], mask, layer.scaling, sinks)
        return out.view(len(keys), groups, m, size).permute(2, 0, 1, 3).reshape(m, heads, size)


@dataclass(eq=False)
class PoolRows:
    """The decoding rows of one pool: slots 0 to n - 1."""

    pool: Pool
    span: slice
    longest: int
    """Tokens of the longest row, the new one included."""
    slots: Tensor
    """[n] 0 to n - 1."""
    positions: Tensor = field(init=False)
    """[n] where each row's new token goes."""
    masks: dict[int | None, Tensor] = field(init=False)
    """[n, 1, 1, longest] added to attention's logits, by the window that a layer's queries see."""

    def lay(self, positions: Tensor) -> None:
        """Takes over the positions of this step, [T]."""
        self.positions = positions[self.span]
        self.masks = {}

    def mask(self, layer: AttentionLayer, dtype: torch.dtype) -> Tensor:
        """What is added to the layer's logits."""
        window = layer.window_in(self.longest)
        if window not in self.masks:
            keys, queries = torch.arange(self.longest, device=self.positions.device), self.positions[:, None]
            hidden = keys > queries
            if window is not None:
                hidden |= keys <= queries - window
            self.masks[window] = _added(hidden, dtype)[:, None, None]
        return self.masks[window]

    def attend(self, layer: AttentionLayer, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """[n, heads, head_size] from the same."""
        keys, values = self.pool.keys[layer.index], self.pool.values[layer.index]
        keys[self.slots, :, self.positions] = key
        values[self.slots, :, self.positions] = value
        n, heads, size = query.shape
        # Query heads that share a key head become further queries of it: no key is copied.
        q = query.view(n, keys.shape[1], heads // keys.shape[1], size)
        sinks = layer.sinks if layer.sinks is None else layer.sinks.view(q.shape[1:3])
        mask = self.mask(layer, query.dtype)
        out = dot_product_attention(
            q, keys[:n, :, : self.longest], values[:n, :, : self.longest], mask, layer.scaling, sinks
        )
        return out.reshape(n, heads, size)


@dataclass(eq=False)
class StepAttention:
    """Attention of one pass; the chunks first, since a row's opening is read by its decoding token."""

    chunks: list[PrefillChunk]
    pools: list[PoolRows]
    dtype: torch.dtype

    def attend(self, layer: AttentionLayer, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """[T, 1, heads, head_size] from [T, heads, 1, head_size] each."""
        q, k, v = (x[:, :, 0].to(self.dtype) for x in (query, key, value))
        parts: list[PrefillChunk | PoolRows] = [*self.chunks, *self.pools]
        out = [p.attend(layer, q[p.span], k[p.span], v[p.span]) for p in parts]
        if len(self.pools) == 1 and not self.chunks:
            return out[0][:, None]
        joined = torch.empty_like(q)
        for part, result in zip(parts, out, strict=True):
            joined[part.span] = result
        return joined[:, None]
