"""How often a step makes the host wait for the device: once, when it reads the chosen tokens."""

from __future__ import annotations

from serve.engine.requests import Chunk
from tests.fake_gpu import fake_gpu
from tests.models.test_on_gpu import scorer_on_gpu
from tests.serve.engine.scheduling import ask, batching_of, generation
from tests.tiny_models import settings

ONE_WAIT = ["a copy from cuda to cpu"]
SAMPLED = {"sampling_temperature": 1.0}
REQUESTS = [
    {},
    {"temperature": (1.5, 1.5)},  # a base row beside it
    {"temperature": (float("inf"), float("inf"))},
    {**SAMPLED, "weights": (1.0, 0.0)},
    {**SAMPLED, "top_p": 0.9},
    {**SAMPLED, "top_k": 3},
    {"logprobs": 2},
    {**SAMPLED, "logprobs": 0},
]


def test_a_step_waits_once_whatever_it_does(monkeypatch):
    """Prompts that come in, rows that join, decode and leave: a step waits for its tokens, if it made some."""
    config = settings("x", conditioning="both", scope="response")
    with fake_gpu(monkeypatch) as waits:
        batching = batching_of(scorer_on_gpu("llama-untied", config), prefill_tokens=7)
        told = []
        for number, request in enumerate(REQUESTS):
            told.append(ask(batching, generation([5, 6, 7 + number, 8] * 3, max_new_tokens=3 + number, **request)))
        waits.found.clear()
        steps = 0
        while batching.busy:
            made = batching.stats.tokens
            batching.step()
            assert waits.found == (ONE_WAIT if batching.stats.tokens > made else [])
            waits.found.clear()
            steps += 1
        assert steps > len(REQUESTS)
        assert all(isinstance(one.last, Chunk) and one.last.finish_reason == "length" for one in told)
