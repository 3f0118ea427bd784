"""The configuration itself, and that its reference page is current."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from cosdpo.cli.keys import Key, groups, keys, reference_page, shown
from cosdpo.config import Config

PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"


def test_the_reference_page_is_current():
    assert PAGE.read_text(encoding="utf-8") == reference_page(), "run `make docs`"


def test_every_key_and_every_section_says_what_it_is():
    assert [name for name, key in keys().items() if not key.help.endswith(".")] == []
    assert [group.name for group in groups() if not group.help] == []


def test_keys_cover_the_model_in_field_order():
    expected = []
    for name, field in Config.model_fields.items():
        sections = getattr(field.annotation, "model_fields", None)
        expected += [name] if sections is None else [f"{name}.{leaf}" for leaf in sections]
    nested = [name for name in expected if "." in name]
    assert list(keys()) == [name for name in expected if "." not in name] + nested


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
        ("training.steps", "integer >= 1"),
        ("training.warmup", "number >= 0 and < 1"),
        ("evaluation.scorers", "map of names to text"),
    ],
)
def test_what_a_key_accepts_in_words(name, accepts):
    assert keys()[name].accepts == accepts


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


def test_unknown_keys_and_wrong_assignments_are_refused():
    with pytest.raises(ValidationError):
        Config.model_validate({"training": {"stepz": 1}})
    with pytest.raises(ValidationError):
        Config().training.steps = 0


def test_one_temperature_serves_all_objectives():
    assert Config(objectives=["a", "b", "c"], temperature=0.5).temperatures == [0.5, 0.5, 0.5]
    assert Config(objectives=["a", "b"], temperature=[0.5, 0.25]).temperatures == [0.5, 0.25]


def test_the_trained_temperature_is_measured_first():
    assert Config().ratios == [1.0]
    assert Config.model_validate({"grid": {"temperatures": [4, 0.5, 1, 2]}}).ratios == [1.0, 0.5, 2.0, 4.0]
    assert Config.model_validate({"grid": {"temperatures": [4]}}).ratios == [1.0, 4.0]
