"""Reloading, without Ray: the old checkpoint answers until the new one is warm, and to the end of its streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from cosdpo.errors import InputError
from serve.deployments import Replica
from serve.http.backend import TextRequest
from serve.http.service_errors import ServiceError
from serve.http.trade_off import TradeOff
from serve.service_settings import ServiceSettings

pytestmark = pytest.mark.anyio
WANTED = TextRequest(trade_off=TradeOff(), prompts=("a",))


class Loaded:
    """A checkpoint that answers with its folder's name until it is told to go on."""

    all: ClassVar[list[Loaded]] = []
    slow: ClassVar[bool] = False

    def __init__(self, folder: Path, settings: ServiceSettings, base: str, name: str) -> None:
        if folder.name == "broken":
            raise InputError("broken")
        self.name, self.warm, self.retired, self.running, self.well = folder.name, False, False, 0, True
        self.go_on = asyncio.Event()
        self.description = type("D", (), {"id": self.name})
        self.all.append(self)

    async def warm_up(self) -> None:
        await asyncio.sleep(0.03 if Loaded.slow else 0)
        self.warm = True

    async def generate(self, wanted: TextRequest) -> AsyncIterator[str]:
        assert self.warm
        self.running += 1
        try:
            yield self.name
            await self.go_on.wait()
            assert not self.retired
            yield self.name
        finally:
            self.running -= 1

    async def score(self, *asked: Any) -> Any:
        raise ServiceError(429, "full", retry_after=2)

    async def healthy(self) -> bool:
        return self.well

    async def retire(self) -> None:
        while self.running:
            await asyncio.sleep(0.001)
        self.retired = True


class FakeReplica(Replica):
    kind = Loaded  # type: ignore[assignment]


@pytest.fixture
async def replica() -> FakeReplica:
    Loaded.all.clear()
    Loaded.slow = False
    made = FakeReplica(ServiceSettings(checkpoint=Path("unused")))
    await made.reconfigure({"checkpoint": "runs/first"})
    return made


async def settled(replica: FakeReplica) -> None:
    while replica.tasks:
        await asyncio.sleep(0.001)


async def test_old_streams_end_on_the_old_checkpoint(replica: FakeReplica) -> None:
    stream = replica.generate(WANTED)
    assert await anext(stream) == "first"
    await replica.reconfigure({"checkpoint": "runs/second"})
    while replica.current().name == "first":  # type: ignore[union-attr]
        await asyncio.sleep(0.001)
    newer = replica.generate(WANTED)
    assert await anext(newer) == "second"
    first, second = Loaded.all
    await asyncio.sleep(0.01)
    assert not first.retired
    first.go_on.set()
    assert [piece async for piece in stream] == ["first"]
    await settled(replica)
    assert first.retired
    second.go_on.set()
    assert [piece async for piece in newer] == ["second"]
    assert not second.retired


async def test_nobody_waits_for_the_new_checkpoint(replica: FakeReplica) -> None:
    Loaded.slow = True
    await replica.reconfigure({"checkpoint": "runs/second"})
    stream = replica.generate(WANTED)
    assert await anext(stream) == "first"
    await stream.aclose()  # type: ignore[attr-defined]
    await settled(replica)
    assert replica.current().name == "second"  # type: ignore[union-attr]


async def test_of_several_reloads_the_last_wins(replica: FakeReplica) -> None:
    Loaded.slow = True
    for name in ("second", "third", "fourth"):
        await replica.reconfigure({"checkpoint": f"runs/{name}"})
    await settled(replica)
    assert replica.current().name == "fourth"  # type: ignore[union-attr]
    assert [loaded.name for loaded in Loaded.all if not loaded.retired] == ["fourth"]


async def test_a_broken_checkpoint_changes_nothing(replica: FakeReplica) -> None:
    await replica.reconfigure({"checkpoint": "runs/broken"})
    await settled(replica)
    assert replica.current().name == "first"  # type: ignore[union-attr]
    assert replica.failed_reloads == 1
    with pytest.raises(InputError):
        await FakeReplica(ServiceSettings(checkpoint=Path("unused"))).reconfigure({"checkpoint": "runs/broken"})


async def test_health_and_refusals(replica: FakeReplica) -> None:
    """Refusals are values, so that they cross processes as they are."""
    await replica.check_health()
    answer = await replica.call("score", TradeOff(), "a", ["b"])
    assert isinstance(answer, ServiceError)
    Loaded.all[0].well = False
    with pytest.raises(RuntimeError):
        await replica.check_health()
