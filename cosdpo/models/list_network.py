"""Networks that score the documents of a query: a transformer over the list, or an MLP on each document.

Documents of all lists of a batch are packed one after another; every matrix product runs on packed rows, so that
nothing is computed for padding. Attention alone is padded, to the longest list of the batch, and batches are made of
lists of similar length. The weights of the objectives enter in two ways, of which a network may have both: they are
concatenated to each document's features, and they gate the hidden units.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cosdpo.data.packed_lists import PackedLists


class UnitGates(nn.Module):
    """Multiplies hidden units by 1 + G c, affine in the conditions c of the list (ours).

    Units are dealt to the m objectives in turn, and a unit's gate starts at m w_j for its objective j: at equal weights
    it is 1, and at a vertex the units of that objective alone act. Started at 1 for all weights instead, units would
    have to part by what little their gradients differ. Conditions after the weights start without effect.
    """

    def __init__(self, objectives: int, conditions: int, width: int) -> None:
        super().__init__()
        self.objectives = objectives
        self.affine = nn.Linear(conditions, width, bias=False)
        self.deal(0.0)

    @torch.no_grad()
    def deal(self, shared: float) -> None:
        """Deals the units to the objectives anew but for the last `shared` of them, whose gates start at 1."""
        width = self.affine.out_features - round(shared * self.affine.out_features)
        own = F.one_hot(torch.arange(width) % self.objectives, self.objectives)
        self.affine.weight.zero_()
        self.affine.weight[:width, : self.objectives] = self.objectives * own - 1  # sum_j w_j = 1

    def forward(self, hidden: Tensor, conditions: Tensor, owner: Tensor) -> Tensor:
        """hidden [T, W] gated by conditions [B, c] of the list that owns each row."""
        gates: Tensor = 1 + self.affine(conditions)
        return hidden * gates.index_select(0, owner)


class FeedForward(nn.Module):
    """Linear, GELU, gate, linear."""

    def __init__(self, width: int, inner: int, objectives: int, conditions: int, dropout: float) -> None:
        super().__init__()
        self.rise = nn.Linear(width, inner)
        self.gate = UnitGates(objectives, conditions, inner) if conditions else None
        self.fall = nn.Linear(inner, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, conditions: Tensor | None, owner: Tensor) -> Tensor:
        """[T, width] to [T, width]."""
        hidden = F.gelu(self.rise(x))
        if self.gate is not None and conditions is not None:
            hidden = self.gate(hidden, conditions, owner)
        update: Tensor = self.dropout(self.fall(hidden))
        return update


class ListAttention(nn.Module):
    """Self-attention among the documents of a list, in any order: there are no positions."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, lists: PackedLists, mask: Tensor | None) -> Tensor:
        """[T, width] to [T, width]; nothing passes between lists."""
        padded = lists.pad(self.qkv(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = padded.unbind(0)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        update: Tensor = self.dropout(self.out(lists.unpad(attended.transpose(1, 2).flatten(2))))
        return update


class ListLayer(nn.Module):
    """One layer: attention over the list (transformer only), then the feed-forward network, each on a residual."""

    def __init__(
        self, width: int, heads: int, objectives: int, conditions: int, dropout: float, attention: bool
    ) -> None:
        super().__init__()
        self.attention = ListAttention(width, heads, dropout) if attention else None
        self.norm_attention = nn.LayerNorm(width) if attention else None
        self.norm = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, 4 * width if attention else width, objectives, conditions, dropout)

    def forward(self, x: Tensor, lists: PackedLists, mask: Tensor | None, conditions: Tensor | None) -> Tensor:
        """[T, width] to [T, width]."""
        if self.attention is not None and self.norm_attention is not None:
            x = x + self.attention(self.norm_attention(x), lists, mask)
        update: Tensor = self.feed_forward(self.norm(x), conditions, lists.owner)
        return x + update


class ListNetwork(nn.Module):
    """Scores of documents, [T], from their features and, where it has any, the conditions of their lists."""

    def __init__(
        self,
        architecture: Literal["transformer", "mlp"],
        inputs: int,
        objectives: int,
        conditions: int,
        conditioning: Literal["concatenation", "gates", "both"],
        width: int,
        layers: int,
        heads: int,
        dropout: float,
    ) -> None:
        """Builds the network.

        Args:
            inputs: features of a document.
            objectives: number of weights, which come first among the conditions.
            conditions: numbers that condition a list; 0 for an unconditioned network.
        """
        super().__init__()
        gated = conditions if conditioning != "concatenation" else 0
        self.embed = nn.Linear(inputs, width)
        # W [x; c] is W_x x + W_c c, and the second term is the same for all documents of a list.
        self.embed_conditions = (
            nn.Linear(conditions, width, bias=False) if conditions and conditioning != "gates" else None
        )
        self.gate = UnitGates(objectives, gated, width) if gated else None
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            ListLayer(width, heads, objectives, gated, dropout, architecture == "transformer") for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 1, bias=False)

    def forward(self, features: Tensor, lists: PackedLists, conditions: Tensor | None) -> Tensor:
        """Scores [T] of standardised features [T, F] under conditions [B, c]."""
        x = self.embed(features)
        if self.embed_conditions is not None and conditions is not None:
            x = x + self.embed_conditions(conditions).index_select(0, lists.owner)
        x = self.dropout(x)
        if self.gate is not None and conditions is not None:
            x = self.gate(x, conditions, lists.owner)
        mask = lists.mask()
        for block in self.blocks:
            x = block(x, lists, mask, conditions)
        scores: Tensor = self.head(self.norm(x)).squeeze(-1)
        return scores
