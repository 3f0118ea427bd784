"""Scoring given candidates between two decoding steps, a bounded piece at a time."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
import torch

from cosdpo.data.tokenization import TokenizedContext
from cosdpo.errors import InputError
from cosdpo.models.base import context_length
from cosdpo.models.language_scorer import LanguageScorer
from cosdpo.models.temperature import ratio
from cosdpo.models.transfer import on_device
from serve.engine.requests import Scores


@dataclass(eq=False)
class Scoring:
    """The candidates of one request, and the scores of those that are done."""

    scorer: LanguageScorer
    prompt: tuple[int, ...]
    candidates: Sequence[tuple[int, ...]]
    weights: tuple[float, ...]
    temperature: tuple[float, ...]
    future: Future[Scores] = field(default_factory=Future)
    tuned: list[float] = field(default_factory=list)
    base: list[float] = field(default_factory=list)

    def check(self) -> None:
        """Raises InputError where a candidate has no tokens or does not fit into the model's positions."""
        positions = context_length(self.scorer.body.config)
        room = positions - self.scorer.card.soft_tokens - len(self.prompt) + 1
        for i, candidate in enumerate(self.candidates):
            if not candidate:
                raise InputError(f"candidate {i} has no tokens: give it text")
            if len(candidate) > room:
                raise InputError(
                    f"candidate {i} has {len(candidate)} tokens; after a prompt of {len(self.prompt)} this model "
                    f"reads {max(room, 0)}: shorten one of them"
                )

    def run(self, tokens: int) -> bool:
        """Scores the next candidates of about `tokens` tokens, at least one; returns whether all are done."""
        done = len(self.tuned)
        end, spent = done + 1, len(self.prompt) + len(self.candidates[done])
        while end < len(self.candidates) and spent + len(self.candidates[end]) <= tokens:
            spent += len(self.candidates[end])
            end += 1
        scorer = self.scorer
        contexts = [TokenizedContext(list(self.prompt), [list(y) for y in self.candidates[done:end]])]
        c = ratio(np.asarray(self.temperature), scorer.card.trained_temperature)
        # An infinite temperature has no ratios; the base, which it stands for, reads none.
        beta = self.temperature if c != float("inf") else scorer.card.trained_temperature
        w = on_device([self.weights], scorer.device, torch.float32)
        t = on_device([beta], scorer.device, torch.float32)
        self.base += scorer.reference(contexts)[0].tolist()
        self.tuned += scorer.rescaled(contexts, w, t, c)[0].tolist() if c != float("inf") else self.base[done:]
        return end == len(self.candidates)

    def scores(self) -> Scores:
        """What was found."""
        return Scores(tuple(self.tuned), tuple(self.base))
