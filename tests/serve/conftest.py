"""A service over a tiny language model and a fake engine, called in this process."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve.http.api import build, with_cors
from serve.http.backend import Backend
from serve.http.limits import Limits
from serve.language_service import LanguageService
from serve.ranking_service import RankingService
from serve.service_settings import ServiceSettings
from tests import tiny_models, tiny_rankers
from tests.serve.fake_engine import FakeEngine


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with the checkpoint of a tiny conditioned model, and a sample of its report."""
    root = tmp_path_factory.mktemp("served")
    base = tiny_models.write_model(root / "base", "llama-tied")
    run = root / "tiny run"
    config = tiny_models.settings(base, data__prompt_template="q: {prompt}\n")
    tiny_models.scorer(config).save(run / "checkpoint")
    (run / "samples.json").write_text(json.dumps([{"prompt": "q: a cat\n", "answers": []}]))
    return run


@pytest.fixture(scope="session")
def loaded(run_folder: Path) -> LanguageService:
    """The checkpoint, loaded once."""
    folder = run_folder / "checkpoint"
    return LanguageService(folder, ServiceSettings(checkpoint=folder), start=lambda _, tokenizer: FakeEngine(tokenizer))


@pytest.fixture(scope="session")
def ranker(tmp_path_factory: pytest.TempPathFactory) -> RankingService:
    """A tiny ranker, loaded once."""
    folder = tmp_path_factory.mktemp("ranked") / "tiny ranks" / "checkpoint"
    scorer = tiny_rankers.scorer(tiny_rankers.settings())
    tiny_rankers.disturb(scorer.network)
    scorer.save(folder)
    return RankingService(folder, ServiceSettings(checkpoint=folder))


class Served:
    """A service, its fake engine, and a client."""

    def __init__(
        self,
        loaded: LanguageService,
        hashes: list[str],
        step_seconds: float,
        backend: Backend | None = None,
        **settings: Any,
    ) -> None:
        self.settings = ServiceSettings(checkpoint=loaded.folder, **settings)
        self.backend = copy.copy(loaded)
        self.engine = FakeEngine(loaded.tokenizer, step_seconds)
        self.backend.engine = self.engine
        self.app, self.gate = build(
            backend or self.backend, hashes, self.settings.limits, self.settings.request_timeout_s
        )
        self.asgi = with_cors(self.gate, self.settings.cors_origins)
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.asgi), base_url="http://127.0.0.1:8000", timeout=10
        )

    async def post(self, path: str, body: Any, **options: Any) -> httpx.Response:
        return await self.client.post(path, json=body, **options)


Serve = Callable[..., AbstractAsyncContextManager[Served]]


@pytest.fixture
def serve(loaded: LanguageService) -> Serve:
    """To be called with settings of the service."""

    @asynccontextmanager
    async def started(
        hashes: list[str] | None = None, step_seconds: float = 0.0, **settings: Any
    ) -> AsyncIterator[Served]:
        limits = Limits(**settings.pop("limits", {}))
        served = Served(loaded, hashes or [], step_seconds, limits=limits, **settings)
        async with served.client:
            yield served

    return started


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio."""
    return "asyncio"
