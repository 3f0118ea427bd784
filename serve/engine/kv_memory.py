"""Memory for keys and values: slots of rows in pools by length, stretches of prefixes, one budget of tokens for both.

A row takes a slot of the smallest class (64, 128, 256, ... tokens, up to the model's positions) that holds all it may
ever need. The slots of a class lie side by side and those in use stay together at the front, so that the attention of a
whole pool reads the view [:n, :, :longest] without gathering or copying anything.

What is allocated never exceeds the budget: pools double while there is room, and give their spare slots back when
something else needs it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from cosdpo.errors import InputError
from cosdpo.models.base import context_length
from cosdpo.models.frozen_scorer import FrozenScorer
from cosdpo.models.packing import AttentionLayer

SMALLEST_CLASS = 64


class _Probe:
    """Looks at what attention is given; every query sees its own token alone."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, int, int]] = []
        """Heads, head size and value size of the keys and values of each layer."""

    def attend(self, layer: AttentionLayer, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """[1, 1, heads, value_size]."""
        self.shapes.append((key.shape[1], key.shape[3], value.shape[3]))
        return value.repeat_interleave(query.shape[1] // value.shape[1], 1).transpose(1, 2)


@dataclass(frozen=True)
class KvShape:
    """Form of a model's keys and values."""

    layers: int
    heads: int
    head_size: int
    positions: int
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, scorer: FrozenScorer) -> KvShape:
        """What a pass of one token keeps.

        Raises:
            InputError: its layers keep keys and values of different forms.
        """
        probe = _Probe()
        dtype: torch.dtype = scorer.embed.weight.dtype
        scorer.state.enabled = False
        with torch.no_grad(), torch.autocast(scorer.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
            scorer.body(
                inputs_embeds=scorer.embed(torch.zeros(1, 1, dtype=torch.long, device=scorer.device)),
                position_ids=torch.zeros(1, 1, dtype=torch.long, device=scorer.device),
                attention_mask=torch.zeros(1, 1, 1, 1, device=scorer.device),
                use_cache=False,
                layout=probe,
            )
        heads, head_size, value_size = probe.shapes[0]
        config = scorer.body.config
        if len(set(probe.shapes)) > 1 or head_size != value_size:
            raise InputError(
                f"{config.model_type} models cannot be served: their layers keep keys and values of different sizes"
            )
        return cls(len(probe.shapes), heads, head_size, context_length(config), dtype, scorer.device)

    def zeros(self, *size: int) -> Tensor:
        """Memory that holds numbers from the start: what is masked is multiplied by 0, and 0 * nan would be nan."""
        return torch.zeros(*size, dtype=self.dtype, device=self.device)

    def slot_class(self, tokens: int) -> int:
        """Length of the slot for a row of `tokens` tokens, at most the model's positions."""
        return min(max(SMALLEST_CLASS, 1 << (tokens - 1).bit_length()), self.positions)


@dataclass(eq=False)
class Slot:
    """A row's place in a pool; `index` changes when the pool closes its gaps."""

    pool: Pool
    index: int
    used: int = 0
    """Tokens that count; what lies behind them is left from earlier rows."""

    def key_layers(self) -> list[Tensor]:
        """[heads, length, head_size] of each layer."""
        return [k[self.index] for k in self.pool.keys]

    def value_layers(self) -> list[Tensor]:
        """[heads, length, head_size] of each layer."""
        return [v[self.index] for v in self.pool.values]


class Pool:
    """Slots of one length."""

    def __init__(self, shape: KvShape, length: int) -> None:
        self.shape = shape
        self.length = length
        self.slots: list[Slot | None] = []
        self.capacity = 0
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self.resize(0)

    def __len__(self) -> int:
        return sum(slot is not None for slot in self.slots)

    def resize(self, capacity: int) -> None:
        """Moves the slots into memory for `capacity` of them, layer by layer so that little exists twice."""
        self.capacity = capacity
        used = len(self.slots)
        for side in (self.keys, self.values):
            for layer in range(self.shape.layers):
                new = self.shape.zeros(capacity, self.shape.heads, self.length, self.shape.head_size)
                if used:
                    new[:used] = side[layer][:used]
                if layer < len(side):
                    side[layer] = new
                else:
                    side.append(new)

    def take(self) -> Slot:
        """A free slot: a gap if there is one."""
        index = self.slots.index(None) if None in self.slots else len(self.slots)
        slot = Slot(self, index)
        self.slots[index : index + 1] = [slot]
        return slot

    def give_back(self, slot: Slot, clean: bool = False) -> None:
        """Frees a slot; `clean` wipes it, for a row that computed nan."""
        self.slots[slot.index] = None
        if clean:
            for memory in slot.key_layers() + slot.value_layers():
                memory.zero_()

    def close_gaps(self) -> None:
        """Moves the last rows into the gaps that nobody took."""
        while None in self.slots:
            last = self.slots.pop()
            if last is None:
                continue
            gap = self.slots.index(None)
            for side in (self.keys, self.values):
                for memory in side:
                    memory[gap, :, : last.used] = memory[last.index, :, : last.used]
            last.index = gap
            self.slots[gap] = last


@dataclass
class KvMemory:
    """All pools and the prefixes' stretches, within `budget` tokens."""

    shape: KvShape
    budget: int
    pools: dict[int, Pool] = field(default_factory=dict)
    prefixes: int = 0
    """Tokens allocated to prefixes."""

    @property
    def allocated(self) -> int:
        """Tokens that memory is held for."""
        return self.prefixes + sum(pool.capacity * pool.length for pool in self.pools.values())

    def take_slot(self, length: int) -> Slot:
        """A slot of the class `length`. The caller has made sure that the rows in use leave room for it."""
        pool = self.pools.setdefault(length, Pool(self.shape, length))
        if len(pool) == pool.capacity:
            pool.close_gaps()
            self._make_room(length, besides=pool)
            spare = (self.budget - self.allocated) // length
            pool.resize(pool.capacity + max(1, min(pool.capacity, spare)))
        return pool.take()

    def take_prefix(self, length: int) -> tuple[Tensor, Tensor]:
        """Keys and values [layers, heads, length, head_size] of a prefix."""
        self._make_room(length)
        self.prefixes += length
        size = (self.shape.layers, self.shape.heads, length, self.shape.head_size)
        return self.shape.zeros(*size), self.shape.zeros(*size)

    def give_back_prefix(self, length: int) -> None:
        """Counts a prefix's tokens as free."""
        self.prefixes -= length

    def tidy(self) -> None:
        """Closes the gaps in all pools and frees empty ones."""
        for length, pool in list(self.pools.items()):
            pool.close_gaps()
            if not pool.slots:
                del self.pools[length]

    def _make_room(self, tokens: int, besides: Pool | None = None) -> None:
        """Takes spare slots from the pools, but `besides`, when `tokens` more would not fit into the budget."""
        if self.allocated + tokens <= self.budget:
            return
        for pool in self.pools.values():
            pool.close_gaps()
            if pool is not besides and len(pool) < pool.capacity:
                pool.resize(len(pool))
