"""Drives continuous batching by hand: requests that come, finish and are cancelled at random steps."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedTokenizerFast

from cosdpo.models.language_scorer import LanguageScorer
from serve.engine.continuous_batching import ContinuousBatching
from serve.engine.engine_settings import EngineSettings
from serve.engine.requests import Chunk, Generation, SamplingParams
from serve.engine.sequence import Sequence
from tests.tiny_models import VOCABULARY, letters

RATIOS = (0.5, 1.0, 1.0, 3.0, float("inf"))


@dataclass
class Told:
    """A request and what came back."""

    request: Generation
    sequence: Sequence
    items: list[Chunk | Exception] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(item.text for item in self.items if isinstance(item, Chunk))

    @property
    def last(self) -> Chunk:
        chunk = self.items[-1]
        assert isinstance(chunk, Chunk)
        return chunk


def batching_of(
    scorer: LanguageScorer, tokenizer: PreTrainedTokenizerFast | None = None, **changes: int
) -> ContinuousBatching:
    return ContinuousBatching(scorer.eval(), tokenizer or letters(), EngineSettings(**({"kv_tokens": 4096} | changes)))


def ask(batching: ContinuousBatching, request: Generation) -> Told:
    items: list[Chunk | Exception] = []
    told = Told(request, batching.sequence(request, items.append), items)
    batching.add(told.sequence)
    return told


def finish(batching: ContinuousBatching, limit: int = 2000) -> None:
    for _ in range(limit):
        if not batching.busy:
            return
        batching.step()
    raise AssertionError(f"still busy after {limit} steps")


def generation(prompt: list[int] | tuple[int, ...], **changes: object) -> Generation:
    """A greedy request. What its SamplingParams have is given beside its own; `sampling_temperature` is theirs."""
    plain = {"weights": (0.3, 0.7), "temperature": (0.5, 0.5), "max_new_tokens": 6, "sampling_temperature": 0.0}
    fields: dict[str, Any] = plain | changes
    sampling = {
        name: fields.pop(name)
        for name in ("top_p", "top_k", "stop", "seed", "logprobs", "json_schema")
        if name in fields
    }
    sampling["temperature"] = fields.pop("sampling_temperature")
    return Generation(prompt=tuple(prompt), sampling=SamplingParams(**sampling), **fields)


def random_request(rng: random.Random, earlier: list[Generation], conditioned: bool, **changes: object) -> Generation:
    """Any prompt, weights, temperature and length; every third prompt repeats or extends an earlier one."""
    prompt = [rng.randrange(3, len(VOCABULARY)) for _ in range(rng.choice([1, 2, 5, 9, 20, 30]))]
    if earlier and rng.random() < 0.35:
        prompt = [*rng.choice(earlier).prompt, *prompt[: rng.randrange(3)]][:36]
    w, c = rng.choice([0.0, 0.5, 1.0, rng.random()]), rng.choice(RATIOS)
    share = rng.choice([0.5, 0.7]) if conditioned and c != float("inf") else 0.5
    return generation(
        prompt,
        **{
            "weights": (w, 1 - w),
            "temperature": (share * c, (1 - share) * c),
            "max_new_tokens": rng.choice([1, 3, 8, 20]),
            **changes,
        },
    )


def check_budget(batching: ContinuousBatching) -> None:
    """What is counted is what there is, and never more than the budget."""
    scheduler, memory, budget = batching.scheduler, batching.memory, batching.settings.kv_tokens
    prefixes = sum(p.length for p in batching.prefixes.cached.values())
    slots = sum(len(pool) * length for length, pool in memory.pools.items())
    assert memory.prefixes == prefixes
    assert memory.allocated == prefixes + sum(len(pool.keys[0]) * length for length, pool in memory.pools.items())
    assert memory.allocated <= budget
    assert scheduler.used <= budget
    assert scheduler.rows == sum(len(s.rows) for s in scheduler.running + scheduler.preparing)
    assert scheduler.rows <= batching.settings.max_running
    assert slots == sum(s.reserved for s in scheduler.running) <= scheduler.reserved
    assert batching.prefixes.unused <= batching.settings.prefix_tokens
    assert batching.prefixes.unused == sum(p.length for p in batching.prefixes.cached.values() if p.users == 0)
    assert batching.prefixes.making() == [p for p in batching.prefixes.cached.values() if not p.ready]


def check_empty(batching: ContinuousBatching) -> None:
    """Everything was given back but prefixes that are kept."""
    batching.memory.tidy()
    assert not batching.memory.pools
    assert batching.scheduler.reserved == batching.scheduler.rows == 0
    assert batching.memory.allocated == batching.prefixes.unused


def play(
    scorer: LanguageScorer,
    seed: int,
    conditioned: bool = False,
    requests: int = 10,
    cancels: float = 0.15,
    **changes: object,
) -> tuple[ContinuousBatching, list[Told]]:
    """A random schedule under random limits; invariants are checked after every step."""
    rng = random.Random(seed)
    batching = batching_of(
        scorer,
        prefill_tokens=rng.choice([1, 3, 7, 64]),
        max_running=rng.choice([2, 3, 8]),
        kv_tokens=rng.choice([200, 300, 700]),
        prefix_tokens=rng.choice([0, 40, 200]),
    )
    told: list[Told] = []
    while len(told) < requests or batching.busy:
        while len(told) < requests and rng.random() < 0.5:
            told.append(ask(batching, random_request(rng, [t.request for t in told], conditioned, **changes)))
        if told and rng.random() < cancels:
            rng.choice(told).sequence.cancelled = True
        batching.step()
        check_budget(batching)
    check_empty(batching)
    return batching, told
