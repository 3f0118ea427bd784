"""What is measured of a trained scorer, on a tiny one: shares of the grid, generated text, and the base."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Sequence
from copy import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cosdpo.config import Config
from cosdpo.data.batching import PreferenceData
from cosdpo.evaluation.between import interpolation
from cosdpo.evaluation.measure import Measurement, measure
from cosdpo.evaluation.profile import profile
from cosdpo.models.language_scorer import LanguageScorer
from cosdpo.simplex import das_dennis, showcase
from cosdpo.tasks.language.language_measurement import along
from tests.models.slow_twin import SlowTwin
from tests.tiny_models import VOCABULARY, letters, preferences, scorer, settings, write_model

GRID = das_dennis(2, 4)
PROMPTS = ["abc", "de", "f"]


@pytest.mark.parametrize(
    ("objectives", "count", "expected"),
    [
        (2, 3, [[1, 0], [0.5, 0.5], [0, 1]]),
        (2, 5, [[1, 0], [0.75, 0.25], [0.5, 0.5], [0.25, 0.75], [0, 1]]),
        (3, 4, [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1 / 3, 1 / 3, 1 / 3]]),
        (3, 1, [[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
        (3, 9, [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1 / 3] * 3, [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]),
    ],
)
def test_the_trade_offs_that_the_report_shows(objectives, count, expected):
    np.testing.assert_allclose(showcase(objectives, count), expected)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    base = write_model(tmp_path_factory.mktemp("base") / "gpt2", "gpt2-tied")
    return settings(base, evaluation__max_new_tokens=6, evaluation__samples=3, evaluation__batch_tokens=60)


@pytest.fixture(scope="module")
def data(config) -> PreferenceData:
    return preferences(Path(config.model.base), config, contexts=8)


@pytest.fixture(scope="module")
def tuned(config) -> LanguageScorer:
    made = scorer(config).eval()
    with torch.no_grad():
        for name, parameter in made.trainable().items():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)), alpha=0.2)
            assert parameter.isfinite().all(), name
    return made


def measured(
    tuned, data, config, mine: Sequence[int], lead: bool = True, ratios: Sequence[float] = (1.0,)
) -> Measurement:
    ids = [letters()(p)["input_ids"] for p in PROMPTS]
    return measure(tuned, data, config, GRID, mine, PROMPTS, ids, lead, ratios=ratios)


def test_workers_shares_join_to_the_whole_grid(tuned, data, config):
    lead, other = measured(tuned, data, config, [0, 2, 4]), measured(tuned, data, config, [1, 3], lead=False)
    assert other.base_profile is None
    assert other.answers == []
    whole = Measurement.join([lead, other])
    assert sorted(whole.profiles) == [0, 1, 2, 3, 4]
    for index, expected in ((i, profile(tuned, data, GRID[i], [0.5, 0.5], 10_000)) for i in range(5)):
        (found,) = whole.profiles[index]
        np.testing.assert_allclose(found.accuracy, expected.accuracy)
        np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-4)


def test_between_the_grids_weights_is_what_a_pass_there_would_give(tuned, data, config, monkeypatch):
    grid, fine = das_dennis(2, 4), das_dennis(2, 8)
    for name, parameter in tuned.trainable().items():  # as far from the base as a trained one, not further
        monkeypatch.setattr(parameter, "data", parameter.data * (0.2 if "lora_B" in name or "ends" in name else 1))
    whole = measured(tuned, data, config, range(5))
    metrics, nats = along(whole, data, config, interpolation(grid, fine))
    for k, w in enumerate(fine):
        expected = profile(tuned, data, w, [0.5, 0.5], 10_000)
        loss, exact = np.array(metrics["loss"].values)[k], k % 2 == 0
        assert loss == pytest.approx(expected.loss, rel=1e-5 if exact else 5e-3)
        # A pair or two of those at the middle may be a hair's breadth from the other order.
        assert np.abs(np.array(metrics["accuracy"].values)[k] - expected.accuracy).max() <= (0 if exact else 0.03)
    assert nats.mean[::2, 0] == pytest.approx([whole.divergences[i].mean[0, 0] for i in range(5)])


def test_every_prompt_is_answered_at_every_shown_trade_off(tuned, data, config):
    answers = measured(tuned, data, config, []).answers
    assert [(number, weights) for number, weights, _ in answers] == [
        (number, weights) for number in range(3) for weights in ([1, 0], [0.5, 0.5], [0, 1])
    ]
    assert all(isinstance(text, str) and text for _, _, text in answers)
    assert measured(tuned, data, config, []).answers == answers  # seeded
    for number in range(3):
        assert len({text for n, _, text in answers if n == number}) > 1


def test_the_base_is_a_coin_however_its_reference_was_rounded(tuned, data, config):
    # Cached reference scores come from other batches, other machines: their last digits differ.
    noise = np.random.default_rng(0)
    rounded = copy(data)
    rounded.reference = [row + noise.normal(scale=1e-6, size=len(row)) for row in data.reference]
    base = measured(tuned, rounded, config, []).base_profile
    assert base is not None
    assert base.loss == pytest.approx([math.log(2)] * 2, rel=1e-5)
    assert base.accuracy.tolist() == [0.5, 0.5]


SCORERS = """
SEEN = []

def length(prompts, responses):
    SEEN.append((list(prompts), list(responses)))
    return [len(text) for text in responses]

def zero(prompts, responses):
    return [0] * len(responses)
"""


def test_rewards_are_mean_scores_of_what_was_generated(tuned, data, config, monkeypatch, tmp_path):
    (tmp_path / "scorers_of_lengths.py").write_text(SCORERS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "scorers_of_lengths", raising=False)
    scorers = {"short": "scorers_of_lengths:zero", "kind": "scorers_of_lengths:length"}  # not in the objectives' order
    evaluation = config.evaluation.model_copy(update={"scorers": scorers})
    result = measured(tuned, data, config.model_copy(update={"evaluation": evaluation}), [0, 4])
    seen = importlib.import_module("scorers_of_lengths").SEEN
    assert [prompts for prompts, _ in seen] == [PROMPTS] * 3  # two weights and the base
    at_first, at_last, of_base = ([float(np.mean([len(t) for t in texts])), 0.0] for _, texts in seen)
    assert result.rewards[0].mean.tolist() == [pytest.approx(at_first)]
    assert result.rewards[4].mean.tolist() == [pytest.approx(at_last)]
    assert result.base_reward is not None
    assert result.base_reward.mean.tolist() == pytest.approx(of_base)
    assert len({tuple(texts) for _, texts in seen}) == 3  # weights steer, and the base has none


@pytest.mark.parametrize("c", [0.4, 3.0])
def test_values_at_another_temperature_are_those_of_mixed_logits(tuned, data, config, c):
    # The slow twin mixes logits in float64: (1 - 1/c) z_ref + (1/c) z, token by token.
    twin, w, beta = SlowTwin(tuned, Path(config.model.base)), torch.tensor(GRID[1]).float(), torch.tensor([0.5, 0.5])

    def log_p(prompt: list[int], response: list[int], share: float) -> Tensor:
        with torch.no_grad():
            base = twin.plain(input_ids=torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1].double()
            mixed = (1 - share) * base + share * twin.logits(prompt, response, w, beta).double()
        return mixed.log_softmax(-1)

    right, loss, pairs = (np.zeros(2) for _ in range(3))
    kl: list[float] = []
    for context, labels in zip(data.contexts, data.scores, strict=True):
        rewards = []
        for response in context.candidates:
            ours, base = (log_p(context.prompt, response, share) for share in (1 / c, 0.0))
            rewards.append(float((ours - base)[range(len(response)), response].sum()))
            kl += (ours.exp() * (ours - base)).sum(-1).tolist()
        for j, better, worse in np.argwhere(labels[:, :, None] > labels[:, None]):
            gap = rewards[better] - rewards[worse]
            right[j] += gap > 0
            loss[j] += math.log1p(math.exp(-c * 0.5 * gap))
            pairs[j] += 1
    config = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"prompts": len(data)})})
    result = measured(tuned, data, config, [1], ratios=[1.0, c])
    at_one, at_c = result.profiles[1]
    np.testing.assert_allclose(at_c.accuracy, right / pairs)
    np.testing.assert_allclose(at_c.loss, loss / pairs, rtol=1e-4)
    assert result.divergences[1].mean[1, 0] == pytest.approx(np.mean(kl), rel=1e-4)
    # And the trained temperature among others is the trained temperature alone.
    alone = measured(tuned, data, config, [1])
    assert at_one.loss.tolist() == alone.profiles[1][0].loss.tolist()
    assert result.divergences[1].mean[0] == alone.divergences[1].mean[0]


@pytest.mark.parametrize("scope", ["sequence", "response"])
def test_temperatures_share_the_passes_over_the_data(tuned, data, config, monkeypatch, scope):
    tuned.card.scope, passes = scope, []
    body = tuned.body.forward

    def counted(*args: object, **kwargs: object) -> object:
        passes.append(tuned.state.enabled)
        return body(*args, **kwargs)

    monkeypatch.setattr(tuned.body, "forward", counted)
    whole = config.evaluation.model_copy(update={"batch_tokens": 100_000})  # one batch
    try:
        for ratios in ([1.0, 0.5], [1.0, 0.2, 0.5, 2.0, 3.0]):
            passes.clear()
            measured(tuned, data, config.model_copy(update={"evaluation": whole}), [0, 3], lead=False, ratios=ratios)
            # Per weight one tuned pass and one of the base over all data, and the same for the distance from the base.
            prompts_too = 2 if scope == "response" else 0
            assert (sum(passes), len(passes) - sum(passes)) == (2 * 2, 2 * (2 + prompts_too))
    finally:
        tuned.card.scope = "sequence"


def test_texts_of_a_higher_temperature_are_nearer_to_those_of_the_base(tuned, data, config, monkeypatch, tmp_path):
    (tmp_path / "scorers_at_temperatures.py").write_text(SCORERS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "scorers_at_temperatures", raising=False)
    scorers = dict.fromkeys(config.objectives, "scorers_at_temperatures:length")
    evaluation = config.evaluation.model_copy(update={"scorers": scorers, "sampling_temperature": 0.0})
    config = config.model_copy(update={"evaluation": evaluation})
    result = measured(tuned, data, config, [4], ratios=[1.0, 1e9])
    seen = [texts for _, texts in importlib.import_module("scorers_at_temperatures").SEEN[::2]]
    at_one, far, of_base = seen
    assert far == of_base != at_one
    assert result.rewards[4].mean.shape == (2, 2)
    assert result.rewards[4].sums[1].tolist() == result.base_reward.sums.tolist()


def test_text_ends_at_every_end_of_the_base(tuned, data, config, monkeypatch):
    free = [text for _, _, text in measured(tuned, data, config, []).answers]
    end = next(letter for letter in free[0][1:] if letter != free[0][0])
    generation = tuned.model.get_base_model().generation_config
    monkeypatch.setattr(generation, "eos_token_id", [2, VOCABULARY.index(end)])
    ended = [text for _, _, text in measured(tuned, data, config, []).answers]
    assert ended[0] == free[0].split(end)[0] != free[0]
    assert not any(end in text for text in ended)
