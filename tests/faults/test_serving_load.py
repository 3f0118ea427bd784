"""What the service does when clients leave, when there are too many, and after long load. Figures with `-s`."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.faults.clients import PROMPTS, body, judged, learn, load, quantiles, tell
from tests.faults.served import Service, figures, idle, megabytes, running, scenario

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


async def disconnects(service: Service, client: httpx.AsyncClient, count: int) -> dict[str, Any]:
    """`count` clients that leave after 1 to 3 events, and as many again: what grows each time would be a leak."""
    await asyncio.gather(*(tell(client, body(PROMPTS[0], 30, 100), leave_after=1) for _ in range(32)))
    await idle(service, client)
    before, memory, freed = await figures(client), [megabytes()], []
    statuses: Counter[int] = Counter()
    for _ in range(2):
        gone = await asyncio.gather(
            *(
                tell(client, body(random.choice(PROMPTS), 30, 200), leave_after=random.randint(1, 3))
                for _ in range(count)
            )
        )
        statuses.update(told.status for told in gone)
        freed.append(await idle(service, client))
        memory.append(megabytes())
    after = await figures(client)
    held = "cosdpo_engine_kv_tokens_used", "cosdpo_engine_prefix_tokens"
    return {
        "clients": 2 * count,
        "statuses": dict(statuses),
        "seconds_until_free": round(max(freed), 2),
        "kv_tokens_before": before[held[0]] - before[held[1]],
        "kv_tokens_after": after[held[0]] - after[held[1]],
        "megabytes": np.diff(memory).round(1).tolist(),
        "counted": after["cosdpo_disconnects_total"] - before.get("cosdpo_disconnects_total", 0),
    }


async def overload(service: Service, client: httpx.AsyncClient, places: int, seconds: float) -> dict[str, Any]:
    """Four times as many clients as the engine takes requests."""
    await learn(service, client, 40)
    await load(service, client, places, 40, seconds / 4)
    memory = megabytes()
    told = await load(service, client, 4 * places, 40, seconds)
    await idle(service, client)
    return {
        "clients": 4 * places,
        "places": places,
        "statuses": dict(Counter(answer.status for _, _, answer in told)),
        "wrong_texts": sum(not judged(service, key, answer) for _, key, answer in told if answer.status == 200),
        "seconds_200": quantiles([answer.seconds for _, _, answer in told if answer.whole]),
        "first_token_seconds": quantiles([answer.first for _, _, answer in told if answer.first is not None]),
        "seconds_429": quantiles([answer.seconds for _, _, answer in told if answer.status == 429]),
        "megabytes": round(megabytes() - memory, 1),
    }


async def soak(service: Service, client: httpx.AsyncClient, minutes: float) -> dict[str, Any]:
    """Whole streams and broken ones, for so many minutes; memory at the beginning, in the middle, at the end."""
    await learn(service, client, 40)
    await load(service, client, 8, 40, 20)
    end = time.perf_counter() + 60 * minutes
    memory, requests, wrong = [megabytes()], 0, 0
    while time.perf_counter() < end:
        part = min(30.0, max(1.0, end - time.perf_counter()))
        leaving = [tell(client, body(random.choice(PROMPTS), 30, 200), leave_after=2) for _ in range(16)]
        told, *_ = await asyncio.gather(load(service, client, 8, 40, part), *leaving)
        requests += len(told) + len(leaving)
        wrong += sum(not (answer.whole and judged(service, key, answer)) for _, key, answer in told)
        memory.append(megabytes())
    await idle(service, client)
    return {
        "minutes": minutes,
        "requests": requests,
        "wrong": wrong,
        "megabytes": [round(memory[i], 1) for i in (0, len(memory) // 2, -1)],
    }


def test_clients_that_leave_give_everything_back(checkpoint: Path) -> None:
    with running(checkpoint) as service:
        seen = scenario(service, disconnects, 300)
    assert set(seen["statuses"]) <= {200, 429}
    assert seen["statuses"][200] > 50
    assert seen["kv_tokens_after"] == seen["kv_tokens_before"] == 0


def test_too_many_clients_get_429_and_nothing_else(checkpoint: Path, pytestconfig: pytest.Config) -> None:
    with running(checkpoint, engine={"max_running": 8, "max_waiting": 8}) as service:
        seen = scenario(service, overload, 16, pytestconfig.getoption("--seconds"))
    assert set(seen["statuses"]) == {200, 429}
    assert seen["wrong_texts"] == 0


def test_long_load_leaves_texts_right_and_memory_flat(checkpoint: Path, pytestconfig: pytest.Config) -> None:
    with running(checkpoint) as service:
        seen = scenario(service, soak, pytestconfig.getoption("--soak-minutes"))
    assert seen["wrong"] == 0
    _, middle, end = seen["megabytes"]
    assert end < 1.2 * middle
