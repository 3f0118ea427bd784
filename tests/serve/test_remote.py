"""What becomes of the errors between the processes, with a handle that is none."""

from __future__ import annotations

import pickle
from collections.abc import AsyncIterator
from typing import Any

import pytest
from ray.exceptions import ActorDiedError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from serve.engine.requests import Chunk, Usage
from serve.http.backend import Part, TextRequest
from serve.http.service_errors import ServiceError
from serve.http.trade_off import EffectivePolicy, TradeOff
from serve.remote import RemoteBackend

pytestmark = pytest.mark.anyio
WANTED = TextRequest(trade_off=TradeOff(), prompts=("a",))
POLICY = EffectivePolicy(checkpoint="c-1", objectives=["a"], weights=[1.0], temperature=[0.1])
PARTS = [Part(0, Chunk(text, (), None, Usage(1, 0, 1, 0))) for text in "xyz"]


class Response:
    def __init__(self, items: list[Any]) -> None:
        self.items = items
        self.cancelled = False

    async def __aiter__(self) -> AsyncIterator[Any]:
        for item in self.items:
            if isinstance(item, Exception) and not isinstance(item, ServiceError):
                raise item
            yield item

    def __await__(self) -> Any:
        async def answer() -> Any:
            return [item async for item in self][-1]

        return answer().__await__()

    def cancel(self) -> None:
        self.cancelled = True


class Handle:
    """Answers the i-th call with the i-th list of items; an exception is raised, a ServiceError is a value."""

    def __init__(self, *answers: list[Any], loaded: bool = True) -> None:
        self.answers = [Response(items) for items in answers]
        self.calls = 0
        self.loaded = loaded

    def options(self, stream: bool) -> Handle:
        return self

    def running_replicas_populated(self) -> bool:
        return self.loaded

    def __getattr__(self, name: str) -> Handle:
        return self

    def remote(self, *arguments: Any) -> Response:
        self.calls += 1
        return self.answers[self.calls - 1]


async def collected(handle: Handle) -> tuple[list[Any], ServiceError | None]:
    found: list[Any] = []
    try:
        async for item in RemoteBackend(handle).generate(WANTED):  # type: ignore[arg-type]
            found.append(item)  # noqa: PERF401  # what came before an error counts
    except ServiceError as error:
        return found, error
    return found, None


async def test_a_replica_that_dies_before_its_first_part_is_replaced() -> None:
    handle = Handle([POLICY, ActorDiedError()], [ActorDiedError()], [POLICY, *PARTS])
    assert await collected(handle) == ([POLICY, *PARTS], None)
    assert all(answer.cancelled for answer in handle.answers)


async def test_one_that_dies_later_is_not() -> None:
    handle = Handle([POLICY, PARTS[0], ActorDiedError()], [POLICY, *PARTS])
    found, error = await collected(handle)
    assert found == [POLICY, PARTS[0]]
    assert error is not None
    assert (error.status_code, handle.calls) == (503, 1)


async def test_nor_the_third() -> None:
    found, error = await collected(Handle(*[[ActorDiedError()]] * 3))
    assert not found
    assert error is not None
    assert error.status_code == 503


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (BackPressureError(1, 1), 429),
        (DeploymentUnavailableError("d"), 503),
        (ServiceError(400, "no", param="weights"), 400),
    ],
)
async def test_refusals(raised: Exception, status: int) -> None:
    found, error = await collected(Handle([raised]))
    assert not found
    assert error is not None
    assert error.status_code == status
    assert (status in (429, 503)) == ("Retry-After" in (error.headers or {}))
    with pytest.raises(ServiceError) as caught:
        await RemoteBackend(Handle([raised])).score(TradeOff(), "a", ["b"])  # type: ignore[arg-type]
    assert caught.value.status_code == status


async def test_a_reader_that_leaves_cancels() -> None:
    handle = Handle([POLICY, *PARTS])
    stream = RemoteBackend(handle).generate(WANTED)  # type: ignore[arg-type]
    await anext(stream)
    assert not handle.answers[0].cancelled
    await stream.aclose()
    assert handle.answers[0].cancelled


async def test_before_the_first_replica_is_up() -> None:
    backend = RemoteBackend(Handle(loaded=False))  # type: ignore[arg-type]
    assert await backend.healthy()
    with pytest.raises(ServiceError, match="loading"):
        await backend.describe()
    with pytest.raises(ServiceError, match="loading"):
        await anext(backend.generate(WANTED))


def test_a_refusal_survives_the_way() -> None:
    error = pickle.loads(pickle.dumps(ServiceError(429, "full", param="n", code="c", retry_after=1.2)))
    assert (error.status_code, error.detail, error.param, error.code) == (429, "full", "n", "c")
    assert error.headers == {"Retry-After": "2"}
