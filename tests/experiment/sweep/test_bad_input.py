"""Whatever a person gets wrong with a sweep: one line that names it, before Ray starts or a folder is made."""

from __future__ import annotations

import pytest

from cosdpo.cli.command_line import read_config
from cosdpo.experiment.sweep.sweep import located
from cosdpo.training import run_folder
from tests.refusals import ranking_options, words
from tests.tiny_models import job_options

SPACE = {"sweep.space.temperature": "loguniform(0.1, 1)", "sweep.space.model.lora_rank": "int(4, 8)"}
ASHA = "--sweep.scheduler asha"


@pytest.fixture
def options(tiny_base, tmp_path) -> dict[str, str]:
    """Those of a sweep that nothing is wrong with."""
    return job_options(tiny_base, tmp_path) | SPACE | {"training.steps": "20"}


def test_nothing_is_wrong_with_the_options_that_the_others_start_from(jobs, options):
    jobs.takes(options, job="sweep")


@pytest.mark.parametrize(("line", "says"), [
    ("--sweep.space.temperature --sweep.space.model.lora_rank", "sweep.space is empty: say what to search"),
    ("--sweep.space.temprature 'uniform(0.1, 1)'", "sweep.space.temprature: unknown key; did you mean temperature?"),
    ("--sweep.space.temperature 'uniform(1, 0.1)'", "are reversed; write uniform(0.1, 1)"),
    ("--sweep.space.temperature 'gauss(1, 0.1)'", "'gauss(1, 0.1)' is no distribution"),
    ("--sweep.space.temperature 'uniform(-1, 1)'", "sweep.space.temperature: expected number > 0"),
    ("--sweep.space.data.max_rows 'int(1, 2)'", "all trials share the data"),
    (ASHA, "set evaluation.front_every, such as --evaluation.front_every 4"),
    (f"{ASHA} --evaluation.front_every 20", "asha never stops a trial"),
    (
        f"{ASHA} --evaluation.front_every 5 --sweep.space.training.steps 'int(10, 20)'",
        "take training.steps out of sweep.space",
    ),
    (
        "--training.steps 0 --training.epochs 2 --sweep.space.training.batch_size 'choice(4, 8)'",
        "training.epochs does not go with training.batch_size in sweep.space",
    ),
    ("--sweep.metrics hypervolumes", "there is no metric 'hypervolumes'; did you mean hypervolume?"),
    ("--sweep.metrics hypervolume/reward", "there is no metric 'hypervolume/reward'"),
    ("--sweep.search grid", "list them as grid(...)"),
    ("--sweep.search bayes", "--sweep.search: expected optuna, random or grid, got 'bayes'"),
    ("--sweep.samples 0", "--sweep.samples: expected integer >= 1"),
    (
        "--sweep.space.model.gates 'choice(affine, quadratic)' --sweep.space.model.lora_rank 'int(2, 8)'",
        "sweep.space allows temperature 0.1, model.lora_rank 2, model.gates quadratic, but model.lora_rank 2 is",
    ),
    ("--sweep.space.conditioning 'choice(both, none)'", "conditioning none, but conditioning none is for the runs of"),
    ("--method soup", "a sweep tunes the conditioned run"),
    ("--scaling.workers 2", "leave scaling.workers out"),
    ("--model.base ./nowhere", "model.base ./nowhere: no such folder"),
    ("--data.train nowhere.jsonl", "nowhere.jsonl does not exist"),
])  # fmt: skip
def test_options(jobs, options, line, says):
    assert says in jobs.refusal(options, line, "sweep")


def test_resumed_with_other_settings(jobs, options):
    run_folder.create(located(read_config(words(options))))
    space = jobs.refusal(options, "--resume true --sweep.space.temperature 'uniform(0.2, 1)'", "sweep")
    assert "was started with other settings of sweep: resume with its own" in space
    steps = jobs.refusal(options, "--resume true --training.steps 30", "sweep")
    assert "was started with other settings of training" in steps


def test_rankers_tuned_on_all_folds_at_once(jobs, tmp_path):
    line = "--data.folds 3 --sweep.space.temperature 'uniform(0.1, 1)'"
    assert "a sweep tunes on one fold: name it by data.fold" in jobs.refusal(ranking_options(tmp_path), line, "sweep")
    jobs.takes(ranking_options(tmp_path), f"{line} --data.fold 2", "sweep")
