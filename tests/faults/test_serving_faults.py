"""Through Ray Serve and real HTTP: what benchmarks/serving_faults.py measures must hold for a tiny model too."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks import serving_faults as faults
from tests import tiny_models

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a tiny model whose context holds long streams."""
    root = tmp_path_factory.mktemp("faults")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_models, "CONTEXT", 512)
        config = tiny_models.settings(tiny_models.write_model(root / "base", "llama-tied"), scope="response")
        tiny_models.scorer(config).save(root / "run" / "checkpoint")
    return root / "run" / "checkpoint"


@pytest.fixture(scope="class")
def service(checkpoint: Path) -> Iterator[faults.Service]:
    with faults.running(checkpoint) as started:
        yield started


class TestOneService:
    def test_clients_that_leave_give_everything_back(self, service: faults.Service) -> None:
        found = faults.scenario(service, faults.disconnects, 100)
        assert set(found["statuses"]) <= {200, 429}
        assert found["statuses"][200] > 50
        assert found["kv_tokens_after"] == found["kv_tokens_before"] == 0
        assert found["seconds_until_free"] < 5

    def test_a_reload_drops_no_stream(self, service: faults.Service, checkpoint: Path) -> None:
        found = faults.scenario(service, faults.reload, checkpoint, 4)
        assert found["dropped"] == 0
        assert set(found["checkpoints"]) == set(found["expected"])
        assert len(found["expected"]) == 2

    def test_a_broken_reload_changes_nothing(self, service: faults.Service, checkpoint: Path) -> None:
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

    def test_a_drain_lets_streams_end(self, service: faults.Service) -> None:
        """The last test of this service: it is closed afterwards."""
        found = faults.scenario(service, faults.drain, 6)
        assert found["whole"] == found["streams"]
        assert found["still_streaming_when_closed"] == found["streams"]
        assert (found["left"], found["late_status"]) == (0, 503)


def test_too_many_clients_get_429_and_nothing_else(checkpoint: Path) -> None:
    with faults.running(checkpoint, engine={"max_running": 4, "max_waiting": 4}) as service:
        found = faults.scenario(service, faults.overload, 8, 6.0)
    assert set(found["statuses"]) == {200, 429}
    assert found["wrong_texts"] == 0


def test_a_killed_replica_breaks_only_its_own_streams(checkpoint: Path) -> None:
    """With 8 clients at a time no more than 8 streams can have been on the replica that died."""
    with faults.running(checkpoint, replicas=2) as service:
        found = faults.scenario(service, faults.kill, 8, 12.0)
    assert found["corrupted"] == 0
    assert found["broken_without_a_word"] == 0
    assert found["broken_streams"] <= 8
    assert sum(count for status, count in found["statuses"].items() if status != 200) <= 8


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
