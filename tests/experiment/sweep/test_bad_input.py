"""Whatever a person gets wrong with a sweep: one line that names it, before Ray starts or a folder is made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cosdpo.cli.command_line import main
from cosdpo.errors import InputError
from cosdpo.experiment.sweep.sweep import sweep
from tests import tiny_rankers
from tests.refusals import RayStartedError, refusal, without_ray, words
from tests.tiny_models import job_options, write_model
from tests.tiny_rankers import query_lists, write_letor

Job = Callable[..., str]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("base") / "gpt2", "gpt2-tied")


@pytest.fixture
def arguments(base, tmp_path) -> dict[str, str]:
    """The options of a sweep that nothing is wrong with."""
    return job_options(base, tmp_path) | {
        "training.steps": "20",
        "output": str(tmp_path / "sweep"),
        "sweep.space": "{temperature: 'loguniform(0.1, 1)', model.lora_rank: 'int(4, 8)'}",
    }


@pytest.fixture
def job(arguments, tmp_path, monkeypatch, capsys) -> Job:
    """The one line that the sweep ends with, given the wrong options; a None leaves an option out."""

    def refused(changes: dict[str, str | None]) -> str:
        without_ray(monkeypatch)
        options = arguments | changes
        argv = words(options)
        return refusal(lambda: main(lambda config: sweep(config) and None, argv=argv), tmp_path, capsys)

    return refused


def test_nothing_is_wrong_with_the_options_that_the_others_start_from(arguments, monkeypatch):
    without_ray(monkeypatch)
    with pytest.raises(RayStartedError):
        main(lambda config: sweep(config) and None, argv=words(arguments))


@pytest.mark.parametrize(("changes", "message"), [
    ({"sweep.space": None}, "sweep.space is empty: say what to search"),
    ({"sweep.space.temprature": "uniform(0.1, 1)"}, "sweep.space.temprature: unknown key; did you mean temperature?"),
    ({"sweep.space.temperature": "uniform(1, 0.1)"}, "are reversed; write uniform(0.1, 1)"),
    ({"sweep.space.temperature": "gauss(1, 0.1)"}, "'gauss(1, 0.1)' is no distribution"),
    ({"sweep.space.temperature": "uniform(-1, 1)"}, "sweep.space.temperature: expected number > 0"),
    ({"sweep.space.data.max_rows": "int(1, 2)"}, "all trials share the data"),
    ({"sweep.scheduler": "asha"}, "set evaluation.front_every, such as --evaluation.front_every 4"),
    ({"sweep.scheduler": "asha", "evaluation.front_every": "20"}, "asha never stops a trial"),
    (
        {"sweep.scheduler": "asha", "evaluation.front_every": "5", "sweep.space.training.steps": "int(10, 20)"},
        "take training.steps out of sweep.space",
    ),
    ({"sweep.metrics": "hypervolumes"}, "there is no metric 'hypervolumes'; did you mean hypervolume?"),
    ({"sweep.metrics": "hypervolume/reward"}, "there is no metric 'hypervolume/reward'"),
    ({"sweep.search": "grid"}, "list them as grid(...)"),
    ({"sweep.search": "bayes"}, "--sweep.search: expected optuna, random or grid, got 'bayes'"),
    ({"sweep.samples": "0"}, "--sweep.samples: expected integer >= 1"),
    (
        {"sweep.space.model.gates": "choice(affine, quadratic)", "sweep.space.model.lora_rank": "int(2, 8)"},
        "sweep.space allows temperature 0.1, model.lora_rank 2, model.gates quadratic, but model.lora_rank 2 is",
    ),
    ({"method": "soup"}, "a sweep tunes the conditioned run"),
    ({"scaling.workers": "2"}, "leave scaling.workers out"),
    ({"model.base": "./nowhere"}, "model.base ./nowhere: no such folder"),
    ({"data.train": "nowhere.jsonl"}, "nowhere.jsonl does not exist"),
])  # fmt: skip
def test_refused(job, changes, message):
    assert message in job(changes)


def test_output_exists(job, tmp_path):
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "thesis.txt").write_text("chapter 1")
    assert "exists: go on with it by --resume, or name another folder" in job({})


def test_resumed_with_another_space(job, arguments, tmp_path):
    from cosdpo.cli.command_line import read_config
    from cosdpo.experiment.sweep.sweep import located
    from cosdpo.training import run_folder

    run_folder.create(located(read_config([w for k, v in arguments.items() for w in (f"--{k}", v)])))
    changed = {"resume": "true", "sweep.space.temperature": "uniform(0.2, 1)"}
    assert "was started with other settings of sweep: resume with its own" in job(changed)
    assert "was started with other settings of training" in job({"resume": "true", "training.steps": "30"})


def test_rankers_tuned_on_all_folds_at_once(tmp_path):
    write_letor(tmp_path / "data" / "train.txt", query_lists(*[6] * 20))
    config = tiny_rankers.settings(
        output=tmp_path / "run",
        data__train=str(tmp_path / "data"),
        data__folds=3,
        sweep__space={"temperature": "uniform(0.1, 1)"},
    )
    with pytest.raises(InputError, match="a sweep tunes on one fold: name it by data"):
        sweep(config)
