"""Whatever a person gets wrong: one line that names it, exit code 2, before Ray starts and before a folder is made."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from tests.refusals import ranking_options, words
from tests.tiny_models import job_options, letters, rows, write_model, write_rows

ROOT = Path(__file__).parents[1]


@pytest.fixture
def options(tiny_base, tmp_path) -> dict[str, str]:
    """Those of a run that nothing is wrong with."""
    return job_options(tiny_base, tmp_path)


def test_nothing_is_wrong_with_the_options_that_the_others_start_from(jobs, options):
    jobs.takes(options)


ACROSS = "--training.compare_across 4"


@pytest.mark.parametrize(("line", "says"), [
    ("--data.train nowhere.jsonl", "nowhere.jsonl does not exist"),
    ("--data.validation nowhere.jsonl", "nowhere.jsonl does not exist"),
    ("--data.train --data.validation", "data.train is not set"),
    ("--data.train", "data.train is not set"),
    ("--model.base ./nowhere", "model.base ./nowhere: no such folder"),
    ("--model.base", "model.base is not set"),
    ("--objectives", "objectives is not set"),
    ("--objectives kind,kind", "names one twice"),
    ("--objectives kind,cheap", "has no objective 'cheap'; it has kind, short"),
    ("--temperature 0.1,0.2,0.3", "temperature has 3 numbers for 2 objectives"),
    ("--grid.temperatures 0", "--grid.temperatures"),
    ("--grid.temperatures 2,-1", "--grid.temperatures"),
    ("--grid.temperatures inf", "--grid.temperatures"),
    ("--grid.temperatures warm", "--grid.temperatures: expected list of number > 0, got 'warm'"),
    ("--grid.temperatures '[[1, 2], [2, 1]]'", "--grid.temperatures: expected list of number > 0"),
    ("--grid.temperatures 0.5,2,0.5", "--grid.temperatures: 0.5 stands there 2 times; name each multiple once"),
    ("--grid.temperatures 0.05,2", "has 0.05; a language model can be rescaled to no less than 0.1"),
    ("--data.comparisons listwise --data.targets proportional", "data.targets is proportional"),
    ("--data.max_length 49", "data.max_length 49 exceeds the model's context of 48 tokens"),
    ("--model.lora_targets q_proj", "no such modules"),
    ("--model.lora_rank 1", "model.lora_rank 1 is smaller than the 2 blocks"),
    ("--model.lora_rank 4 --model.shared_ranks 3", "model.lora_rank 4 less model.shared_ranks 3 is smaller than the 2"),
    ("--training.batch_size 16", "training.batch_size 16 is larger than the 12 training contexts"),
    ("--training.target rewards --training.penalty 0.5", "training.penalty is for training.target labels"),
    ("--training.step 3", "--training.step: unknown key; did you mean --training.steps?"),
    ("--scaling.workers 9", "scaling.workers 9 cannot share training.batch_size 8, which has 8 contexts"),
    ("--scaling.workers 2 --scaling.min_workers 3", "scaling.min_workers 3 is more than scaling.workers 2"),
    (f"{ACROSS} --scaling.workers 3", "scaling.workers 3 cannot share training.batch_size 8, which has 2 groups of"),
    (f"{ACROSS} --training.batch_size 6", "training.batch_size 6 is not a multiple of training.compare_across 4"),
    (f"{ACROSS} --training.micro_batch 6", "training.micro_batch 6 is not a multiple of training.compare_across 4"),
    (f"{ACROSS} --data.comparisons listwise", "set data.comparisons pairwise"),
    (f"{ACROSS} --data.comparisons rankings", "set data.comparisons pairwise"),
    ("--seed -1", "--seed: expected integer >= 0"),
    ("--evaluation.scorers '{cheap: brevity}'", "evaluation.scorers names ['cheap']"),
    ("--hub.push front", "--hub.push: 'front' is no name on the hub; give OWNER/NAME"),
    ("--hub.push alice/front", "hub.push needs the hub, which HF_HUB_OFFLINE keeps off; unset it"),
    ("--evaluation.scorers '{kind: kindness, short: brevity}'", "there is no scorer 'kindness'"),
])  # fmt: skip
def test_options(jobs, options, line, says):
    assert says in jobs.refusal(options, line)


@pytest.mark.parametrize(("job", "says"), [
    ("compare", "leave it out, and push one of the run folders by python -m cosdpo.hub"),
    ("sweep", "leave it out, and push that of the best trial by python -m cosdpo.hub"),
])  # fmt: skip
def test_only_a_run_is_pushed(jobs, options, job, says):
    line = "--hub.push alice/front --sweep.space '{training.alpha: \"uniform(0.2, 2)\"}'"
    assert f"hub.push is for a run with one checkpoint: {says}" in jobs.refusal(options, line, job)


@pytest.mark.parametrize(("changes", "says"), [
    ({"scores": {"kind": [1, 2], "short": [1, 2, 3]}}, "kind has 2 labels for 3 responses"),
    ({"scores": {"kind": [1, 2, 3], "short": [1, math.nan, 3]}}, "label 2 of short is 'nan'"),
    ({"responses": ["a", " ", "b"]}, "response 2 of 3 is empty"),
    ({"prompt": ""}, "the prompt is empty"),
    ({"responses": None}, "responses is missing"),
])  # fmt: skip
def test_a_row(jobs, options, tmp_path, changes, says):
    made = rows(12, 0)
    made[2] = {k: v for k, v in (made[2] | changes).items() if v is not None}
    write_rows(tmp_path / "train.jsonl", made)
    error = jobs.refusal(options, "")
    assert "train.jsonl:3" in error
    assert says in error


def test_a_column(jobs, options, tmp_path):
    write_rows(tmp_path / "train.jsonl", [{"question": row.pop("prompt"), **row} for row in rows(12, 0)])
    expected = "has the columns question, responses, scores; expected prompt, responses, scores"
    assert expected in jobs.refusal(options, "")


@pytest.mark.parametrize(("length", "line", "room"), [
    (60, "", 48),
    (44, "--conditioning both --model.soft_tokens 8", 40),  # soft tokens take their place too
])  # fmt: skip
def test_a_prompt_longer_than_the_context(jobs, options, tmp_path, length, line, room):
    made = rows(12, 0)
    made[2]["prompt"] = "a" * length
    write_rows(tmp_path / "train.jsonl", made)
    error = jobs.refusal(options, line)
    assert f"row 2: its prompt has {length} tokens and leaves no room for a response in {room}" in error
    assert "data.prompt_too_long" in error


@pytest.mark.parametrize("side", ["train", "validation"])
def test_an_objective_without_a_comparison(jobs, options, tmp_path, side):
    made = rows(12, 0)
    for row in made:
        row["scores"] = {**row["scores"], "short": [1.0, 1.0, 1.0]}
    write_rows(tmp_path / f"{side}.jsonl", made)
    assert "objective short has no comparison" in jobs.refusal(options, "")


def test_a_model_that_its_tokenizer_does_not_fit(jobs, options, tmp_path):
    write_model(tmp_path / "small", "gpt2-tied", vocabulary=len(letters()) - 5)
    error = jobs.refusal(options, f"--model.base {tmp_path / 'small'}")
    assert "the tokenizer has 48 tokens but the model only 43" in error


def test_a_folder_without_a_model_or_its_weights(jobs, options, tiny_base, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "not a complete model folder" in jobs.refusal(options, f"--model.base {tmp_path / 'empty'}")
    for file in tiny_base.glob("*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert "not a complete model folder" in jobs.refusal(options, f"--model.base {tmp_path}")


def test_gpus_that_are_not_there(jobs, options, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    line = "--scaling.use_gpu true --scaling.workers 1024 --training.batch_size 1024"
    assert "needs 1024 GPUs" in jobs.refusal(options, line)


def test_a_tracker_that_is_not_installed(jobs, options, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert "wandb is not installed" in jobs.refusal(options, "--tracking.wandb project")


@pytest.fixture(params=["language", "ranking"])
def either(request, tmp_path) -> dict[str, str]:
    """The options of either task."""
    return ranking_options(tmp_path) if request.param == "ranking" else request.getfixturevalue("options")


@pytest.mark.parametrize(("job", "line"), [
    ("run", "--method soup"),
    ("run", "--method modpo --comparison.seeds 0,0"),  # which are none of its business
    ("compare", ""),
    ("compare", "--comparison.methods cos,soup --comparison.seeds 3"),
])  # fmt: skip
def test_nothing_is_wrong_with_other_methods(jobs, either, job, line):
    jobs.takes(either, line, job)


@pytest.mark.parametrize(
    ("job", "method"), [("run", "cos"), ("run", "linear_scalarization"), ("run", "soup"), ("compare", "cos")]
)
def test_what_belongs_to_the_runs_of_baselines(jobs, either, job, method):
    error = jobs.refusal(either, f"--method {method} --training.weights 0.3,0.7", job)
    assert "training.weights is for the runs of baselines" in error
    if "task" not in either:
        error = jobs.refusal(either, f"--method {method} --conditioning none", job)
        assert "conditioning none is for the runs of baselines" in error


@pytest.mark.parametrize(("line", "says"), [
    ("--comparison.methods []", "comparison.methods is empty; name at least one"),
    ("--comparison.seeds []", "comparison.seeds is empty; name at least one"),
    ("--comparison.budgets []", "comparison.budgets is empty; name at least one"),
    ("--comparison.methods soup,cos,soup", "comparison.methods names one twice; name each once"),
    ("--comparison.seeds 0,1,0", "comparison.seeds names one twice; name each once"),
    ("--comparison.budgets time,time", "comparison.budgets names one twice"),
    ("--comparison.methods cos,dpo", "comparison.methods"),
])  # fmt: skip
def test_a_comparison(jobs, either, line, says):
    assert says in jobs.refusal(either, line, "compare")


@pytest.mark.parametrize("job", ["run", "compare", "sweep"])
def test_an_output_folder_that_exists(jobs, either, tmp_path, job):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("chapter 1")
    line = "--sweep.space.temperature 'uniform(0.1, 1)'" if job == "sweep" else ""
    assert "exists: go on with it by --resume, or name another folder" in jobs.refusal(either, line, job)


@pytest.mark.slow
def test_the_job_itself_ends_the_same_way(options, tmp_path):
    command = [sys.executable, "jobs/train_gpt2.py", *words(options, f"--data.train {tmp_path / 'nowhere.jsonl'}")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert json.loads((tmp_path / "train.jsonl").read_text().splitlines()[0])["prompt"]  # the input is as it was
