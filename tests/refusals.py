"""What every refusal of a job looks like: one line on stderr, exit code 2, nothing printed, no file made, no Ray."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from cosdpo.cli.command_line import main
from cosdpo.config import Config
from cosdpo.experiment import cluster
from cosdpo.experiment.compare import compare
from cosdpo.experiment.run import run
from cosdpo.experiment.sweep.sweep import sweep
from tests.tiny_rankers import query_lists, write_letor

JOBS: dict[str, Callable[[Config], object]] = {"run": lambda c: list(run(c)), "compare": compare, "sweep": sweep}
LENGTHS = (4, 3, 5, 4, 2, 6, 4, 4, 3, 5)
"""Documents of the lists of `ranking_options`."""


class RayStartedError(Exception):
    """The input was taken for good."""


class Jobs:
    """Calls jobs that get no further than Ray: by options that nothing is wrong with, and a command line after them."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        """All that the jobs read and write is in `folder`."""
        self.folder = folder
        self.capsys = capsys

        def connect(config: object) -> None:
            raise RayStartedError

        monkeypatch.setattr(cluster, "connect", connect)

    def takes(self, options: Mapping[str, str], line: str = "", job: str = "run") -> None:
        """Nothing is wrong."""
        with pytest.raises(RayStartedError):
            self._call(options, line, job)

    def refusal(self, options: Mapping[str, str], line: str, job: str = "run") -> str:
        """The one line that the job ends with; the folder is as it was before."""
        before = sorted(self.folder.rglob("*"))
        with pytest.raises(SystemExit) as exit_:
            self._call(options, line, job)
        assert exit_.value.code == 2
        assert sorted(self.folder.rglob("*")) == before
        out, err = self.capsys.readouterr()
        assert out == ""
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        return err

    def _call(self, options: Mapping[str, str], line: str, job: str) -> None:
        main(lambda config: JOBS[job](config) and None, argv=words(options, line))


def words(options: Mapping[str, str], line: str = "") -> list[str]:
    """A command line of the options and of those in `line`, where one without a value leaves out what was given."""
    given: dict[str, list[str]] = {f"--{key}": [value] for key, value in options.items()}
    key = ""
    for word in shlex.split(line):
        if word.startswith("--"):
            key = word
            given[key] = []
        else:
            given[key].append(word)
    return [word for key, values in given.items() if values for word in (key, *values)]


def ranking_options(folder: Path) -> dict[str, str]:
    """Options of a ranking job, by dotted key, that nothing is wrong with; its files lie in `folder`."""
    for seed, name in enumerate(("train", "vali", "test")):
        write_letor(folder / "data" / f"{name}.txt", query_lists(*LENGTHS, seed=seed))
    return {
        "task": "ranking",
        "data.train": str(folder / "data"),
        "data.auxiliary": "{a: 11, b: 12}",
        "data.validation_share": "0.2",
        "output": str(folder / "run"),
    }
