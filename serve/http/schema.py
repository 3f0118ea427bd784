"""The bodies of our own routes.

In these routes `temperature` is the DPO temperature (how far the policy may go from the base); the randomness of
sampling is `sampling_temperature`. OpenAI's routes have their own bodies, in openai_schema.py.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field

from serve.http.response_format import ResponseFormat
from serve.http.trade_off import EffectivePolicy, Sent, TradeOffBody

Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
MinP = Annotated[float, Field(ge=0, le=1)]
Sampling = Annotated[float, Field(ge=0, le=100)]
TopK = Annotated[int, Field(ge=-1, le=1_000_000), AfterValidator(lambda k: max(k, 0))]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Top = Annotated[int, Field(ge=0, le=20)]
Count = Annotated[int, Field(ge=1, le=2**31)]
StopText = Annotated[str, Field(min_length=1, max_length=256)]
Stop = StopText | Annotated[list[StopText], Field(max_length=16)]


class GenerateBody(TradeOffBody):
    """A text to generate at one trade-off."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"prompt": "Once upon a time", "weights": [0.7, 0.3], "max_new_tokens": 64, "stream": True},
                {"prompt": "Once upon a time", "weights": {"brevity": 1}, "temperature": 0.2, "seed": 7},
            ]
        }
    )

    prompt: str
    """The prompt as a person writes it; the checkpoint's own template goes around it, that of a chat if it was trained
    on chats."""
    max_new_tokens: Count | None = None
    """Most tokens to generate; 128 by default, or as many as there is room for."""
    sampling_temperature: Sampling = 1.0
    """Randomness of sampling; 0 takes the likeliest token."""
    top_p: Share = 1.0
    """Sample from the likeliest tokens that hold this share of the probability; 0 takes the likeliest."""
    top_k: TopK = 0
    """Sample from this many likeliest tokens; 0 or -1 from all."""
    min_p: MinP = 0.0
    """Sample from tokens at least this share as probable as the likeliest."""
    ignore_eos: bool = False
    """Never end by the end token: for measurements, which need texts of a known length."""
    stop: Stop | None = None
    """Texts before which to stop."""
    seed: Seed | None = None
    """Makes sampling repeatable."""
    logprobs: Top | None = None
    """Give each token's log-probability, and those of so many likeliest."""
    response_format: ResponseFormat | None = None
    """Have the answer be JSON: {"type": "json_object"}, or {"type": "json_schema", "json_schema": {"name", "schema"}}
    with a JSON schema."""
    stream: bool = False
    """Send the text as server-sent events while it is made."""


class ScoreBody(TradeOffBody):
    """Responses to score at one trade-off."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"prompt": "Once upon a time", "candidates": [" there was a cat.", " it rained."], "weights": [1, 0]}
            ]
        }
    )

    prompt: str
    """The prompt as a person writes it."""
    candidates: Annotated[list[str], Field(min_length=1)]
    """Responses to it."""


class RankBody(TradeOffBody):
    """Documents to rank at one trade-off."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"features": [[0.1, 2.0, 0.0], [0.4, 1.0, 3.0]], "weights": [0.5, 0.5]}]}
    )

    features: Annotated[list[list[Finite]], Field(min_length=1)]
    """A row per document: the ranker's input features, or all features of its data set in number order, as the data has
    them."""


class _Identified(Sent):
    id: str
    """Of this answer."""


class PolicySent(EffectivePolicy, _Identified):
    """Which policy answered."""


class UsageSent(Sent):
    """Tokens of an answer."""

    prompt_tokens: int
    """Of the prompt."""
    cached_tokens: int
    """Of these, found in the prefix cache."""
    completion_tokens: int
    """Generated."""
    base_tokens: int
    """Decoded by the base as well: 0 at the trained temperature."""
    total_tokens: int
    """Prompt and generated."""


class TopSent(Sent):
    """A token that might have come."""

    token: int
    """Its id."""
    text: str
    """What it stands for within a text; bytes:\\xe6 where its bytes make no character."""
    bytes: list[int]
    """The same as bytes."""
    logprob: float
    """Its log-probability."""


class LogprobSent(TopSent):
    """A token that came: the texts of all tokens add up to the answer, and a character of several is the last one's."""

    top: list[TopSent]
    """The likeliest tokens in its place."""


class GenerateSent(PolicySent):
    """A generated text."""

    text: str
    """The text."""
    finish_reason: Literal["stop", "length"]
    """stop: the end token, a stop text or the end of the asked form; length: no more tokens asked for, or no room."""
    usage: UsageSent
    """Tokens counted."""
    logprobs: list[LogprobSent] | None
    """Per token, if asked for; under the policy, before sampling settings."""


class ScoreSent(PolicySent):
    """Scores of responses, in the order of the candidates."""

    scores: list[float]
    """log pi(candidate | prompt), summed over its tokens."""
    reference: list[float]
    """The same under the base."""
    rewards: list[float]
    """Their difference: the implicit reward."""
    tokens: list[int]
    """Tokens of each candidate."""


class RankSent(PolicySent):
    """A ranking."""

    scores: list[float]
    """Score of each document; the higher, the better."""
    order: list[int]
    """Documents by number from 0, best first."""
    base_order: list[int]
    """The same by the base ranker."""


class ModelSent(Sent):
    """A checkpoint that is served."""

    id: str
    """Its name and the beginning of its files' hash."""
    object: Literal["model"] = "model"
    created: int
    """When it was written, in seconds since 1970."""
    owned_by: Literal["cosdpo"] = "cosdpo"
    max_model_len: int | None = None
    """Tokens that a prompt and its answer may have together, by the model's positions and the engine's memory; None for
    rankers."""
    task: Literal["language", "ranking"]
    """Language model or ranker."""
    objectives: list[str]
    """Names of the objectives, in the order of the weights."""
    trained_temperature: list[float]
    """DPO temperature of each objective in training."""
    temperature_conditioned: bool
    """Whether the temperatures' ratios may differ from the trained ones."""
    scope: Literal["sequence", "response"] | None
    """Where the trade-off acts; None for rankers."""
    smallest_temperature: float | None
    """Smallest mean temperature that is answered; None: any above 0."""

    def is_called(self, name: str) -> bool:
        """Whether callers may call it so: by its id, or its name."""
        return name in (self.id, self.id.rpartition("-")[0])


class ModelsSent(Sent):
    """What is served."""

    object: Literal["list"] = "list"
    data: list[ModelSent]
    """One checkpoint."""


class HealthSent(Sent):
    """The service is well."""

    status: Literal["ok"] = "ok"


FrontSent = dict[str, Any]
"""front.json of the run, with `checkpoint` and an example."""
