"""Every alternative of a token is its own entry, whatever it is called."""

from __future__ import annotations

from serve.engine.requests import TokenLogprob
from serve.http.logprobs import called, of_chat, of_completion, of_generation

PARTIAL = TokenLogprob(7, "", b"\xe6", -1.0, ((7, b"\xe6", -1.0), (8, b"\xe7", -2.0), (9, b"", -3.0)))
SAME = TokenLogprob(5, "a", b"a", -5.87, ((3, b"a", -3.52), (4, b"a", -4.0), (6, b" a", -4.5)))
FIRST = TokenLogprob(1, "The", b"The", -0.5, ((1, b" The", -0.5), (2, b"The", -0.75)))


def test_names():
    assert [called(own) for own in (b" The", "漢".encode(), b"\xe6\xbc")] == [" The", "漢", "bytes:\\xe6\\xbc"]


def test_completions():
    """The token itself is among the alternatives, by its text in the answer; others of one name go by their ids."""
    told = of_completion([PARTIAL, SAME, FIRST], 10, 3)
    assert told["tokens"] == ["", "a", "The"]
    assert told["text_offset"] == [10, 10, 11]
    assert told["top_logprobs"] == [
        {"bytes:\\xe6": -1.0, "bytes:\\xe7": -2.0, "token_id:9": -3.0},
        {"a": -5.87, "token_id:3": -3.52, "token_id:4": -4.0, " a": -4.5},
        {"The": -0.5, "token_id:2": -0.75},
    ]
    assert of_completion([SAME], 0, 0)["top_logprobs"] is None


def test_chats():
    assert of_chat(PARTIAL)["bytes"] == [0xE6]
    assert [top["bytes"] for top in of_chat(PARTIAL)["top_logprobs"]] == [[0xE6], [0xE7], []]
    assert [top["logprob"] for top in of_chat(SAME)["top_logprobs"]] == [-3.52, -4.0, -4.5]
    assert [top["token"] for top in of_chat(FIRST)["top_logprobs"]] == ["The", "The"]


def test_our_own_route():
    assert of_generation(PARTIAL) == {
        "token": 7,
        "text": "",
        "bytes": [0xE6],
        "logprob": -1.0,
        "top": [
            {"token": 7, "text": "bytes:\\xe6", "bytes": [0xE6], "logprob": -1.0},
            {"token": 8, "text": "bytes:\\xe7", "bytes": [0xE7], "logprob": -2.0},
            {"token": 9, "text": "", "bytes": [], "logprob": -3.0},
        ],
    }
