"""Whole builds on Ray: prompts answered and scored, gone on with, and trained on round by round."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from cosdpo.config import Config
from cosdpo.errors import InputError
from cosdpo.evaluation.front import Front
from cosdpo.experiment.build import building
from cosdpo.experiment.build.rounds import build_preferences
from cosdpo.experiment.results.build_result import BuildResult
from cosdpo.reports.finish import finish_build
from serve.prompt_answerer import PromptAnswerer
from tests.tiny_models import scorer

TRAINED = {
    "build__rounds": 2,
    "training__steps": 4,
    "training__batch_size": 4,
    "training__learning_rate": 0.01,
    "grid__partitions": 2,
    "evaluation__prompts": 2,
    "data__validation_share": 0.4,
}


def built(config: Config) -> BuildResult:
    *_, last = build_preferences(config, PromptAnswerer)
    assert isinstance(last, BuildResult)
    return last


@pytest.mark.usefixtures("ray_of_two_cores")
def test_a_build_goes_on_with_what_is_missing(asking) -> None:
    config = asking(build__rows=2)  # blocks of two prompts
    whole = built(config)
    rows = whole.rounds[0].rows
    assert {row["prompt"] for row in rows} <= {"abc", "de", "f ghi", "jkl", "mno p"}
    for row in rows:
        words = [len(text.split()) for text in row["responses"]]
        assert row["scores"]["shortness"] == [-n for n in words]
    parts = sorted((config.output / building.PARTS).iterdir())
    assert len(parts) > 1
    parts[0].unlink()
    (config.output / building.BUILT).unlink()
    (config.output / building.PREFERENCES).unlink()
    kept = {path: path.stat().st_mtime_ns for path in parts[1:]}
    again = built(config.changed({"resume": True}))
    assert again.rounds[0].rows == rows, "the same answers, whichever sitting they are of"
    assert {path: path.stat().st_mtime_ns for path in parts[1:]} == kept
    with pytest.raises(InputError, match=r"other settings of evaluation.max_new_tokens: resume with its own"):
        built(config.changed({"resume": True, "evaluation.max_new_tokens": 7}))


@pytest.mark.slow
@pytest.mark.usefixtures("ray_of_two_cores")
def test_rounds_answer_with_what_was_trained_before(asking, capsys: pytest.CaptureFixture[str]) -> None:
    prompts = [f"{a}{b}" for a in "abcd" for b in "efgh"]
    config = asking(prompts, **TRAINED)
    finish_build(build_preferences(config, PromptAnswerer))
    assert {path.name for path in config.output.iterdir() if path.is_dir()} == {"validation", "round-1", "round-2"}
    rounds = [config.output / name for name in ("round-1", "round-2")]
    held_out = {row["prompt"] for row in pq.read_table(config.output / "validation" / building.PREFERENCES).to_pylist()}
    for place in rounds:
        asked = {row["prompt"] for row in pq.read_table(place / building.PREFERENCES).to_pylist()}
        assert not asked & held_out
        assert (place / "run" / "report.html").exists()
        Front.load(place / "run" / "front.json")
    columns = [set(pq.read_table(place / building.PREFERENCES).column_names) for place in rounds]
    assert columns[1] - columns[0] == {"weights"}, "the base has no trade-off"
    started = (rounds[1] / "run" / "config.yaml").read_text()
    assert f"start: {rounds[0] / 'run' / 'checkpoint'}" in started
    assert "The hypervolume of generated reward went from" in (config.output / "report.html").read_text()
    assert "round 2:" in capsys.readouterr().out
    before = {path: path.stat().st_mtime_ns for path in config.output.rglob("*.safetensors")}
    finish_build(build_preferences(config.changed({"resume": True}), PromptAnswerer))
    assert {path: path.stat().st_mtime_ns for path in config.output.rglob("*.safetensors")} == before


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"build__prompts": ""}, "build.prompts is not set"),
        ({"evaluation__scorers": {}}, "evaluation.scorers is not set: name one for each objective"),
        ({"evaluation__scorers": {"brevity": "brevity"}}, "evaluation.scorers names ['brevity']"),
        ({"method": "soup"}, "leave out method instead of soup"),
        ({"evaluation__max_new_tokens": 48}, "leaves no room for a prompt in 48 tokens; lower it"),
        ({"build__prompts": "nowhere.jsonl"}, "nowhere.jsonl does not exist"),
    ],
)
def test_what_cannot_be_built_is_refused_before_ray_starts(changes: dict[str, Any], says: str, asking) -> None:
    with pytest.raises(InputError, match=re.escape(says)):
        built(asking(**changes))


def test_a_checkpoint_of_other_objectives_is_refused(asking, tmp_path: Path) -> None:
    scorer(asking(objectives=["other", "brevity"])).save(tmp_path / "checkpoint")
    with pytest.raises(InputError, match="weighs other, brevity, objectives are shortness, brevity"):
        built(asking(build__checkpoint=str(tmp_path / "checkpoint")))


def test_a_run_starts_from_a_checkpoint_of_its_own_form(asking, tmp_path: Path) -> None:
    made = scorer(asking(seed=3))
    made.save(tmp_path / "checkpoint")
    start = {"training__start": str(tmp_path / "checkpoint")}
    from cosdpo.models.adapter_settings import check_start
    from cosdpo.tasks.language.language_task import LanguageTask

    task = object.__new__(LanguageTask)
    task.chat = False
    import torch

    begun = task.create(asking(**start), torch.device("cpu"))
    for name, tensor in made.trainable().items():
        assert torch.equal(begun.trainable()[name], tensor), name
    with pytest.raises(InputError, match="was trained with lora_rank 4, this run has 6; take the same"):
        check_start(asking(**start, model__lora_rank=6))
