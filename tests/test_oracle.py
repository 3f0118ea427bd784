"""Closed-form optima that a free policy must reach: METHOD's oracle and the linear transformation property.

With one temperature for all objectives and weights of sum 1, the weighted loss of a pair is the cross-entropy of w_+
(the total weight of the objectives that prefer y_1) with sigmoid(beta (r_1 - r_2)). Its minimum is at

    beta (r_1 - r_2) = logit(w_+),

where objective j pays -log w_+ if it prefers y_1 and -log(1 - w_+) if it prefers y_2. In the listwise loss the minimum
is softmax(beta r) = sum_j w_j p^j in the same way.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cosdpo.arrays import Floats
from cosdpo.config import DataConfig
from cosdpo.data.batching import PreferenceData
from cosdpo.evaluation.indicators import hypervolume
from cosdpo.evaluation.profile import profile
from cosdpo.losses import conditioned_loss, listwise_dpo, pairwise_dpo, plackett_luce, rescale
from cosdpo.simplex import das_dennis
from cosdpo.training.loop import optimizer_for, train
from cosdpo.training.training_state import Clock
from tests.tiny_models import settings

KNOTS = 21


@dataclass(frozen=True)
class Pair:
    """A context known by its place in the table."""

    index: int
    tokens: int = 1


class TabularPolicy(nn.Module):
    """A free score for every candidate at each of 21 values of w_1, and linear in between."""

    def __init__(self, contexts: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(contexts, 2, KNOTS, generator=torch.Generator().manual_seed(0)))

    def decays(self, name: str) -> bool:
        return False

    def forward(self, contexts: Sequence[Pair], weights: Tensor, temperatures: Tensor) -> Tensor:
        place = weights[:, 0] * (KNOTS - 1)
        hats = (1 - (place[:, None] - torch.arange(KNOTS)).abs()).clamp_min(0)
        return torch.einsum("bik,bk->bi", self.table[[c.index for c in contexts]], hats)


@pytest.fixture(scope="module")
def trained() -> tuple[TabularPolicy, PreferenceData]:
    """A policy trained on 12 contexts: in a third y_1 is preferred by the first objective alone, in a third by the
    second alone, in a third by both.
    """
    prefers = [[1.0, 0.0], [0.0, 1.0]]
    patterns = [(0, 1), (1, 0), (0, 0)] * 4
    reference = np.random.default_rng(0).normal(scale=5.0, size=(12, 2))
    data = PreferenceData(
        [Pair(i) for i in range(12)], [[prefers[a], prefers[b]] for a, b in patterns], list(reference), DataConfig()
    )
    config = settings(
        "",
        temperature=0.1,
        training__steps=2500,
        training__batch_size=12,
        training__learning_rate=1.0,
        training__clip=100.0,
    )
    policy = TabularPolicy(12)
    train(policy, data, config, optimizer_for(policy, config), Clock(), lambda line: None, lambda clock: None)
    return policy, data


def test_a_tabular_policy_reaches_the_closed_form_front(trained):
    policy, data = trained
    grid, reference_point = das_dennis(2, 10), np.array([2.0, 2.0])
    measured = np.stack([profile(policy, data, w, [0.1, 0.1], 1000).loss for w in grid])
    # A third of the contexts costs nothing; in the others objective j has the weight w_j on its side.
    with np.errstate(divide="ignore"):
        closed = -np.log(grid) * 2 / 3
    best = hypervolume(-closed[1:-1], -reference_point)  # at its ends the other objective's loss is infinite
    assert hypervolume(-measured, -reference_point) == pytest.approx(best, rel=0.02)
    # And it is not the base's, whose losses are ln 2: a box of (2 - ln 2)^2.
    assert best > 1.5 * (2 - np.log(2)) ** 2
    np.testing.assert_allclose(measured[1:-1], closed[1:-1], atol=0.05)


def test_a_tabular_policy_orders_pairs_by_the_log_odds_of_their_weight(trained):
    policy, data = trained
    batch = data.batch(range(12))
    for weight in np.linspace(0.1, 0.9, 9):
        weights = torch.tensor([[weight, 1 - weight]]).float().expand(12, 2)
        with torch.no_grad():
            rewards = policy(batch.contexts, weights, weights) - batch.reference
        log_odds = (0.1 * (rewards[:, 0] - rewards[:, 1])).numpy().reshape(4, 3)
        expected = np.log(weight / (1 - weight))
        np.testing.assert_allclose(log_odds[:, 0], expected, atol=0.2)
        np.testing.assert_allclose(log_odds[:, 1], -expected, atol=0.2)
        assert (log_odds[:, 2] > 4).all()  # both agree: no weight can turn it


def minimise(loss: Callable[[Tensor], Tensor], shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """The minimum of a convex function in float64: L-BFGS from a random start, then Newton to machine precision.

    The pseudo-inverse leaves the directions alone that the loss does not see (a constant per context).
    """
    point = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()
    optimizer = torch.optim.LBFGS([point], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(point)
        value.backward()
        return value

    optimizer.step(closure)
    for _ in range(5):
        (gradient,) = torch.autograd.grad(loss(point), point)
        hessian = torch.autograd.functional.hessian(loss, point).reshape(point.numel(), point.numel())
        step = torch.linalg.pinv(hessian, rtol=1e-10, hermitian=True) @ gradient.flatten()
        point.data -= step.view(shape)
    assert gradient.abs().max() < 1e-12
    return point.detach()


def weighted(losses: Tensor, weights: Floats) -> Tensor:
    rows = torch.tensor(weights).expand_as(losses)
    return conditioned_loss(rows, losses, torch.ones_like(losses, dtype=torch.bool)).sum()


@pytest.mark.parametrize("beta", [0.1, 2.0])
@pytest.mark.parametrize("weights", [(0.6, 0.3, 0.1), (0.05, 0.05, 0.9), (0.2, 0.5, 0.3)])
def test_the_optimum_of_three_objectives_is_the_log_odds(weights, beta):
    # All ways in which three objectives can disagree on a pair: bit j says whether objective j prefers y_1.
    sides = torch.tensor([[(number >> j) & 1 for j in range(3)] for number in range(1, 7)], dtype=torch.bool)
    preferred = torch.zeros(6, 3, 2, 2, dtype=torch.bool)
    preferred[:, :, 0, 1], preferred[:, :, 1, 0] = sides, ~sides
    betas = torch.full((6, 3), beta, dtype=torch.float64)
    log_odds = minimise(lambda x: weighted(pairwise_dpo(x / beta, preferred, betas), np.array(weights)), (6, 2))
    w_plus = (sides.double() * torch.tensor(weights)).sum(1)
    torch.testing.assert_close(log_odds[:, 0] - log_odds[:, 1], w_plus.logit(), rtol=0, atol=1e-6)


MASK = torch.ones(3, 4, dtype=torch.bool)
RANDOM = torch.Generator().manual_seed(1)
TARGETS = torch.randn(3, 2, 4, generator=RANDOM, dtype=torch.float64).softmax(-1)
TARGETS[1, 0] = 0  # the second context is unlabelled for the first objective
OPPOSED = torch.ones(4, 4).triu(1).bool()
PREFERRED = torch.stack([OPPOSED, OPPOSED.T]).expand(3, 2, 4, 4)
RANKED = torch.tensor([[3, 2, 1, 0], [0, 2, 1, 2]]).double().expand(3, 2, 4)
WEIGHTS = np.array([0.35, 0.65])
LOSSES = {
    "listwise": lambda r, beta: listwise_dpo(r, TARGETS, beta, MASK),
    "pairwise": lambda r, beta: pairwise_dpo(r, PREFERRED, beta),
    "plackett_luce": lambda r, beta: plackett_luce(r, RANKED, beta),
}


def test_the_listwise_optimum_is_the_mixture_of_the_targets():
    beta = torch.full((3, 2), 0.5, dtype=torch.float64)
    rewards = minimise(lambda r: weighted(LOSSES["listwise"](r, beta), WEIGHTS), (3, 4))
    mixture = (torch.tensor(WEIGHTS)[:, None] * TARGETS).sum(1)
    mixture = mixture / mixture.sum(1, keepdim=True)  # of the labelled objective alone in the second context
    torch.testing.assert_close((0.5 * rewards).softmax(-1), mixture, rtol=0, atol=1e-9)


def test_the_optimum_of_rankings_is_the_utilities_that_they_come_from():
    # All 24 orders of 4 candidates, each as often as Plackett-Luce with these utilities gives it.
    utilities, beta = np.array([1.0, -0.5, 0.3, 2.0]), 0.5
    orders = [list(order) for order in itertools.permutations(range(4))]
    worth = np.exp(utilities)
    shares = np.array([np.prod([worth[o[k]] / worth[o[k:]].sum() for k in range(4)]) for o in orders])
    assert shares.sum() == pytest.approx(1)
    scores = torch.tensor([[[-order.index(i) for i in range(4)] for order in orders]]).double()
    betas = torch.full((1, 24), beta, dtype=torch.float64)
    rewards = minimise(lambda r: weighted(plackett_luce(r, scores, betas), shares), (1, 4))[0].numpy()
    np.testing.assert_allclose(beta * (rewards - rewards.mean()), utilities - utilities.mean(), atol=1e-8)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("c", [0.4, 2.5])
def test_linear_transformation_property(loss, c):
    # The policy trained at c * beta is the one trained at beta, rescaled, up to a constant per context; beta differs
    # between the objectives, so that no closed form is at hand.
    beta = torch.tensor([[0.6, 1.4]], dtype=torch.float64).expand(3, 2)
    reference = 3 * torch.randn(3, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def optimum(temperatures: Tensor, seed: int) -> Tensor:
        scores = minimise(lambda s: weighted(LOSSES[loss](s - reference, temperatures), WEIGHTS), (3, 4), seed)
        return scores - scores.mean(1, keepdim=True)

    trained, retrained = optimum(beta, seed=0), optimum(c * beta, seed=1)
    assert (trained - retrained).abs().max() > 0.05
    rescaled = rescale(trained, reference - reference.mean(1, keepdim=True), c)
    torch.testing.assert_close(rescaled, retrained, rtol=0, atol=1e-6)
