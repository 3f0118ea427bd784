"""Serving on a GPU: the engine's tokens/s, against the memory's bandwidth and the plain base's bare forward pass.

Requests sample at their trained temperature, each at a trade-off of its own unless said otherwise; no prompt is kept
from run to run. The bandwidth's bound at one row is the time in which all weights that a token needs are read once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

import numpy as np
import torch
from on_gpu.gpu_part import GpuPart
from on_gpu.model_shapes import body_and_head, random_base, scorer_of, settings, shape, words
from other_servers import Prompt, bare_forward, plain_base

from cosdpo.models.language_scorer import LanguageScorer
from serve.engine import Engine, EngineSettings
from serve.engine.requests import Generation, SamplingParams

DTYPE = torch.bfloat16


@dataclass
class ServingCases:
    """The engine that all cases of one shape ask, and what they ask of it."""

    part: GpuPart
    scorer: LanguageScorer
    engine: Engine
    prompt: int
    """Tokens of a prompt."""
    tokens: int
    """New tokens of a request."""

    def prompts(self, count: int, length: int = 0) -> list[Prompt]:
        """Random ones, of `prompt` tokens by default."""
        rng, most = np.random.default_rng(count), self.scorer.head.weight.shape[0] - 1
        return [tuple(rng.integers(1, most, length or self.prompt).tolist()) for _ in range(count)]

    def answers(self, prompts: Sequence[Prompt], tokens: int, mixed: bool = True) -> tuple[float, float, int]:
        """All requests at once: seconds to the first token of any, seconds to the end, tokens made."""
        spread = np.linspace(0, 1, len(prompts)).tolist() if mixed else [0.5] * len(prompts)
        wanted = [
            Generation(
                prompt=prompt,
                weights=(w, 1 - w),
                temperature=tuple(self.scorer.card.trained_temperature),
                max_new_tokens=tokens,
                sampling=SamplingParams(seed=i, ignore_eos=True),
            )
            for i, (prompt, w) in enumerate(zip(prompts, spread, strict=True))
        ]
        began = time.perf_counter()
        firsts: list[float] = []

        async def answer(request: Generation) -> int:
            made = 0
            async for chunk in self.engine.submit(request):
                if not made:
                    firsts.append(time.perf_counter() - began)
                made = chunk.usage.completion_tokens
            return made

        async def everyone() -> list[int]:
            return await asyncio.gather(*map(answer, wanted))

        made = sum(asyncio.run(everyone()))
        return min(firsts), time.perf_counter() - began, made

    def rate(self, prompts: Sequence[Prompt], mixed: bool = True) -> float:
        """tokens/s from the first request to the last token, prompts included."""
        _, seconds, made = self.answers(prompts, self.tokens, mixed)
        return made / seconds

    def repeated(self, run: Callable[[], float]) -> float:
        """The median of what three of `run` return, after one that warms up; of fewer where time runs out."""
        run()
        found: list[float] = []
        while len(found) < (1 if self.part.tiny else 3) and (not found or self.part.left > 15):
            found.append(run())
        return median(found)


def measure(part: GpuPart, name: str) -> None:
    """All cases of the shape `name`."""
    part.tell_device()
    bandwidth = part.copy_bandwidth()
    part.tell(f"a copy moves {bandwidth / 1e12:.3g} TB/s", copy_terabytes_per_second=bandwidth / 1e12)
    base = random_base(shape(name, part.tiny), part.device, DTYPE)
    weights = sum(body_and_head(base)) * DTYPE.itemsize
    scorer = scorer_of(base, settings(), part.device, noise=0.01).eval()
    prompt, tokens, long, few, many = (16, 6, 100, 2, 4) if part.tiny else (128, 64, 2000, 32, 128)
    limits = EngineSettings(max_running=2 * many, kv_tokens=640 * many, prefix_tokens=0, prefill_tokens=2048)
    engine = Engine(scorer, words(scorer.head.weight.shape[0]), limits)
    cases = ServingCases(part, scorer, engine, prompt, tokens)
    engine.start()
    try:
        part.attempt("one row", lambda: _one_row(cases, weights / bandwidth))
        part.attempt("first token", lambda: _first_token(cases, long), 3)
        for count in (few, many):
            part.attempt(f"{count} rows", partial(_rows, cases, count), 5)
        part.attempt("mixed against one trade-off", lambda: _mixed(cases, few), 5)
        part.attempt("bare forward pass", lambda: _against_bare_forward(cases, few), 10)
    finally:
        engine.stop()


def _one_row(cases: ServingCases, bound: float) -> None:
    """`bound`: seconds in which the weights are read once."""
    prompts = cases.prompts(1)

    def decoding() -> float:
        first, end, made = cases.answers(prompts, 4 * cases.tokens)
        return (made - 1) / (end - first)

    speed = cases.repeated(decoding)
    cases.part.tell(
        f"one row: {speed:.4g} tokens/s while decoding, {speed * bound:.3f} of what the memory's bandwidth allows",
        tokens_per_second_1=speed,
        share_of_bandwidth_1=speed * bound,
    )


def _first_token(cases: ServingCases, length: int) -> None:
    prompts = cases.prompts(1, length)
    waited = 1e3 * cases.repeated(lambda: cases.answers(prompts, 2)[0])
    cases.part.tell(f"first token of {length} prompt tokens: {waited:.4g} ms", first_token_ms=waited)


def _rows(cases: ServingCases, count: int) -> None:
    prompts = cases.prompts(count)
    speed = cases.repeated(lambda: cases.rate(prompts))
    figures = {f"tokens_per_second_{count}": speed}
    cases.part.tell(f"{count} rows: {speed:.4g} tokens/s, prompts included", **figures)


def _mixed(cases: ServingCases, count: int) -> None:
    prompts = cases.prompts(count)
    speeds: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(2 if cases.part.tiny else 4):
        for mixed, found in speeds.items():
            speed = cases.rate(prompts, mixed)
            if turn:  # the first warms up
                found.append(speed)
    ratio = median(speeds[True]) / median(speeds[False])
    cases.part.tell(f"{count} rows, mixed against one trade-off: {ratio:.3f}", mixed_vs_same_weights=ratio)


def _against_bare_forward(cases: ServingCases, count: int) -> None:
    prompts = cases.prompts(count)
    plain = plain_base(cases.scorer)
    speeds = {"engine": cases.repeated(lambda: cases.rate(prompts))}
    for kind, static in (("dynamic cache", False), ("static cache", True)):
        seconds = cases.part.seconds(partial(bare_forward, plain, prompts, cases.tokens, static), 3)
        speeds[kind] = count * cases.tokens / seconds
    ratio = speeds["engine"] / max(speed for kind, speed in speeds.items() if kind != "engine")
    listed = ", ".join(f"{kind} {speed:.4g}" for kind, speed in speeds.items())
    cases.part.tell(
        f"{count} rows against the plain base's bare forward pass: {ratio:.3f} ({listed} tokens/s)",
        vs_bare_forward=ratio,
    )
