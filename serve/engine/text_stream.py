"""Text of tokens as they come, without ever taking back a character.

The text of the last tokens can still change: they may be bytes of an unfinished character, and text may turn out to be
the beginning of a stop string. Both are held back until they are certain. What has been given out is always a beginning
of the text that all tokens have together.
"""

from __future__ import annotations

from typing import Any

from serve.engine.token_texts import BROKEN, TokenBytes, shares


class TokenDecoder:
    """A tokenizer's way back from tokens to text."""

    def __init__(self, tokenizer: Any) -> None:
        """`tokenizer`: the tokenizers.Tokenizer behind a fast tokenizer."""
        self.tokenizer = tokenizer
        self.bytes_of = TokenBytes(tokenizer)
        # A run of byte tokens is decoded as one: another byte can turn all of it into replacement characters. Special
        # tokens are left out before that, so that a run goes on behind them.
        self.open = frozenset(self.bytes_of.special) | frozenset(self.bytes_of.in_bytes)

    def __call__(self, tokens: list[int]) -> str:
        """Their text, without special tokens."""
        text: str = self.tokenizer.decode(tokens, skip_special_tokens=True)
        return text

    def certain(self, tokens: list[int], text: str) -> bool:
        """Whether no later token can change the text of these."""
        return tokens[-1] not in self.open and not text.endswith(BROKEN)


class TextStream:
    """The text of one answer; ends where the first of its stop strings is complete, which is not part of it."""

    def __init__(self, decoder: TokenDecoder, stops: tuple[str, ...] = (), shared: bool = False) -> None:
        """`shared`: whether to tell what of the text is whose token's."""
        self.decoder = decoder
        self.stops = stops
        self.stopped = False
        self.shares: list[tuple[str, bytes]] | None = [] if shared else None
        """Text and bytes of each token so far whose text is certain, stop strings and what is held back included."""
        # Tokens are decoded together with those before them, for a tokenizer may drop the space that opens a text.
        self._before: list[int] = []
        self._before_text = ""
        self._new: list[int] = []
        self._decoded = 0
        self._held = ""

    def push(self, token: int) -> str:
        """Text that is certain after one more token."""
        self._new.append(token)
        text = self.decoder(self._before + self._new)
        if not self.decoder.certain(self._new, text):
            return ""
        piece = text[len(self._before_text) :]
        self._share(piece)
        self._before, self._new = self._new, []
        self._before_text = self.decoder(self._before)
        self._decoded += len(piece)
        return self._unstopped(piece)

    def finish(self, tokens: list[int]) -> str:
        """The rest, given all tokens of the answer."""
        if self.stopped:
            return ""
        piece = self.decoder(tokens)[self._decoded :]
        self._share(piece)
        certain = self._unstopped(piece)
        rest, self._held = self._held, ""
        return certain + rest

    def _share(self, piece: str) -> None:
        if self.shares is not None:
            self.shares += shares([self.decoder.bytes_of(token) for token in self._new], piece)

    def _unstopped(self, piece: str) -> str:
        """What of the text up to this piece is before every stop string, and surely not the beginning of one."""
        if not self.stops:
            return piece
        text = self._held + piece
        starts = [at for at in map(text.find, self.stops) if at >= 0]
        if starts:
            self.stopped = True
            self._held = ""
            return text[: min(starts)]
        certain = len(text) - max(_overlap(text, stop) for stop in self.stops)
        self._held = text[certain:]
        return text[:certain]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` with which `stop` begins."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
