"""How importance weights enter a language model: hyper prompts and weight-gated LoRA.

Both read the condition vector [w; bbar]: the importance weights and, for a temperature-conditioned model, the
normalised temperatures bbar = beta / ||beta||_1.

- Hyper Prompt Tuning (COS-DPO): k soft tokens P(w) = P_0 + A(w), A affine, next to ordinary LoRA adapters.
- Gated LoRA (this project's): delta W = B diag(g(w, bbar)) A with g affine. The ranks are split into one block per
  objective whose gates start at w_j, so that at a vertex of the simplex only that objective's block acts.

Gates are per row: one batch holds as many trade-offs as it has contexts.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import LoraVariant
from torch import Tensor, nn
from torch.nn import functional as F


class HyperPrompt(nn.Module):
    """Soft tokens that depend on the weights: P(c) = P_0 + A c, shape [B, k, H]."""

    def __init__(self, tokens: int, hidden_size: int, conditions: int, scale: Tensor | float) -> None:
        """`scale` is the standard deviation of the base's own token embeddings, where P_0 and A start."""
        super().__init__()
        # A base in 4 bits is on the GPU before anything is built on it, one that is only checked on no device.
        place = scale.device if isinstance(scale, Tensor) else None
        self.offset = nn.Parameter(torch.randn(tokens, hidden_size, device=place) * scale)
        self.slope = nn.Parameter(torch.randn(conditions, tokens, hidden_size, device=place) * scale)

    def forward(self, conditions: Tensor) -> Tensor:
        """Soft tokens [B, k, H] for conditions [B, c]."""
        return self.offset + torch.einsum("bc,ckh->bkh", conditions, self.slope)


class Gates(nn.Module):
    """Gates of every adapted matrix as a function of the weights, shape [B, layers, rank].

    The ranks are split into equal blocks. With `affine` gates there is a block per objective whose gates start at w_j.
    With `quadratic` gates the blocks start at Bernstein polynomials of degree two, w_j^2 per objective and 4 w_i w_j
    per pair: at a vertex one block acts alone, half-way between two objectives their pair's block is at its largest,
    so that the middle of the front has ranks of its own. Either way the gates stay trainable, linear in their features.
    """

    first: Tensor
    second: Tensor
    of_block: Tensor
    """[features, blocks] at which the gates of a block start."""

    def __init__(self, layers: int, rank: int, objectives: int, conditions: int, kind: str = "affine") -> None:
        super().__init__()
        self.objectives = objectives
        self.quadratic = kind == "quadratic"
        both = list(combinations(range(objectives), 2))
        for name, side in (("first", 0), ("second", 1)):
            self.register_buffer(name, torch.tensor([pair[side] for pair in both], dtype=torch.long), persistent=False)
        pairs = len(both) if self.quadratic else 0
        blocks = torch.eye(objectives + pairs)
        for pair in range(pairs):  # on the simplex w_j^2 = w_j - sum over the other objectives of w_i w_j
            blocks[objectives + pair, both[pair]] = -0.25
        start = torch.zeros(conditions + pairs, objectives + pairs)
        start[:objectives], start[conditions:] = blocks[:objectives], blocks[objectives:]
        self.register_buffer("of_block", start, persistent=False)
        self.slope = nn.Parameter(torch.zeros(layers, conditions + pairs, rank))
        self.offset = nn.Parameter(torch.zeros(layers, rank))
        self.deal(0)

    @torch.no_grad()
    def deal(self, shared: int) -> None:
        """Deals the ranks to the blocks anew but for the last `shared` of them, whose gates start at 1 for all weights.

        What objectives agree on is then learned once (as UniARM's, PARM's and PaLoRA's common parts are meant to).
        """
        rank = self.offset.shape[1] - shared
        block_of_rank = torch.arange(rank) * self.of_block.shape[1] // rank
        self.slope.zero_()
        self.slope[..., :rank] = self.of_block[:, block_of_rank]
        self.offset.zero_()
        self.offset[:, rank:] = 1.0

    def forward(self, conditions: Tensor) -> Tensor:
        """Gates [B, layers, rank] for conditions [B, c], whose first m entries are the weights."""
        features = conditions
        if self.quadratic:
            weights = conditions[:, : self.objectives]
            features = torch.cat([conditions, 4 * weights[:, self.first] * weights[:, self.second]], -1)
        return self.offset + torch.einsum("bc,lcr->blr", features, self.slope)


class EndAdapter(nn.Module):
    """Gated low-rank updates where a language model begins and ends: its token embeddings and final hidden states.

    Embeddings of token t get B_in (g * A_in[t]); final hidden states h get B_out (g * A_out h). The frozen head itself
    is left alone, so its log-probabilities keep their cheap gradient (models/log_probabilities.py).
    """

    def __init__(self, vocabulary: int, hidden_size: int, rank: int, scaling: float) -> None:
        super().__init__()
        self.scaling = scaling
        self.lora_in_a = nn.Parameter(torch.randn(vocabulary, rank) / rank**0.5)
        self.lora_in_b = nn.Parameter(torch.zeros(hidden_size, rank))
        self.lora_out_a = nn.Parameter(torch.empty(rank, hidden_size))
        self.lora_out_b = nn.Parameter(torch.zeros(hidden_size, rank))
        nn.init.kaiming_uniform_(self.lora_out_a, a=5**0.5)

    def embedding(self, ids: Tensor, gates: Tensor) -> Tensor:
        """Update of the embeddings of `ids`, [..., H], under gates [..., rank]."""
        return F.linear(F.embedding(ids, self.lora_in_a) * gates, self.lora_in_b) * self.scaling

    def hidden(self, hidden: Tensor, gates: Tensor) -> Tensor:
        """Update of final hidden states [..., H] under gates [..., rank]."""
        inner = F.linear(hidden.to(self.lora_out_a.dtype), self.lora_out_a) * gates
        return F.linear(inner, self.lora_out_b) * self.scaling


@dataclass
class AdapterState:
    """What the adapters of one model do in the pass that is running; it stays set until the next pass, because a
    checkpointed backward pass reads it again.
    """

    enabled: bool = False
    """False runs the frozen base alone."""
    gates: Tensor | None = None
    """[B, layers, rank]; None leaves the adapters ungated."""
    rows: Tensor | None = None
    """[T] row of each packed token; None where tokens are [B, length]."""

    def gates_of(self, layer: int) -> Tensor | None:
        """Gates of one layer, to multiply with [1, T, rank] of packed tokens or [B, length, rank]."""
        if self.gates is None:
            return None
        gates = self.gates[:, layer]
        return gates[:, None] if self.rows is None else gates.index_select(0, self.rows)[None]


class ConditionedLora(LoraVariant):
    """peft's LoRA layer with a gate per row and rank, and with the shared on/off switch of `AdapterState`."""

    def __init__(self, state: AdapterState, layer: int) -> None:
        self.state = state
        self.layer = layer

    def forward(self, module: Any, active_adapter: str, x: Tensor, result: Tensor, **_: Any) -> Tensor:  # type: ignore[override]
        """result + scaling * (g * (x A^T)) B^T, shape of `result`."""
        if not self.state.enabled:
            return result
        a, b = module.lora_A[active_adapter].weight, module.lora_B[active_adapter].weight
        inner = F.linear(module.lora_dropout[active_adapter](x), a) * module.scaling[active_adapter]
        gates = self.state.gates_of(self.layer)
        if gates is not None:
            inner = inner * gates.to(inner.dtype)
        return result + F.linear(inner, b)


def attach(model: nn.Module, state: AdapterState, adapter: str = "default") -> int:
    """Puts every LoRA layer of `model` under `state`; returns the number of layers."""
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    for index, layer in enumerate(layers):
        layer.lora_variant[adapter] = ConditionedLora(state, index)
    return len(layers)


def attach_ends(embed: nn.Module, body: nn.Module, ends: EndAdapter, state: AdapterState, layer: int) -> None:
    """Adds the updates of `ends` to what `embed` and `body` return, under gates `layer` and `layer + 1`."""

    def on_embeddings(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        gates = state.gates_of(layer)
        if not state.enabled or gates is None:
            return output
        if state.rows is not None:
            gates = gates[0]  # packed ids are [T]
        return output + ends.embedding(inputs[0], gates).to(output.dtype)

    def on_hidden(module: nn.Module, inputs: Any, output: Any) -> Any:
        gates = state.gates_of(layer + 1)
        if state.enabled and gates is not None:
            hidden = output.last_hidden_state
            output.last_hidden_state = hidden + ends.hidden(hidden, gates).to(hidden.dtype)
        return output

    embed.register_forward_hook(on_embeddings)
    body.register_forward_hook(on_hidden)
