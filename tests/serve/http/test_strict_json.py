"""What Python's own parser would let through, one by one."""

from __future__ import annotations

import pytest

from serve.http.service_errors import ServiceError
from serve.http.strict_json import parse

REFUSED = [
    (b"NaN", "NaN"),
    (b"[Infinity]", "Infinity"),
    (b'{"a": -Infinity}', "-Infinity"),
    (b"1e999", "too large"),
    (b"-1e400", "too large"),
    (b"1" * 21, "too large"),
    (b"9" * 5000, "too large"),
    (b'{"a": 1, "a": 1}', "twice"),
    (b'{"b": [{"a": 1, "c": 2, "a": 3}]}', "twice"),
    (rb'"\ud800"', "surrogate"),
    (rb'{"\uDFFF": 1}', "surrogate"),
    (b'"\xff"', "UTF-8"),
    (b"[" * 100_000, "deeply"),
    (b"{", "character"),
    (b"", "character"),
]


@pytest.mark.parametrize(("body", "why"), REFUSED, ids=[str(body[:20]) for body, _ in REFUSED])
def test_refused(body: bytes, why: str) -> None:
    with pytest.raises(ServiceError, match=why) as caught:
        parse(body)
    assert (caught.value.status_code, caught.value.code) == (400, "invalid_json")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"prompt": "x", "weights": [1, NaN]}', "weights"),
        (b'{"weights": {"kind": Infinity}, "temperature": NaN}', "weights"),
        (b'{"top_p": 1e999}', "top_p"),
        (b'{"a": {"b": [[{}, [1]]]}, "features": [[1, 2], [3, -Infinity]]}', "features"),
        (b'{"seed": ' + b"9" * 30 + b"}", "seed"),
        (b"[NaN]", None),
    ],
)
def test_the_field_of_a_wrong_number_is_named(body: bytes, field: str | None) -> None:
    with pytest.raises(ServiceError) as caught:
        parse(body)
    assert caught.value.param == field


def test_read() -> None:
    """Whole surrogate pairs, the largest 64-bit integer and the largest double are fine."""
    text = rb'{"a": [1, -2.5, 1e308, 18446744073709551615], "b": "\ud83d\ude00", "c": {"a": null, "b": true}}'
    assert parse(text) == {"a": [1, -2.5, 1e308, 2**64 - 1], "b": "\U0001f600", "c": {"a": None, "b": True}}
