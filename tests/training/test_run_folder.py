"""The run folder: refused when it exists, gone on with when it is the same run's."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cosdpo.cli.command_line import read_config
from cosdpo.config import Config
from cosdpo.errors import InputError
from cosdpo.training import run_folder
from tests.tiny_models import settings


@pytest.fixture
def config(tmp_path) -> Config:
    return settings("base", output=tmp_path / "deep" / "run")


def refusal(config: Config) -> str:
    with pytest.raises(InputError) as error:
        run_folder.check(config)
    assert "\n" not in str(error.value)
    return str(error.value)


def resumed(config: Config, **changes: object) -> Config:
    return config.model_copy(update={"resume": True, **changes})


def test_a_new_folder_is_created_with_its_configuration(config):
    run_folder.check(config)
    assert not config.output.exists()  # looking changes nothing
    assert run_folder.create(config) == config.output
    assert read_config(["--config", str(config.output / "config.yaml")]) == config


def test_an_existing_folder_is_refused(config):
    run_folder.create(config)
    assert "exists" in refusal(config)
    assert "--resume" in refusal(config)
    assert "--output" in refusal(config)


def test_an_empty_folder_is_as_good_as_none(config):
    config.output.mkdir(parents=True)
    run_folder.check(config)


def test_a_file_is_refused(config):
    config.output.parent.mkdir(parents=True)
    config.output.write_text("")
    assert "is a file" in refusal(config)
    assert "is a file" in refusal(resumed(config))


def test_resuming_goes_on_with_the_same_run(config):
    run_folder.check(resumed(config))  # nothing there yet: starts anew
    run_folder.create(config)
    run_folder.check(resumed(config))
    run_folder.create(resumed(config))
    run_folder.check(resumed(config))


@pytest.mark.parametrize(
    ("changes", "keys"),
    [
        ({"seed": 1}, "seed"),
        ({"objectives": ["short", "kind"]}, "objectives"),
        ({"temperature": [0.5, 0.5]}, "temperature"),
        ({"scope": "response", "conditioning": "both"}, "conditioning, scope"),
        ({"training": settings("", training__steps=7).training}, "training"),
        ({"model": settings("other").model}, "model"),
    ],
)
def test_resuming_with_what_would_train_otherwise_is_refused(config, changes, keys):
    run_folder.create(config)
    message = refusal(resumed(config, **changes))
    assert f"other settings of {keys}:" in message
    assert "config.yaml" in message


@pytest.mark.parametrize(
    "changes",
    [
        {"scaling": settings("", scaling__workers=2).scaling},
        {"evaluation": settings("", evaluation__samples=3).evaluation},
        {"grid": settings("", grid__partitions=4).grid},
        {"tracking": settings("", tracking__wandb="x").tracking},
    ],
)
def test_what_does_not_enter_the_training_may_change(config, changes):
    run_folder.create(config)
    run_folder.check(resumed(config, **changes))


def test_resuming_in_a_folder_that_is_no_run_is_refused(config):
    config.output.mkdir(parents=True)
    (config.output / "thesis.txt").write_text("chapter 1")
    assert "is not a run folder (no config.yaml)" in refusal(resumed(config))


def test_resuming_from_another_working_directory_names_the_same_folder(config, monkeypatch, tmp_path):
    run_folder.create(config)
    monkeypatch.chdir(tmp_path)
    run_folder.check(resumed(config, output=Path("deep/run")))


def test_a_folder_of_an_earlier_version_lacks_keys_that_have_their_defaults_now(config):
    run_folder.create(config)
    path = config.output / "config.yaml"
    stored = yaml.safe_load(path.read_text())
    del stored["training"]["target"], stored["plan"], stored["gpu"]
    path.write_text(yaml.safe_dump(stored))
    run_folder.check(resumed(config))
    training = config.training.model_copy(update={"target": "rewards"})
    assert "other settings of training:" in refusal(resumed(config, training=training))


class TestData:
    def test_changed_data_is_refused_and_named(self, config):
        run_folder.check_data(config, 10, {"training": "a", "held-out test": "b"})  # nothing is there yet
        run_folder.create(config)
        run_folder.keep_data(config.output, {"training": "a", "held-out test": "b"})
        run_folder.check_data(config, 10, {"training": "a", "held-out test": "b"})
        run_folder.check_data(config, 10, {"training": "a", "held-out validation": "c"})  # another side is measured
        with pytest.raises(InputError, match=f"^the held-out test data is not what output {config.output} was started"):
            run_folder.check_data(config, 10, {"training": "a", "held-out test": "c"})
        with pytest.raises(InputError, match=r"^the training and held-out test data is"):
            run_folder.check_data(config, 10, {"training": "b", "held-out test": "c"})

    def test_epochs_come_to_the_steps_that_were_written_down(self, config):
        run_folder.create(config.changed({"training.steps": 12}))
        given = resumed(settings("base", output=config.output, training={"epochs": 2}))
        run_folder.check(given)
        run_folder.check_data(given, 12, {})
        with pytest.raises(InputError, match=r"with training.steps 12, training.epochs 2 are 13: resume with"):
            run_folder.check_data(given, 13, {})

    def test_other_epochs_are_refused(self, config):
        given = settings("base", output=config.output, training={"epochs": 2})
        run_folder.create(given)
        run_folder.check(resumed(given))
        assert "training" in refusal(resumed(given.changed({"training.epochs": 3})))
