"""What the service does when clients leave, when there are too many, when a replica dies, when the checkpoint changes.

    python benchmarks/serving_faults.py --checkpoint runs/quickstart/checkpoint [--other OTHER/checkpoint]
    python benchmarks/serving_faults.py --checkpoint runs/quickstart/checkpoint --only soak --soak-minutes 30

Real Ray Serve on 127.0.0.1, deployed as `serve deploy` does it, and real HTTP. Every text is decoded greedily, so that
it can be compared with what the idle service wrote: a stream that ends must be that text, one that breaks off its
beginning.

disconnects   clients leave in the middle of a stream: slots and memory must come back.
overload      four times as many clients as the engine takes, for some seconds: only 200 and 429, bounded latency.
kill          SIGKILL to one of two replicas under load: how many streams break, how soon two replicas answer again.
reload        another checkpoint is deployed while streams run: none may break, and answers name the new one.
drain         the service closes while streams run: all end whole, later requests get 503.
soak          load for so many minutes: memory must stay flat.

Ends with one JSON line.
"""

import argparse
import asyncio
import io
import json
import logging
import os
import random
import signal
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_SERVE_LOG_TO_STDERR", "0")

import httpx
import numpy as np
import ray
from ray import serve
from ray.serve.context import _get_global_client
from ray.serve.schema import ServeDeploySchema

APP = "cosdpo"
PROMPTS = ("Once upon a time", "Tom and Lily went to the", "The little dog", "One day a bird")


@dataclass
class Service:
    """A service that runs, and what it was deployed from."""

    port: int
    config: dict[str, Any]
    texts: dict[tuple[str, int], str] = field(default_factory=dict)
    """What the idle service wrote, by prompt and weight in percent."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def deploy(self) -> None:
        """What `serve deploy` does with the configuration."""
        _get_global_client().deploy_apps(ServeDeploySchema.model_validate(self.config))

    @property
    def model(self) -> dict[str, Any]:
        model: dict[str, Any] = self.config["applications"][0]["deployments"][0]
        return model

    async def until(self, what: Callable[[], Any], seconds: float) -> float:
        """Seconds until `what()` is awaited to true."""
        start = time.perf_counter()
        while time.perf_counter() - start < seconds:
            try:
                if await what():
                    return time.perf_counter() - start
            except (httpx.HTTPError, json.JSONDecodeError):
                pass
            await asyncio.sleep(0.2)
        raise TimeoutError(f"not within {seconds:g} s")


@contextmanager
def running(checkpoint: Path, replicas: int = 1, **settings: Any) -> Iterator[Service]:
    """The service with `settings` (serve/service_settings.py), on a Ray of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = not ray.is_initialized()
    if started:
        ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    place = str(checkpoint.resolve())
    service = Service(
        port,
        {
            "applications": [
                {
                    "name": APP,
                    "route_prefix": "/",
                    "import_path": "serve.app:app",
                    "args": {"checkpoint": place, "replicas": replicas, "cpus": 0.5, **settings},
                    "deployments": [{"name": "LanguageModel", "user_config": {"checkpoint": place}}],
                }
            ]
        },
    )
    try:
        service.deploy()

        async def ready() -> bool:
            async with httpx.AsyncClient(base_url=service.url) as client:
                return (await client.get("/readyz")).status_code == 200 and len(await replicas_of(client)) == replicas

        asyncio.run(service.until(ready, 120))
        yield service
    finally:
        with redirect_stdout(io.StringIO()):  # Ray tells of the actors that end here as failures
            serve.shutdown()
            if started:
                ray.shutdown()


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


async def events(client: httpx.AsyncClient, asked: dict[str, Any]) -> AsyncIterator[Any]:
    """The status, then the events of an answer, then what ended it: "[DONE]" or nothing."""
    async with client.stream("POST", "/v1/generate", json=asked) as answer:
        yield answer.status_code
        if answer.status_code == 200:
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    data = line.removeprefix("data: ")
                    yield data if data == "[DONE]" else json.loads(data)


async def tell(client: httpx.AsyncClient, asked: dict[str, Any], leave_after: int | None = None) -> Told:
    """Sends a request and reads its answer, or leaves after so many events."""
    start = time.perf_counter()
    told = Told(0, 0.0)
    seen = 0
    try:
        async with aclosing(events(client, asked)) as stream:  # type: ignore[type-var]
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


async def figures(client: httpx.AsyncClient) -> dict[str, float]:
    """Sums of the engines' gauges, and the ingress's."""
    sums: Counter[str] = Counter()
    for line in (await client.get("/metrics")).text.splitlines():
        if line.startswith(("cosdpo_engine", "cosdpo_requests_in_flight", "cosdpo_disconnects")):
            name, value = line.rsplit(" ", 1)
            sums[name.partition("{")[0]] += float(value)
    return dict(sums)


async def replicas_of(client: httpx.AsyncClient) -> set[str]:
    page = (await client.get("/metrics")).text
    return {line.split('"')[1] for line in page.splitlines() if line.startswith("cosdpo_engine_running{")}


def processes(deployment: str) -> list[int]:
    """Process ids of a deployment's replicas."""
    named = [a for a in ray.util.list_named_actors(all_namespaces=True) if f"#{deployment}#" in a["name"]]
    pids = []
    for actor in named:
        try:
            handle = ray.get_actor(actor["name"], namespace=actor["namespace"])
            pids.append(ray.get(handle.__ray_call__.remote(lambda _: os.getpid()), timeout=10))
        except (ValueError, ray.exceptions.RayError):
            continue
    return pids


def megabytes() -> float:
    """Memory of all replicas of model and ingress, without the files they map: the system takes those back at will."""
    total = 0.0
    for pid in [*processes("LanguageModel"), *processes("Ingress")]:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                total += int(line.split()[1]) / 1024
    return total


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

    async def one(number: int) -> None:
        rng = random.Random(number)
        while time.perf_counter() - start < seconds:
            key = rng.choice(list(service.texts))
            told = await tell(client, body(*key, tokens))
            all_told.append((time.perf_counter() - start, key, told))
            if told.status != 200:
                await asyncio.sleep(0.2)

    await asyncio.gather(*(one(number) for number in range(clients)))
    return all_told


def quantiles(values: list[float]) -> dict[str, float]:
    return {f"p{q}": round(float(np.quantile(values, q / 100)), 3) for q in (50, 99)} if values else {}


async def idle(service: Service, client: httpx.AsyncClient) -> float:
    """Seconds until no row runs and no request is within."""

    async def nothing() -> bool:
        found = await figures(client)
        return (
            not found["cosdpo_engine_running"]
            and not found["cosdpo_engine_waiting"]
            and found["cosdpo_requests_in_flight"] == 1
        )  # the one that asks

    return await service.until(nothing, 60)


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
        "statuses": dict(Counter(one.status for _, _, one in told)),
        "wrong_texts": sum(not judged(service, key, one) for _, key, one in told if one.status == 200),
        "seconds_200": quantiles([one.seconds for _, _, one in told if one.whole]),
        "first_token_seconds": quantiles([one.first for _, _, one in told if one.first is not None]),
        "seconds_429": quantiles([one.seconds for _, _, one in told if one.status == 429]),
        "megabytes": round(megabytes() - memory, 1),
    }


async def kill(service: Service, client: httpx.AsyncClient, clients: int, seconds: float) -> dict[str, Any]:
    """SIGKILL to one replica while `clients` stream."""
    await learn(service, client, 40)
    victims = processes("LanguageModel")
    moment = seconds / 4
    start = time.perf_counter()

    async def murder() -> float:
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

    told, recovery = await asyncio.gather(load(service, client, clients, 40, seconds), murder())
    ended = sorted(at for at, _, one in told if one.whole)
    gaps = np.diff([at for at in ended if at > moment - 1])
    return {
        "clients": clients,
        "requests": len(told),
        "statuses": dict(Counter(one.status for _, _, one in told)),
        "broken_streams": sum(one.status == 200 and not one.whole for _, _, one in told),
        "broken_without_a_word": sum(one.status == 200 and not one.whole and not one.error for _, _, one in told),
        "corrupted": sum(not judged(service, key, one) for _, key, one in told if one.status == 200),
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

    async def one() -> None:
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

    (seconds, new), *_ = await asyncio.gather(change(), *(one() for _ in range(clients)))
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
        return (await figures(client))["cosdpo_requests_in_flight"] == clients + 1

    await service.until(all_run, 30)
    closing = serve.get_app_handle(APP).close.remote(60)
    await asyncio.sleep(0.3)
    late = await tell(client, body(PROMPTS[0], 30, 5))
    left = await closing
    told = await asyncio.gather(*streams)
    return {
        "streams": clients,
        "whole": sum(one.whole for one in told),
        "left": left,
        "late_status": late.status,
        "still_streaming_when_closed": sum(one.seconds > 0.3 for one in told),
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
        wrong += sum(not (one.whole and judged(service, key, one)) for _, key, one in told)
        memory.append(megabytes())
    await idle(service, client)
    return {
        "minutes": minutes,
        "requests": requests,
        "wrong": wrong,
        "megabytes": [round(memory[i], 1) for i in (0, len(memory) // 2, -1)],
    }


def scenario(service: Service, run: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """Runs one scenario and prints what it found."""

    async def with_client() -> dict[str, Any]:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
        async with httpx.AsyncClient(base_url=service.url, timeout=120, limits=limits) as client:
            found: dict[str, Any] = await run(service, client, *arguments)
            return found

    found = asyncio.run(with_client())
    print(run.__name__, json.dumps(found), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="of a language model with two objectives")
    parser.add_argument("--other", type=Path, help="checkpoint to reload with (default: the same under another name)")
    parser.add_argument("--only", nargs="+", help="scenarios to run (default: all)")
    parser.add_argument("--soak-minutes", type=float, default=2.0)
    parser.add_argument("--seconds", type=float, default=20.0, help="of overload, and of load around the kill")
    options = parser.parse_args()

    def wanted(name: str) -> bool:
        return not options.only or name in options.only

    results: dict[str, Any] = {}
    if any(map(wanted, ("disconnects", "reload", "soak", "drain"))):
        with running(options.checkpoint) as service:
            if wanted("disconnects"):
                results["disconnects"] = scenario(service, disconnects, 300)
            if wanted("reload"):
                results["reload"] = scenario(service, reload, options.other or options.checkpoint, 6)
            if wanted("soak"):
                results["soak"] = scenario(service, soak, options.soak_minutes)
            if wanted("drain"):
                results["drain"] = scenario(service, drain, 8)
    if wanted("overload"):
        with running(options.checkpoint, engine={"max_running": 8, "max_waiting": 8}) as service:
            results["overload"] = scenario(service, overload, 16, options.seconds)
    if wanted("kill"):
        with running(options.checkpoint, replicas=2) as service:
            results["kill"] = scenario(service, kill, 12, options.seconds)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
