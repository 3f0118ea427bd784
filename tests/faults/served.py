"""A service on a Ray of its own, deployed as `serve deploy` does it, and what can be seen of it from outside."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serve.command import ENVIRONMENT

os.environ.update(ENVIRONMENT)  # Ray reads it when it is imported

import httpx
import ray
from ray import serve
from ray.serve.context import _get_global_client
from ray.serve.schema import ServeDeploySchema

from cosdpo.experiment.cluster import start_here

APP = "cosdpo"


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

    async def until(self, holds: Callable[[], Awaitable[bool]], seconds: float) -> float:
        """Seconds until `holds()` is awaited to true."""
        start = time.perf_counter()
        while time.perf_counter() - start < seconds:
            try:
                if await holds():
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
        start_here(num_cpus=4, log_to_driver=False, logging_level=logging.ERROR)
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


async def idle(service: Service, client: httpx.AsyncClient) -> float:
    """Seconds until no row runs, nothing waits, and nobody is within."""

    async def nothing_runs() -> bool:
        state = await figures(client)
        busy = state["cosdpo_engine_running"] + state["cosdpo_engine_waiting"]
        return not busy and state["cosdpo_requests_in_flight"] == 0

    return await service.until(nothing_runs, 60)


def scenario(service: Service, run: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """Runs one scenario and prints its figures."""

    async def with_client() -> dict[str, Any]:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
        async with httpx.AsyncClient(base_url=service.url, timeout=120, limits=limits) as client:
            seen: dict[str, Any] = await run(service, client, *arguments)
            return seen

    seen = asyncio.run(with_client())
    print(run.__name__, json.dumps(seen), flush=True)
    return seen
