"""What every refusal of a job looks like: one line on stderr, exit code 2, nothing printed, no file made, no Ray."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from cosdpo.experiment import cluster


class RayStartedError(Exception):
    """The input was taken for good."""


def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that gets as far as Ray raises RayStartedError instead."""

    def connect(config: object) -> None:
        raise RayStartedError

    monkeypatch.setattr(cluster, "connect", connect)


def words(options: Mapping[str, str | None]) -> list[str]:
    """The options as a command line; a None leaves one out."""
    return [word for key, value in options.items() if value is not None for word in (f"--{key}", value)]


def refusal(call: Callable[[], object], folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that `call` ends with; `folder` is as it was before."""
    before = sorted(folder.rglob("*"))
    with pytest.raises(SystemExit) as exit_:
        call()
    assert exit_.value.code == 2
    assert sorted(folder.rglob("*")) == before
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err
