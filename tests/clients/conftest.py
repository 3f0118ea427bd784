"""A real engine over a tiny real model, served by uvicorn on a port of this machine; and clients in processes of their
own, from an environment of their own.

Their versions of openai and rich are not ours, so that they have a group in pyproject.toml and no extra:

    python3 -m venv .venv-clients && .venv-clients/bin/pip install -U pip
    .venv-clients/bin/pip install --group clients
    COSDPO_CLIENTS=.venv-clients/bin/python pytest tests/clients

Without COSDPO_CLIENTS the clients of the environment at hand are tried; what is not there is skipped.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from serve.http.api import build
from serve.language_service import LanguageService
from serve.service_settings import ServiceSettings
from tests import tiny_models
from tests.models.conftest import disturb

PYTHON = os.environ.get("COSDPO_CLIENTS", sys.executable)
CONTEXT = 512
"""Positions of the model: a token is a letter."""

Drive = Callable[..., Any]


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's base, with its tokenizer."""
    folder = tiny_models.write_model(tmp_path_factory.mktemp("clients") / "base", "llama-tied")
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"max_position_embeddings": CONTEXT}))
    return folder


@contextmanager
def serving(base: Path, around: Callable[[Any], Any] = lambda gate: gate) -> Iterator[str]:
    """Base address of a service over a tiny model with this base, without a slash at its end.

    Args:
        around: puts more ASGI around the service.
    """
    folder = base.parent / "tiny" / "checkpoint"
    scorer = tiny_models.scorer(tiny_models.settings(base))
    disturb(scorer)  # so that the weights count
    scorer.save(folder)
    settings = ServiceSettings(checkpoint=folder)
    service = LanguageService(folder, settings)
    _, gate = build(service, [], settings.limits, settings.request_timeout_s)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(around(gate), log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()
    service.engine.stop()


@pytest.fixture(scope="session")
def address(base: Path) -> Iterator[str]:
    """Base address of the service."""
    with serving(base) as url:
        yield url


@pytest.fixture
def drive(address: str, tmp_path: Path) -> Drive:
    """Runs a client's program, which finds the address as `URL` and shows its result as JSON in its last line."""

    def run(client: str, program: str, timeout: float = 240) -> Any:
        if subprocess.run([PYTHON, "-c", f"import {client}"], capture_output=True).returncode:
            pytest.skip(f"{client} is not installed; see tests/clients/conftest.py")
        head = f"import json, sys\nURL = {address!r}\n"
        environment = os.environ | {
            "HOME": str(tmp_path),
            "OPENAI_API_KEY": "none",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "HF_HUB_OFFLINE": "1",
        }
        environment.pop("PYTHONPATH", None)
        done = subprocess.run(
            [PYTHON, "-c", head + textwrap.dedent(program)],
            capture_output=True, text=True, timeout=timeout, cwd=tmp_path, env=environment,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    return run
