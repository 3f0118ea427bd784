"""Whatever a person gets wrong: one line that names it, exit code 2, before Ray starts and before a folder is made."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cosdpo.run import run

from cosdpo.cli.command_line import main
from tests.refusals import RayStartedError, refusal, without_ray, words
from tests.tiny_models import job_options, letters, rows, write_model, write_rows

ROOT = Path(__file__).parents[1]
Job = Callable[..., str]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("base") / "gpt2", "gpt2-tied")


@pytest.fixture
def arguments(base, tmp_path) -> dict[str, str]:
    """The options of a run that nothing is wrong with."""
    return job_options(base, tmp_path)


@pytest.fixture
def job(arguments, tmp_path, monkeypatch, capsys) -> Job:
    """The one line that the run ends with, given the wrong options; a None leaves an option out."""

    def refused(**changes: str | None) -> str:
        without_ray(monkeypatch)
        options = arguments | {key.replace("__", "."): value for key, value in changes.items()}
        argv = words(options)
        return refusal(lambda: main(lambda config: run(config) and None, argv=argv), tmp_path, capsys)

    return refused


def test_nothing_is_wrong_with_the_options_that_the_others_start_from(arguments, monkeypatch):
    without_ray(monkeypatch)
    with pytest.raises(RayStartedError):
        main(lambda config: run(config) and None, argv=words(arguments))


class TestFiles:
    @pytest.mark.parametrize("key", ["data__train", "data__validation"])
    def test_missing(self, job, key):
        assert "nowhere.jsonl does not exist" in job(**{key: "nowhere.jsonl"})

    def test_no_data_given(self, job):
        assert "data.train is not set" in job(data__train=None, data__validation=None)

    def test_held_out_data_alone_given(self, job):
        assert "data.train is not set" in job(data__train=None)

    def test_model_folder_missing(self, job):
        assert "model.base ./nowhere: no such folder" in job(model__base="./nowhere")

    def test_model_not_given(self, job):
        assert "model.base is not set" in job(model__base=None)

    def test_output_folder_exists(self, job, tmp_path):
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "thesis.txt").write_text("chapter 1")
        assert "exists: go on with it by --resume, or name another folder" in job()


class TestTemperatures:
    @pytest.mark.parametrize(
        ("given", "says"),
        [
            ("0", "--grid.temperatures"),
            ("2,-1", "--grid.temperatures"),
            ("inf", "--grid.temperatures"),
            ("warm", "--grid.temperatures: expected list of number > 0, got 'warm'"),
            ("[[1, 2], [2, 1]]", "--grid.temperatures: expected list of number > 0"),
            ("0.5,2,0.5", "--grid.temperatures: 0.5 stands there 2 times; name each multiple once"),
            ("0.05,2", "grid.temperatures has 0.05; a language model can be rescaled to no less than 0.1"),
        ],
    )
    def test_multiples_that_cannot_be(self, job, given, says):
        assert says in job(grid__temperatures=given)


class TestRows:
    @pytest.fixture
    def with_row(self, job, tmp_path) -> Callable[[dict[str, object]], str]:
        """The line about training data whose third row has these columns changed."""

        def refused(changes: dict[str, object]) -> str:
            made = rows(12, 0)
            made[2] = {k: v for k, v in (made[2] | changes).items() if v is not None}
            write_rows(tmp_path / "train.jsonl", made)
            line = job()
            assert "train.jsonl:3" in line
            return line

        return refused

    def test_label_length_differs_from_the_candidates(self, with_row):
        assert "kind has 2 labels for 3 responses" in with_row({"scores": {"kind": [1, 2], "short": [1, 2, 3]}})

    def test_nan_score(self, with_row):
        assert "label 2 of short is 'nan'" in with_row({"scores": {"kind": [1, 2, 3], "short": [1, math.nan, 3]}})

    def test_empty_response(self, with_row):
        assert "response 2 of 3 is empty" in with_row({"responses": ["a", " ", "b"]})

    def test_empty_prompt(self, with_row):
        assert "the prompt is empty" in with_row({"prompt": ""})

    def test_missing_value(self, with_row):
        assert "responses is missing" in with_row({"responses": None})

    def test_wrong_column(self, job, tmp_path):
        made = [{"question": row.pop("prompt"), **row} for row in rows(12, 0)]
        write_rows(tmp_path / "train.jsonl", made)
        assert "has the columns question, responses, scores; expected prompt, responses, scores" in job()

    def test_prompt_longer_than_the_context(self, job, tmp_path):
        made = rows(12, 0)
        made[2]["prompt"] = "a" * 60
        write_rows(tmp_path / "train.jsonl", made)
        line = job()
        assert "row 2: its prompt has 60 tokens and leaves no room for a response in 48" in line
        assert "data.prompt_too_long" in line
        # Soft tokens take their place too.
        made[2]["prompt"] = "a" * 44
        write_rows(tmp_path / "train.jsonl", made)
        assert "44 tokens and leaves no room for a response in 40" in job(conditioning="both", model__soft_tokens="8")

    def test_unknown_objective(self, job):
        assert "has no objective 'cheap'; it has kind, short" in job(objectives="kind,cheap")

    @pytest.mark.parametrize("side", ["train", "validation"])
    def test_an_objective_without_a_comparison(self, job, tmp_path, side):
        made = rows(12, 0)
        for row in made:
            row["scores"] = {**row["scores"], "short": [1.0, 1.0, 1.0]}
        write_rows(tmp_path / f"{side}.jsonl", made)
        assert "objective short has no comparison" in job()

    def test_negative_scores_as_proportional_targets(self, job):
        assert "data.targets is proportional" in job(data__comparisons="listwise", data__targets="proportional")

    def test_too_few_contexts_for_a_batch(self, job):
        assert "training.batch_size 16 is larger than the 12 training contexts" in job(training__batch_size="16")


class TestModel:
    def test_vocabulary_mismatch_between_tokenizer_and_model(self, job, tmp_path):
        write_model(tmp_path / "small", "gpt2-tied", vocabulary=len(letters()) - 5)
        assert "the tokenizer has 48 tokens but the model only 43" in job(model__base=str(tmp_path / "small"))

    def test_folder_without_a_model(self, job, tmp_path):
        (tmp_path / "empty").mkdir()
        assert "not a complete model folder" in job(model__base=str(tmp_path / "empty"))

    def test_longer_than_the_models_context(self, job):
        assert "data.max_length 49 exceeds the model's context of 48 tokens" in job(data__max_length="49")

    def test_unknown_lora_target(self, job):
        assert "no such modules" in job(model__lora_targets="q_proj")

    def test_fewer_ranks_than_objectives(self, job):
        assert "model.lora_rank 1 is smaller than the 2 blocks" in job(model__lora_rank="1")

    def test_folder_without_weights(self, job, base, tmp_path):
        for file in base.glob("*.json"):
            (tmp_path / file.name).write_bytes(file.read_bytes())
        assert "not a complete model folder" in job(model__base=str(tmp_path))


class TestSettings:
    def test_no_objectives(self, job):
        assert "objectives is not set" in job(objectives=None)

    def test_the_same_objective_twice(self, job):
        assert "objectives" in job(objectives="kind,kind")

    def test_temperatures_for_another_number_of_objectives(self, job):
        assert "temperature has 3 numbers for 2 objectives" in job(temperature="0.1,0.2,0.3")

    def test_batch_that_the_workers_cannot_share(self, job):
        assert "scaling.workers 9 cannot share training.batch_size 8, which has 8 contexts" in job(scaling__workers="9")

    def test_more_workers_at_least_than_at_most(self, job):
        line = job(scaling__workers="2", scaling__min_workers="3")
        assert "scaling.min_workers 3 is more than scaling.workers 2" in line

    def test_a_penalty_on_rewards_added_up(self, job):
        line = job(training__target="rewards", training__penalty="0.5")
        assert "training.penalty" in line
        assert "training.target" in line

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"scaling__workers": "3"}, "scaling.workers 3 cannot share training.batch_size 8, which has 2 groups"),
            ({"training__batch_size": "6"}, "training.batch_size 6 is not a multiple"),
            ({"training__micro_batch": "6"}, "training.micro_batch 6 is not a multiple"),
            ({"data__comparisons": "listwise"}, "set data.comparisons pairwise"),
            ({"data__comparisons": "rankings"}, "set data.comparisons pairwise"),
        ],
    )
    def test_groups_that_cannot_be_compared(self, job, changes, message):
        line = job(training__compare_across="4", **changes)
        assert message in line
        assert "training.compare_across 4" in line

    def test_gpus_that_are_not_there(self, job, monkeypatch):
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        line = job(scaling__use_gpu="true", scaling__workers="1024", training__batch_size="1024")
        assert "needs 1024 GPUs" in line

    def test_negative_seed(self, job):
        assert "seed" in job(seed="-1")

    def test_scorers_for_other_objectives(self, job):
        assert "evaluation.scorers names ['cheap']" in job(evaluation__scorers="{cheap: brevity}")

    def test_unknown_scorer(self, job):
        assert "there is no scorer 'kindness'" in job(evaluation__scorers="{kind: kindness, short: brevity}")

    def test_unknown_key(self, job):
        assert "--training.step: unknown key; did you mean --training.steps?" in job(training__step="3")

    def test_tracker_that_is_not_installed(self, job, monkeypatch):
        monkeypatch.setitem(sys.modules, "wandb", None)
        assert "wandb is not installed" in job(tracking__wandb="project")


@pytest.mark.slow
def test_the_job_itself_ends_the_same_way(arguments, tmp_path):
    options = arguments | {"data.train": str(tmp_path / "nowhere.jsonl")}
    command = [sys.executable, "jobs/train_gpt2.py", *(w for k, v in options.items() for w in (f"--{k}", v))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert json.loads((tmp_path / "train.jsonl").read_text().splitlines()[0])["prompt"]  # the input is as it was
