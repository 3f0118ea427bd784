"""Whatever a person gets wrong about baselines and comparisons: one line, exit code 2, before Ray starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cosdpo.train import train

from cosdpo.cli.command_line import main
from cosdpo.config import Config
from cosdpo.experiment.compare import compare
from tests.refusals import RayStartedError, refusal, without_ray, words
from tests.tiny_models import job_options, write_model
from tests.tiny_rankers import query_lists, write_letor

LENGTHS = (4, 3, 5, 4, 2, 6, 4, 4, 3, 5)
Job = Callable[..., str]


@pytest.fixture(autouse=True)
def _no_ray(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    without_ray(monkeypatch)
    monkeypatch.setenv("COSDPO_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("base") / "gpt2", "gpt2-tied")


@pytest.fixture
def language(base, tmp_path) -> dict[str, str]:
    """The options of a run that nothing is wrong with."""
    return job_options(base, tmp_path)


@pytest.fixture
def ranking(tmp_path) -> dict[str, str]:
    """The same of a ranker."""
    for seed, name in enumerate(("train", "test")):
        write_letor(tmp_path / "data" / f"{name}.txt", query_lists(*LENGTHS, seed=seed))
    return {
        "task": "ranking",
        "data.train": str(tmp_path / "data"),
        "data.auxiliary": "{a: 11, b: 12}",
        "output": str(tmp_path / "run"),
    }


JOBS: dict[str, Callable[[Config], object]] = {"train": train, "compare": compare}


def call(job: str, options: dict[str, str]) -> None:
    main(lambda config: JOBS[job](config) and None, argv=words(options))


@pytest.fixture
def refused(language, ranking, tmp_path, capsys) -> Job:
    """The one line that a job ends with, given wrong options."""

    def line(job: str, task: str = "language", **changes: str) -> str:
        options = (ranking if task == "ranking" else language) | {k.replace("__", "."): v for k, v in changes.items()}
        return refusal(lambda: call(job, options), tmp_path, capsys)

    return line


@pytest.mark.parametrize("task", ["language", "ranking"])
@pytest.mark.parametrize(
    ("job", "more"),
    [
        ("train", {}),
        ("train", {"method": "soup"}),
        ("train", {"method": "modpo", "comparison.seeds": "0,0"}),  # which are none of its business
        ("compare", {}),
        ("compare", {"comparison.methods": "cos,soup", "comparison.seeds": "3"}),
    ],
)
def test_nothing_is_wrong_with_the_options_that_the_others_start_from(request, task, job, more):
    with pytest.raises(RayStartedError):
        call(job, request.getfixturevalue(task) | more)


@pytest.mark.parametrize(
    ("job", "method"), [("train", "cos"), ("train", "linear_scalarization"), ("train", "soup"), ("compare", "cos")]
)
class TestWhatBelongsToTheRunsOfBaselines:
    @pytest.mark.parametrize("task", ["language", "ranking"])
    def test_fixed_weights(self, refused, task, job, method):
        line = refused(job, task, method=method, training__weights="0.3,0.7")
        assert "training.weights is for the runs of baselines" in line

    def test_no_conditioning(self, refused, job, method):
        assert "conditioning none is for the runs of baselines" in refused(job, method=method, conditioning="none")


@pytest.mark.parametrize("task", ["language", "ranking"])
class TestComparison:
    @pytest.mark.parametrize("key", ["methods", "seeds"])
    def test_nothing_to_compare(self, refused, task, key):
        assert f"comparison.{key} is empty; name at least one" in refused(
            "compare", task, **{f"comparison__{key}": "[]"}
        )

    @pytest.mark.parametrize(("key", "twice"), [("methods", "soup,cos,soup"), ("seeds", "0,1,0")])
    def test_the_same_twice(self, refused, task, key, twice):
        line = refused("compare", task, **{f"comparison__{key}": twice})
        assert f"comparison.{key} names one twice; name each once" in line

    def test_unknown_method(self, refused, task):
        assert "comparison.methods" in refused("compare", task, comparison__methods="cos,dpo")

    def test_no_budget(self, refused, task):
        assert "comparison.budgets is empty" in refused("compare", task, comparison__budgets="[]")

    def test_the_same_budget_twice(self, refused, task):
        assert "comparison.budgets names one twice" in refused("compare", task, comparison__budgets="time,time")

    def test_output_folder_exists(self, refused, tmp_path, task):
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "thesis.txt").write_text("chapter 1")
        assert "exists: go on with it by --resume" in refused("compare", task)
