"""What one request may ask for, beyond what the schemas say: sizes that belong to the settings of the service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from serve.http.backend import TextRequest
from serve.http.service_errors import ServiceError

Positive = Annotated[int, Field(ge=1)]


class Limits(BaseModel):
    """What one request may ask for; more is refused with 400, or 413 for the body."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, frozen=True)

    body_bytes: Positive = 1 << 20
    """Bytes of a request's body."""
    prompt_chars: Positive = 100_000
    """Characters of a prompt, of all messages of a chat, or of a candidate."""
    new_tokens: Positive = 1024
    """Tokens of one generated text."""
    n: Positive = 8
    """Texts of one request: its n times its prompts."""
    candidates: Positive = 64
    """Candidates of one scoring request."""
    documents: Positive = 2000
    """Documents of one ranking request."""
    features: Positive = 4096
    """Features of one document."""
    requests: Positive = 512
    """Requests that are answered at the same time; more get 429."""


def check_texts(limits: Limits, wanted: TextRequest) -> None:
    """Raises ServiceError (400) for too long prompts, too many texts, or too many tokens."""
    for prompt in wanted.prompts:
        size = len(prompt) if isinstance(prompt, str) else sum(len(message["content"]) for message in prompt)
        _at_most(size, limits.prompt_chars, wanted.prompt_field, "characters")
    _at_most(
        len(wanted.prompts) * wanted.n, limits.n, "n" if len(wanted.prompts) == 1 else wanted.prompt_field, "texts"
    )
    if wanted.max_new_tokens is not None:
        _at_most(wanted.max_new_tokens, limits.new_tokens, wanted.length_field, "tokens")


def check_candidates(limits: Limits, prompt: str, candidates: Sequence[str]) -> None:
    """Raises ServiceError (400) for too many or too long texts."""
    _at_most(len(prompt), limits.prompt_chars, "prompt", "characters")
    _at_most(len(candidates), limits.candidates, "candidates", "candidates")
    _at_most(max(map(len, candidates)), limits.prompt_chars, "candidates", "characters each")


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


def _at_most(size: int, limit: int, param: str, what: str) -> None:
    if size > limit:
        raise ServiceError(400, f"{param}: {size} {what}, this service takes at most {limit}", param=param)
