"""What one request may ask for, beyond what the schemas say: sizes that belong to the settings of the service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from cosdpo.config.section import Positive, Section
from serve.http.backend import TextRequest
from serve.http.service_errors import ServiceError

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Limits(Section):
    """What one request may ask for; more is refused with 400, or 413 or 408 for the body."""

    body_bytes: Positive = 1 << 20
    """Bytes of a request's body."""
    body_seconds: Seconds = 10.0
    """Seconds in which a request's body comes; a slower one is refused with 408."""
    prompt_chars: Positive = 100_000
    """Characters of a prompt, of all messages of a chat, or of a candidate."""
    new_tokens: Positive = 1024
    """Tokens of one generated text."""
    n: Positive = 8
    """Texts for each prompt."""
    prompts: Positive = 64
    """Prompts of one request; and its texts, if it asks for several of each."""
    schema_chars: Positive = 16_384
    """Characters of the JSON schema that an answer follows."""
    candidates: Positive = 64
    """Candidates of one scoring request."""
    documents: Positive = 2000
    """Documents of one ranking request."""
    features: Positive = 4096
    """Features of one document."""
    requests: Positive = 512
    """Requests that are answered at the same time; more get 429."""


def check_texts(limits: Limits, wanted: TextRequest) -> None:
    """Raises ServiceError (400) for too long or too many prompts, too many texts, or too many tokens."""
    field, count = wanted.prompt_field, len(wanted.prompts)
    _at_most(count, limits.prompts, field, "prompts")
    _at_most(wanted.n, limits.n, "n", "texts")
    if count > 1:
        _at_most(count * wanted.n, limits.prompts, "n", "texts of all prompts")
    for i, prompt in enumerate(wanted.prompts):
        if isinstance(prompt, list):  # the model's context bounds them
            continue
        size = len(prompt) if isinstance(prompt, str) else sum(len(message["content"]) for message in prompt)
        if size > limits.prompt_chars:  # the words and the code by which clients know that they shall send less
            message = f"{wanted.place(i)}: {size} characters exceed context limits, this service takes at most "
            raise ServiceError(400, f"{message}{limits.prompt_chars}", param=field, code="context_length_exceeded")
    if wanted.sampling.json_schema is not None:
        _at_most(len(wanted.sampling.json_schema), limits.schema_chars, "response_format", "characters")
        if wanted.sampling.ignore_eos:
            raise ServiceError(400, "ignore_eos does not go with response_format; leave it out", param="ignore_eos")
    if wanted.max_new_tokens is not None:
        _at_most(wanted.max_new_tokens, limits.new_tokens, wanted.length_field, "tokens")


def check_candidates(limits: Limits, prompt: str, candidates: Sequence[str]) -> None:
    """Raises ServiceError (400) for too many or too long texts."""
    _at_most(len(prompt), limits.prompt_chars, "prompt", "characters")
    _at_most(len(candidates), limits.candidates, "candidates", "candidates")
    for i, candidate in enumerate(candidates):
        _at_most(len(candidate), limits.prompt_chars, "candidates", "characters", f"candidates[{i}]")


def check_features(limits: Limits, features: Sequence[Sequence[float]]) -> None:
    """Raises ServiceError (400) for too many documents or features, or rows of unequal length."""
    _at_most(len(features), limits.documents, "features", "documents")
    _at_most(len(features[0]), limits.features, "features", "features each")
    if odd := next((i for i, row in enumerate(features) if len(row) != len(features[0])), None):
        raise ServiceError(
            400,
            f"features[{odd}] has {len(features[odd])} numbers, features[0] has {len(features[0])}; give rows of one "
            "length",
            param="features",
        )


def _at_most(size: int, limit: int, param: str, what: str, place: str = "") -> None:
    if size > limit:
        raise ServiceError(400, f"{place or param}: {size} {what}, this service takes at most {limit}", param=param)
