"""Points of a front as adapters of vLLM: by its resolver's interface, and by a real server of it.

The second needs vLLM in an environment of its own (docs/serving-vllm.md):

    COSDPO_VLLM=.venv-vllm/bin/python pytest -m slow tests/test_vllm_resolver.py
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import httpx
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from cosdpo.errors import InputError
from cosdpo.loaded import LoadedFront
from cosdpo.vllm_resolver import FrontResolver, from_environment, register
from tests.models.conftest import disturb
from tests.test_export import ours, plain, scores, trained
from tests.tiny_models import letters, scorer, settings, shape


@dataclass
class LoRARequest:
    """As vllm/lora/request.py."""

    lora_name: str
    lora_int_id: int
    lora_path: str


class LoRAResolver(ABC):
    """As vllm/lora/resolver.py."""

    @abstractmethod
    async def resolve_lora(self, base_model_name: str, lora_name: str) -> LoRARequest | None: ...


@pytest.fixture(autouse=True)
def vllm(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What the resolver sees of vLLM, and what it registers there."""
    seen = SimpleNamespace(resolvers={}, envs=SimpleNamespace(VLLM_ALLOW_RUNTIME_LORA_UPDATING=True))
    registry = SimpleNamespace(register_resolver=seen.resolvers.__setitem__)
    modules: dict[str, dict[str, Any]] = {
        "vllm": {"envs": seen.envs},
        "vllm.lora": {},
        "vllm.lora.request": {"LoRARequest": LoRARequest},
        "vllm.lora.resolver": {"LoRAResolver": LoRAResolver, "LoRAResolverRegistry": registry},
    }
    for name, members in modules.items():
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    return seen


def resolve(resolver: FrontResolver, name: str, base: Path | str) -> LoRARequest | None:
    return asyncio.run(resolver.resolve_lora(str(base), name))


@pytest.mark.parametrize("ends", [True, False])
def test_a_named_point_is_an_adapter_that_scores_as_the_checkpoint_does(ends: bool, tmp_path: Path) -> None:
    made = trained(tmp_path, model__adapt_ends=ends)
    resolver = FrontResolver({"mine": tmp_path / "checkpoint"})
    found = resolve(resolver, "mine@kind=0.7,short=0.3", tmp_path / "base")
    assert found is not None
    assert found.lora_name == "mine@kind=0.7,short=0.3"
    assert found.lora_int_id > 0
    model = PeftModel.from_pretrained(plain(tmp_path), found.lora_path).eval()
    torch.testing.assert_close(scores(model), ours(made), atol=1e-4, rtol=1e-5)


def test_points_are_rounded_to_the_grid_and_written_once(tmp_path: Path) -> None:
    trained(tmp_path)
    resolver = FrontResolver({"org/mine": tmp_path / "checkpoint"}, partitions=4)
    names = {
        "org/mine@kind=0.74,short=0.26": "3-1",
        "org/mine@kind=3,short=1": "3-1",
        "org/mine@kind=1": "4-0",
        "org/mine": "2-2",  # all the same
    }
    folders = {name: Path(resolve(resolver, name, tmp_path / "base").lora_path) for name in names}  # type: ignore[union-attr]
    assert {name: folder.name for name, folder in folders.items()} == names
    parent = folders["org/mine"].parent
    assert sorted(path.name for path in parent.iterdir()) == ["2-2", "3-1", "4-0"]
    before = {path: path.stat().st_mtime_ns for path in parent.rglob("*.safetensors")}
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda name: resolve(resolver, name, tmp_path / "base"), list(names) * 2))
    assert {path: path.stat().st_mtime_ns for path in parent.rglob("*.safetensors")} == before


def test_each_process_has_adapters_of_its_own_which_go_with_it(tmp_path: Path) -> None:
    trained(tmp_path)
    one, other = (FrontResolver({"mine": tmp_path / "checkpoint"}) for _ in range(2))
    paths = [Path(resolve(resolver, "mine", tmp_path / "base").lora_path) for resolver in (one, other)]  # type: ignore[union-attr]
    assert paths[0] != paths[1]
    del one
    assert [path.exists() for path in paths] == [False, True]


def test_other_names_are_left_to_other_resolvers(tmp_path: Path) -> None:
    trained(tmp_path)
    resolver = FrontResolver({"mine": tmp_path / "checkpoint"})
    assert resolve(resolver, "yours@kind=1", tmp_path / "base") is None
    assert resolve(resolver, "sql-lora", "gpt2") is None


@pytest.mark.parametrize(
    ("name", "base", "says"),
    [
        ("mine@kind", "base", "model: 'kind' is no list of weights"),
        ("mine@", "base", "model: '' is no list of weights"),
        ("mine@fair=1", "base", "unknown objectives ['fair']; known are ['kind', 'short']"),
        ("mine@kind=0", "base", "weights must not all be zero"),
        ("mine@kind=1", "checkpoint", "and this server has"),
        ("mine@kind=1", "elsewhere", "serve that base, or set COSDPO_BASE="),
    ],
)
def test_what_cannot_be_resolved_is_said_in_a_line(name: str, base: str, says: str, tmp_path: Path) -> None:
    trained(tmp_path)
    with pytest.raises(InputError, match=re.escape(says)):
        resolve(FrontResolver({"mine": tmp_path / "checkpoint"}), name, tmp_path / base)


def test_a_quantised_copy_of_the_base_may_be_served(tmp_path: Path) -> None:
    made = trained(tmp_path, model__adapt_ends=False)
    quantised = json.loads((tmp_path / "base" / "config.json").read_text())
    quantised["quantization_config"] = {"quant_method": "awq", "bits": 4, "group_size": 16}
    (tmp_path / "awq").mkdir()
    (tmp_path / "awq" / "config.json").write_text(json.dumps(quantised))
    (tmp_path / "link").symlink_to(tmp_path / "base")
    resolver = FrontResolver({"mine": tmp_path / "checkpoint"}, base=str(tmp_path / "awq"))
    for served in ("awq", "base", "link"):
        found = resolve(resolver, "mine@kind=0.7,short=0.3", tmp_path / served)
        assert found is not None
        model = PeftModel.from_pretrained(plain(tmp_path), found.lora_path).eval()
        torch.testing.assert_close(scores(model), ours(made), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize(
    ("form", "changes", "says"),
    [
        ({"scope": "response", "model__adapt_ends": False}, {}, "which vLLM does not take; train with scope sequence"),
        ({"conditioning": "hyper_prompt"}, {}, "train with conditioning gated_lora to export"),
        ({}, {"COSDPO_GRID": "1000"}, "2 objectives have 1001 points in steps of 1/1000"),
        ({}, {"COSDPO_GRID": "0"}, "COSDPO_GRID '0' is no number of steps"),
        ({}, {"COSDPO_CHECKPOINTS": "nowhere"}, "COSDPO_CHECKPOINTS 'nowhere' is no list NAME=DIR"),
        ({}, {"COSDPO_CHECKPOINTS": "a=x,a=y"}, "of different names"),
        ({}, {"COSDPO_CHECKPOINTS": "a@b=x"}, "without an @"),
        ({}, {"COSDPO_CHECKPOINTS": "a=/nowhere"}, "has no cosdpo.json"),
    ],
)
def test_what_vllm_cannot_serve_is_refused_at_its_start(
    form: dict[str, Any], changes: dict[str, str], says: str, tmp_path: Path
) -> None:
    trained(tmp_path, **form)
    with pytest.raises(InputError, match=re.escape(says)):
        from_environment({"COSDPO_CHECKPOINTS": f"mine={tmp_path / 'checkpoint'}", **changes})


def test_vllm_is_given_the_resolver_where_checkpoints_are_named(
    vllm: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(tmp_path)
    monkeypatch.delenv("COSDPO_CHECKPOINTS", raising=False)
    register()
    assert vllm.resolvers == {}
    monkeypatch.setenv("COSDPO_CHECKPOINTS", f"mine={tmp_path / 'checkpoint'}, other={tmp_path / 'checkpoint'}")
    register()
    resolver = vllm.resolvers["cosdpo"]
    assert isinstance(resolver, LoRAResolver)
    assert list(resolver.checkpoints) == ["mine", "other"]
    vllm.envs.VLLM_ALLOW_RUNTIME_LORA_UPDATING = False
    with pytest.raises(SystemExit):
        register()
    assert "set VLLM_ALLOW_RUNTIME_LORA_UPDATING=1" in capsys.readouterr().err


Serve = Callable[..., str]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts a real vLLM server and gives its address."""
    python = os.environ.get("COSDPO_VLLM", "")
    if not python:
        pytest.skip("COSDPO_VLLM names no interpreter with vLLM and this package")
    servers = []

    def start(base: Path, **environment: str) -> str:
        always = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1", "HF_HUB_OFFLINE": "1"}
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        command = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(base), "--host=127.0.0.1"]
        command += [f"--port={port}", "--dtype=float32", "--enforce-eager"]
        command += ["--enable-lora", "--max-lora-rank=8", "--max-loras=2"]
        log = tmp_path / "vllm.log"
        with log.open("w") as file:
            server = subprocess.Popen(command, env={**os.environ, **always, **environment}, stdout=file, stderr=file)
        servers.append(server)
        until = time.monotonic() + 1500
        while time.monotonic() < until and server.poll() is None:
            with suppress(httpx.TransportError):  # until it listens
                if httpx.get(f"{url}/health").is_success:
                    return url
            time.sleep(1)
        pytest.fail(log.read_text()[-4000:])

    yield start
    for server in servers:
        server.terminate()
        server.wait(60)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_real_vllm_writes_what_we_write(serve: Serve, tmp_path: Path) -> None:
    config = shape("llama-tied")
    config.hidden_size, config.num_attention_heads, config.num_key_value_heads, config.head_dim = 64, 2, 1, 32
    base = tmp_path / "base"
    AutoModelForCausalLM.from_config(config).save_pretrained(base)
    letters(bos=True).save_pretrained(base)
    fronts = {}
    for name, ends in (("body", False), ("ends", True)):
        made = scorer(settings(base, model__adapt_ends=ends)).eval()
        disturb(made)
        made.save(tmp_path / name)
        fronts[name] = LoadedFront(tmp_path / name, made)
    url = serve(base, COSDPO_CHECKPOINTS=f"body={tmp_path / 'body'},ends={tmp_path / 'ends'}")

    def written(model: str, status: int = 200) -> str:
        body = {"model": model, "prompt": "abc", "max_tokens": 12, "temperature": 0}
        answer = httpx.post(f"{url}/v1/completions", json=body, timeout=300)
        assert answer.status_code == status, answer.text
        return str(answer.json()["choices"][0]["text"] if status == 200 else answer.json()["error"]["message"])

    texts = []
    for name, front in fronts.items():
        for kind in (0.7, 0.1, 1.0, 0.7):  # more than there are slots, and one of them again
            point = front.at(kind=kind, short=1 - kind)
            texts.append(written(f"{name}@kind={kind},short={1 - kind:.1f}"))
            assert texts[-1] == point.generate("abc", max_new_tokens=12, sampling_temperature=0)[0]
    assert len({*texts, written(str(base))}) == 7
    assert "unknown objectives ['fair']" in written("body@fair=1", 400)
    assert "does not exist" in written("yours@kind=1", 404)
