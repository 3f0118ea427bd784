"""Our own routes over a fake engine: what they answer, what they refuse, and how they stream."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from cosdpo.simplex import das_dennis
from serve.engine.requests import SamplingParams
from tests.drawn_fronts import made_front
from tests.serve.conftest import Serve

pytestmark = pytest.mark.anyio


def events(text: str) -> list[Any]:
    """The data of server-sent events; [DONE] as that text."""
    blocks = [block for block in text.split("\n\n") if block]
    assert all(block.startswith("data: ") for block in blocks)
    data = [block.removeprefix("data: ") for block in blocks]
    return [one if one == "[DONE]" else json.loads(one) for one in data]


async def test_a_text(serve: Serve) -> None:
    """The prompt goes through the card's template, `q: {prompt}` and a new line, and <bos>: 8 tokens for `cat`."""
    async with serve() as served:
        answer = await served.post(
            "/v1/generate", {"prompt": "cat", "weights": [3, 1], "max_new_tokens": 8, "logprobs": 2}
        )
        body = answer.json()
        sent = served.engine.streams[0].request
    assert answer.status_code == 200
    assert body["objectives"] == ["kind", "short"]
    assert body["weights"] == [0.75, 0.25] == list(sent.weights)
    assert body["temperature"] == [0.5, 0.5] == list(sent.temperature)
    assert body["finish_reason"] == "length"
    assert body["usage"] == {
        "prompt_tokens": 8, "cached_tokens": 1, "completion_tokens": 8, "base_tokens": 0, "total_tokens": 16,
    }  # fmt: skip
    assert body["text"].endswith("q: cat\n")
    assert [t["logprob"] for t in body["logprobs"]] == [-(k + 1) / 4 for k in range(8)]
    assert body["logprobs"][0]["top"][1] == {
        "token": sent.prompt[0] + 1, "text": "t1", "bytes": [116, 49], "logprob": -0.5,
    }  # fmt: skip
    name, _, digest = body["checkpoint"].rpartition("-")
    assert name == "tiny-run"
    assert len(digest) == 12


async def test_a_stream_says_the_same_as_the_whole(serve: Serve) -> None:
    body = {"prompt": "cat", "weights": {"short": 2}, "max_new_tokens": 8, "logprobs": 0}
    async with serve() as served:
        whole = (await served.post("/v1/generate", body)).json()
        streamed = await served.post("/v1/generate", {**body, "stream": True})
    pieces = events(streamed.text)
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert pieces.pop() == "[DONE]"
    assert "".join(piece["text"] for piece in pieces) == whole["text"]
    assert [logprob for piece in pieces for logprob in piece["logprobs"]] == whole["logprobs"]
    assert {piece["checkpoint"] for piece in pieces} == {whole["checkpoint"]}
    assert [piece["finish_reason"] for piece in pieces] == [None] * (len(pieces) - 1) + ["length"]
    last = pieces[-1]
    for key in ("usage", "objectives", "weights", "temperature"):
        assert last[key] == whole[key]
    assert whole["weights"] == [0, 1]


async def test_settings_reach_the_engine(serve: Serve) -> None:
    async with serve() as served:
        await served.post(
            "/v1/generate",
            {"prompt": "a", "temperature": 1, "max_new_tokens": 3, "sampling_temperature": 0, "top_p": 0.5,
             "top_k": 7, "stop": ["x", "y"], "seed": 11},
        )  # fmt: skip
        await served.post("/v1/generate", {"prompt": "a", "stop": "z"})
        first, second = (stream.request for stream in served.engine.streams)
    assert (first.max_new_tokens, first.temperature, first.weights) == (3, (1.0, 1.0), (0.5, 0.5))
    assert first.sampling == SamplingParams(temperature=0.0, top_p=0.5, top_k=7, stop=("x", "y"), seed=11)
    assert second.sampling == SamplingParams(temperature=1.0, stop=("z",))
    # No max_new_tokens: 128, but the tiny model has 48 positions, 6 of them the prompt's, and predicts one beyond.
    assert second.max_new_tokens == 48 - 6 + 1


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"weights": [1]}, "weights"),
    ({"weights": [0, 0]}, "weights"),
    ({"weights": [1, -1]}, "weights"),
    ({"weights": {"kind": 1, "funny": 1}}, "weights"),
    ({"weights": "kind"}, "weights"),
    ({"weights": [1, "1"]}, "weights"),
    ({"weights": [True, 1]}, "weights"),
    ({"temperature": 0}, "temperature"),
    ({"temperature": 0.01}, "temperature"),
    ({"temperature": [0.5]}, "temperature"),
    ({"temperature": [0.5, 1]}, "temperature"),
    ({"max_new_tokens": 0}, "max_new_tokens"),
    ({"max_new_tokens": 44}, "max_new_tokens"),
    ({"max_new_tokens": 5000}, "max_new_tokens"),
    ({"max_new_tokens": 2.5}, "max_new_tokens"),
    ({"top_p": -0.1}, "top_p"),
    ({"top_k": -2}, "top_k"),
    ({"min_p": 2}, "min_p"),
    ({"made_up": None}, "made_up"),
    ({"sampling_temperature": -1}, "sampling_temperature"),
    ({"seed": "1"}, "seed"),
    ({"logprobs": 21}, "logprobs"),
    ({"stop": [""]}, "stop"),
    ({"stop": ["a"] * 17}, "stop"),
    ({"stream": 1}, "stream"),
    ({"embeddings": [[0.1]]}, "embeddings"),
    ({"inputs_embeds": [[0.1]]}, "inputs_embeds"),
    ({"prompt": "a" * 60}, "prompt"),
    ({"prompt": "a" * 200}, "prompt"),
    ({"prompt": [1, 2]}, "prompt"),
    ({"prompt": None}, "prompt"),
]


@pytest.mark.parametrize(("change", "param"), REFUSED, ids=[str(change)[:40] for change, _ in REFUSED])
async def test_refused(serve: Serve, change: dict[str, Any], param: str) -> None:
    async with serve(limits={"prompt_chars": 100}) as served:
        answer = await served.post("/v1/generate", {"prompt": "a", **change})
        stream = await served.post("/v1/generate", {"prompt": "a", "stream": True, **change})
        assert not served.engine.streams
    for refused in (answer, stream):
        error = refused.json()["error"]
        assert refused.status_code == 400, error
        assert error["param"] == param
        assert error["type"] == "invalid_request_error"
        assert param in error["message"] or param == "prompt"


async def test_a_missing_field_and_a_wrong_route(serve: Serve) -> None:
    async with serve() as served:
        missing = await served.post("/v1/generate", {})
        assert missing.status_code == 400
        assert missing.json()["error"]["message"] == "prompt is missing"
        nowhere = await served.post("/v1/nothing", {})
        assert (nowhere.status_code, nowhere.json()["error"]["type"]) == (404, "not_found_error")
        method = await served.client.get("/v1/generate")
        assert (method.status_code, method.json()["error"]["type"]) == (405, "invalid_request_error")
        assert method.headers["allow"] == "POST"
        task = await served.post("/v1/rank", {"features": [[1.0]]})
        assert (task.status_code, task.json()["error"]["code"]) == (400, "wrong_task")


async def test_a_point_is_chosen_by_what_must_hold(serve: Serve) -> None:
    weights = das_dennis(2, 4)
    front = made_front(2).model_copy(update={"objectives": ["kind", "short"]})  # values are 1 + weight
    wanted = {"at_least": {"kind": 1.6}, "best": "short"}
    async with serve() as served:
        lost = await served.post("/v1/generate", {"prompt": "cat", "choose": wanted})
        served.backend.measured = front
        chosen = await served.post("/v1/generate", {"prompt": "cat", "choose": wanted, "max_new_tokens": 2})
        nearest = await served.post("/v1/generate", {"prompt": "cat", "choose": {"at_least": {"kind": 3}}})
        twice = await served.post("/v1/generate", {"prompt": "cat", "choose": wanted, "weights": [1, 0]})
        other = await served.post("/v1/score", {"prompt": "a", "candidates": ["b"], "choose": {"best": "fair"}})
    assert weights[2].tolist() == [0.5, 0.5], "0.6 is between two measured weights"
    assert chosen.json()["weights"] == pytest.approx([0.6, 0.4])
    assert chosen.json()["chosen"]["values"] == pytest.approx({"kind": 1.6, "short": 1.4})
    assert (chosen.json()["chosen"]["misses"], chosen.json()["chosen"]["measured"]) == ({}, False)
    assert nearest.json()["weights"] == [1, 0]
    assert nearest.json()["chosen"]["misses"] == {"kind": 1}
    for answer, says in (
        (lost, "choose: the run left no front.json"),
        (twice, "choose: there are weights too"),
        (other, "'fair' is not in the front, which has kind, short"),
    ):
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "choose")
        assert says in answer.json()["error"]["message"]


async def test_scores(serve: Serve) -> None:
    """Candidates end with the end token, as in training: 4 and 2 tokens."""
    async with serve() as served:
        answer = await served.post("/v1/score", {"prompt": "cat", "candidates": ["dog", "a"], "weights": [1, 0]})
        long = await served.post("/v1/score", {"prompt": "cat", "candidates": ["dog", "a" * 60]})
        none = await served.post("/v1/score", {"prompt": "cat", "candidates": []})
    body = answer.json()
    assert body["scores"] == [-4, -2]
    assert body["reference"] == [-5, -3]
    assert body["rewards"] == [1, 1]
    assert body["tokens"] == [4, 2]
    assert body["weights"] == [1, 0]
    for refused in (long, none):
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "candidates")


async def test_models_and_front(serve: Serve, run_folder: Any) -> None:
    async with serve() as served:
        (model,) = (await served.client.get("/v1/models")).json()["data"]
        missing = await served.client.get("/v1/front")
    assert model["object"] == "model"
    assert (model["task"], model["scope"], model["objectives"]) == ("language", "sequence", ["kind", "short"])
    assert (model["trained_temperature"], model["smallest_temperature"]) == ([0.5, 0.5], 0.05)
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "no_front")
    assert str(run_folder) not in missing.text


async def test_a_full_queue_is_429(serve: Serve) -> None:
    async with serve() as served:
        served.engine.full = True
        for path, body in (("generate", {"prompt": "a"}), ("generate", {"prompt": "a", "stream": True}),
                           ("score", {"prompt": "a", "candidates": ["b"]})):  # fmt: skip
            answer = await served.post(f"/v1/{path}", body)
            assert answer.status_code == 429
            assert answer.headers["retry-after"] == "3"
            assert answer.json()["error"]["type"] == "rate_limit_error"


async def test_too_many_at_once_is_429(serve: Serve) -> None:
    async with serve(step_seconds=0.02, limits={"requests": 2}) as served:
        body = {"prompt": "a", "max_new_tokens": 5}
        answers = await asyncio.gather(*(served.post("/v1/generate", body) for _ in range(6)))
        health = await served.client.get("/healthz")
        after = await served.post("/v1/generate", body)
    assert sorted(answer.status_code for answer in answers) == [200, 200, 429, 429, 429, 429]
    assert all("retry-after" in answer.headers for answer in answers if answer.status_code == 429)
    assert (health.status_code, after.status_code) == (200, 200)


async def test_a_slow_answer_is_408(serve: Serve) -> None:
    async with serve(step_seconds=0.03, request_timeout_s=0.1) as served:
        whole = await served.post("/v1/generate", {"prompt": "a", "max_new_tokens": 30})
        stream = await served.post("/v1/generate", {"prompt": "a", "max_new_tokens": 30, "stream": True})
        assert served.engine.running() == 0
    assert (whole.status_code, whole.json()["error"]["type"]) == (408, "timeout_error")
    pieces = events(stream.text)
    assert pieces[0]["text"] != ""
    assert pieces[-1]["error"]["type"] == "timeout_error"


async def test_an_engine_that_stops(serve: Serve) -> None:
    async with serve() as served:
        served.engine.breaks_after = 2
        whole = await served.post("/v1/generate", {"prompt": "abc", "max_new_tokens": 4})
        stream = await served.post("/v1/generate", {"prompt": "abc", "max_new_tokens": 4, "stream": True})
        served.engine.breaks_after = 0
        early = await served.post("/v1/generate", {"prompt": "abc", "max_new_tokens": 4, "stream": True})
    assert (whole.status_code, whole.json()["error"]["type"]) == (503, "server_error")
    pieces = events(stream.text)
    assert (len(pieces), pieces[-1]["error"]["type"]) == (3, "server_error")
    assert early.status_code == 503


async def test_a_defect_says_nothing(serve: Serve, run_folder: Any) -> None:
    async with serve() as served:
        served.engine.defect = RuntimeError(f"secret of {run_folder}")
        answer = await served.post("/v1/generate", {"prompt": "a"})
    assert answer.status_code == 500
    assert answer.json()["error"] == {
        "message": "the service failed to answer this request",
        "type": "server_error",
        "param": None,
        "code": "internal_error",
    }


async def test_health_follows_the_engine(serve: Serve) -> None:
    async with serve(hashes=["0" * 64]) as served:
        for path in ("/healthz", "/readyz"):
            assert (await served.client.get(path)).json() == {"status": "ok"}
        served.engine.well = False
        for path in ("/healthz", "/readyz"):
            answer = await served.client.get(path)
            assert (answer.status_code, answer.json()["error"]["type"]) == (503, "server_error")


async def test_documentation_has_examples_that_work(serve: Serve) -> None:
    async with serve() as served:
        described = (await served.client.get("/openapi.json")).json()
        bodies = {
            "/v1/generate": "GenerateBody",
            "/v1/score": "ScoreBody",
            "/v1/completions": "CompletionBody",
            "/v1/chat/completions": "ChatBody",
        }
        for path, kind in bodies.items():
            assert "422" not in described["paths"][path]["post"]["responses"]
            for example in described["components"]["schemas"][kind]["examples"]:
                # Objectives, temperatures and the context of the tiny model are not those of the examples.
                example["weights"] = [1, 0]
                for name in ("max_new_tokens", "max_tokens", "max_completion_tokens", "temperature", "beta"):
                    example.pop(name, None)
                if path == "/v1/score":
                    example["prompt"] = "a"
                answer = await served.post(path, example)
                assert answer.status_code == 200, answer.text


async def test_the_documentations_page_needs_nothing_from_outside(serve: Serve) -> None:
    async with serve() as served:
        page = (await served.client.get("/docs")).text
        linked = re.findall(r'(?:src|href)="([^"]+)"', page)
        assert {Path(path).suffix for path in linked} == {".js", ".css", ".png"}
        for path in linked:
            assert (await served.client.get(path)).status_code == 200


async def test_head_is_get_without_a_body(serve: Serve) -> None:
    async with serve() as served:
        paths = [path for path, methods in served.app.openapi()["paths"].items() if "get" in methods]
        assert len(paths) > 5
        for path in (*paths, "/", "/docs", "/health", "/nowhere"):
            path = path.format(model="tiny-run")
            whole, head = await served.client.get(path), await served.client.head(path)
            assert (head.status_code, head.content) == (whole.status_code, b""), path
            assert head.headers["content-type"] == whole.headers["content-type"]
        assert (await served.client.head("/v1/generate")).status_code == 405
        page = (await served.client.get("/metrics")).text
    assert 'cosdpo_requests_total{route="/v1/models",status="200"} 2.0' in page


async def test_pages_find_their_files_behind_a_path_prefix(serve: Serve) -> None:
    async with serve() as served:
        for path in ("/", "/docs"):
            page = (await served.client.get(path)).text
            own = [url for url in re.findall(r"""(?:src|href|url)[=:]\s*["']([^"']+)""", page) if ":" not in url]
            assert own
            for url in own:
                assert not url.startswith("/"), url
                assert (await served.client.get(f"/{url}")).status_code == 200, url
        assert (await served.client.get("/openapi.json")).json()["servers"] == [{"url": "."}]
