"""The reference log pi_ref(y_i | x) of every candidate response, and the scoring pass that the tuned model shares.

All candidates of all contexts go through the base in one row of packed tokens (models/packing.py); log-probabilities
are taken where responses are predicted, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cosdpo.activity import advance
from cosdpo.data.batching import length_batches
from cosdpo.data.tokenization import TokenizedContext
from cosdpo.models.conditioning import AdapterState
from cosdpo.models.log_probabilities import token_log_probabilities
from cosdpo.models.packing import Layout, PromptCache, lay_out
from cosdpo.models.transfer import on_device


class FrozenScorer(nn.Module):
    """The reference: log pi_ref(y_i | x) under the frozen base, and the scoring pass that the tuned model shares."""

    body: Any
    head: Any
    embed: Any

    def __init__(self, causal: Any) -> None:
        super().__init__()
        # Views, not second registrations: whoever owns the module named `model` owns these weights.
        object.__setattr__(self, "body", causal.base_model)
        object.__setattr__(self, "head", causal.get_output_embeddings())
        object.__setattr__(self, "embed", causal.get_input_embeddings())
        self.state = AdapterState()

    @classmethod
    def of(cls, causal: Any) -> FrozenScorer:
        """A scorer that owns the frozen base `causal`."""
        scorer = cls(causal)
        scorer.model = causal
        return scorer

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self.embed.weight.device
        return device

    @torch.no_grad()
    def reference(self, contexts: Sequence[TokenizedContext]) -> Tensor:
        """log pi_ref(y_i | x), [B, n]: the base without adapters and soft tokens; absent candidates are 0."""
        return self._scores(contexts, self._predictors(contexts, None, None, None, tuned=False))

    def all_references(self, contexts: Sequence[TokenizedContext], batch_tokens: int) -> list[list[float]]:
        """log pi_ref of every candidate of every context, in batches of similar length."""
        scores: list[list[float]] = [[]] * len(contexts)
        for indices in length_batches([c.tokens for c in contexts], batch_tokens):
            rows = self.reference([contexts[i] for i in indices]).tolist()
            for i, row in zip(indices, rows, strict=True):
                scores[i] = row[: len(contexts[i].candidates)]
            advance(len(indices))
        return scores

    @torch.no_grad()
    def _encode_prompts(self, contexts: Sequence[TokenizedContext]) -> PromptCache:
        """Keys and values of every prompt but its last token, under the frozen base."""
        lengths = [len(c.prompt) - 1 for c in contexts]
        cache = PromptCache(lengths)
        if max(lengths) == 0:
            return cache
        layout = lay_out(lengths, [[] for _ in contexts]).to(self.device, self.embed.weight.dtype)
        layout.record = cache
        self.state.enabled = False
        ids = on_device([t for c in contexts for t in c.prompt[:-1]], self.device)
        self._run(self.embed(ids), layout)
        return cache

    def _predictors(
        self,
        contexts: Sequence[TokenizedContext],
        soft: Tensor | None,
        gates: Tensor | None,
        cache: PromptCache | None,
        tuned: bool,
    ) -> Tensor:
        """Final hidden states [T, H] that predict response tokens: the first of every candidate, then the others."""
        k = soft.shape[1] if soft is not None else 0
        cached = cache.lengths if cache is not None else None
        prefixes = [(1 if cached is not None else len(c.prompt)) + k for c in contexts]
        layout = lay_out(prefixes, [[len(y) - 1 for y in c.candidates] for c in contexts], cached)
        if cache is not None and cache.layers:
            layout.cache = cache

        placeholder = [0] * k
        ids: list[int] = []
        soft_at: list[int] = []
        for context in contexts:
            start = len(ids) + (cached is not None)  # soft tokens follow the last prompt token, or open the prompt
            soft_at.extend(range(start, start + k))
            ids += context.prompt[-1:] + placeholder if cached is not None else placeholder + context.prompt
        for context in contexts:
            for y in context.candidates:
                ids += y[:-1]
        layout = layout.to(self.device, self.embed.weight.dtype)
        self.state.enabled, self.state.gates, self.state.rows = tuned, gates, layout.context_of_token
        embeddings = self.embed(on_device(ids, self.device))
        if soft is not None:
            index = on_device(soft_at, self.device)
            embeddings = embeddings.index_copy(0, index, soft.flatten(0, 1).to(embeddings.dtype))
        hidden = self._run(embeddings, layout)

        firsts = hidden.index_select(0, layout.last_prefix).index_select(0, layout.context_of_row)
        return torch.cat([firsts, hidden[sum(prefixes) :]])

    def _scores(self, contexts: Sequence[TokenizedContext], predictors: Tensor) -> Tensor:
        """log-probabilities summed over response tokens, [B, n], from hidden states as `_predictors` orders them."""
        rows = [y for c in contexts for y in c.candidates]
        tokens = [y[0] for y in rows] + [t for y in rows for t in y[1:]]
        log_p = token_log_probabilities(
            predictors, self.head.weight, getattr(self.head, "bias", None), on_device(tokens, self.device)
        )
        return self._sums(contexts, log_p)

    def _sums(self, contexts: Sequence[TokenizedContext], per_token: Tensor) -> Tensor:
        """Sums over each candidate's tokens, [B, n], of values [T] in the order of `_predictors`."""
        rows = [y for c in contexts for y in c.candidates]
        row_of_token = [*range(len(rows)), *(r for r, y in enumerate(rows) for _ in y[1:])]
        sums = per_token.new_zeros(len(rows)).index_add(0, on_device(row_of_token, self.device), per_token)
        n = max(len(c.candidates) for c in contexts)
        context = on_device([b for b, c in enumerate(contexts) for _ in c.candidates], self.device)
        column = on_device([i for c in contexts for i in range(len(c.candidates))], self.device)
        return sums.new_zeros(len(contexts), n).index_put((context, column), sums)

    def _run(self, embeddings: Tensor, layout: Layout) -> Tensor:
        """Final hidden states of packed tokens, [T, H]."""
        half = self.embed.weight.dtype == torch.bfloat16
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            output = self.body(
                inputs_embeds=embeddings[None],
                position_ids=layout.positions[None],
                # Four dimensions: transformers takes the mask as it is; `attend` reads the layout's own.
                attention_mask=layout.prefix_mask,
                use_cache=False,
                layout=layout,
            )
        hidden: Tensor = output.last_hidden_state[0]
        return hidden
