"""Many contexts in one forward pass: packed tokens, shared prompts, padded attention.

Each context is a small tree: a prefix (the prompt, and soft tokens if any) from which n candidates branch. All n
candidates of a context carry the same weights, so the prefix is encoded once and the candidates attend to it; tokens
of all contexts lie in one row without padding, so that no matrix product is spent on padding:

    tokens    [ prefix of context 0 | prefix of context 1 | ... | candidate 0 of 0 | candidate 1 of 0 | ... ]

Only attention needs the rows apart. `attend` is registered with transformers as an attention implementation: it pads
queries, keys and values to [rows, length], prefixes and candidates separately, and packs the result again. Where a
prompt was encoded beforehand by the frozen base (scope `response`), its keys and values come from a `PromptCache`.

Scoring every candidate as a row of its own gives the same numbers; tests/models/test_language_scorer.py holds the two
equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from cosdpo.arrays import Booleans, Integers

ATTENTION = "cosdpo"


@dataclass(frozen=True, eq=False)
class AttentionLayer:
    """What a layer says of its attention beside queries, keys and values."""

    index: int
    scaling: float | None
    """Factor of the logits; None is 1 / sqrt(head_dim)."""
    window: int | None
    """Positions that a query sees, its own included; None sees all."""
    sinks: Tensor | None
    """[heads] logits of attention sinks."""

    def window_in(self, length: int) -> int | None:
        """The window, or None where rows of `length` positions lie within it."""
        return None if self.window is None or self.window >= length else self.window


@dataclass
class PromptCache:
    """Keys and values of prompts encoded by the frozen base, per layer, each [B, P, heads, head_dim]."""

    lengths: list[int]
    """Number of prompt tokens cached per context."""
    layers: list[tuple[Tensor, Tensor]] = field(default_factory=list)


@dataclass
class Layout:
    """Where each packed token belongs, and which tokens it may attend to.

    `prefix_*` describes B rows, `candidate_*` one row per candidate of all contexts (R rows).
    """

    positions: Tensor
    """[T] position ids."""
    context_of_token: Tensor
    """[T] context index, for weights that are given per context."""
    context_of_row: Tensor
    """[R] context of each candidate row."""
    prefix_pad: Tensor
    """[B, P] packed index of each prefix slot; padding slots hold an arbitrary index and are masked."""
    candidate_pad: Tensor
    """[R, C] packed index of each candidate slot; C may be 0 when every candidate is one token long."""
    prefix_mask: Tensor
    """[B, 1, P, cached + P] true where attention is allowed."""
    candidate_mask: Tensor
    """[R, 1, C, cached + P + C]."""
    unpad: Tensor
    """[T] index of each packed token in the padded outputs, prefixes first."""
    last_prefix: Tensor
    """[B] packed index of the token that predicts the first response token."""
    prefix_keys: Tensor
    """[B, cached + P] position of each key of `prefix_mask`."""
    candidate_keys: Tensor
    """[R, cached + P + C] position of each key of `candidate_mask`."""
    longest: int
    """Positions of the longest row."""
    cache: PromptCache | None = None
    record: PromptCache | None = None
    """Set while prompts are encoded: receives each layer's keys and values."""
    _within: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """The masks of sliding windows, made when a layer asks for them."""

    def to(self, device: torch.device, dtype: torch.dtype) -> Layout:
        """On the device, with masks as what is added to attention's logits: kernels that take a boolean mask turn it
        into this once per layer and pass.
        """
        moved: dict[str, Any] = {
            k: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in vars(self).items()
        }
        for name in ("prefix_mask", "candidate_mask"):
            allowed = moved[name]
            moved[name] = torch.zeros_like(allowed, dtype=dtype).masked_fill_(~allowed, float("-inf"))
        return Layout(**moved | {"_within": {}})

    def masks(self, layer: AttentionLayer) -> tuple[Tensor, Tensor]:
        """`prefix_mask` and `candidate_mask`, but for what lies outside the layer's window."""
        window = layer.window_in(self.longest)
        if window is None:
            return self.prefix_mask, self.candidate_mask
        if window not in self._within:
            sides = (self.prefix_mask, self.prefix_keys), (self.candidate_mask, self.candidate_keys)
            prefix, candidate = (_within(mask, keys, window) for mask, keys in sides)
            self._within[window] = prefix, candidate
        return self._within[window]


class OwnAttention(Protocol):
    """A layout that attends by itself, such as that of decoding rows with keys and values of their own."""

    def attend(self, layer: AttentionLayer, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """From [rows, heads, length, head_dim] each to [rows, length, heads, head_dim]."""


def lay_out(
    prefixes: Sequence[int], candidates: Sequence[Sequence[int]], cached: Sequence[int] | None = None
) -> Layout:
    """The layout of B contexts with the given lengths.

    Args:
        prefixes: prefix length of each context, at least 1.
        candidates: lengths of the candidates' input tokens per context, none to encode prefixes alone; 0 for a response
            of a single token, whose only prediction comes from the prefix.
        cached: length of each prompt's part that was encoded beforehand.
    """
    rows = [length for lengths in candidates for length in lengths]
    context_of_row = _integers([b for b, lengths in enumerate(candidates) for _ in lengths])
    prefix_lengths, row_lengths = _integers(prefixes), _integers(rows)
    cached_lengths = _integers(cached if cached is not None else [0] * len(prefixes))

    ends = np.cumsum(np.concatenate([prefix_lengths, row_lengths]))
    starts = np.concatenate([[0], ends[:-1]])
    split = len(prefixes)
    prefix_slots = np.arange(max(prefixes))
    candidate_slots = np.arange(max(rows, default=0))
    prefix_valid = prefix_slots < prefix_lengths[:, None]
    candidate_valid = candidate_slots < row_lengths[:, None]

    cached_valid = np.arange(cached_lengths.max()) < cached_lengths[:, None]
    prefix_keys = np.concatenate([cached_valid, prefix_valid], 1)
    prefix_at = cached_lengths[:, None] + prefix_slots
    candidate_at = (cached_lengths + prefix_lengths)[context_of_row][:, None] + candidate_slots
    prefix_key_at = np.concatenate(
        [np.broadcast_to(np.arange(cached_valid.shape[1]), cached_valid.shape), prefix_at], 1
    )
    arrays = {
        "positions": np.concatenate([prefix_at[prefix_valid], candidate_at[candidate_valid]]),
        "context_of_token": np.concatenate(
            [np.arange(split).repeat(prefix_lengths), context_of_row.repeat(row_lengths)]
        ),
        "context_of_row": context_of_row,
        "prefix_pad": np.where(prefix_valid, starts[:split, None] + prefix_slots, 0),
        "candidate_pad": np.where(candidate_valid, starts[split:, None] + candidate_slots, 0),
        "prefix_mask": _causal_after(cached_valid, len(prefix_slots))[:, None],
        "candidate_mask": _causal_after(prefix_keys[context_of_row], len(candidate_slots))[:, None],
        "unpad": np.concatenate(
            [prefix_valid.ravel().nonzero()[0], prefix_valid.size + candidate_valid.ravel().nonzero()[0]]
        ),
        "last_prefix": ends[:split] - 1,
        "prefix_keys": prefix_key_at,
        "candidate_keys": np.concatenate([prefix_key_at[context_of_row], candidate_at], 1),
    }
    tensors: dict[str, Any] = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return Layout(**tensors, longest=int(arrays["positions"].max()) + 1)


def _integers(values: Sequence[int]) -> Integers:
    return np.array(values, dtype=np.int64)


def _causal_after(past: Booleans, length: int) -> Booleans:
    """[rows, length, past + length]: all valid past keys and the row's own tokens up to each query.

    Padding stands at the end of a row, so the causal part keeps real queries from seeing it, while a padding query
    sees at least itself and its softmax stays finite.
    """
    rows = past.shape[0]
    causal = np.broadcast_to(np.tri(length, dtype=np.bool_), (rows, length, length))
    return np.concatenate([np.broadcast_to(past[:, None], (rows, length, past.shape[1])), causal], -1)


def _within(mask: Tensor, keys: Tensor, window: int) -> Tensor:
    """The mask [rows, 1, queries, keys] without keys [rows, keys] that lie `window` or more positions behind."""
    queries = keys[:, keys.shape[1] - mask.shape[2] :]
    behind = queries[:, None, :, None] - keys[:, None, None, :]
    return mask.masked_fill(behind >= window, float("-inf"))


def _pad(packed: Tensor, index: Tensor) -> Tensor:
    """[T, heads, d] -> [rows, length, heads, d]."""
    return packed.index_select(0, index.flatten()).view(*index.shape, *packed.shape[1:])


def dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float | None, sinks: Tensor | None
) -> Tensor:
    """[..., m, value_size] from [..., m, head_size], keys [..., n, head_size] and values [..., n, value_size].

    Args:
        mask: added to the logits (or true where attention is allowed), broadcast to [..., m, n]; None sees all.
        sinks: logits, broadcast to [..., m], of one more key whose value is 0 (attention sinks, Xiao et al. 2024, arXiv
            2309.17453, as learned logits).
    """
    if sinks is not None:
        # The key's logit differs by head, and a mask per head would be as large as all logits. So it comes as a
        # product: one more number per query, which that key alone multiplies. The others keep kernels aligned.
        size = query.shape[-1]
        scaling = size**-0.5 if scaling is None else scaling
        query, key, value = F.pad(query, (0, 8)), F.pad(key, (0, 8, 1, 0)), F.pad(value, (0, 0, 1, 0))
        query[..., size] = (sinks / scaling).to(query.dtype)
        key[..., 0, size] = 1
        mask = mask if mask is None else F.pad(mask, (1, 0), value=1 if mask.dtype == torch.bool else 0)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling)


def _rows(layer: AttentionLayer, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """Attention of [rows, length, heads, head_size], key heads perhaps fewer."""
    groups = query.shape[2] // key.shape[2]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 2), value.repeat_interleave(groups, 2)
    q, k, v = (x.transpose(1, 2) for x in (query, key, value))
    sinks = layer.sinks if layer.sinks is None else layer.sinks[:, None]
    out = dot_product_attention(q, k, v, mask, layer.scaling, sinks)
    return out.transpose(1, 2)


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    layout: Layout | OwnAttention | None = None,
    sliding_window: int | None = None,
    s_aux: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention over a packed row; without a layout, transformers' own scaled-dot-product attention.

    Args:
        query, key, value: [1, heads, T, head_dim] packed, or [rows, heads, length, head_dim] without a layout.
        attention_mask: read without a layout alone; None is causal.
        sliding_window: positions that a query of this layer sees, its own included.
        s_aux: [heads] logits of the layer's attention sinks.

    Returns:
        [1, T, heads, head_dim] packed, or [rows, length, heads, head_dim].
    """
    layer = AttentionLayer(module.layer_idx, scaling, sliding_window, s_aux)
    if layout is None and s_aux is not None:
        if attention_mask is None:
            length, past = query.shape[2], key.shape[2] - query.shape[2]
            attention_mask = torch.ones(length, past + length, dtype=torch.bool, device=query.device).tril(past)
        q, k, v = (x.transpose(1, 2) for x in (query, key, value))
        return _rows(layer, q, k, v, attention_mask), None
    if layout is None:
        output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
        return output, None
    if not isinstance(layout, Layout):
        return layout.attend(layer, query, key, value), None
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    prefix_k, prefix_v = _pad(k, layout.prefix_pad), _pad(v, layout.prefix_pad)
    if layout.record is not None:
        layout.record.layers.append((prefix_k, prefix_v))
    if layout.cache is not None:
        cached_k, cached_v = layout.cache.layers[layer.index]
        prefix_k, prefix_v = torch.cat([cached_k, prefix_k], 1), torch.cat([cached_v, prefix_v], 1)
    prefix_q = _pad(q, layout.prefix_pad)
    prefix_mask, candidate_mask = layout.masks(layer)
    padded = [_rows(layer, prefix_q, prefix_k, prefix_v, prefix_mask).flatten(0, 1)]
    if layout.candidate_pad.numel():
        candidate_q = _pad(q, layout.candidate_pad)
        candidate_k = torch.cat([prefix_k.index_select(0, layout.context_of_row), _pad(k, layout.candidate_pad)], 1)
        candidate_v = torch.cat([prefix_v.index_select(0, layout.context_of_row), _pad(v, layout.candidate_pad)], 1)
        out = _rows(layer, candidate_q, candidate_k, candidate_v, candidate_mask)
        padded.append(out.flatten(0, 1))
    return torch.cat(padded).index_select(0, layout.unpad)[None], None


AttentionInterface.register(ATTENTION, attend)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
