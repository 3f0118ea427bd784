"""The backend whose models are replicas of a Ray Serve deployment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from ray.exceptions import RayActorError, RayError
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle

from serve.http.backend import Backend, Part, TextRequest
from serve.http.service_errors import ServiceError, busy, unavailable
from serve.http.trade_off import EffectivePolicy

Arguments = ParamSpec("Arguments")
Reply = TypeVar("Reply")
ATTEMPTS = 3
"""How often a request is sent before it is given up, when its replica dies before the first piece of the answer."""
STATS_SECONDS = 2.0
"""How long replicas may take to report their state."""
DIED = "the replica that answered died; send the request again"


def _forwarded(
    method: Callable[Concatenate[Any, Arguments], Awaitable[Reply]],
) -> Callable[Concatenate[RemoteBackend, Arguments], Coroutine[Any, Any, Reply]]:
    """A method that sends its arguments to a replica's `method`, with the types of that one."""

    async def forward(self: RemoteBackend, /, *arguments: Arguments.args, **named: Arguments.kwargs) -> Reply:
        return cast(Reply, await self.call(method.__name__, *arguments, **named))

    return forward


class RemoteBackend:
    """Sends every request to the replica with the shortest queue; see backend.Backend for the methods."""

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        """Talks to the deployment behind `handle`."""
        self.handle = handle
        self.streaming = handle.options(stream=True)

    async def generate(self, wanted: TextRequest) -> AsyncGenerator[EffectivePolicy | Part, None]:
        """The policy, then parts. Until the first part is there, another replica may take over unseen."""
        self._check_loaded()
        for attempt in range(ATTEMPTS):
            begun = False
            response: Any = self.streaming.generate.remote(wanted)
            try:
                opening: EffectivePolicy | None = None
                async for item in response:
                    if isinstance(item, ServiceError):
                        raise item
                    if isinstance(item, EffectivePolicy):
                        opening = item
                        continue
                    if opening is not None and not begun:
                        begun = True
                        yield opening
                    yield item
                if not begun:
                    raise unavailable(DIED)
                return
            except RayActorError:
                if begun or attempt + 1 == ATTEMPTS:
                    raise unavailable(DIED) from None
            except (RayError, RayServeException) as error:
                raise _explained(error) from None
            finally:
                response.cancel()

    describe = _forwarded(Backend.describe)
    score = _forwarded(Backend.score)
    rank = _forwarded(Backend.rank)
    front = _forwarded(Backend.front)

    async def healthy(self) -> bool:
        """Whether a replica's answers come; while the first is loading, nothing is wrong."""
        return not self._loaded() or cast(bool, await self.call("healthy"))

    async def stats(self) -> dict[str, dict[str, float]]:
        """State of every replica that reports in time."""
        replies = await self.handle.broadcast("stats").results_async(timeout_s=STATS_SECONDS, return_exceptions=True)
        return {tag: state for reply in replies if isinstance(reply, dict) for tag, state in reply.items()}

    def _loaded(self) -> bool:
        return self.streaming.running_replicas_populated()

    def _check_loaded(self) -> None:
        if not self._loaded():
            raise unavailable("the model is loading; send the request again in a moment")

    async def call(self, method: str, *arguments: Any, **named: Any) -> Any:
        """What a replica's `method` answers; another one is asked where it dies."""
        self._check_loaded()
        for _ in range(ATTEMPTS):
            response: Any = self.handle.call.remote(method, *arguments, **named)
            try:
                answer = await response
            except RayActorError:
                continue
            except (RayError, RayServeException) as error:
                raise _explained(error) from None
            except asyncio.CancelledError:
                response.cancel()
                raise
            if isinstance(answer, ServiceError):
                raise answer
            return answer
        raise unavailable(DIED)


def _explained(error: Exception) -> Exception:
    """What a caller is told of an error between the processes; a defect of ours stays one, and is logged."""
    if isinstance(error, BackPressureError):
        return busy(1.0)
    if isinstance(error, RayServeException):
        return unavailable("no replica of the model is up; send the request again")
    return error
