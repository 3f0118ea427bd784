"""Requests that are wrong in one or several ways, drawn from a seed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

VALID: dict[str, dict[str, Any]] = {
    "/v1/generate": {"prompt": "a cat", "weights": [1, 2], "temperature": 0.5, "max_new_tokens": 3, "stop": ["x"]},
    "/v1/score": {"prompt": "a cat", "candidates": ["b", "c"], "weights": {"kind": 1}},
    "/v1/rank": {"features": [[0.5] * 10, [1.5] * 10], "weights": [1, 2], "temperature": 0.5},
    "/v1/completions": {"prompt": "a", "max_tokens": 3, "n": 2, "weights": [1, 2], "beta": 0.5, "logprobs": 1},
    "/v1/chat/completions": {
        "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3, "logprobs": True, "top_logprobs": 1,
    },
}  # fmt: skip
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**400, 0.0, -0.0, 1e-320, 1e308, -1e308, float("nan"),
    float("inf"), -float("inf"), "", " ", "\x00", "a" * 5000, "\ud800", "\udfff\ud800", "\u202e\U0001d54f\u0301", "1",
    "NaN",
    [], {}, [[]], [None], [{}], [1, 2, 3], [0, 0], [1e308, 1e308], [float("nan"), 1], ["a"] * 300, [[1.0]] * 300,
    [[1.0], [1.0, 2.0]], [[float("inf")] * 10], [[1e39] * 10], {"kind": float("nan")}, {"kind": -1}, {"": 1},
    {"kind": 1, "unknown": 1}, {"__proto__": 1}, {"a" * 3000: 1}, [1, "1"], ["x", 1], {"role": "user"},
    [{"role": "user", "content": None}], [{"role": "root", "content": "a"}],
]  # fmt: skip
FIELDS = ("prompt", "weights", "temperature", "beta", "n", "stop", "seed", "top_p", "top_k", "max_new_tokens",
          "max_tokens",
          "logprobs", "top_logprobs", "stream", "stream_options", "messages", "candidates", "features", "model",
          "sampling_temperature", "inputs_embeds", "tools", "response_format", "__class__", "user")  # fmt: skip


def requests(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Paths and bodies."""
    rng = random.Random(seed)
    for _ in range(count):
        path = rng.choice(list(VALID))
        yield path, rng.choice(_WAYS)(rng, json.loads(json.dumps(VALID[path])))


def _other_values(rng: random.Random, body: dict[str, Any]) -> bytes:
    for _ in range(rng.choice((1, 1, 2, 3))):
        body[rng.choice([*body, rng.choice(FIELDS)])] = rng.choice(VALUES)
    return _json(body)


def _less(rng: random.Random, body: dict[str, Any]) -> bytes:
    del body[rng.choice(list(body))]
    return _json(body)


def _twice(rng: random.Random, body: dict[str, Any]) -> bytes:
    name = rng.choice(list(body))
    return _json(body)[:-1] + b"," + _json({name: rng.choice(VALUES)})[1:]


def _cut(rng: random.Random, body: dict[str, Any]) -> bytes:
    text = _json(body)
    return text[: rng.randrange(len(text))]


def _flipped(rng: random.Random, body: dict[str, Any]) -> bytes:
    text = bytearray(_json(body))
    for _ in range(rng.randint(1, 4)):
        text[rng.randrange(len(text))] = rng.randrange(256)
    return bytes(text)


def _deep(rng: random.Random, body: dict[str, Any]) -> bytes:
    depth = rng.choice((50, 500, 5000, 100_000))
    value = b"[" * depth + b"]" * depth if rng.random() < 0.5 else b'{"a":' * depth + b"1" + b"}" * depth
    return _json(body)[:-1] + b',"weights2":' + value + b"}" if rng.random() < 0.5 else value


def _huge(rng: random.Random, body: dict[str, Any]) -> bytes:
    name = rng.choice(list(body))
    digits = rng.choice((b"9" * 5000, b"1e999", b"-1E+400", b"0." + b"3" * 5000, b"1" * 25))
    return _json(body)[:-1] + b"," + json.dumps(f"{name}_").encode()[:-2] + b'":' + digits + b"}"


def _other_documents(rng: random.Random, body: dict[str, Any]) -> bytes:
    return rng.choice(
        (b"", b"null", b"1", b'"a"', b"[]", b"{}", b"NaN", b"\xff\xfe{}", b"\xef\xbb\xbf{}", b"{}{}", b"{'a': 1}",
         _json(body).decode().encode("utf-16"), b"\x00" * 100, json.dumps([body]).encode())
    )  # fmt: skip


_WAYS: tuple[Callable[[random.Random, dict[str, Any]], bytes], ...] = (
    _other_values, _other_values, _other_values, _other_values, _less, _twice, _cut, _flipped, _deep, _huge,
    _other_documents,
)  # fmt: skip


def _json(value: object) -> bytes:
    return json.dumps(value).encode()
