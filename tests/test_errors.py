"""Credentials in addresses never reach a message or a file."""

from __future__ import annotations

import pickle

import pytest

from cosdpo.errors import InputError, masked


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://KEY:SECRET@bucket/runs", "s3://***@bucket/runs"),
        ("s3://KEY:SE/CR+ET@bucket/runs", "s3://***@bucket/runs"),
        ("s3://KEY:@bucket", "s3://***@bucket"),
        ("https://user:p@ss@host:5000/x", "https://***@host:5000/x"),
        ("https://token@host/x and http://t:u@other", "https://***@host/x and http://***@other"),
        ("a: 's3://K:S@b?region=us-west-2'\nb: 1", "a: 's3://***@b?region=us-west-2'\nb: 1"),
        # Nothing secret.
        ("s3://bucket/cos@60", "s3://bucket/cos@60"),
        ("http://host:5000/x@y", "http://host:5000/x@y"),
        ("abfss://container@account/x", "abfss://container@account/x"),
        ("file:///a:b@c", "file:///a:b@c"),
        ("s3://***@bucket", "s3://***@bucket"),
        ("mail me@example.org: at 10:30", "mail me@example.org: at 10:30"),
    ],
)
def test_masked(text, expected):
    assert masked(text) == expected
    assert str(InputError(text)) == expected
    assert str(pickle.loads(pickle.dumps(InputError(text)))) == expected
