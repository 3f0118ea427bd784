"""Clients of a service under test: they read whole answers, leave early, or send one request after the other.

Every text is decoded greedily, so that it can be compared with what the idle service wrote: a stream that ends must be
that text, one that breaks off its beginning.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np

from tests.faults.served import Service

PROMPTS = ("Once upon a time", "Tom and Lily went to the", "The little dog", "One day a bird")


@dataclass
class Told:
    """What became of one request."""

    status: int
    seconds: float
    first: float | None = None
    text: str = ""
    whole: bool = False
    error: bool = False
    checkpoint: str = ""


def body(prompt: str, percent: int, tokens: int, stream: bool = True) -> dict[str, Any]:
    weights = [percent / 100, 1 - percent / 100]
    return {"prompt": prompt, "weights": weights, "max_new_tokens": tokens, "sampling_temperature": 0, "stream": stream}


async def events(client: httpx.AsyncClient, request: dict[str, Any]) -> AsyncIterator[Any]:
    """The status, then the events of an answer, then what ended it: "[DONE]" or nothing."""
    async with client.stream("POST", "/v1/generate", json=request) as answer:
        yield answer.status_code
        if answer.status_code == 200:
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    data = line.removeprefix("data: ")
                    yield data if data == "[DONE]" else json.loads(data)


async def tell(client: httpx.AsyncClient, request: dict[str, Any], leave_after: int | None = None) -> Told:
    """Sends a request and reads its answer, or leaves after so many events."""
    start = time.perf_counter()
    told = Told(0, 0.0)
    seen = 0
    try:
        async with aclosing(events(client, request)) as stream:  # type: ignore[type-var]
            async for event in stream:
                if isinstance(event, int):
                    told.status = event
                elif event == "[DONE]":
                    told.whole = True
                elif "error" in event:
                    told.error = True
                else:
                    told.first = told.first or time.perf_counter() - start
                    told.text += event["text"]
                    told.checkpoint = event["checkpoint"]
                    seen += 1
                    if seen == leave_after:
                        break
    except httpx.HTTPError:
        told.error = told.status != 0
    told.seconds = time.perf_counter() - start
    return told


async def learn(service: Service, client: httpx.AsyncClient, tokens: int) -> None:
    """Remembers what the idle service writes."""
    for prompt in PROMPTS:
        for percent in (0, 30, 100):
            service.texts[prompt, percent] = (await tell(client, body(prompt, percent, tokens))).text


def judged(service: Service, key: tuple[str, int], told: Told) -> bool:
    """Whether the text is what it must be: all of it, or its beginning."""
    expected = service.texts[key]
    return told.text == expected if told.whole else expected.startswith(told.text)


async def load(
    service: Service, client: httpx.AsyncClient, clients: int, tokens: int, seconds: float
) -> list[tuple[float, tuple[str, int], Told]]:
    """Clients that send one request after the other; what became of them, with the time at which they ended."""
    start = time.perf_counter()
    all_told: list[tuple[float, tuple[str, int], Told]] = []

    async def send_on(number: int) -> None:
        rng = random.Random(number)
        while time.perf_counter() - start < seconds:
            key = rng.choice(list(service.texts))
            told = await tell(client, body(*key, tokens))
            all_told.append((time.perf_counter() - start, key, told))
            if told.status != 200:
                await asyncio.sleep(0.2)

    await asyncio.gather(*(send_on(number) for number in range(clients)))
    return all_told


def quantiles(values: list[float]) -> dict[str, float]:
    return {f"p{q}": round(float(np.quantile(values, q / 100)), 3) for q in (50, 99)} if values else {}
