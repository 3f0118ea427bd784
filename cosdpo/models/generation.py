"""Sampling text from a conditioned language model: each row of a batch has its own weights.

Prompts of unequal length are padded on the left; keys and values are cached, so each new token costs one position.
With scope `response` the frozen base encodes the prompt and the tuned model takes over at its last token.

A row at c times the trained temperature is decoded by two passes that share its tokens, one of the tuned model and one
of the base: its logits are (1 - 1/c) z_ref + (1/c) z. A row at c = 1 needs no base, one at infinity no tuned model.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedTokenizerBase

from cosdpo.models.base import context_length
from cosdpo.models.language_scorer import LanguageScorer
from cosdpo.models.transfer import on_device


@torch.no_grad()
def generate(
    scorer: LanguageScorer,
    prompts: Sequence[list[int]],
    weights: Tensor | None,
    temperatures: Tensor | None,
    max_new_tokens: int,
    sampling_temperature: float = 0.0,
    seed: int = 0,
    ends: Collection[int] = (),
    ratios: Sequence[float] | None = None,
) -> list[list[int]]:
    """New tokens of each prompt, without the one that ends it; a row also ends where the model's context does.

    Args:
        prompts: B token lists, none empty.
        weights: [B, m], or None to sample from the frozen base.
        temperatures: [B, m] DPO temperatures, by default the trained ones; only a temperature-conditioned model reads
            them.
        sampling_temperature: 0 takes the likeliest token; otherwise logits are divided by it.
        seed: each row draws from its own generator, seeded by (seed, row's index), whatever else is in the batch.
        ends: tokens of which each ends a row; never the first one, since an empty text answers nothing.
        ratios: [B] c of each row, the wanted over the trained temperature, > 0 and perhaps infinite; None is 1.
    """
    decoder = _Mixture(scorer, prompts, weights, temperatures, ratios or [1.0] * len(prompts))
    generators = [torch.Generator().manual_seed(seed * 1_000_003 + row) for row in range(len(prompts))]
    outputs: list[list[int]] = [[] for _ in prompts]
    finished = [False] * len(prompts)
    logits = decoder.start()
    logits[:, list(ends)] = float("-inf")
    for position in range(max_new_tokens):
        tokens = _choose(logits, sampling_temperature, generators)
        for row, token in enumerate(tokens.tolist()):
            finished[row] = finished[row] or token in ends
            if not finished[row]:
                outputs[row].append(token)
                finished[row] = len(outputs[row]) >= decoder.room[row]
        if all(finished) or position + 1 == max_new_tokens:
            break
        logits = decoder.step(tokens)
    return outputs


def _choose(logits: Tensor, temperature: float, generators: list[torch.Generator]) -> Tensor:
    if temperature == 0:
        return logits.argmax(-1)
    probabilities = (logits.float() / temperature).softmax(-1).cpu()
    draws = [torch.multinomial(p, 1, generator=g) for p, g in zip(probabilities, generators, strict=True)]
    return torch.cat(draws).to(logits.device)


class _Mixture:
    """Tuned rows and base rows of one batch that share their tokens."""

    def __init__(
        self,
        scorer: LanguageScorer,
        prompts: Sequence[list[int]],
        weights: Tensor | None,
        temperatures: Tensor | None,
        ratios: Sequence[float],
    ) -> None:
        self.scorer = scorer
        self.parts: list[tuple[Tensor, Tensor, _Decoder]] = []
        self.room = [context_length(scorer.body.config)] * len(prompts)
        shares = [0.0 if weights is None else 1 / c for c in ratios]
        for factors, tuned in ((shares, True), ([1 - share for share in shares], False)):
            chosen = [row for row, factor in enumerate(factors) if factor]
            if not chosen:
                continue
            rows = on_device(chosen, scorer.device)
            w = weights[rows] if tuned and weights is not None else None
            beta = temperatures[rows] if tuned and temperatures is not None else None
            decoder = _Decoder(scorer, [prompts[row] for row in chosen], w, beta)
            for row, room in zip(chosen, decoder.room, strict=True):
                self.room[row] = min(self.room[row], room)
            self.parts.append((rows, on_device([[factors[row]] for row in chosen], scorer.device), decoder))

    def start(self) -> Tensor:
        """Encodes the prompts; returns the first logits [B, V]."""
        return self._mixed([decoder.start() for _, _, decoder in self.parts])

    def step(self, tokens: Tensor) -> Tensor:
        """Appends one token per row; returns the next logits [B, V]."""
        return self._mixed([decoder.step(tokens[rows]) for rows, _, decoder in self.parts])

    def _mixed(self, hidden: Sequence[Tensor]) -> Tensor:
        """Logits of the mixed hidden states: the head is linear, so that mixing these mixes the logits."""
        mixed = hidden[0].new_zeros(len(self.room), hidden[0].shape[1])
        for (rows, factor, _), part in zip(self.parts, hidden, strict=True):
            mixed = mixed.index_add(0, rows, part * factor.to(part.dtype))
        with torch.autocast(
            mixed.device.type, torch.bfloat16, enabled=self.scorer.embed.weight.dtype == torch.bfloat16
        ):
            logits: Tensor = self.scorer.head(mixed)
        return logits


class _Decoder:
    """The cache, masks and positions of one batch, all tuned or all base rows."""

    def __init__(
        self, scorer: LanguageScorer, prompts: Sequence[list[int]], weights: Tensor | None, temperatures: Tensor | None
    ) -> None:
        self.scorer = scorer
        self.prompts = prompts
        self.soft: Tensor | None = None
        self.gates: Tensor | None = None
        self.tuned = weights is not None
        if weights is not None:
            if temperatures is None:
                temperatures = weights.new_tensor(scorer.card.trained_temperature).expand(weights.shape)
            self.soft, self.gates = scorer.soft_and_gates(scorer.conditions(weights, temperatures))
        self.positions = context_length(scorer.body.config)
        k = self.soft.shape[1] if self.soft is not None else 0
        # The token after the last position can still be predicted, if not be read.
        self.room = [self.positions - len(prompt) - k + 1 for prompt in prompts]
        self.cache = DynamicCache(config=scorer.body.config)
        self.mask = torch.zeros(len(prompts), 0, dtype=torch.long, device=scorer.device)

    def start(self) -> Tensor:
        """Encodes the prompts; returns the last hidden states [B, H]."""
        if self.tuned and self.scorer.card.scope == "response":
            heads = [p[:-1] for p in self.prompts]
            if any(heads):
                self._adapters(enabled=False)
                self._forward(*self._left_padded(heads))
            self._adapters(enabled=True)
            opening = self.scorer.embed(torch.tensor([p[-1:] for p in self.prompts], device=self.scorer.device))
            if self.soft is not None:
                opening = torch.cat([opening, self.soft.to(opening.dtype)], 1)
            return self._forward(opening, self.mask.new_ones(opening.shape[:2]))
        self._adapters(enabled=self.tuned)
        embeddings, mask = self._left_padded(list(self.prompts))
        if self.soft is None:
            return self._forward(embeddings, mask)
        # Soft tokens open the prompt: they stand between a row's padding and its first token.
        k, padding = self.soft.shape[1], mask.shape[1] - mask.sum(1)
        opened = torch.cat([embeddings.new_zeros(self.soft.shape), embeddings], 1)
        slots = padding[:, None] + torch.arange(k, device=padding.device)
        opened[torch.arange(len(padding), device=padding.device)[:, None], slots] = self.soft.to(opened.dtype)
        return self._forward(opened, torch.cat([mask, mask.new_ones(len(padding), k)], 1))

    def step(self, tokens: Tensor) -> Tensor:
        """Appends one token per row; returns the last hidden states [B, H]."""
        self._adapters(enabled=self.tuned)
        return self._forward(self.scorer.embed(tokens[:, None]), torch.ones_like(tokens[:, None]))

    def _left_padded(self, rows: list[list[int]]) -> tuple[Tensor, Tensor]:
        longest = max(map(len, rows))
        ids = torch.tensor([[0] * (longest - len(r)) + r for r in rows], device=self.scorer.device)
        mask = torch.tensor([[0] * (longest - len(r)) + [1] * len(r) for r in rows], device=self.scorer.device)
        return self.scorer.embed(ids), mask

    def _adapters(self, enabled: bool) -> None:
        state = self.scorer.state
        state.enabled, state.gates, state.rows = enabled, self.gates, None

    def _forward(self, embeddings: Tensor, mask: Tensor) -> Tensor:
        self.mask = torch.cat([self.mask, mask], 1)
        length = embeddings.shape[1]
        # Padding and rows that are finished may stand anywhere: nothing reads them.
        positions = (self.mask.cumsum(1) - 1).clamp(0, self.positions - 1)[:, -length:]
        with torch.autocast(embeddings.device.type, torch.bfloat16, enabled=embeddings.dtype == torch.bfloat16):
            output = self.scorer.body(
                inputs_embeds=embeddings,
                attention_mask=self.mask,
                position_ids=positions,
                past_key_values=self.cache,
                use_cache=True,
            )
        hidden: Tensor = output.last_hidden_state[:, -1]
        return hidden


def decode(tokenizer: PreTrainedTokenizerBase, rows: Sequence[list[int]]) -> list[str]:
    """Text of each row without special tokens."""
    return [str(text) for text in tokenizer.batch_decode(list(rows), skip_special_tokens=True)]
