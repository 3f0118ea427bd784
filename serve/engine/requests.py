"""What goes into the engine and what comes out of it: requests, chunks of text, usage, scores, statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cosdpo.errors import InputError

FinishReason = Literal["stop", "length"]


class QueueFull(Exception):  # noqa: N818  # the event, not a mistake
    """As many requests wait as may wait."""

    def __init__(self, retry_after: float) -> None:
        """`retry_after`: seconds until a place should be free."""
        super().__init__(f"the queue is full; try again in {retry_after:.0f} s")
        self.retry_after = retry_after


class EngineStopped(Exception):  # noqa: N818
    """The engine failed or was stopped while the request ran."""


class UnusableSchemaError(InputError):
    """An answer cannot be held to the schema that the request's `response_format` gives."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"response_format: {reason}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How the tokens of a text are chosen, where it stops, and what is told of them."""

    temperature: float = 1.0
    """Randomness; 0 takes the likeliest token. Not the DPO temperature."""
    top_p: float = 1.0
    top_k: int = 0
    """0: all tokens."""
    min_p: float = 0.0
    """Least probability of a token, as a share of the likeliest one's."""
    ignore_eos: bool = False
    """Never end by an end token."""
    stop: tuple[str, ...] = ()
    seed: int | None = None
    """None: a fresh one."""
    logprobs: int | None = None
    """None: none; k: the chosen token's and those of the k likeliest."""
    json_schema: str | None = None
    """What the answer has to follow; None: nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One request, already validated."""

    prompt: tuple[int, ...]
    """Token ids, at least one."""
    weights: tuple[float, ...]
    """[m], summing to 1."""
    temperature: tuple[float, ...]
    """[m] DPO temperatures."""
    max_new_tokens: int
    """At least 1, or 0 with `echo`."""
    echo: bool = False
    """The text begins with that of the prompt's tokens, and the log-probabilities with theirs."""
    sampling: SamplingParams = SamplingParams()


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """Log-probability of a token under the mixed distribution, before sampling temperature, top_k and top_p."""

    token: int
    text: str
    """What of the text is this token's; a character that several tokens make is the last one's."""
    utf8: bytes
    """The same in UTF-8, but each token has its own bytes of such a character."""
    logprob: float | None
    """None for the first token of a prompt, which nothing comes before."""
    top: tuple[tuple[int, bytes, float], ...]
    """The likeliest tokens, what each stands for within a text, and their log-probabilities."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a request took."""

    prompt_tokens: int
    cached_tokens: int
    """Prompt tokens whose keys and values were there already, or on their way for another request."""
    completion_tokens: int
    """Tokens of the answer, without an end token."""
    base_tokens: int
    """Tokens that the paired base row decoded as well."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of an answer."""

    text: str
    """May be empty in the last chunk, and where a token is told that has none."""
    logprobs: tuple[TokenLogprob, ...]
    """If asked for: of the tokens of `text`, whose texts add up to it."""
    finish_reason: FinishReason | None
    """Set in the last chunk."""
    usage: Usage
    """Of the answer up to here."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Log-probabilities of candidates, summed over their tokens."""

    tuned: tuple[float, ...]
    """[n] at the asked weights and temperature."""
    base: tuple[float, ...]
    """[n] of the frozen base."""


@dataclass(frozen=True, slots=True)
class EngineStats:
    """A snapshot after the last step; counts are totals since the start."""

    running: int = 0
    """Decoding rows; a request with a paired base row has two."""
    waiting: int = 0
    """Requests that are not admitted yet."""
    kv_tokens_used: int = 0
    """Tokens reserved by admitted rows and held by prefixes."""
    kv_tokens: int = 0
    """The budget."""
    prefix_tokens: int = 0
    """Of the used ones, those of prefixes that no request needs right now."""
    steps: int = 0
    step_seconds: float = 0.0
    """Length of the last step."""
    tokens: int = 0
    """Answer tokens."""
    encoded_tokens: int = 0
    """Prompt tokens that went through the model."""
    cached_tokens: int = 0
    """Prompt tokens that did not have to."""
    finished: int = 0
    cancelled: int = 0
    failed: int = 0
