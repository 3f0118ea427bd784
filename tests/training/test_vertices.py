"""The target `rewards`: what is subtracted, by hand, and the optimum between the ends, in closed form."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cosdpo.config import Config, DataConfig
from cosdpo.data.batching import PreferenceData
from cosdpo.losses import labelled_for
from cosdpo.methods.method import single
from cosdpo.training.loop import optimizer_for, train
from cosdpo.training.objective import Objective
from cosdpo.training.strategies.strategy import Strategy
from cosdpo.training.training_state import Clock
from cosdpo.training.vertices import rewards_at_vertices
from tests.tiny_models import settings


@dataclass(frozen=True)
class Item:
    """A context known by its place in a table."""

    index: int
    tokens: int = 1


class Linear(nn.Module):
    """Scores that are linear in the weights: sum_k w_k table[k], from a table [m, contexts, n]; noisy in training."""

    def __init__(self, table: list[list[list[float]]]) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.tensor(table))

    def forward(self, contexts: Sequence[Item], weights: Tensor, temperatures: Tensor) -> Tensor:
        scores = torch.einsum("bm,mbn->bn", weights, self.table[:, [c.index for c in contexts]])
        return scores + 100 * self.training


def strategy(table: list[list[list[float]]]) -> Strategy:
    module = Linear(table)
    return Strategy(module, torch.optim.SGD(module.parameters(), 0.1))


def pairs(*scores: list[list[float] | None], **form: str) -> PreferenceData:
    """Contexts of two candidates with reference scores 1 and 2."""
    reference = [np.array([1.0, 2.0]) for _ in scores]
    return PreferenceData([Item(i) for i in range(len(scores))], list(scores), reference, DataConfig(**form))


FIRST, SECOND = [1.0, 0.0], [0.0, 1.0]


class TestWhatIsSubtracted:
    def test_the_other_ends_reward_by_its_weight(self):
        data = pairs([FIRST, SECOND], [FIRST, SECOND])
        # Rewards of the first objective's end (3, 0) and (1, 1), of the second's (0, 5) and (2, 4).
        ours = strategy([[[4.0, 2.0], [2.0, 3.0]], [[1.0, 7.0], [3.0, 6.0]]])
        weights = torch.tensor([[0.75, 0.25], [0.2, 0.8]])
        ends = rewards_at_vertices(ours, data.batch([0, 1]), weights, torch.full((2, 2), 0.5), torch.ones(2, 2).bool())
        torch.testing.assert_close(ends.margins, torch.tensor([[0.0, 1.25], [0.2, 0.2]]))
        torch.testing.assert_close(ends.weights, torch.tensor([[0.75, 0.0], [0.0, 0.8]]))
        torch.testing.assert_close(ends.temperatures, 0.5 / torch.tensor([[0.75, 0.75], [0.8, 0.8]]))
        assert not ends.margins.requires_grad
        assert ours.scorer.training

    def test_three_objectives_with_temperatures_of_their_own(self):
        data = pairs([FIRST, SECOND, FIRST])
        ours = strategy([[[11.0, 2.0]], [[1.0, 102.0]], [[1001.0, 2.0]]])  # rewards (10, 0), (0, 100), (1000, 0)
        weights, beta = torch.tensor([[0.3, 0.5, 0.2]]), torch.tensor([[1.0, 2.0, 4.0]])
        ends = rewards_at_vertices(ours, data.batch([0]), weights, beta, torch.ones(1, 3).bool())
        # .3 * (1 / 2) * 10 + .2 * (4 / 2) * 1000 for the first candidate
        torch.testing.assert_close(ends.margins, torch.tensor([[401.5, 0.0]]))
        torch.testing.assert_close(ends.temperatures, beta / 0.5)

    def test_a_vertex_subtracts_nothing(self):
        data = pairs([FIRST, SECOND])
        ours = strategy([[[4.0, 2.0]], [[1.0, 7.0]]])
        beta = torch.full((1, 2), 0.1)
        ends = rewards_at_vertices(ours, data.batch([0]), torch.tensor([[0.0, 1.0]]), beta, torch.ones(1, 2).bool())
        assert ends.margins.tolist() == [[0.0, 0.0]]
        torch.testing.assert_close(ends.temperatures, beta)

    def test_an_objective_without_labels_is_not_the_heaviest(self):
        data = pairs([None, SECOND])
        ours = strategy([[[4.0, 2.0]], [[1.0, 7.0]]])
        batch, weights = data.batch([0]), torch.tensor([[1.0, 0.0]])
        ends = rewards_at_vertices(ours, batch, weights, torch.full((1, 2), 0.1), labelled_for(batch.scores))
        torch.testing.assert_close(ends.margins, torch.tensor([[3.0, 0.0]]))
        assert ends.weights.tolist() == [[0.0, 0.0]]
        torch.testing.assert_close(ends.temperatures, torch.full((1, 2), 10.0))  # not infinite

    def test_candidates_that_do_not_exist_have_no_reward(self):
        data = PreferenceData(
            [Item(0), Item(1)],
            [[[2.0, 1.0, 0.0], [0.0, 1.0, 2.0]], [FIRST, SECOND]],
            [np.zeros(3), np.zeros(2)],
            DataConfig(),
        )
        ours = strategy([[[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]] * 2)
        even = torch.full((2, 2), 0.5)
        ends = rewards_at_vertices(ours, data.batch([0, 1]), even, even, torch.ones(2, 2).bool())
        torch.testing.assert_close(ends.margins, torch.tensor([[0.5, 0.5, 0.5], [0.5, 0.5, 0.0]]))

    def test_contexts_compared_with_each_other_have_one_heaviest_objective(self):
        data = pairs([None, SECOND], [FIRST, SECOND], [None, SECOND], [None, SECOND])
        config = settings("", training__compare_across=2)
        labelled = labelled_for(data.batch(range(4)).scores)
        common = Objective(data, config).common(labelled)
        assert common.tolist() == [[True, True], [True, True], [False, True], [False, True]]


class Knots(nn.Module):
    """A free score for both candidates of every context at each of 11 values of w_1, and linear in between."""

    def __init__(self, contexts: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(contexts, 2, 11))

    def decays(self, name: str) -> bool:
        return False

    def forward(self, contexts: Sequence[Item], weights: Tensor, temperatures: Tensor) -> Tensor:
        hats = (1 - (10 * weights[:, :1] - torch.arange(11)).abs()).clamp_min(0)
        return torch.einsum("bik,bk->bi", self.table[[c.index for c in contexts]], hats)


def trained(target: str) -> Tensor:
    """beta (r_1 - r_2) at 11 weights of two contexts, [2, 11]. The first objective wants y_1 with .8 and .6, the second
    with .1 and .3.
    """
    wanted = [[[0.8, 0.2], [0.1, 0.9]], [[0.6, 0.4], [0.3, 0.7]]] * 16
    form = DataConfig(comparisons="listwise", targets="proportional")
    data = PreferenceData([Item(i % 2) for i in range(32)], wanted, [np.zeros(2)] * 32, form)
    config = settings(
        "",
        temperature=0.5,
        training__steps=200,
        training__batch_size=32,
        training__learning_rate=0.2,
        training__clip=100.0,
        training__target=target,
    )
    policy = Knots(2)
    train(policy, data, config, optimizer_for(policy, config), Clock(), lambda line: None, lambda clock: None)
    return 0.5 * (policy.table[:, 0] - policy.table[:, 1]).detach()


def test_between_the_ends_the_optimum_is_the_sum_of_their_rewards_and_with_labels_that_of_the_labels():
    w = torch.linspace(0, 1, 11)
    first, second = torch.tensor([0.8, 0.6]), torch.tensor([0.1, 0.3])
    summed = w * first.logit()[:, None] + (1 - w) * second.logit()[:, None]
    torch.testing.assert_close(trained("rewards"), summed, rtol=0, atol=0.02)
    mixed = (w * first[:, None] + (1 - w) * second[:, None]).logit()
    torch.testing.assert_close(trained("labels"), mixed, rtol=0, atol=0.05)
    assert (summed - mixed).abs().max() > 0.15  # the two can be told apart


def test_a_run_of_fixed_weights_mixes_labels():
    config = Config.model_validate({"training": {"target": "rewards"}, "objectives": ["a", "b"]})
    assert single(config, [0.5, 0.5]).config.training.target == "labels"


@pytest.mark.parametrize("form", ["pairwise", "listwise", "rankings"])
def test_the_loss_by_hand(form):
    """Rewards linear in the weights leave (w_j / w_j) r(e_j): the loss is w_j times DPO's at the end."""
    data = pairs([FIRST, SECOND], [FIRST, SECOND], comparisons=form)
    ours = strategy([[[4.0, 2.0], [2.0, 3.0]], [[1.0, 7.0], [3.0, 6.0]]])
    ours.scorer.eval()
    batch, weights, beta = data.batch([0, 1]), torch.tensor([[0.75, 0.25], [0.2, 0.8]]), torch.full((2, 2), 0.5)
    rewards = ours.scorer(batch.contexts, weights, beta) - batch.reference
    ends = rewards_at_vertices(ours, batch, weights, beta, torch.ones(2, 2).bool())
    losses = (ends.weights * batch.losses(rewards - ends.margins, ends.temperatures)).sum(-1)
    # End rewards: 3 against 0 of the first objective, 4 against 2 of the second, which the second prefers.
    expected = [0.75 * math.log1p(math.exp(-1.5)), 0.8 * math.log1p(math.exp(-1.0))]
    torch.testing.assert_close(losses, torch.tensor(expected))
