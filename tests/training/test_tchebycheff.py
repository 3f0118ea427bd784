"""training.scalarisation tchebycheff: by hand, and where a front is not convex and no weighted sum has its middle."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cosdpo.config import DataConfig
from cosdpo.data.batching import PreferenceData
from cosdpo.losses import tchebycheff
from cosdpo.methods.method import single
from cosdpo.training.loop import optimizer_for, train
from cosdpo.training.objective import Objective
from cosdpo.training.training_state import Clock
from tests.tiny_models import settings
from tests.training.test_vertices import FIRST, SECOND, Item, pairs

NAN = math.nan
TCHEBYCHEFF: dict[str, object] = {"training.scalarisation": "tchebycheff", "training.contexts_per_weight": 4}


def test_by_hand() -> None:
    weights, losses = torch.tensor([[0.25, 0.75], [0.5, 0.5], [0.5, 0.5]]), torch.tensor([[4.0, 2.0]] * 3)
    labelled = torch.tensor([[True, True], [False, True], [False, False]])
    torch.testing.assert_close(tchebycheff(weights, losses, labelled, 0.0), torch.tensor([1.5, 1.0, 0.0]))
    smooth = tchebycheff(weights, losses, labelled, 0.5)
    expected = [0.5 * math.log(math.exp(2.0) + math.exp(3.0)), 1.0, 0.5 * math.log(2.0)]
    torch.testing.assert_close(smooth, torch.tensor(expected))


def test_gradients_are_finite_where_nothing_is_labelled() -> None:
    losses = torch.ones(1, 2, requires_grad=True)
    tchebycheff(torch.tensor([[0.5, 0.5]]), losses, torch.zeros(1, 2).bool(), 0.1).sum().backward()
    assert losses.grad is not None
    assert not losses.grad.any()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_maximum_is_of_the_mean_losses_of_contexts_with_the_same_weights(smoothing: float) -> None:
    """Losses over log 2: the first objective's are a and b, the second's b and a, so both means are (a + b) / 2."""
    data = pairs([FIRST, SECOND], [SECOND, FIRST])
    changes = {"training.contexts_per_weight": 2, "training.batch_size": 2, "training.smoothing": smoothing}
    config = settings("", temperature=1.0).changed({**TCHEBYCHEFF, **changes})
    batch, weights, beta = data.batch([0, 1]), torch.tensor([[0.8, 0.2]] * 2), torch.ones(2, 2)
    objective = Objective(data, config)
    rewards = torch.tensor([[2.0, 0.0], [2.0, 0.0]])
    ours = objective.minimised(None, batch, weights, beta)(rewards, objective.losses(rewards, batch, beta))  # type: ignore[arg-type]
    mean = (math.log1p(math.exp(-2)) + math.log1p(math.exp(2))) / 2 / math.log(2)
    expected = 0.8 * mean
    if smoothing:
        expected = smoothing * math.log(math.exp(0.8 * mean / smoothing) + math.exp(0.2 * mean / smoothing))
    torch.testing.assert_close(ours, torch.tensor([expected] * 2))


class Bent(nn.Module):
    """A number for every weight of a grid of eleven: near 1 the first objective's pair is right, near -1 the second's.

    What one objective gains on the way the other loses faster: the front of the two losses is not convex.
    """

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.linspace(-0.2, 0.2, 11))

    def decays(self, name: str) -> bool:
        return False

    def forward(self, contexts: list[Item], weights: Tensor, temperatures: Tensor) -> Tensor:
        place = self.place[(10 * weights[:, 0]).round().long()]
        first, second = torch.exp(-((place - 1) ** 2) * 2), torch.exp(-((place + 1) ** 2) * 2)
        zero = torch.zeros_like(first)
        return 40 * torch.stack([first, zero, second, zero], 1)


def trained(changes: dict[str, object]) -> Tensor:
    """Places after a training on contexts of two pairs, one for each objective; [11]."""
    labels: list[list[float] | None] = [[1, 0, NAN, NAN], [NAN, NAN, 1, 0]]
    data = PreferenceData([Item(i) for i in range(64)], [labels] * 64, [np.zeros(4)] * 64, DataConfig())
    config = settings("", temperature=0.1, training__steps=300, training__batch_size=64, training__learning_rate=0.03)
    policy = Bent()
    config = config.changed({"training.clip": 100.0, **changes})
    train(policy, data, config, optimizer_for(policy, config), Clock(), lambda line: None, lambda clock: None)
    return policy.place.detach()


def test_a_weighted_sum_goes_to_the_ends_and_the_maximum_to_where_the_losses_balance() -> None:
    linear, largest = trained({}), trained(TCHEBYCHEFF)
    assert (linear.abs() > 0.7).sum() >= 10, linear  # all but the saddle between them
    assert largest[5].abs() < 0.1, largest
    assert (largest[3:8].abs() < 0.7).all(), largest
    assert (largest.diff() > -0.02).all(), "the more weight the first has, the nearer its place"


def test_a_baseline_of_fixed_weights_has_it_too() -> None:
    config = settings("", training__scalarisation="tchebycheff", training__contexts_per_weight=4)
    assert single(config, [0.5, 0.5]).config.training.scalarisation == "tchebycheff"
    place = trained({**TCHEBYCHEFF, "training.weights": [0.5, 0.5]})
    assert abs(float(place[5])) < 0.1
    assert torch.equal(place[:5], torch.linspace(-0.2, 0.2, 11)[:5])
