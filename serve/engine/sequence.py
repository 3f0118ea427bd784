"""A request on its way: its one or two rows, the tokens it has, its text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from cosdpo.arrays import Floats, Integers
from serve.engine.grammars import Grammar
from serve.engine.kv_memory import Slot
from serve.engine.prefixes import Prefix
from serve.engine.requests import Chunk, FinishReason, Generation, TokenLogprob, Usage
from serve.engine.row_conditioning import RowConditioning
from serve.engine.text_stream import TextStream
from serve.engine.token_texts import without_beginning

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
    """Of tokens that are not told yet."""
    _echoed: int = 0
    """Of these, tokens of the prompt."""
    _untold: str = ""
    """Text that is certain, of tokens that are not told yet."""

    @property
    def reserved(self) -> int:
        """Tokens of memory that its rows may come to need."""
        return sum(row.slot_length for row in self.rows)

    def echo(self, logprobs: list[TokenLogprob]) -> None:
        """Gives out the prompt's text, before any token.

        Args:
            logprobs: of the prompt's tokens but the first, if they are asked for.
        """
        prompt = self.request.prompt
        self._logprobs, self._echoed = [TokenLogprob(prompt[0], "", b"", None, ()), *logprobs], len(prompt)
        self._give("".join(map(self.text.push, prompt)))
        self.text.stops = self.request.sampling.stop

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
            self._give(text)
        return None

    def finish(self, reason: FinishReason, text: str = "") -> FinishReason:
        """Gives out `text`, the rest and the usage."""
        text += self.text.finish([*self.request.prompt, *self.tokens] if self.request.echo else self.tokens)
        if self.text.stopped:
            reason = "stop"
        self._give(text, reason)
        return reason

    def _usage(self) -> Usage:
        return Usage(
            prompt_tokens=len(self.request.prompt),
            cached_tokens=self.cached_tokens,
            completion_tokens=len(self.tokens),
            base_tokens=len(self.tokens) if len(self.rows) == 2 else 0,
        )

    def _give(self, text: str, reason: FinishReason | None = None) -> None:
        """Gives out `text`; if log-probabilities are asked for, so much of it as whole tokens make."""
        logprobs: tuple[TokenLogprob, ...] = ()
        if self.text.shares is not None:
            logprobs = self._told(text, reason is not None)
            text = "".join(token.text for token in logprobs)
        if text or logprobs or reason is not None:
            self.emit(Chunk(text, logprobs, reason, self._usage()))

    def _told(self, text: str, last: bool) -> tuple[TokenLogprob, ...]:
        """Log-probabilities of tokens whose text is given out with `text` after all that was before.

        Tokens of a stop string are not told, and of one that begins before it what is before it. So a token that also
        begins a character waits for that.
        """
        shares = self.text.shares or []
        self._untold += text
        told: list[TokenLogprob] = []
        for i, (share, own) in enumerate(shares):
            if i >= self._echoed and (not last or self.text.stopped):
                ended = without_beginning(own)
                behind = len(share) - len(self._untold)
                if not self._untold or (not last and (behind > 0 or (behind == 0 and ended != own))):
                    break
                if behind >= 0:
                    share, own = self._untold, ended[: len(ended) - len(share[len(self._untold) :].encode())]
            self._untold = self._untold[len(share) :]
            told.append(replace(self._logprobs[len(told)], text=share, utf8=own))
        del shares[: len(told)], self._logprobs[: len(told)]
        self._echoed = max(0, self._echoed - len(told))
        return tuple(told)
