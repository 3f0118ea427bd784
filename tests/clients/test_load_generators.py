"""Load generators: they need texts of a known length, and the number of tokens in streams."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients.conftest import Drive

pytestmark = pytest.mark.slow

VLLM_BENCH: list[tuple[str, dict[str, Any]]] = [
    # As `vllm bench serve` sends them by default (temperature 0 in its extra body) with --ignore-eos.
    (
        "/v1/completions",
        {
            "model": "tiny", "prompt": "once upon a time", "repetition_penalty": 1.0, "max_tokens": 16,
            "logprobs": None, "stream": True, "stream_options": {"include_usage": True}, "temperature": 0.0,
            "ignore_eos": True,
        },
    ),
    (
        "/v1/chat/completions",
        {
            "model": "tiny", "messages": [{"role": "user", "content": [{"type": "text", "text": "once"}]}],
            "max_completion_tokens": 16, "stream": True, "stream_options": {"include_usage": True},
            "ignore_eos": True, "temperature": 0.0,
        },
    ),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body"), VLLM_BENCH, ids=["completions", "chat"])
def test_the_requests_of_vllm_bench_serve(address: str, path: str, body: dict[str, Any]) -> None:
    """Its reader splits at blank lines, takes what follows `data: `, and counts by the last chunk's usage."""
    with httpx.stream("POST", address + path, json=body, timeout=60) as answer:
        assert answer.read()
        assert answer.status_code == 200, answer.text
        blocks = [block.removeprefix("data: ") for block in answer.text.split("\n\n") if block]
    assert blocks.pop() == "[DONE]"
    chunks = [json.loads(block) for block in blocks]
    assert chunks[-1]["usage"]["completion_tokens"] == 16
    assert [chunk["choices"] for chunk in chunks][-1] == []
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    assert len(chunks) > 2


@pytest.mark.parametrize("route", ["/v1/completions", "/v1/chat/completions"])
def test_guidellm_with_validation_and_streams(drive: Drive, base: Path, route: str) -> None:
    """It asks for /health, takes the model from /v1/models, and counts the tokens in every chunk."""
    counts = drive(
        "guidellm",
        f"""
        import pathlib, subprocess
        subprocess.run([
            str(pathlib.Path(sys.executable).with_name("guidellm")), "run", "--disable-console-interactive",
            "--backend", f"kind=openai_http,target={{URL}},request_format={route}",
            "--profile", "kind=synchronous", "--constraint", "kind=max_requests,count=3",
            "--data", "kind=synthetic_text,prompt_tokens=20,output_tokens=12",
            "--tokenizer", "kind=huggingface_auto,model={base}", "--output", "kind=json,path=report.json",
        ], check=True, stdout=subprocess.DEVNULL)
        (benchmark,) = json.loads(pathlib.Path("report.json").read_text())["benchmarks"]
        requests = benchmark["requests"]
        counts = [request["output_tokens"] for request in requests["successful"]]
        print(json.dumps([counts, len(requests["errored"])]))
        """,
    )
    assert counts == [[12, 12, 12], 0]
