"""The decoding rows of all pools as tensors; built anew only when rows join, leave or move."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cosdpo.losses import rescale
from cosdpo.models.transfer import on_device
from serve.engine.attention import PoolRows
from serve.engine.kv_memory import KvMemory
from serve.engine.sampling import SamplingSettings
from serve.engine.sequence import DecodingRow, Sequence


@dataclass(eq=False)
class DecodingBatch:
    """Decoding rows, pool by pool as they lie in memory (D rows), and the S sequences that they belong to."""

    rows: list[DecodingRow]
    sequences: list[Sequence]
    pools: list[PoolRows]
    sequence_of_row: Tensor
    """[D]."""
    lead: Tensor
    """[S] the row that leads each sequence."""
    base: Tensor
    """[S] its base row, or the leading one again."""
    ratios: Tensor
    """[S, 1] c where a base row is mixed in, else 1."""
    gates: Tensor
    """[D, layers, rank]."""
    tuned: bool
    """Whether any row is not the base's."""
    tokens: Tensor
    """[D] each row's next input."""
    positions: Tensor
    """[D] its position."""
    settings: SamplingSettings
    drawn: list[Sequence]
    """Sequences whose tokens are drawn at random, in the order of `settings.sampled`."""

    @classmethod
    def of(
        cls, sequences: list[Sequence], memory: KvMemory, vocabulary: int, device: torch.device
    ) -> DecodingBatch | None:
        """The batch of all sequences that hold slots; None without any."""
        if not sequences:
            return None
        of_slot = {id(row.slot): (row, s) for s, sequence in enumerate(sequences) for row in sequence.rows}
        owners: list[tuple[DecodingRow, int]] = []
        pools = []
        for pool in memory.pools.values():
            rows = [of_slot[id(slot)] for slot in pool.slots]
            span = slice(len(owners), len(owners) + len(rows))
            owners += rows
            longest = max(row.length for row, _ in rows) + 1
            pools.append(PoolRows(pool, span, longest, torch.arange(len(rows), device=device)))
        place = {id(row): i for i, (row, _) in enumerate(owners)}

        def integers(values: list[int]) -> Tensor:
            return on_device(values, device, torch.long)

        paired = [len(sequence.rows) == 2 for sequence in sequences]
        return cls(
            rows=[row for row, _ in owners],
            sequences=sequences,
            pools=pools,
            sequence_of_row=integers([s for _, s in owners]),
            lead=integers([place[id(sequence.rows[0])] for sequence in sequences]),
            base=integers([place[id(sequence.rows[-1])] for sequence in sequences]),
            ratios=on_device([[s.ratio if pair else 1.0] for s, pair in zip(sequences, paired, strict=True)], device),
            gates=torch.stack([row.conditioning.gates for row, _ in owners]),
            tuned=any(row.conditioning.key for row, _ in owners),
            tokens=integers([(sequences[s].tokens or sequences[s].request.prompt)[-1] for _, s in owners]),
            positions=integers([row.length for row, _ in owners]),
            settings=SamplingSettings.of([sequence.request.sampling for sequence in sequences], vocabulary, device),
            drawn=[s for s in sequences if s.request.sampling.temperature > 0],
        )

    def mixed(self, hidden: Tensor) -> Tensor:
        """Hidden states [S, H] whose logits are (1/c) z + (1 - 1/c) z_ref: the head is linear."""
        lead = hidden.index_select(0, self.lead)
        if not any(len(sequence.rows) == 2 for sequence in self.sequences):
            return lead
        return rescale(lead, hidden.index_select(0, self.base), self.ratios.to(hidden.dtype))

    def advance(self, tokens: Tensor) -> None:
        """Makes the chosen tokens, [S], the next inputs."""
        self.tokens = tokens.index_select(0, self.sequence_of_row)
        self.positions += 1
        for pool in self.pools:
            pool.longest += 1
        for row in self.rows:
            row.length += 1
            assert row.slot is not None
            row.slot.used = row.length
