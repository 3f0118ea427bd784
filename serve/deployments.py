"""Models as Ray Serve keeps them: replicas that load a checkpoint, answer, and take another one while they answer.

`reconfigure` names the checkpoint. The first one is loaded before the replica counts as started. A later one is loaded
beside the one at work, without a pause; new requests take it as soon as it is warm, streams that run end on the old
one, and then that is freed. A later one that cannot be loaded is logged, and the old one goes on: a wrong path must not
take down a service that works.

Refusals travel as values: an exception raised in a replica would arrive wrapped, with a stack trace.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import torch
from ray import serve

from cosdpo.errors import InputError
from serve.http.backend import Part, TextRequest
from serve.http.service_errors import ServiceError
from serve.http.trade_off import EffectivePolicy
from serve.language_service import LanguageService
from serve.ranking_service import RankingService
from serve.served_checkpoint import ServedCheckpoint
from serve.service_settings import ServiceSettings

log = logging.getLogger("ray.serve")


class Replica:
    """What replicas of both tasks share."""

    kind: type[ServedCheckpoint]

    def __init__(self, settings: ServiceSettings) -> None:
        """Waits for `reconfigure` to name the checkpoint."""
        torch.set_num_threads(settings.engine.threads or max(1, int(settings.cpus)))
        self.settings = settings
        self.service: ServedCheckpoint | None = None
        self.wanted: dict[str, str] = {}
        self.replacing = asyncio.Lock()
        self.failed_reloads = 0
        self.tasks: set[asyncio.Task[None]] = set()

    async def reconfigure(self, user_config: dict[str, str]) -> None:
        """Serves the checkpoint in folder user_config["checkpoint"] from now on; see the module.

        Args:
            user_config: checkpoint, and perhaps base and name, as in service_settings.ServiceSettings.
        """
        self.wanted = user_config
        if self.service is None:
            self.service = await self._loaded(user_config)
        else:
            self._later(self._replace(user_config))

    async def check_health(self) -> None:
        """Has Ray Serve replace this replica when its step loop stands still."""
        if self.service is not None and not await self.service.healthy():
            raise RuntimeError("the step loop stands still")

    async def generate(self, wanted: TextRequest) -> AsyncIterator[EffectivePolicy | Part | ServiceError]:
        """The policy, then parts; or a refusal at any point."""
        try:
            async with aclosing(self.current().generate(wanted)) as parts:
                async for part in parts:
                    yield part
        except ServiceError as error:
            yield error

    async def call(self, method: str, *arguments: Any, **named: Any) -> Any:
        """What `method` of http.backend.Backend answers, or a refusal; remote.RemoteBackend gives it its types back."""
        try:
            return await getattr(self.current(), method)(*arguments, **named)
        except ServiceError as error:
            return error

    async def stats(self) -> dict[str, dict[str, float]]:
        """State of this replica."""
        (state,) = (await self.current().stats()).values()
        return {serve.get_replica_context().replica_tag: {**state, "failed_reloads": self.failed_reloads}}

    def current(self) -> ServedCheckpoint:
        """The checkpoint that answers new requests."""
        assert self.service is not None  # Ray Serve calls reconfigure first
        return self.service

    async def _loaded(self, wanted: dict[str, str]) -> ServedCheckpoint:
        folder, base, name = Path(wanted["checkpoint"]), wanted.get("base", ""), wanted.get("name", "")
        load: Callable[..., ServedCheckpoint] = self.kind
        service = await asyncio.to_thread(load, folder, self.settings, base, name)
        await service.warm_up()
        return service

    async def _replace(self, wanted: dict[str, str]) -> None:
        async with self.replacing:
            if wanted is not self.wanted:
                return  # yet another one was named meanwhile
            try:
                loaded = await self._loaded(wanted)
            except Exception as error:
                self.failed_reloads += 1
                log.error(
                    "reload failed, the old checkpoint stays: %s", error, exc_info=not isinstance(error, InputError)
                )
                return
            old, self.service = self.current(), loaded
            log.info("serving %s now", loaded.description.id)
        await old.retire()

    def _later(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


class LanguageModel(Replica):
    """Replicas of a conditioned language model."""

    kind = LanguageService


class RankingModel(Replica):
    """Replicas of a conditioned ranker."""

    kind = RankingService
