"""The bodies of the OpenAI-compatible routes, with the fields that `extra_body` adds: weights, beta, top_k.

Here `temperature` is what it is at OpenAI, the randomness of sampling; the DPO temperature is `beta`.

Fields that would change the answer but are not supported are refused by name; fields that change nothing (user,
metadata, store and the like) are taken and left alone.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator

from serve.http.schema import Count, Sampling, Seed, Share, Stop, Top, TopK
from serve.http.trade_off import Beta, Body, Sent, TradeOff, Weights

Penalty = Annotated[float, Field(ge=-2, le=2)]


class StreamOptions(Body):
    """How a stream is sent."""

    include_usage: bool | None = None
    """End with a chunk that counts the tokens."""
    include_obfuscation: bool | None = None
    """Taken and left alone."""


class OpenAIBody(Body):
    """What both routes take."""

    model: Annotated[str, Field(max_length=512)] | None = None
    """The checkpoint's id or name, as /v1/models gives it; None takes whichever is served."""
    weights: Weights | None = None
    """As in our own routes."""
    beta: Beta | None = None
    """DPO temperature, `temperature` of our own routes."""
    temperature: Annotated[Sampling, Field(le=2)] | None = None
    """Randomness of sampling, 1 by default; 0 takes the likeliest token. Not the DPO temperature."""
    top_p: Share | None = None
    """As in our own routes."""
    top_k: TopK | None = None
    """As in our own routes."""
    max_tokens: Count | None = None
    """Most tokens to generate."""
    n: Count | None = None
    """Texts to generate."""
    stop: Stop | None = None
    """Texts before which to stop."""
    seed: Seed | None = None
    """Makes sampling repeatable."""
    stream: bool | None = None
    """Send chunks while the text is made."""
    stream_options: StreamOptions | None = None
    """How."""
    frequency_penalty: Penalty | None = None
    """Only 0."""
    presence_penalty: Penalty | None = None
    """Only 0."""
    logit_bias: dict[str, float] | None = None
    """Only empty."""
    user: str | None = None
    """Taken and left alone."""
    metadata: dict[str, Any] | None = None
    """Taken and left alone."""
    service_tier: str | None = None
    """Taken and left alone."""
    store: bool | None = None
    """Taken and left alone; nothing is stored."""
    safety_identifier: str | None = None
    """Taken and left alone."""
    prompt_cache_key: str | None = None
    """Taken and left alone; prompts are cached anyway."""

    @field_validator("frequency_penalty", "presence_penalty", "logit_bias")
    @classmethod
    def _without(cls, value: float | dict[str, float] | None) -> float | dict[str, float] | None:
        if value:
            raise ValueError("not supported; leave it out")
        return value

    def trade_off(self) -> TradeOff:
        """Which policy is wanted."""
        return TradeOff(weights=self.weights, temperature=self.beta, model=self.model, beta="beta")


class CompletionBody(OpenAIBody):
    """Body of /v1/completions."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"prompt": "Once upon a time", "weights": [0.7, 0.3], "beta": 0.1, "temperature": 0.8, "max_tokens": 32}
            ]
        }
    )

    prompt: str | Annotated[list[str], Field(min_length=1)]
    """One prompt or several, as text."""
    logprobs: Annotated[Top, Field(le=5)] | None = None
    """Give each token's log-probability, and those of so many likeliest."""
    echo: bool | None = None
    """Only false."""
    suffix: str | None = None
    """Only empty."""
    best_of: Count | None = None
    """Only 1."""

    @field_validator("echo", "suffix")
    @classmethod
    def _plain(cls, value: object) -> object:
        if value:
            raise ValueError("not supported; leave it out")
        return value

    @field_validator("best_of")
    @classmethod
    def _all(cls, value: int | None) -> int | None:
        if value not in (None, 1):
            raise ValueError("not supported; leave it out")
        return value


class TextPart(Body):
    """A text as part of a message."""

    type: Literal["text"]
    """Texts only."""
    text: str
    """The text."""


class ChatMessage(Body):
    """One message of a chat."""

    role: Literal["system", "developer", "user", "assistant"]
    """Who speaks; developer is read as system."""
    content: str | Annotated[list[TextPart], Field(min_length=1)]
    """What is said."""
    name: str | None = None
    """Taken and left alone."""

    def plain(self) -> dict[str, str]:
        """The message as a chat template reads it."""
        content = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": content}


class ResponseFormat(Body):
    """Form of the answer."""

    type: Literal["text"]
    """Text only."""


class ChatBody(OpenAIBody):
    """Body of /v1/chat/completions."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "messages": [{"role": "user", "content": "Tell me a story."}],
                    "weights": {"brevity": 1},
                    "max_completion_tokens": 32,
                }
            ]
        }
    )

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=1024)]
    """The chat so far; the tokenizer's chat template renders it."""
    max_completion_tokens: Count | None = None
    """Most tokens to generate; the newer name of max_tokens."""
    logprobs: bool | None = None
    """Give each token's log-probability."""
    top_logprobs: Top | None = None
    """And those of so many likeliest; needs logprobs."""
    response_format: ResponseFormat | None = None
    """Only text."""
    modalities: list[Literal["text"]] | None = None
    """Only text."""


class OpenAIUsage(Sent):
    """Tokens of an answer."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: dict[str, int]
    """cached_tokens: found in the prefix cache."""


class PolicyExtra(Sent):
    """What our answers say on top of OpenAI's."""

    checkpoint: str
    objectives: list[str]
    weights: list[float]
    beta: list[float]


class CompletionChoice(Sent):
    """One text."""

    index: int
    text: str
    logprobs: dict[str, Any] | None = None
    finish_reason: Literal["stop", "length"] | None


class CompletionSent(PolicyExtra):
    """An answer of /v1/completions, whole or a chunk of it."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: OpenAIUsage | None = None


class ChatChoice(Sent):
    """One message; `message` of a whole answer, `delta` of a chunk."""

    index: int
    message: dict[str, Any] | None = None
    delta: dict[str, Any] | None = None
    logprobs: dict[str, Any] | None = None
    finish_reason: Literal["stop", "length"] | None


class ChatSent(PolicyExtra):
    """An answer of /v1/chat/completions, whole or a chunk of it."""

    id: str
    object: Literal["chat.completion", "chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: OpenAIUsage | None = None
