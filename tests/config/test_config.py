"""The configuration itself, and that its reference page is current."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from pydantic import ValidationError

from cosdpo.cli.reference_page import reference_page
from cosdpo.config import Config, DataConfig, ScalingConfig
from cosdpo.config.named_keys import Key, keys_of, shown
from cosdpo.errors import InputError

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_reference_page_is_current():
    assert PAGE.read_text(encoding="utf-8") == reference_page(), "run `make docs`"


def test_every_key_and_every_section_says_what_it_is():
    assert [name for name, key in keys_of(Config).items() if not key.help.endswith(".")] == []
    assert [group.name for group in keys_of(Config).groups if not group.help] == []


def test_keys_cover_the_model_in_field_order():
    expected = []
    for name, field in Config.model_fields.items():
        sections = getattr(field.annotation, "model_fields", None)
        expected += [name] if sections is None else [f"{name}.{leaf}" for leaf in sections]
    nested = [name for name in expected if "." in name]
    assert list(keys_of(Config)) == [name for name in expected if "." not in name] + nested


def test_every_default_passes_its_own_check():
    # Defaults are not validated by pydantic; a dump and a load does it.
    assert Config.model_validate(Config().model_dump()) == Config()


@pytest.mark.parametrize(
    ("name", "accepts"),
    [
        ("output", "path"),
        ("seed", "integer >= 0"),
        ("resume", "true or false"),
        ("objectives", "list of text"),
        ("temperature", "number > 0 or list of number > 0"),
        ("model.base", "text"),
        ("model.dtype", "auto, float32 or bfloat16"),
        ("training.batch_size", "integer >= 1"),
        ("training.warmup", "number >= 0 and < 1"),
        ("evaluation.scorers", "map of names to text"),
    ],
)
def test_what_a_key_accepts_in_words(name, accepts):
    assert keys_of(Config)[name].accepts == accepts


def test_words_of_types_that_no_key_has_yet():
    optional = Key("x", {"anyOf": [{"type": "integer", "maximum": 3}, {"type": "null"}], "default": None})
    assert (optional.accepts, optional.takes("null"), optional.takes_one) == ("integer <= 3 or null", True, True)
    assert Key("x", {"type": "array", "items": {"enum": [1, 2, 3]}}).accepts == "list of 1, 2 or 3"
    assert Key("x", {"type": "object", "additionalProperties": True}).accepts == "map of names to value"


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "true"), ("", "empty"), ([], "empty"), ({}, "empty"), (2.0, "2"), (1e-5, "1e-05"), (["a", 1], "a, 1")],
)
def test_how_a_default_is_shown(value, text):
    assert shown(value) == text


def test_unknown_keys_and_assignments_are_refused():
    with pytest.raises(ValidationError):
        Config.model_validate({"training": {"stepz": 1}})
    with pytest.raises(ValidationError, match="frozen"):
        Config().training.steps = 1


class TestChanged:
    def test_some_values_change_and_the_others_stay(self):
        before = Config(seed=3, data=DataConfig(max_rows=7, targets="gains"))
        after = before.changed({"training.steps": 5, "data.max_rows": 9, "output": "runs/x"})
        assert (after.training.steps, after.data.max_rows, after.output) == (5, 9, Path("runs/x"))
        assert (after.seed, after.data.targets) == (3, "gains")
        assert (before.training.steps, before.data.max_rows) == (500, 7)

    def test_what_was_given_and_what_is_changed_count_as_given(self):
        after = Config(seed=3, data=DataConfig(max_rows=7)).changed({"training.steps": 5, "data.fold": 1})
        assert after.model_fields_set == {"seed", "data", "training"}
        assert after.data.model_fields_set == {"max_rows", "fold"}
        assert after.training.model_fields_set == {"steps"}

    def test_a_section_without_a_change_is_the_same_object(self):
        before = Config(training={"steps": 5})
        assert before.changed({"data.fold": 1}).training is before.training

    def test_whole_sections_maps_and_sections_of_their_own(self):
        after = Config(evaluation={"scorers": {"a": "brevity"}, "prompts": 3}).changed(
            {"scaling": ScalingConfig(workers=2), "scaling.threads": 3, "evaluation.scorers": {}}
        )
        assert (after.scaling.workers, after.scaling.threads) == (2, 3)
        assert (after.evaluation.scorers, after.evaluation.prompts) == ({}, 3)
        assert ScalingConfig(workers=2).changed({"threads": 3}) == after.scaling

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"training.stepz": 3}, "training.stepz: unknown key; did you mean training.steps?"),
            ({"steps": 3}, "steps: unknown key; did you mean training.steps?"),
            ({"seed.x": 3}, "seed.x: unknown key; did you mean seed?"),
            ({"qqqq": 3}, "qqqq: unknown key; --help lists all keys"),
            ({"training.steps": -5}, "training.steps: expected integer >= 0, got -5"),
            (
                {"training.steps": 5, "data.format": "csv"},
                "data.format: expected auto, scored, pku, hh or trl, got 'csv'",
            ),
            ({"grid.temperatures": [2, 2]}, "grid.temperatures: 2 stands there 2 times; name each multiple once"),
        ],
    )
    def test_mistakes(self, changes, message):
        with pytest.raises(InputError) as error:
            Config().changed(changes)
        assert str(error.value) == message


def test_a_configuration_crosses_processes_as_it_is():
    config = Config(seed=3, output="a/b", temperature=[0.1, 0.2], data=DataConfig(comparisons="listwise"))
    there = pickle.loads(pickle.dumps(config))
    assert there == config
    assert there.model_fields_set == {"seed", "output", "temperature", "data"}
    assert there.data.model_fields_set == {"comparisons"}
    assert there.changed({"seed": 4}).model_fields_set == config.model_fields_set


def test_one_temperature_serves_all_objectives():
    assert Config(objectives=["a", "b", "c"], temperature=0.5).temperatures == [0.5, 0.5, 0.5]
    assert Config(objectives=["a", "b"], temperature=[0.5, 0.25]).temperatures == [0.5, 0.25]


def test_the_trained_temperature_is_measured_first():
    assert Config().ratios == [1.0]
    assert Config.model_validate({"grid": {"temperatures": [4, 0.5, 1, 2]}}).ratios == [1.0, 0.5, 2.0, 4.0]
    assert Config.model_validate({"grid": {"temperatures": [4]}}).ratios == [1.0, 4.0]
