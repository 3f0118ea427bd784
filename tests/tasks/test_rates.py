"""The learning rate of a language model that is given none falls with the width of its base."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cosdpo.config import Config
from cosdpo.tasks.language import LanguageTask
from cosdpo.tasks.language.language_task import rate_for_width


@pytest.mark.parametrize(
    ("width", "share"),
    [(32, 1), (64, 1), (1024, 0.125), (16384, 0.0156)],  # 16 times the width is 1/8, 256 times 1/64
)
def test_sixteen_times_the_width_is_an_eighth_of_the_rate(width: int, share: float) -> None:
    assert rate_for_width(width) == pytest.approx(share)


def test_rates_that_are_given_stay(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": 1024}))
    config = Config().changed({"model.base": str(tmp_path)})
    rates = LanguageTask.resolved(config).training
    assert (rates.learning_rate, rates.prompt_learning_rate) == (0.00025, 0.000375)
    given = LanguageTask.resolved(config.changed({"training.learning_rate": 0.01})).training
    assert (given.learning_rate, given.prompt_learning_rate) == (0.01, 0.000375)
    assert LanguageTask.resolved(Config()).training.learning_rate == 0.002, "nothing is known without a base"
