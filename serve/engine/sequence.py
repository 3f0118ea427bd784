"""A request on its way: its one or two rows, the tokens it has, its text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from cosdpo.arrays import Floats, Integers
from serve.engine.grammars import Grammar
from serve.engine.kv_memory import Slot
from serve.engine.prefixes import Prefix
from serve.engine.requests import Chunk, FinishReason, Generation, TokenLogprob, Usage
from serve.engine.row_conditioning import RowConditioning
from serve.engine.text_stream import TextStream

Emit = Callable[[Chunk | Exception], None]
"""Takes the chunks of an answer, or the error that ended it."""


@dataclass(eq=False)
class DecodingRow:
    """Keys and values that grow by a token per step: those of the tuned model, or of the base beside it."""

    conditioning: RowConditioning
    before: Integers
    """Tokens of the prompt that come as a prefix; soft tokens come before them if `prefix_soft`."""
    last_prompt_token: int
    prefix_soft: int
    opening_soft: int
    """Soft tokens after the last prompt token."""
    prefix_conditioning: RowConditioning
    slot_length: int
    prefix: Prefix | None = None
    slot: Slot | None = None
    length: int = 0
    """Tokens whose keys and values it has."""

    @property
    def prefix_length(self) -> int:
        """Positions before its opening."""
        return self.prefix_soft + len(self.before)


@dataclass(eq=False)
class Sequence:
    """One request."""

    request: Generation
    emit: Emit
    ratio: float
    """c, the asked over the trained temperature."""
    room: int
    """Tokens it may get."""
    rows: list[DecodingRow]
    """The row that leads, tuned unless c is infinite; then its paired base row if it has one."""
    text: TextStream
    uniforms: Floats
    grammar: Grammar | None = None
    """Its place in the schema that it follows."""
    tokens: list[int] = field(default_factory=list)
    cached_tokens: int = 0
    cancelled: bool = False
    _logprobs: list[TokenLogprob] = field(default_factory=list)

    @property
    def reserved(self) -> int:
        """Tokens of memory that its rows may come to need."""
        return sum(row.slot_length for row in self.rows)

    def add(self, token: int, logprob: TokenLogprob | None) -> FinishReason | None:
        """Takes its next token; gives out text; returns why it is finished, if it is."""
        self.tokens.append(token)
        if logprob is not None:
            self._logprobs.append(logprob)
        text = self.text.push(token)
        if self.grammar is not None:
            self.grammar.latest = token
        if self.text.stopped:
            return self.finish("stop", text)
        if len(self.tokens) >= self.room:
            return self.finish("stop" if self.grammar is not None and self.grammar.complete() else "length", text)
        if text:
            self.emit(Chunk(text, tuple(self._logprobs), None, self._usage()))
            self._logprobs.clear()
        return None

    def finish(self, reason: FinishReason, text: str = "") -> FinishReason:
        """Gives out `text`, the rest and the usage."""
        text += self.text.finish(self.tokens)
        if self.text.stopped:
            reason = "stop"
        self.emit(Chunk(text, tuple(self._logprobs), reason, self._usage()))
        return reason

    def _usage(self) -> Usage:
        return Usage(
            prompt_tokens=len(self.request.prompt),
            cached_tokens=self.cached_tokens,
            completion_tokens=len(self.tokens),
            base_tokens=len(self.tokens) if len(self.rows) == 2 else 0,
        )
