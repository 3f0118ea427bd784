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
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import LoraVariant
from torch import Tensor, nn
from torch.nn import functional as F


class HyperPrompt(nn.Module):
    """Soft tokens that depend on the weights: P(c) = P_0 + A c, shape [B, k, H]."""

    def __init__(self, tokens: int, hidden_size: int, conditions: int, scale: float) -> None:
        """`scale` is the standard deviation of the base's own token embeddings, where P_0 and A start."""
        super().__init__()
        self.offset = nn.Parameter(torch.randn(tokens, hidden_size) * scale)
        self.slope = nn.Parameter(torch.randn(conditions, tokens, hidden_size) * scale)

    def forward(self, conditions: Tensor) -> Tensor:
        """Soft tokens [B, k, H] for conditions [B, c]."""
        return self.offset + torch.einsum("bc,ckh->bkh", conditions, self.slope)


class Gates(nn.Module):
    """Gates g(c) = G c + b of every adapted matrix, shape [B, layers, rank]."""

    def __init__(self, layers: int, rank: int, objectives: int, conditions: int) -> None:
        super().__init__()
        block = torch.arange(rank) * objectives // rank
        start = F.one_hot(block, conditions).float().T
        self.slope = nn.Parameter(start.repeat(layers, 1, 1))
        self.offset = nn.Parameter(torch.zeros(layers, rank))

    def forward(self, conditions: Tensor) -> Tensor:
        """Gates [B, layers, rank] for conditions [B, c]."""
        return self.offset + torch.einsum("bc,lcr->blr", conditions, self.slope)


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
        if self.state.gates is not None:
            gates = self.state.gates[:, self.layer]
            rows = self.state.rows
            gates = gates[:, None] if rows is None else gates.index_select(0, rows)[None]
            inner = inner * gates.to(inner.dtype)
        return result + F.linear(inner, b)


def attach(model: nn.Module, state: AdapterState, adapter: str = "default") -> int:
    """Puts every LoRA layer of `model` under `state`; returns the number of layers."""
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    for index, layer in enumerate(layers):
        layer.lora_variant[adapter] = ConditionedLora(state, index)
    return len(layers)
