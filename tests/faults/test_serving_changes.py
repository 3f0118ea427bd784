"""What the service does when a replica dies, when the checkpoint changes, when it closes. Figures with `-s`."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from ray import serve

from tests.faults.clients import PROMPTS, Told, body, judged, learn, load, tell
from tests.faults.served import APP, Service, figures, idle, megabytes, processes, replicas_of, running, scenario

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


async def kill(service: Service, client: httpx.AsyncClient, clients: int, seconds: float) -> dict[str, Any]:
    """SIGKILL to one replica while `clients` stream."""
    await learn(service, client, 40)
    victims = processes("LanguageModel")
    moment = seconds / 4
    start = time.perf_counter()

    async def kill_one() -> float:
        await asyncio.sleep(moment)
        os.kill(victims[0], signal.SIGKILL)
        at = time.perf_counter()

        async def both() -> bool:
            return len(await replicas_of(client)) == len(victims) and victims[0] not in await asyncio.to_thread(
                processes, "LanguageModel"
            )

        await asyncio.sleep(1)
        await service.until(both, 120)
        return time.perf_counter() - at

    told, recovery = await asyncio.gather(load(service, client, clients, 40, seconds), kill_one())
    ended = sorted(at for at, _, answer in told if answer.whole)
    gaps = np.diff([at for at in ended if at > moment - 1])
    return {
        "clients": clients,
        "requests": len(told),
        "statuses": dict(Counter(answer.status for _, _, answer in told)),
        "broken_streams": sum(answer.status == 200 and not answer.whole for _, _, answer in told),
        "broken_without_a_word": sum(
            answer.status == 200 and not answer.whole and not answer.error for _, _, answer in told
        ),
        "corrupted": sum(not judged(service, key, answer) for _, key, answer in told if answer.status == 200),
        "longest_pause_s": round(float(gaps.max()), 2),
        "two_replicas_again_after_s": round(recovery, 1),
        "seconds": round(time.perf_counter() - start, 1),
    }


async def reload(service: Service, client: httpx.AsyncClient, other: Path, clients: int) -> dict[str, Any]:
    """Another checkpoint is deployed while `clients` stream without a pause."""
    memory = megabytes()
    old = (await client.get("/v1/models")).json()["data"][0]["id"]
    done = asyncio.Event()
    told: list[tuple[float, Told]] = []

    async def stream_on() -> None:
        while not done.is_set():
            answer = await tell(client, body(PROMPTS[0], 30, 60))
            told.append((time.perf_counter(), answer))

    async def change() -> tuple[float, str]:
        await asyncio.sleep(1)
        service.model["user_config"] = {"checkpoint": str(other.resolve()), "name": "other"}
        await asyncio.to_thread(service.deploy)

        async def changed() -> bool:
            return (await client.get("/v1/models")).json()["data"][0]["id"] != old

        seconds = await service.until(changed, 60)
        await asyncio.sleep(2)
        done.set()
        return seconds, (await client.get("/v1/models")).json()["data"][0]["id"]

    (seconds, new), *_ = await asyncio.gather(change(), *(stream_on() for _ in range(clients)))
    await idle(service, client)
    ended = np.diff(sorted(at for at, _ in told))
    return {
        "streams": len(told),
        "dropped": sum(not answer.whole for _, answer in told),
        "checkpoints": dict(Counter(answer.checkpoint for _, answer in told)),
        "expected": sorted({old, new}),
        "seconds_until_new": round(seconds, 2),
        "longest_pause_s": round(float(ended.max()), 2),
        "megabytes": round(megabytes() - memory, 1),
    }


async def drain(service: Service, client: httpx.AsyncClient, clients: int) -> dict[str, Any]:
    """The service closes while `clients` stream."""
    streams = [asyncio.ensure_future(tell(client, body(PROMPTS[0], 30, 300))) for _ in range(clients)]

    async def all_run() -> bool:
        return (await figures(client))["cosdpo_requests_in_flight"] == clients

    await service.until(all_run, 30)
    closing = serve.get_app_handle(APP).close.remote(60)
    await asyncio.sleep(0.3)
    late = await tell(client, body(PROMPTS[0], 30, 5))
    left = await closing
    told = await asyncio.gather(*streams)
    return {
        "streams": clients,
        "whole": sum(answer.whole for answer in told),
        "left": left,
        "late_status": late.status,
        "still_streaming_when_closed": sum(answer.seconds > 0.3 for answer in told),
    }


@pytest.fixture(scope="class")
def service(checkpoint: Path) -> Iterator[Service]:
    with running(checkpoint) as started:
        yield started


class TestOneService:
    def test_a_reload_drops_no_stream(self, service: Service, checkpoint: Path) -> None:
        seen = scenario(service, reload, checkpoint, 4)
        assert seen["dropped"] == 0
        assert set(seen["checkpoints"]) == set(seen["expected"])
        assert len(seen["expected"]) == 2

    def test_a_broken_reload_changes_nothing(self, service: Service, checkpoint: Path) -> None:
        before = httpx.get(f"{service.url}/v1/models").json()
        service.model["user_config"] = {"checkpoint": str(checkpoint / "nowhere")}
        service.deploy()
        end = time.monotonic() + 30
        while 'failed_reloads{replica="' not in (
            page := httpx.get(f"{service.url}/metrics").text
        ) or "} 1.0" not in next(
            line for line in page.splitlines() if line.startswith("cosdpo_engine_failed_reloads{")
        ):
            assert time.monotonic() < end
            time.sleep(0.2)
        assert httpx.get(f"{service.url}/v1/models").json() == before
        assert httpx.post(f"{service.url}/v1/generate", json={"prompt": "a"}).status_code == 200

    def test_a_drain_lets_streams_end(self, service: Service) -> None:
        """The last test of this service: it is closed afterwards."""
        seen = scenario(service, drain, 6)
        assert seen["whole"] == seen["streams"]
        assert seen["still_streaming_when_closed"] == seen["streams"]
        assert (seen["left"], seen["late_status"]) == (0, 503)


def test_a_killed_replica_breaks_only_its_own_streams(checkpoint: Path) -> None:
    """With 8 clients at a time no more than 8 streams can have been on the replica that died."""
    with running(checkpoint, replicas=2) as service:
        seen = scenario(service, kill, 8, 12.0)
    assert seen["corrupted"] == 0
    assert seen["broken_without_a_word"] == 0
    assert seen["broken_streams"] <= 8
    assert sum(count for status, count in seen["statuses"].items() if status != 200) <= 8


def test_the_command_serves_and_drains(checkpoint: Path) -> None:
    """SIGTERM in the middle of a stream: the stream ends whole, the command with 0."""
    command = [sys.executable, "-m", "serve", "--checkpoint", str(checkpoint), "--port", "0", "--cpus", "0.5"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root, env=dict(os.environ)) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline().startswith("loading ")
            greeting = process.stdout.readline()
            assert greeting.startswith("serving run-"), greeting
            url = next(word for word in greeting.split() if word.startswith("http"))
            assert httpx.get(f"{url}/readyz").status_code == 200
            lines: list[str] = []
            streaming = threading.Event()

            def read() -> None:
                asked: dict[str, Any] = {"prompt": "once", "max_new_tokens": 400, "stream": True}
                with httpx.stream("POST", f"{url}/v1/generate", json=asked, timeout=60) as answer:
                    for line in answer.iter_lines():
                        lines.append(line)
                        streaming.set()

            reader = threading.Thread(target=read)
            reader.start()
            assert streaming.wait(30)
            process.send_signal(signal.SIGTERM)
            reader.join(60)
            events = [line.removeprefix("data: ") for line in lines if line]
            assert events[-1] == "[DONE]"
            assert json.loads(events[-2])["finish_reason"] in ("stop", "length")
            assert process.wait(60) == 0
        finally:
            process.kill()
