"""Prompts encoded once: keys and values of all but a prompt's last token, shared by every row that needs them.

With scope `response` the frozen base encodes the prompt, so that one prefix serves every trade-off asked of a prompt,
and its base rows. With scope `sequence` a prefix belongs to one trade-off and opens with its soft tokens.

A prefix that no request needs any more stays until room is needed, the least recently used going first. A new prompt
that begins like one that is known starts from their common part: what a causal model computes for a token depends only
on the tokens before it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from torch import Tensor

from cosdpo.arrays import Integers
from serve.engine.attention import PrefillChunk
from serve.engine.kv_memory import KvMemory
from serve.engine.row_conditioning import RowConditioning

Key = tuple[bytes, bytes]


@dataclass(eq=False)
class Prefix:
    """Tokens that stand before a row's opening, and as much of their keys and values as is computed."""

    conditioning: RowConditioning
    tokens: Integers
    soft: int
    """Soft tokens at its beginning; 0 under the base."""
    keys: Tensor
    """[layers, heads, length, head_size]."""
    values: Tensor
    encoded: int = 0
    started: bool = False
    taken_over: int = 0
    """Positions that came from another prefix."""
    users: int = 0
    """Requests that wait for it or have not copied it yet."""

    @property
    def length(self) -> int:
        """Positions it takes."""
        return self.soft + len(self.tokens)

    @property
    def key(self) -> Key:
        """What it is found by."""
        return self.conditioning.key, self.tokens.tobytes()

    @property
    def ready(self) -> bool:
        """Whether all of it is encoded."""
        return self.encoded == self.length

    def shared_with(self, other: Prefix) -> int:
        """Positions at the beginning that are the same in both."""
        if self.conditioning.key != other.conditioning.key:
            return 0
        n = min(len(self.tokens), len(other.tokens))
        different = self.tokens[:n] != other.tokens[:n]
        return self.soft + (int(different.argmax()) if different.any() else n)

    def begin_from(self, other: Prefix, positions: int) -> None:
        """Takes over the first `positions` of another prefix."""
        self.keys[:, :, :positions] = other.keys[:, :, :positions]
        self.values[:, :, :positions] = other.values[:, :, :positions]
        self.encoded = self.taken_over = positions

    def chunk(self, count: int) -> PrefillChunk:
        """The next `count` of its tokens, for a pass over them."""
        start, end = self.encoded, self.encoded + count
        soft = self.conditioning.soft[start:end] if start < self.soft and self.conditioning.soft is not None else None
        placeholders = 0 if soft is None else len(soft)
        ids = self.tokens[max(start - self.soft, 0) : max(end - self.soft, 0)].tolist()
        return PrefillChunk(
            self.conditioning,
            [0] * placeholders + ids,
            soft,
            0,
            start,
            list(self.keys.unbind()),
            list(self.values.unbind()),
        )


@dataclass
class Prefixes:
    """All prefixes: of running requests, in the making, and kept for later."""

    memory: KvMemory
    kept: int
    """Tokens of unused prefixes that may be kept."""
    cached: OrderedDict[Key, Prefix] = field(default_factory=OrderedDict)
    unused: int = 0
    """Tokens of prefixes that no request needs."""
    _unready: list[Prefix] = field(default_factory=list)
    """Those in the making, and perhaps some that are ready by now."""

    def find(self, conditioning: RowConditioning, tokens: Integers) -> Prefix | None:
        """The prefix of exactly these tokens."""
        return self.cached.get((conditioning.key, tokens.tobytes()))

    def take(self, conditioning: RowConditioning, tokens: Integers, soft: int) -> Prefix:
        """The prefix for one more user; made if it is not known."""
        prefix = self.find(conditioning, tokens)
        if prefix is None:
            keys, values = self.memory.take_prefix(soft + len(tokens))
            prefix = Prefix(conditioning, tokens, soft, keys, values)
            self.cached[prefix.key] = prefix
            self._unready.append(prefix)
            self.unused += prefix.length
        elif prefix.ready:  # those in the making keep their order: the oldest is encoded first
            self.cached.move_to_end(prefix.key)
        self.hold(prefix)
        return prefix

    def hold(self, prefix: Prefix) -> None:
        """One user more."""
        if prefix.users == 0:
            self.unused -= prefix.length
        prefix.users += 1

    def let_go(self, prefix: Prefix) -> None:
        """One user less."""
        prefix.users -= 1
        if prefix.users == 0:
            self.unused += prefix.length

    def give_back(self, prefix: Prefix) -> None:
        """One user less; the unused are kept as far as they may be."""
        self.let_go(prefix)
        if prefix.users == 0 and not prefix.ready:
            self._drop(prefix)
        self.evict(self.unused - self.kept)

    def evict(self, tokens: int) -> None:
        """Drops the least recently used prefixes that nobody needs until `tokens` are free or none is left."""
        if tokens <= 0:
            return
        for prefix in [p for p in self.cached.values() if p.users == 0]:
            if tokens <= 0:
                break
            tokens -= prefix.length
            self._drop(prefix)

    def making(self) -> list[Prefix]:
        """Those in the making, oldest first."""
        self._unready = [p for p in self._unready if not p.ready]
        return self._unready

    def begin(self, prefix: Prefix, older: list[Prefix]) -> bool:
        """Starts a prefix from the longest beginning that is known.

        Returns False where half of it or more is what a prefix in `older`, still in the making, has in common with it:
        waiting for that one is cheaper than encoding the same tokens twice.
        """
        if prefix.started:
            return True
        if any(2 * prefix.shared_with(p) >= prefix.length and prefix.shared_with(p) > p.encoded for p in older):
            return False
        prefix.started = True
        donors = [(min(prefix.shared_with(p), p.encoded), p) for p in self.cached.values() if p is not prefix]
        shared, donor = max(donors, key=lambda pair: pair[0], default=(0, prefix))
        if shared:
            prefix.begin_from(donor, shared)
            if donor.ready:
                self.cached.move_to_end(donor.key)
        return True

    def _drop(self, prefix: Prefix) -> None:
        del self.cached[prefix.key]
        self.unused -= prefix.length
        if not prefix.ready:
            self._unready.remove(prefix)
        self.memory.give_back_prefix(prefix.length)
