"""The bodies of the OpenAI-compatible routes, with the fields that `extra_body` adds: weights, beta, top_k, min_p.

Here `temperature` is what it is at OpenAI, the randomness of sampling; the DPO temperature is `beta`.

What a field's type makes of it is in neutral_fields.py.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import ConfigDict, Field, ValidationInfo, field_validator, model_validator

from serve.http.neutral_fields import Absent, Ignored, NoItems, NoKeys, NoText, Off, One, Only, ProtocolBody, Zero
from serve.http.response_format import ResponseFormat
from serve.http.schema import Count, MinP, Sampling, Seed, Share, Stop, Top, TopK
from serve.http.trade_off import Beta, Sent, TradeOff, Weights

Item = TypeVar("Item")
Items = Annotated[list[Item], Field(min_length=1)]
TokenIds = Items[Annotated[int, Field(ge=0, lt=2**31)]]


class StreamOptions(ProtocolBody):
    """How a stream is sent."""

    include_usage: bool | None = None
    """End with a chunk that counts the tokens."""
    continuous_usage_stats: bool | None = None
    """Count them in every chunk; needs include_usage."""
    include_obfuscation: Ignored = None


class OpenAIBody(ProtocolBody):
    """What both routes take."""

    model: Annotated[str, Field(max_length=512)] | None = None
    """The checkpoint's id or name, as /v1/models gives it; null or empty takes whichever is served. After an @ it may
    carry the weights, as in NAME@helpful=0.7,safe=0.3."""
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
    min_p: MinP | None = None
    """As in our own routes."""
    max_tokens: Count | None = None
    """Most tokens to generate."""
    ignore_eos: bool | None = None
    """As in our own routes."""
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
    response_format: ResponseFormat | None = None
    """As in our own routes."""

    frequency_penalty: Zero = None
    presence_penalty: Zero = None
    repetition_penalty: One = None
    length_penalty: One = None
    logit_bias: NoKeys = None
    min_tokens: Zero = None
    stop_token_ids: NoItems = None
    bad_words: NoItems = None
    include_stop_str_in_output: Off = None
    skip_special_tokens: Annotated[Any, Only(True)] = None
    spaces_between_special_tokens: Annotated[Any, Only(True)] = None
    use_beam_search: Off = None
    moderation: Absent = None
    cache_salt: Ignored = None
    metadata: Ignored = None
    priority: Ignored = None
    prompt_cache_key: Ignored = None
    prompt_cache_options: Ignored = None
    prompt_cache_retention: Ignored = None
    request_id: Ignored = None
    safety_identifier: Ignored = None
    service_tier: Ignored = None
    store: Ignored = None
    user: Ignored = None

    def trade_off(self) -> TradeOff:
        """Which policy is wanted."""
        return TradeOff.of_model(self.model, self.weights, self.beta)


class CompletionBody(OpenAIBody):
    """Body of /v1/completions."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"prompt": "Once upon a time", "weights": [0.7, 0.3], "beta": 0.1, "temperature": 0.8, "max_tokens": 32}
            ]
        }
    )

    prompt: str | Items[str] | TokenIds | Items[TokenIds]
    """One prompt or several, as text or as token ids. Token ids are taken as they are: no template around them."""
    max_tokens: Annotated[int, Field(ge=0, le=2**31)] | None = None
    """Most tokens to generate; 0 needs echo."""
    logprobs: Annotated[Top, Field(le=5)] | None = None
    """Give each token's log-probability, and those of so many likeliest."""
    best_of: Count | None = None
    """Only n."""
    echo: bool | None = None
    """Begin with the prompt, and with the log-probabilities of its tokens."""
    suffix: NoText = None

    @field_validator("best_of")
    @classmethod
    def _all(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value not in (None, info.data.get("n") or 1):
            raise ValueError("not supported; leave it out or give n")
        return value


class TextPart(ProtocolBody):
    """A text as part of a message."""

    type: Literal["text"]
    """Texts only."""
    text: str
    """The text."""
    cache_control: Ignored = None
    prompt_cache_breakpoint: Ignored = None


class ChatMessage(ProtocolBody):
    """One message of a chat; an answer's own can be sent back as it came."""

    role: Literal["system", "developer", "user", "assistant"]
    """Who speaks; developer is read as system."""
    content: str | Annotated[list[TextPart], Field(min_length=1)] | None = None
    """What is said; null in an assistant's message alone."""
    audio: Absent = None
    function_call: Absent = None
    reasoning: NoText = None
    reasoning_content: NoText = None
    refusal: NoText = None
    thinking_blocks: NoItems = None
    tool_call_id: Absent = None
    tool_calls: NoItems = None
    annotations: Ignored = None
    id: Ignored = None
    name: Ignored = None
    provider_specific_fields: Ignored = None

    @model_validator(mode="after")
    def _said(self) -> ChatMessage:
        if self.content is None and self.role != "assistant":
            raise ValueError("content is missing")
        return self

    def plain(self) -> dict[str, str]:
        """The message as a chat template reads it."""
        content = self.content or ""
        text = content if isinstance(content, str) else "".join(part.text for part in content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


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

    audio: Absent = None
    function_call: Annotated[Any, Only("none", "auto")] = None
    functions: NoItems = None
    modalities: Annotated[Any, Only(["text"], [])] = None
    reasoning_effort: Annotated[Any, Only("none")] = None
    tool_choice: Annotated[Any, Only("none", "auto")] = None
    tools: NoItems = None
    verbosity: Annotated[Any, Only("medium")] = None
    web_search_options: Absent = None
    add_generation_prompt: Annotated[Any, Only(True)] = None
    chat_template: Absent = None
    chat_template_kwargs: NoKeys = None
    continue_final_message: Off = None
    documents: NoItems = None
    echo: Off = None
    parallel_tool_calls: Ignored = None
    prediction: Ignored = None


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
