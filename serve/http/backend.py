"""What the HTTP routes ask of a model, wherever it runs: in this process, or in replicas that Ray Serve keeps.

All of it is plain data that crosses processes. Refusals are ServiceErrors, raised by whoever finds them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from serve.engine.requests import Chunk

Weights = list[float] | dict[str, float] | None
Beta = float | list[float] | None
Message = Mapping[str, str]
"""role and content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeOff:
    """Which policy a caller wants."""

    weights: Weights = None
    """Importance of the objectives; None weighs all the same."""
    temperature: Beta = None
    """DPO temperature; None is the trained one."""
    model: str | None = None
    """Checkpoint that the caller names; None takes whichever is served."""
    beta: str = "temperature"
    """What the caller's route calls the DPO temperature."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Texts to generate: n continuations of every prompt."""

    trade_off: TradeOff
    prompts: tuple[str | tuple[Message, ...], ...]
    """Plain prompts, or lists of chat messages."""
    prompt_field: str = "prompt"
    """What the caller's route calls them."""
    length_field: str = "max_new_tokens"
    """What the caller's route calls the number of new tokens."""
    n: int = 1
    max_new_tokens: int | None = None
    """None: `default_new_tokens`, or as many as there is room for."""
    default_new_tokens: int = 128
    sampling_temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    logprobs: int | None = None
    stream: bool = False
    """False: the text of each continuation comes in one piece."""


@dataclass(frozen=True, slots=True)
class EffectivePolicy:
    """The policy that answers: weights and temperatures as they take effect."""

    checkpoint: str
    objectives: list[str]
    weights: list[float]
    """[m] summing to 1."""
    temperature: list[float]
    """[m] DPO temperatures."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What is served."""

    id: str
    created: int
    task: Literal["language", "ranking"]
    objectives: list[str]
    trained_temperature: list[float]
    temperature_conditioned: bool
    scope: Literal["sequence", "response"] | None
    smallest_temperature: float | None
    """Mean DPO temperature below which a request is refused; None: any above 0."""


class Backend(Protocol):
    """A model that is being served."""

    async def describe(self) -> Description:
        """What is served now."""

    def generate(self, ask: Ask) -> AsyncIterator[EffectivePolicy | Part]:
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


def only(task: str, served: str) -> str:
    """What to say to a caller who asks a ranker for text, or a language model for a ranking."""
    mend = "POST /v1/rank" if served == "ranking" else "POST /v1/generate or /v1/score"
    kind = "ranker" if served == "ranking" else "language model"
    return f"the checkpoint served is a {kind}, which does no {task}; use {mend}"
