"""What a row's trade-off does to the model: the gates of its adapters and its soft tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor

from cosdpo.models.language_scorer import LanguageScorer


@dataclass(frozen=True, eq=False)
class RowConditioning:
    """One trade-off, or the base."""

    key: bytes
    """The same for the same trade-off; empty for the base."""
    gates: Tensor
    """[layers, rank]; zeros for the base, whose low-rank updates are then exactly 0."""
    soft: Tensor | None
    """[k, H] soft tokens."""

    @property
    def soft_tokens(self) -> int:
        """k, 0 without."""
        return 0 if self.soft is None else len(self.soft)


class Conditioner:
    """Makes the conditionings of one scorer."""

    def __init__(self, scorer: LanguageScorer) -> None:
        self.scorer = scorer
        ends = 2 if scorer.gates is not None else 0
        layers = sum(isinstance(module, LoraLayer) for module in scorer.modules())
        rank = scorer.model.peft_config["default"].r
        self.ones = torch.ones(layers + ends, rank, device=scorer.device)
        self.base = RowConditioning(b"", torch.zeros_like(self.ones), None)

    def at(self, weights: tuple[float, ...], temperature: tuple[float, ...]) -> RowConditioning:
        """The trained model at these weights; only a temperature-conditioned one reads the temperatures' ratios."""
        scorer = self.scorer
        w, beta = (torch.tensor([values], dtype=torch.float32) for values in (weights, temperature))
        conditions = scorer.conditions(w, beta)
        soft, gates = scorer.soft_and_gates(conditions.to(scorer.device, non_blocking=True))
        return RowConditioning(
            key=conditions.numpy().tobytes(),
            gates=self.ones if gates is None else gates[0],
            soft=None if soft is None else soft[0],
        )
