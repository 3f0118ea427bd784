"""One pass of the model over everything there is to do: a token of each decoding row, and chunks of prompts.

Tokens lie one below the other, [T, 1, H], so that every token has its own gates: rows of different trade-offs and of
the base share all matrix products, and only attention needs to know which row a token belongs to.
"""

from __future__ import annotations

from collections.abc import Sequence as Items

import torch
from torch import Tensor

from cosdpo.models.language_scorer import LanguageScorer
from cosdpo.models.transfer import on_device
from serve.engine.adapters import Adapters
from serve.engine.attention import PrefillChunk, StepAttention
from serve.engine.decoding_batch import DecodingBatch
from serve.engine.row_conditioning import RowConditioning


class ModelPass:
    """Runs a scorer's model."""

    def __init__(self, scorer: LanguageScorer) -> None:
        self.scorer = scorer
        self.device = scorer.device
        self.dtype: torch.dtype = scorer.embed.weight.dtype
        self.half = self.dtype == torch.bfloat16
        self.adapters = Adapters(scorer.model, self.dtype)
        # Four dimensions: transformers takes the mask as it is, and the layout's attention does not read it.
        self.unread = torch.zeros(1, 1, 1, 1, device=self.device)

    def over(self, batch: DecodingBatch | None, chunks: list[PrefillChunk]) -> Tensor:
        """Final hidden states [T, H]: the batch's rows first, then the chunks' tokens."""
        ids, positions, gates = [], [], []
        soft: list[tuple[int, Tensor]] = []
        at = 0
        if batch is not None:
            ids, positions, gates, at = [batch.tokens], [batch.positions], [batch.gates], len(batch.rows)
            for pool in batch.pools:
                pool.lay(batch.positions)
            for i, row in enumerate(batch.rows):
                if row.opening_soft and row.length == row.prefix_length + row.opening_soft:
                    assert row.conditioning.soft is not None
                    soft.append((i, row.conditioning.soft[-1:]))
        for chunk in chunks:
            chunk.lay(at)
            if chunk.soft is not None:
                soft.append((at + chunk.soft_at, chunk.soft))
            at = chunk.span.stop
        if chunks:
            ids.append(on_device([token for s in chunks for token in s.ids], self.device))
            positions += [torch.arange(s.start, s.start + len(s.ids), device=self.device) for s in chunks]
            gates.append(_gates([s.conditioning for s in chunks], [len(s.ids) for s in chunks]))
        tuned = (batch is not None and batch.tuned) or any(chunk.conditioning.key for chunk in chunks)
        layout = StepAttention(chunks, batch.pools if batch is not None else [], self.dtype)
        return self._hidden(_joined(ids), soft, _joined(gates) if tuned else None, _joined(positions), layout)

    def _hidden(
        self,
        ids: Tensor,
        soft: list[tuple[int, Tensor]],
        gates: Tensor | None,
        positions: Tensor,
        layout: StepAttention,
    ) -> Tensor:
        """Final hidden states [T, H].

        Args:
            ids: [T].
            soft: (index, [k, H]) soft tokens that stand in the place of ids.
            gates: [T, layers, rank]; None runs the frozen base alone.
            positions: [T].
        """
        state = self.scorer.state
        state.enabled, state.gates, state.rows = gates is not None, gates, None
        embeddings: Tensor = self.scorer.embed(ids[:, None])
        for at, tokens in soft:
            embeddings[at : at + len(tokens), 0] = tokens.to(embeddings.dtype)
        self.adapters.use(gates)
        try:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
                output = self.scorer.body(
                    inputs_embeds=embeddings,
                    position_ids=positions[:, None],
                    attention_mask=self.unread,
                    use_cache=False,
                    layout=layout,
                )
        finally:
            self.adapters.leave()
        hidden: Tensor = output.last_hidden_state[:, 0]
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """Next-token logits [S, V] in float32."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            logits: Tensor = self.scorer.head(hidden)
        return logits.float()


def _gates(conditionings: Items[RowConditioning], counts: Items[int]) -> Tensor:
    """Gates of tokens, [T, layers, rank]: conditioning i is that of `counts[i]` tokens in a row."""
    each = torch.stack([conditioning.gates for conditioning in conditionings])
    return each.repeat_interleave(on_device(counts, each.device), 0, output_size=sum(counts))


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)
