"""What Ray reports of a model that does not start, in one line."""

from __future__ import annotations

import pytest

from serve.local_service import cause

REPORT = """The deployment failed to start 1 times in a row. See controller logs for details. Error:
ray::ServeReplica:default:LanguageModel.initialize_and_get_metadata() (pid=7, ip=10.0.0.1)
  File "ray/serve/_private/replica.py", line 1, in initialize
    raise RuntimeError(traceback.format_exc()) from None
RuntimeError: Traceback (most recent call last):
  File "serve/deployments.py", line 1, in reconfigure
    self.service = await self._loaded(user_config)
"""


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (REPORT + "cosdpo.errors.InputError: base is not there: give --base\n", "base is not there: give --base"),
        (REPORT + "torch.OutOfMemoryError: no memory\n", "no memory"),
        ("the replica was\nkilled", "the replica was killed"),
        ("", "nobody said why"),
    ],
)
def test_the_reason_is_one_line(told: str, why: str) -> None:
    assert cause(told) == why
