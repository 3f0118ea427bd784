"""A checkpoint in Python: what it says of its front, and the model at a point of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import cosdpo
from cosdpo.data.tokenization import TokenizedContext
from cosdpo.errors import InputError
from cosdpo.models.generation import decode, generate
from cosdpo.models.language_scorer import LanguageScorer
from tests import tiny_rankers
from tests.drawn_fronts import made_front
from tests.tiny_models import letters, scorer, settings, write_model

PROMPTS = ["abc", "de"]
CHAT = (
    "{% for m in messages %}{{ m.role[0] }}.{{ m.content }}{{ eos_token }}{% endfor %}"
    "{{ 'a.' if add_generation_prompt }}"
)


@pytest.fixture
def trained(tmp_path: Path) -> Callable[..., LanguageScorer]:
    """Writes a run folder, tmp_path/run, whose model is far from its base."""

    def train(chat: bool = False, **changes: Any) -> LanguageScorer:
        base = write_model(tmp_path / "base", "gpt2-tied")
        if chat:
            tokenizer = letters()
            tokenizer.chat_template = CHAT
            tokenizer.save_pretrained(base)
        made = scorer(settings(base, **changes)).eval()
        made.card = made.card.model_copy(update={"chat": chat})
        with torch.no_grad():
            for parameter in made.trainable().values():
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)), alpha=0.2)
        made.save(tmp_path / "run" / "checkpoint")
        return made

    return train


def test_what_a_run_measured(trained, tmp_path: Path) -> None:
    trained()
    front = made_front(2)
    front.save(tmp_path / "run" / "front.json")
    for place in (tmp_path / "run", str(tmp_path / "run" / "checkpoint")):
        loaded = cosdpo.load(place)
        assert loaded.objectives == ["kind", "short"]
        assert loaded.trained_temperature == [0.5, 0.5]
        assert loaded.points == front.points
    point, choice = cosdpo.load(tmp_path / "run").choose(at_least={"a": 1.75}, best="b")  # a and b are 1 + weight
    assert point.weights.tolist() == choice.weights == pytest.approx([0.75, 0.25])
    assert cosdpo.choose(front, at_least={"a": 1.75}, best="b") == choice
    (tmp_path / "run" / "front.json").unlink()
    assert cosdpo.load(tmp_path / "run").points == []
    assert repr(cosdpo.load(tmp_path / "run").at(kind=1)).startswith("<kind 1, short 0 of <conditioned language model")


@pytest.mark.parametrize("temperature", [None, 1.5])
def test_a_point_writes_and_scores_as_its_checkpoint(trained, tmp_path: Path, temperature: float | None) -> None:
    made = trained(data__prompt_template="q{prompt}?", data__response_template=" {response}")
    point = cosdpo.load(tmp_path / "run").at(kind=3, short=1, temperature=temperature)
    assert point.weights.tolist() == [0.75, 0.25]
    prompts = [letters()(f"q{prompt}?")["input_ids"] for prompt in PROMPTS]
    weights, beta = (torch.tensor(values).expand(2, 2) for values in ([0.75, 0.25], [0.5, 0.5]))
    c = 1.0 if temperature is None else 3.0
    ids = generate(made, prompts, weights, beta, 9, ends={2}, ratios=[c, c])
    assert point.generate(PROMPTS, max_new_tokens=9, sampling_temperature=0) == decode(letters(), ids)
    assert point.generate(PROMPTS[1], max_new_tokens=9, sampling_temperature=0) == decode(letters(), ids[1:])
    candidates = [letters()(f" {text}")["input_ids"] + [2] for text in ("yes", "no way")]
    expected = made.rescaled([TokenizedContext(prompts[0], candidates)], weights[:1], beta[:1], c)[0]
    np.testing.assert_allclose(point.score("abc", ["yes", "no way"]), expected.numpy(), atol=1e-4)


def test_to_a_model_of_chats_a_text_is_what_a_user_says(trained, tmp_path: Path) -> None:
    made = trained(chat=True)
    point = cosdpo.load(tmp_path / "run").at([1, 1])
    messages = [{"role": "user", "content": "abc"}]
    assert point.generate("abc", 6, 0) == point.generate(messages, 6, 0) == point.generate([messages], 6, 0)
    prompt = letters()("u.abc<eos>a.")["input_ids"]
    context = TokenizedContext(prompt, [letters()("yes<eos>")["input_ids"]])
    expected = made([context], torch.tensor([[0.5, 0.5]]), torch.tensor([[0.5, 0.5]]))[0]
    np.testing.assert_allclose(point.score("abc", ["yes"]), expected.detach().numpy(), atol=1e-4)
    np.testing.assert_allclose(point.score(messages, ["yes"]), expected.detach().numpy(), atol=1e-4)


def test_a_ranker_ranks(tmp_path: Path) -> None:
    made = tiny_rankers.scorer(tiny_rankers.settings())
    made.save(tmp_path / "checkpoint")
    loaded = cosdpo.load(tmp_path / "checkpoint")
    first, *others = loaded.objectives
    features = np.random.default_rng(0).normal(size=(5, len(made.card.base.numbers)))
    expected = made.eval().score(features, [1.0, *[0.0] * len(others)])
    np.testing.assert_allclose(loaded.at({first: 1}).rank(features), expected, atol=1e-6)
    with pytest.raises(InputError, match="is a ranker, which writes and scores no text; use rank"):
        loaded.at().generate("abc")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda front: front.at(fair=1), "unknown objectives ['fair']"),
        (lambda front: front.at([1]), "weights need 2 numbers"),
        (lambda front: front.at([1, 0], kind=1), "weights are given twice"),
        (lambda front: front.at(temperature=0.01), "give at least"),
        (lambda front: front.at().rank([[1.0]]), "is a language model, which ranks no documents"),
        (lambda front: front.at().generate(""), "has no tokens"),
        (lambda front: front.at().score("abc", ["yes", ""]), "candidate 1 has no tokens"),
        (lambda front: front.at().generate([[{"role": "user", "content": "x"}]]), "has no chat template"),
    ],
)
def test_what_a_model_cannot_do_is_said_in_a_line(wrong, says: str, trained, tmp_path: Path) -> None:
    trained(data__append_eos=False)
    with pytest.raises(InputError, match=re.escape(says)):
        wrong(cosdpo.load(tmp_path / "run"))


@pytest.mark.parametrize("place", ["nowhere", "./nowhere", "a/b/c"])
def test_what_is_no_checkpoint_is_refused(place: str) -> None:
    with pytest.raises(InputError, match="no such folder; give the checkpoint folder of a run"):
        cosdpo.load(place)


def test_a_folder_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no readable cosdpo\.json"):
        cosdpo.load(tmp_path)


def test_a_point_is_exported(trained, tmp_path: Path) -> None:
    trained()
    folder = cosdpo.load(tmp_path / "run").at(kind=1).export(tmp_path / "out")
    assert {path.name for path in folder.iterdir()} == {"adapter_config.json", "adapter_model.safetensors", "README.md"}
