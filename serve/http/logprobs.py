"""Log-probabilities of tokens as the routes tell them.

The texts of an answer's tokens add up to the answer. A token that might have come instead has no place in a text: it is
called by what it stands for within one, or by its bytes where they make no character.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serve.engine.requests import TokenLogprob


def called(own: bytes) -> str:
    r"""A token's name, as at OpenAI: its text, or bytes:\xe6\xbc."""
    try:
        return own.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in own)


def of_completion(tokens: Sequence[TokenLogprob], start: int, top: int) -> dict[str, Any]:
    """Those of /v1/completions.

    Args:
        start: characters of the text before these tokens.
        top: how many alternatives were asked for.
    """
    offsets = [start]
    for token in tokens:
        offsets.append(offsets[-1] + len(token.text))
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [_by_name(token) for token in tokens] if top else None,
        "text_offset": offsets[:-1],
    }


def of_chat(token: TokenLogprob) -> dict[str, Any]:
    """That of one token in /v1/chat/completions."""

    def entry(name: str, logprob: float | None, own: bytes) -> dict[str, Any]:
        return {"token": name, "logprob": logprob, "bytes": list(own)}

    top = [entry(token.text if i == token.token and token.text else called(own), p, own) for i, own, p in token.top]
    return {**entry(token.text, token.logprob, token.utf8), "top_logprobs": top}


def of_generation(token: TokenLogprob) -> dict[str, Any]:
    """That of one token in our own route."""
    top = [{"token": i, "text": called(own), "bytes": list(own), "logprob": logprob} for i, own, logprob in token.top]
    mine = {"token": token.token, "text": token.text, "bytes": list(token.utf8), "logprob": token.logprob}
    return {**mine, "top": top}


def _by_name(token: TokenLogprob) -> dict[str, float | None] | None:
    """The alternatives and the token itself, each its own entry: of those with one name all but one go by their ids.

    None for the first token of a prompt.
    """
    if token.logprob is None:
        return None
    names = {token.token: (token.text or called(token.utf8), token.logprob)}
    for i, own, logprob in token.top:
        if i != token.token or not token.text:
            names[i] = called(own), logprob
    told: dict[str, float | None] = {}
    for i, (name, logprob) in names.items():
        told[name if name and name not in told else f"token_id:{i}"] = logprob
    return told
