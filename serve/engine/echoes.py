"""Prompts told back with the log-probabilities of their tokens, some between two decoding steps.

All tokens after a prompt's first are scored as a response to it. So they are what the adapters make of them also in
scope `response`, where the frozen base alone encodes prompts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

from cosdpo.data.tokenization import TokenizedContext
from cosdpo.models.language_scorer import LanguageScorer
from cosdpo.models.log_probabilities import chunk_rows
from cosdpo.models.transfer import on_device
from serve.engine.requests import TokenLogprob
from serve.engine.sequence import Sequence

Tell = Callable[[Tensor, Tensor, list[int]], list[TokenLogprob]]
"""From hidden states [T, H], the tokens [T] that came, and how many alternatives of each to tell."""


class Echoes:
    """Sequences whose prompts are still to be told back."""

    def __init__(self, scorer: LanguageScorer, tell: Tell) -> None:
        self.scorer = scorer
        self.tell = tell
        self.waiting: deque[Sequence] = deque()

    def step(self, tokens: int) -> list[Sequence]:
        """Tells the next prompts of about `tokens` tokens, at least one; returns their sequences."""
        if not self.waiting:
            return []
        done = [self.waiting.popleft()]
        spent = len(done[0].request.prompt)
        while self.waiting and self.waiting[0].ratio == done[0].ratio:
            spent += len(self.waiting[0].request.prompt)
            if spent > tokens:
                break
            done.append(self.waiting.popleft())
        scored = [s for s in done if s.request.sampling.logprobs is not None and len(s.request.prompt) > 1]
        logprobs = dict(zip(map(id, scored), self._logprobs(scored), strict=True))
        for sequence in done:
            sequence.echo(logprobs.get(id(sequence), []))
        return done

    def _logprobs(self, sequences: list[Sequence]) -> list[list[TokenLogprob]]:
        """Of the tokens of each prompt but its first."""
        if not sequences:
            return []
        requests = [sequence.request for sequence in sequences]
        rests = [list(request.prompt[1:]) for request in requests]
        contexts = [TokenizedContext([r.prompt[0]], [rest]) for r, rest in zip(requests, rests, strict=True)]
        c, device = sequences[0].ratio, self.scorer.device
        # An infinite temperature has no ratios; the base, which it stands for, reads none.
        trained = self.scorer.card.trained_temperature
        betas = [r.temperature if c != float("inf") else trained for r in requests]
        weights = on_device([r.weights for r in requests], device, torch.float32)
        predictors = self.scorer.predictors(contexts, weights, on_device(betas, device), c)
        of_prompt: list[list[TokenLogprob]] = []
        at = len(requests)
        for b, (request, rest) in enumerate(zip(requests, rests, strict=True)):
            hidden = torch.cat([predictors[b : b + 1], predictors[at : at + len(rest) - 1]])
            at += len(rest) - 1
            chosen = on_device(rest, device)
            chunk = chunk_rows(self.scorer.head.weight)
            top = request.sampling.logprobs or 0
            pieces = [
                self.tell(h, y, [top] * len(y)) for h, y in zip(hidden.split(chunk), chosen.split(chunk), strict=True)
            ]
            of_prompt.append([token for piece in pieces for token in piece])
        return of_prompt
