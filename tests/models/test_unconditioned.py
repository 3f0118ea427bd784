"""Scorers of a run at fixed weights, as the baselines train them: the weights are no input."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

from cosdpo.data.tokenization import TokenizedContext
from cosdpo.models.language_scorer import LanguageScorer
from cosdpo.models.ranking_scorer import RankingScorer
from tests import tiny_rankers

CONTEXTS = [
    TokenizedContext([5, 9, 20], [[7, 8, 30], [11], [40, 3]]),
    TokenizedContext([17], [[6, 6], [25, 12, 44, 2]]),
]
GRID = [torch.tensor([w]).expand(2, 2) for w in ([1.0, 0.0], [0.0, 1.0], [0.3, 0.7])]


class TestLanguage:
    @staticmethod
    def scores(scorer: LanguageScorer, weights: Tensor, temperatures: Tensor = GRID[0]) -> Tensor:
        with torch.no_grad():
            return scorer(CONTEXTS, weights, temperatures)

    @pytest.mark.parametrize("scope", ["sequence", "response"])
    @pytest.mark.parametrize("kind", ["gpt2-tied", "llama-untied"])
    def test_scores_are_those_of_plain_lora_at_every_weight(self, make_twins, kind, scope):
        scorer, twin = make_twins(kind, conditioning="none", scope=scope)
        assert scorer.gates is None
        assert scorer.prompt is None
        scores = self.scores(scorer, GRID[0])
        for weights in GRID[1:]:
            assert torch.equal(self.scores(scorer, weights, weights), scores)
        with torch.no_grad():
            for row, context in zip(scores, CONTEXTS, strict=True):
                for score, y in zip(row, context.candidates, strict=False):
                    expected = twin.score(context.prompt, y, GRID[0][0], GRID[0][0])
                    assert score.item() == pytest.approx(expected.item(), abs=1e-4)
        assert (scores - scorer.reference(CONTEXTS)).abs().max() > 0.1

    def test_a_fresh_one_is_its_base(self, make_scorer):
        scorer = make_scorer("gpt2-tied", conditioning="none")
        torch.testing.assert_close(self.scores(scorer, GRID[2]), scorer.reference(CONTEXTS), rtol=1e-5, atol=1e-5)

    def test_adapters_alone_are_trained(self, make_scorer):
        scorer = make_scorer("llama-untied", conditioning="none")
        assert all("lora_" in name for name in scorer.trainable())
        # Rank 4 on q, k, v, o, gate, up and down of 2 layers: in + out = 32 + 24 + 24 + 32 + 40 + 40 + 40 = 232 each.
        assert scorer.trained_parameters() == 4 * 2 * 232

    @pytest.mark.parametrize("kind", ["gpt2-tied", "llama-untied"])
    def test_saved_and_loaded_it_is_the_same(self, make_twins, tmp_path, kind):
        scorer, _ = make_twins(kind, conditioning="none")
        scorer.save(tmp_path / "checkpoint")
        again = LanguageScorer.load(tmp_path / "checkpoint")
        assert again.card == scorer.card
        assert json.loads((tmp_path / "checkpoint" / "cosdpo.json").read_text())["conditioning"] == "none"
        assert torch.equal(self.scores(again, GRID[2]), self.scores(scorer.eval(), GRID[2]))


class TestRankers:
    config = tiny_rankers.settings(training__weights=[0.3, 0.7])
    lists = tiny_rankers.query_lists(*tiny_rankers.LENGTHS)

    def scores(self, scorer: RankingScorer, weights: list[float], beta: float = 0.5) -> Tensor:
        batch = tiny_rankers.ranking_data(self.config, self.lists).batch(range(len(self.lists)))
        rows = torch.tensor([weights]).expand(len(self.lists), 2)
        with torch.no_grad():
            return scorer(batch.contexts, rows, torch.full_like(rows, beta))

    @pytest.mark.parametrize("architecture", ["transformer", "mlp"])
    @pytest.mark.parametrize("conditioning", ["concatenation", "gates", "both"])
    def test_weights_do_not_enter(self, architecture, conditioning):
        form = {"ranker__architecture": architecture, "ranker__conditioning": conditioning}
        scorer = tiny_rankers.scorer(tiny_rankers.settings(training__weights=[0.3, 0.7], **form), self.lists)
        assert scorer.card.conditioning == "none"
        tiny_rankers.disturb(scorer)
        scores = self.scores(scorer, [0.3, 0.7])
        for weights in ([1.0, 0.0], [0.0, 1.0]):
            assert torch.equal(self.scores(scorer, weights), scores)
        assert not torch.equal(self.scores(scorer, [0.3, 0.7], beta=1.0), scores)
        # A conditioned ranker of the same form does take them.
        conditioned = tiny_rankers.scorer(tiny_rankers.settings(**form), self.lists)
        tiny_rankers.disturb(conditioned)
        assert not torch.equal(self.scores(conditioned, [1.0, 0.0]), self.scores(conditioned, [0.0, 1.0]))
        assert conditioned.trained_parameters() > scorer.trained_parameters()

    def test_saved_and_loaded_it_is_the_same(self, tmp_path):
        scorer = tiny_rankers.scorer(self.config, self.lists)
        tiny_rankers.disturb(scorer)
        scorer.save(tmp_path)
        again = RankingScorer.load(tmp_path)
        assert again.card == scorer.card
        assert torch.equal(self.scores(again, [1.0, 0.0]), self.scores(scorer.eval(), [0.3, 0.7]))
