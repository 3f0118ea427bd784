"""Answers to blocks of prompts: those of the model at the asked weights, whatever stands in the block with them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch

from cosdpo.config import Config
from cosdpo.experiment.build.answers import WANTED
from cosdpo.models.generation import decode, generate
from cosdpo.models.language_scorer import LanguageScorer
from serve.prompt_answerer import PromptAnswerer
from tests.tiny_models import base, letters, scorer, settings, write_model

PROMPTS = ["abc", "de", "f ghi", "jkl"]
GREEDY = 1e-6
"""A sampling temperature at which the likeliest token is drawn."""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("sampling")
    return settings(
        write_model(folder / "gpt2", "gpt2-tied"),
        output=folder / "out",
        evaluation__max_new_tokens=8,
        build__sampling_temperature=GREEDY,
        build__rows=4,
    )


@pytest.fixture(scope="module")
def tuned(config: Config) -> LanguageScorer:
    """A conditioned model that was saved, and is far from its base."""
    made = scorer(config).eval()
    with torch.no_grad():
        for parameter in made.trainable().values():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)), alpha=0.3)
    made.save(config.output.parent / "checkpoint")
    return made


def block(rows: list[int], weights: list[list[float]]) -> pa.Table:
    asked = [
        {"row": i, "text": PROMPTS[i], "ids": letters()(PROMPTS[i])["input_ids"], "weights": weights} for i in rows
    ]
    return pa.Table.from_pylist(asked, WANTED)


def test_a_checkpoint_answers_at_the_weights_of_each_answer(config, tuned) -> None:
    weights = [[1.0, 0.0], [0.3, 0.7], [0.0, 1.0]]
    config = config.changed({"build.checkpoint": str(config.output.parent / "checkpoint")})
    answered = PromptAnswerer(config, 8)(block([0, 1, 2, 3], weights))
    prompts = [letters()(prompt)["input_ids"] for prompt in PROMPTS for _ in weights]
    beta = torch.tensor(tuned.card.trained_temperature).expand(len(prompts), 2)
    ids = generate(tuned, prompts, torch.tensor(weights * 4), beta, 8, ends={letters().eos_token_id})
    expected = np.array(decode(letters(), ids)).reshape(4, 3).tolist()
    assert answered["responses"].to_pylist() == expected
    assert answered["tokens"].to_pylist() == np.array([len(row) for row in ids]).reshape(4, 3).tolist()
    assert answered["finished"].to_pylist() == [[n < 8 for n in row] for row in answered["tokens"].to_pylist()]


def test_without_a_checkpoint_the_base_answers(config, tuned) -> None:
    answered = PromptAnswerer(config, 8)(block([2, 0], [[0.5, 0.5]] * 2))
    ids = generate(
        LanguageScorer.create(config, base(config.model.base)),
        [letters()(PROMPTS[i])["input_ids"] for i in (2, 0)],
        None,
        None,
        8,
        ends={letters().eos_token_id},
    )
    assert answered["responses"].to_pylist() == [[text] * 2 for text in decode(letters(), ids)]


def test_an_answer_depends_on_its_prompt_and_number_alone(config) -> None:
    warm = config.changed({"build.sampling_temperature": 1.0})
    together, alone = (
        PromptAnswerer(warm, 8)(block([0, 1, 2], [[0.5, 0.5]] * 3)),
        PromptAnswerer(warm, 8)(block([1], [[0.5, 0.5]] * 3)),
    )
    assert together["responses"][1] == alone["responses"][0]
    assert len(set(alone["responses"][0].as_py())) > 1, "each number draws its own"


@pytest.mark.parametrize(("rows", "running"), [(1, 2), (3, 3), (4, 4)])
def test_all_rows_are_written_at_a_time(config, rows: int, running: int) -> None:
    """However short the prompts: a slot of the engine's memory has a smallest size."""
    answerer = PromptAnswerer(config.changed({"build.rows": rows}), 2)
    most = 0
    step = answerer.batching.step

    def watched() -> None:
        nonlocal most
        step()
        most = max(most, answerer.batching.stats.running)

    answerer.batching.step = watched
    answerer(block([1], [[0.5, 0.5]] * 8))
    assert most == running


def test_what_the_response_template_adds_is_taken_off(config) -> None:
    plain = PromptAnswerer(config, 8)(block([0], [[0.5, 0.5]]))["responses"][0].as_py()[0]
    first = plain[0]
    wrapped = config.changed({"data.response_template": first + "{response}"})
    assert PromptAnswerer(wrapped, 8)(block([0], [[0.5, 0.5]]))["responses"][0].as_py()[0] == plain[1:]
