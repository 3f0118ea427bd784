"""What each token has of a text, as characters and as bytes: a tokenizer decodes texts, not tokens.

A SentencePiece tokenizer drops the space that opens a text, a character may be spread over several tokens, and special
tokens are no part of a text. So the text of several tokens is shared out among them, by the bytes that each stands for.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

BROKEN = "\ufffd"
"""What bytes that make no character are decoded to."""


def _alphabet() -> dict[str, int]:
    """The bytes that the characters of byte-level tokens stand for; GPT-2's encoder.py."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + i): byte for i, byte in enumerate(others)}


_BYTE_OF = _alphabet()


class TokenBytes:
    """The bytes that tokens stand for within a text."""

    def __init__(self, tokenizer: Any) -> None:
        """`tokenizer`: the tokenizers.Tokenizer behind a fast tokenizer."""
        self.tokenizer = tokenizer
        added = tokenizer.get_added_tokens_decoder()
        self.special: dict[int, bytes] = {t: entry.content.encode() for t, entry in added.items() if entry.special}
        in_bytes = {tokenizer.token_to_id(f"<0x{byte:02X}>"): byte for byte in range(256)}
        self.in_bytes = {token: byte for token, byte in in_bytes.items() if token is not None}
        self.named = lru_cache(maxsize=65536)(self._named)

    def __call__(self, token: int) -> bytes:
        """Its part of a text: none for special tokens."""
        return b"" if token in self.special else self.named(token)

    def _named(self, token: int) -> bytes:
        """The same, but special tokens by their name."""
        if token in self.special:
            return self.special[token]
        alone = self.tokenizer.decode([token])
        if BROKEN in alone:
            if token in self.in_bytes:
                return bytes([self.in_bytes[token]])
            piece = self.tokenizer.id_to_token(token)
            if all(character in _BYTE_OF for character in piece):
                return bytes(_BYTE_OF[character] for character in piece)
        # After itself it has the space that would be dropped at the beginning of a text.
        twice: str = self.tokenizer.decode([token, token])
        return twice[len(alone) :].encode()


def shares(own: Sequence[bytes], text: str) -> list[tuple[str, bytes]]:
    """What each token has of the text that all have together: the shares add up to it.

    A character belongs to the token that completes it; the bytes stay with their tokens. Where the text is not that of
    the tokens' bytes, the first of them has what a decoder put before or left out, or else the last of those that do
    not fit has it all. Bytes that make no character are given as they are.

    Args:
        own: the bytes that each token stands for.
        text: what the tokenizer made of them.
    """
    encoded = text.encode()
    ends, at, broken = [0] * len(own), len(encoded), 0
    for i in reversed(range(len(own))):
        ends[i] = at
        fits = encoded.endswith(own[i], 0, at)
        if not fits and not broken and BROKEN.encode() in encoded[:at]:
            broken = i + 1
        at = at - len(own[i]) if fits and i else 0
    reader = codecs.getincrementaldecoder("utf-8")()
    shared, start = [], 0
    for i, end in enumerate(ends):
        piece = encoded[start:end]
        shared.append((reader.decode(piece), own[i] if i < broken else piece))
        start = end
    return shared


def without_beginning(own: bytes) -> bytes:
    """The bytes but those that begin a character which others would complete."""
    reader = codecs.getincrementaldecoder("utf-8")("replace")
    reader.decode(own)
    begun, _ = reader.getstate()
    return own[: len(own) - len(begun)]
