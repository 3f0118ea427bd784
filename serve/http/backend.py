"""What the HTTP routes ask of a model, wherever it runs: in this process, or in replicas that Ray Serve keeps.

All of it is plain data that crosses processes. Refusals are ServiceErrors, raised by whoever finds them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from serve.engine.requests import Chunk, SamplingParams
from serve.http.schema import ModelSent
from serve.http.trade_off import EffectivePolicy, TradeOff

PlainMessage = Mapping[str, str]
"""role and content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRequest:
    """Texts to generate: n continuations of every prompt."""

    trade_off: TradeOff
    prompts: tuple[str | list[int] | tuple[PlainMessage, ...], ...]
    """Plain prompts, token ids, or tuples of chat messages."""
    asked: bool = False
    """Plain prompts are as a person writes them, to a model that was trained on chats a user's message; otherwise they
    are the text that the model continues."""
    prompt_field: str = "prompt"
    """What the caller's route calls them."""
    length_field: str = "max_new_tokens"
    """What the caller's route calls the number of new tokens."""
    n: int = 1
    max_new_tokens: int | None = None
    """None: `default_new_tokens`, or as many as there is room for."""
    default_new_tokens: int = 128
    sampling: SamplingParams = field(default_factory=SamplingParams)
    """Its seed is that of a prompt's first continuation; the others count on from it."""
    echo: bool = False
    """Texts begin with their prompts, and log-probabilities with theirs; `max_new_tokens` may then be 0."""
    stream: bool = False
    """False: the text of each continuation comes in one piece."""

    def place(self, index: int) -> str:
        """What messages call prompt `index`."""
        return f"{self.prompt_field}[{index}]" if len(self.prompts) > 1 else self.prompt_field


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of one continuation; continuation i of prompt p is number p n + i."""

    index: int
    chunk: Chunk


@dataclass(frozen=True, slots=True)
class Scored:
    """Log-probabilities of candidates."""

    policy: EffectivePolicy
    scores: list[float]
    """[n] under the policy."""
    reference: list[float]
    """[n] under the base."""
    tokens: list[int]
    """[n] tokens of each candidate."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """Scores of documents."""

    policy: EffectivePolicy
    scores: list[float]
    base_scores: list[float]


class Backend(Protocol):
    """A model that is being served."""

    async def describe(self) -> ModelSent:
        """What is served now."""

    def generate(self, wanted: TextRequest) -> AsyncIterator[EffectivePolicy | Part]:
        """The policy first, then parts; closing the iterator frees what the answer took."""

    async def score(self, trade_off: TradeOff, prompt: str, candidates: list[str]) -> Scored:
        """Scores of given responses."""

    async def rank(self, trade_off: TradeOff, features: list[list[float]]) -> Ranked:
        """Scores of the documents of one query."""

    async def front(self) -> dict[str, Any] | None:
        """The front that the run measured, with an example; None where it measured none."""

    async def healthy(self) -> bool:
        """Whether answers come: false when the step loop stands still although there is work."""

    async def stats(self) -> dict[str, dict[str, float]]:
        """State of every replica's engine."""
