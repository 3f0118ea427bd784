"""Cards with values that no run writes are refused, in one line that names the key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cosdpo.errors import InputError
from cosdpo.models.cards import BaseCard, Card, LanguageCard, RankingCard
from tests import tiny_models, tiny_rankers

BOTH = [
    ({"trained_temperature": [0.5]}, "temperature has 1 numbers for 2 objectives"),
    ({"trained_temperature": [0.5, 0.5, 0.5]}, "temperature has 3 numbers for 2 objectives"),
    ({"trained_temperature": [0.5, 0]}, r"trained_temperature\.1: .*greater than 0"),
    ({"trained_temperature": [-0.5, 0.5]}, r"trained_temperature\.0: .*greater than 0"),
    ({"trained_temperature": [0.5, float("inf")]}, r"trained_temperature\.1: .*finite"),
    ({"trained_temperature": [0.5, float("nan")]}, r"trained_temperature\.1: "),
    ({"trained_temperature": [0.5, "0.5"]}, r"trained_temperature\.1: .*number"),
    ({"trained_temperature": [True, 0.5]}, r"trained_temperature\.0: .*number"),
    ({"trained_temperature": 0.5}, "trained_temperature: .*array"),
    ({"objectives": ["a", "a"]}, "names one twice"),
    ({"objectives": []}, "objectives: .*at least 1"),
    ({"objectives": ["a", ""]}, r"objectives\.1: .*at least 1"),
    ({"objectives": {"a": 1, "b": 2}}, "objectives: .*array"),
    ({"format": 2}, "format: .*1"),
    ({"temperature_conditioned": "no"}, "temperature_conditioned: .*boolean"),
    ({"later": 1}, "later: "),
]
LANGUAGE = [({"soft_tokens": -1}, "soft_tokens: "), ({"soft_tokens": 1.5}, "soft_tokens: ")]
SMALL = {"architecture": "transformer", "width": 8, "layers": 1, "heads": 2, "dropout": 0.0}
RANKING = [
    ({"network": SMALL | {"heads": 3}}, "width 8 is not a multiple of .*heads 3"),
    ({"network": SMALL | {"heads": 0}}, r"network\.heads: "),
    ({"network": SMALL | {"layers": -1}}, r"network\.layers: "),
    ({"network": SMALL | {"dropout": 1.0}}, r"network\.dropout: "),
    ({"auxiliary": {"a": 0, "b": 2}}, r"auxiliary\.a: "),
    ({"network": []}, "network: "),
]


def refused(folder: Path, kind: type[Card], text: str, message: str) -> None:
    (folder / "cosdpo.json").write_text(text)
    with pytest.raises(InputError, match=rf"cosdpo\.json is not that of a .*, .*{message}") as error:
        kind.read(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("task", ["language", "ranking"])
def test_wrong_values(task, tmp_path):
    card: LanguageCard | RankingCard
    if task == "language":
        card = LanguageCard.of(tiny_models.settings("base"))
    else:
        card = tiny_rankers.scorer(tiny_rankers.settings()).card
    tree = json.loads(card.model_dump_json())
    card.write(tmp_path)
    assert type(card).read(tmp_path) == card
    for change, message in [*BOTH, *(LANGUAGE if task == "language" else RANKING)]:
        refused(tmp_path, type(card), json.dumps(tree | change), message)
    for text, message in (("{", "Invalid JSON"), ("[]", "object"), ("null", "object"), ("{}", "required")):
        refused(tmp_path, type(card), text, message)


def test_bases_of_rankers(tmp_path):
    card = tiny_rankers.scorer(tiny_rankers.settings()).card.base
    for numbers in ([], [0], [1.5]):
        refused(tmp_path, BaseCard, json.dumps(card.model_dump() | {"numbers": numbers}), "numbers")
