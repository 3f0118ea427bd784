"""The target `scores`: quantiles by another implementation, the loss by loops, and the optimum in closed form."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm, rankdata
from torch import Tensor, nn

from cosdpo.config import Config, DataConfig
from cosdpo.data.batching import PreferenceData
from cosdpo.data.ranking_data import RankingData
from cosdpo.losses import pairwise_dpo, preferences_across, soft_pairwise_dpo
from cosdpo.training.loop import optimizer_for, train
from cosdpo.training.objective import Objective
from cosdpo.training.training_state import Clock
from cosdpo.training.utilities import Utilities
from tests.tiny_models import settings
from tests.tiny_rankers import ranking_data
from tests.tiny_rankers import settings as ranker_settings
from tests.training.test_vertices import Item

NAN = math.nan


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_quantiles_are_those_of_the_ranks(values: list[int]) -> None:
    ours = Utilities(np.array([values, values], float)).quantiles(torch.tensor(values).double().expand(1, 2, -1))
    expected = norm.ppf((rankdata(values) - 0.5) / len(values))
    np.testing.assert_allclose(ours[0], [expected, expected], atol=1e-12)


def test_scores_that_the_training_data_has_not_are_in_between_or_at_the_edge() -> None:
    utilities = Utilities(np.array([[1.0, 3.0, NAN, 2.0, 4.0]]))
    ours = utilities.quantiles(torch.tensor([[[0.0, 2.5, 9.0, NAN]]]).double())
    np.testing.assert_allclose(ours[0, 0, :3], norm.ppf([0.125, 0.5, 0.875]), atol=1e-12)
    assert ours[0, 0, 3].isnan()


def test_what_is_added_up_by_hand() -> None:
    scores = np.array([[1.0, 2.0, 3.0, 4.0], [10.0, 40.0, 20.0, 30.0]])
    utilities = Utilities(scores)
    z = torch.from_numpy(norm.ppf((scores.argsort(1).argsort(1) + 0.5) / 4))
    of = torch.tensor(scores).expand(3, 2, 4).clone()
    of[1, 0] = NAN  # nothing is known of the first objective
    of[2, 1, 3] = NAN
    ours = utilities(of, torch.tensor([[0.6, 0.8], [0.6, 0.8], [0.5, 0.5]]))
    torch.testing.assert_close(ours[0], 0.6 * z[0] + 0.8 * z[1])
    torch.testing.assert_close(ours[1], z[1])
    torch.testing.assert_close(ours[2, :3], (z[0] + z[1])[:3] / math.sqrt(2))
    assert ours[2, 3].isnan()
    assert utilities(of[1:2], torch.tensor([[1.0, 0.0]])).isnan().all(), "only an objective that is unknown has weight"


def test_the_loss_by_loops() -> None:
    rng = np.random.default_rng(0)
    rewards, utility, beta = rng.normal(size=(2, 4)), rng.normal(size=(2, 4)), [0.5, 2.0]
    utility[1, 2] = NAN
    expected = []
    for b in range(2):
        losses = []
        for i, k in combinations(range(4), 2):
            if np.isnan(utility[b, [i, k]]).any():
                continue
            target = 1 / (1 + math.exp(-(utility[b, i] - utility[b, k]) / 0.5))
            model = 1 / (1 + math.exp(-beta[b] * (rewards[b, i] - rewards[b, k])))
            losses.append(-target * math.log(model) - (1 - target) * math.log(1 - model))
        expected.append(np.mean(losses))
    ours = soft_pairwise_dpo(torch.tensor(rewards), torch.tensor(utility), torch.tensor(beta).double())
    np.testing.assert_allclose(ours, expected)


def test_far_apart_it_is_dpo() -> None:
    rewards, scores = torch.tensor([[1.0, -2.0]]), torch.tensor([[[0.0, 1.0]]])
    hard = pairwise_dpo(rewards, preferences_across(scores, 1), torch.tensor([[0.3]]))
    soft = soft_pairwise_dpo(rewards, torch.tensor([[0.0, 1e4]]), torch.tensor([0.3]))
    torch.testing.assert_close(soft, hard[0])


def test_contexts_without_a_pair_have_no_loss_and_no_gradient() -> None:
    rewards = torch.randn(2, 3, requires_grad=True)
    losses = soft_pairwise_dpo(rewards, torch.tensor([[NAN] * 3, [1.0, NAN, NAN]]), torch.ones(2))
    losses.sum().backward()
    assert losses.tolist() == [0, 0]
    assert rewards.grad is not None
    assert rewards.grad.eq(0).all()


class Knots(nn.Module):
    """A table with a row for every weight of a grid of eleven and every context."""

    def __init__(self, contexts: int, n: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(11, contexts, n))

    def decays(self, name: str) -> bool:
        return False

    def forward(self, contexts: list[Item], weights: Tensor, temperatures: Tensor) -> Tensor:
        return self.table[(10 * weights[:, 0]).round().long(), [c.index for c in contexts]]


def test_the_optimum_is_the_sum_of_the_scores_at_every_weight() -> None:
    """A table reaches beta Delta r = Delta S / 0.5, whatever the objectives think of the pair."""
    scores = [[[1.0, 2.0, 5.0], [3.0, 1.0, 2.0]], [[4.0, 3.0, 0.0], [5.0, 6.0, 4.0]]]
    data = PreferenceData([Item(0), Item(1)], scores, [np.zeros(3)] * 2, DataConfig())
    config = settings("", temperature=[0.2, 0.4], training__target="scores", training__batch_size=2)
    objective = Objective(data, config)
    table = Knots(2, 3)
    optimizer = torch.optim.LBFGS(table.parameters(), max_iter=300, tolerance_grad=1e-9, line_search_fn="strong_wolfe")
    batch, beta = data.batch([0, 1]), torch.tensor([[0.2, 0.4]]).expand(2, 2)
    grid = torch.tensor([[w / 10, 1 - w / 10] for w in range(11)])

    def total() -> Tensor:
        optimizer.zero_grad()
        losses = []
        for weights in grid:
            each = weights.expand(2, 2)
            minimised = objective.minimised(None, batch, each, beta)  # type: ignore[arg-type]
            losses.append(minimised(table(batch.contexts, each, beta), torch.zeros(2, 2)).sum())
        loss = torch.stack(losses).sum()
        loss.backward()
        return loss

    optimizer.step(total)
    utilities = Utilities(data.all_scores())
    for w, weights in enumerate(grid):
        wanted = utilities(batch.scores, weights.expand(2, 2)) / 0.5
        reached = (weights * beta[0]).sum() * table.table[w].detach()
        for values in (wanted, reached):
            values -= values.mean(-1, keepdim=True)
        torch.testing.assert_close(reached, wanted.float(), rtol=1e-3, atol=1e-3)


def test_a_ranker_learns_by_it() -> None:
    config: Config = ranker_settings(training__target="scores", training__steps=30, training__log_every=1)
    from tests.tiny_rankers import scorer

    data: RankingData = ranking_data(config)
    module, lines = scorer(config), []
    train(module, data, config, optimizer_for(module, config), Clock(), lines.append, lambda clock: None)
    assert np.mean([line["loss"] for line in lines[-3:]]) < lines[0]["loss"]


def test_candidates_of_a_group_are_compared_with_each_other() -> None:
    rng = np.random.default_rng(1)
    scores, rewards = rng.normal(size=(2, 2, 2)), torch.from_numpy(rng.normal(size=(2, 2)))
    utilities = Utilities(scores.transpose(1, 0, 2).reshape(2, 4))
    weights, beta = torch.tensor([[0.3, 0.7]] * 2), torch.full((2, 2), 0.5)
    ours = utilities.losses(rewards, torch.from_numpy(scores), weights, beta, group=2)
    utility = utilities(torch.from_numpy(scores), weights).reshape(1, 4)
    expected = soft_pairwise_dpo(rewards.reshape(1, 4), utility, torch.tensor([0.5]).double())
    torch.testing.assert_close(ours, expected.expand(2))
