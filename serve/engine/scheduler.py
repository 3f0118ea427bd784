"""Who runs: admission by memory, prompts in pieces next to decoding, joining when a prompt is ready.

Requests are admitted in the order they came, as soon as all the memory they may ever need is free, so that no admitted
request is ever thrown out again. Of the prompt tokens that a step may encode a quarter belongs to the oldest prompt, so
that none waits for ever; the rest goes to the shortest first, so that short prompts do not wait for long ones.
"""

from __future__ import annotations

from collections import deque

from serve.engine.attention import PrefillChunk
from serve.engine.engine_settings import EngineSettings
from serve.engine.kv_memory import KvMemory
from serve.engine.prefixes import Key, Prefix, Prefixes
from serve.engine.sequence import DecodingRow, Sequence


class Scheduler:
    """All sequences: waiting, preparing (admitted, their prompts being encoded) and running."""

    def __init__(self, memory: KvMemory, prefixes: Prefixes, settings: EngineSettings) -> None:
        self.memory = memory
        self.prefixes = prefixes
        self.settings = settings
        self.waiting: deque[Sequence] = deque()
        self.preparing: list[Sequence] = []
        self.running: list[Sequence] = []
        self.reserved = 0
        """Tokens that admitted rows may come to need."""
        self.rows = 0
        """Admitted rows."""
        self.cached_tokens = 0

    @property
    def used(self) -> int:
        """Tokens of the budget that are spoken for."""
        return self.reserved + self.memory.prefixes

    def fits_alone(self, sequence: Sequence) -> bool:
        """Whether the sequence could run if there were no other."""
        new = {_key(row): row.prefix_length for row in sequence.rows}
        return (
            len(sequence.rows) <= self.settings.max_running
            and sequence.reserved + sum(new.values()) <= self.memory.budget
        )

    def admit(self) -> None:
        """Takes waiting sequences in while there is room."""
        while self.waiting and self._has_room(self.waiting[0]):
            sequence = self.waiting.popleft()
            self.reserved += sequence.reserved
            self.rows += len(sequence.rows)
            for row in sequence.rows:
                if row.prefix_length:
                    cached = self.prefixes.find(row.prefix_conditioning, row.before) is not None
                    row.prefix = self.prefixes.take(row.prefix_conditioning, row.before, row.prefix_soft)
                    if row is sequence.rows[0] and cached:
                        sequence.cached_tokens = len(row.before)
            self.preparing.append(sequence)

    def _has_room(self, sequence: Sequence) -> bool:
        if self.rows + len(sequence.rows) > self.settings.max_running:
            return False
        shared: list[Prefix] = []
        new: dict[Key, int] = {}
        for row in sequence.rows:
            prefix = self.prefixes.find(row.prefix_conditioning, row.before)
            if prefix is None:
                new[_key(row)] = row.prefix_length
            else:
                shared.append(prefix)
        lacking = self.used + sequence.reserved + sum(new.values()) - self.memory.budget
        if lacking <= 0:
            return True
        for prefix in shared:  # is not to be evicted for the sake of those who need it
            self.prefixes.hold(prefix)
        enough = lacking <= self.prefixes.unused
        if enough:
            self.prefixes.evict(lacking)
        for prefix in shared:
            self.prefixes.let_go(prefix)
        return enough

    def begin_prefixes(self) -> list[Prefix]:
        """Prefixes with tokens to encode now, oldest first."""
        making = self.prefixes.making()
        begun = [p for i, p in enumerate(making) if self.prefixes.begin(p, making[:i])]
        return [p for p in begun if not p.ready]

    def join(self) -> list[Sequence]:
        """Gives slots to sequences whose prefixes are ready; all those with soft tokens to open with within a step's
        prompt tokens, but at least one.
        """
        joining: list[Sequence] = []
        tokens = 0
        for sequence in self.preparing:
            if all(row.prefix is None or row.prefix.ready for row in sequence.rows):
                tokens += sum(row.opening_soft for row in sequence.rows)
                if joining and tokens > self.settings.prefill_tokens:
                    break
                joining.append(sequence)
        for sequence in joining:
            self.preparing.remove(sequence)
            self.running.append(sequence)
            lead = sequence.rows[0]
            if not sequence.cached_tokens and lead.prefix is not None:
                sequence.cached_tokens = max(0, lead.prefix.taken_over - lead.prefix_soft)
            self.cached_tokens += sequence.cached_tokens
            for row in sequence.rows:
                self._seat(row)
        return joining

    def _seat(self, row: DecodingRow) -> None:
        """A slot for the row, with its prefix in it."""
        row.slot = self.memory.take_slot(row.slot_length)
        if row.prefix is not None:
            n = row.prefix.length
            for layer, (keys, values) in enumerate(zip(row.slot.key_layers(), row.slot.value_layers(), strict=True)):
                keys[:, :n] = row.prefix.keys[layer]
                values[:, :n] = row.prefix.values[layer]
            self.prefixes.give_back(row.prefix)
            row.prefix = None
        row.length = row.slot.used = row.prefix_length + row.opening_soft

    def prefill_chunks(self, prefixes: list[Prefix], tokens: int) -> list[tuple[Prefix, PrefillChunk]]:
        """The next pieces of prefixes, `tokens` altogether at most."""
        if not prefixes or tokens <= 0:
            return []
        left = {id(p): p.length - p.encoded for p in prefixes}
        oldest = prefixes[0]
        counts = {id(oldest): min(left[id(oldest)], -(-tokens // 4))}
        tokens -= counts[id(oldest)]
        for prefix in sorted(prefixes, key=lambda p: left[id(p)]):
            more = min(left[id(prefix)] - counts.get(id(prefix), 0), tokens)
            counts[id(prefix)] = counts.get(id(prefix), 0) + more
            tokens -= more
        return [(p, p.chunk(counts[id(p)])) for p in prefixes if counts[id(p)]]

    def leave(self, sequence: Sequence, clean: bool = False) -> None:
        """Frees all that a waiting, preparing or running sequence has; `clean` wipes its slots."""
        for queue in (self.running, self.preparing):
            if sequence in queue:
                queue.remove(sequence)
                self.reserved -= sequence.reserved
                self.rows -= len(sequence.rows)
                break
        else:
            self.waiting.remove(sequence)
        for row in sequence.rows:
            if row.prefix is not None:
                self.prefixes.give_back(row.prefix)
                row.prefix = None
            if row.slot is not None:
                row.slot.pool.give_back(row.slot, clean)
                row.slot = None

    def everyone(self) -> list[Sequence]:
        """All sequences."""
        return [*self.running, *self.preparing, *self.waiting]


def _key(row: DecodingRow) -> Key:
    return row.prefix_conditioning.key, row.before.tobytes()
