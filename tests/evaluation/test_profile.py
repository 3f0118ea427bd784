"""Accuracy and loss of a scorer on held-out comparisons, by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from cosdpo.config import DataConfig
from cosdpo.data.batching import PreferenceData
from cosdpo.evaluation.profile import profile

LN = math.log


@dataclass(frozen=True)
class Context:
    """A context whose candidates have known rewards at weight (1, 0); at (0, 1) they are reversed in sign."""

    rewards: tuple[float, ...]
    reference: tuple[float, ...]
    tokens: int


CONTEXTS = [
    Context((LN(4), LN(2), 0.0), (-3.0, -1.0, -2.0), 30),
    Context((LN(2), 0.0), (-5.0, -9.0), 10),
    Context((0.0, 0.0), (-1.0, -1.0), 20),
]
SCORES = [
    [[2.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
    [[0.0, 1.0], None],
    [[1.0, 0.0], [1.0, 0.0]],
]


def data(**settings: str) -> PreferenceData:
    return PreferenceData(CONTEXTS, SCORES, [np.array(c.reference) for c in CONTEXTS], DataConfig(**settings))


def scorer(contexts: Sequence[Context], weights: Tensor, temperatures: Tensor) -> Tensor:
    """Reference plus the rewards times w_0 - w_1, padded with nonsense."""
    scores = torch.full((len(contexts), max(len(c.rewards) for c in contexts)), 99.0)
    for b, c in enumerate(contexts):
        sign = weights[b, 0] - weights[b, 1]
        scores[b, : len(c.rewards)] = torch.tensor(c.reference) + sign * torch.tensor(c.rewards)
    return scores


@pytest.mark.parametrize("batch_tokens", [1, 30, 1000])
def test_pairwise_by_hand(batch_tokens):
    # Objective 0, beta 1. Context 0 orders 0 > 1 > 2: all three pairs right, losses ln 3/2, ln 5/4, ln 3/2 (margins
    # ln 2, ln 4, ln 2). Context 1 prefers the second: wrong, margin -ln 2, loss ln 3. Context 2: a tie, half right,
    # loss ln 2. Five pairs.
    # Objective 1, beta 2. Context 0 prefers 2 to 0 and to 1: wrong, margins -2 ln 4 and -2 ln 2, losses ln 17 and ln 5.
    # Context 2: a tie. Three pairs.
    result = profile(scorer, data(), [1.0, 0.0], [1.0, 2.0], batch_tokens)
    assert result.accuracy == pytest.approx([3.5 / 5, 0.5 / 3])
    losses = [2 * LN(3 / 2) + LN(5 / 4) + LN(3) + LN(2), LN(17) + LN(5) + LN(2)]
    assert result.loss == pytest.approx([losses[0] / 5, losses[1] / 3], rel=1e-6)


def test_the_scorer_is_asked_at_the_weight_given():
    # At (0, 1) every reward changes its sign, so right and wrong change places; ties stay.
    result = profile(scorer, data(), [0.0, 1.0], [1.0, 2.0], 1000)
    assert result.accuracy == pytest.approx([1.5 / 5, 2.5 / 3])
    # At (.5, .5) all rewards are 0: the base.
    result = profile(scorer, data(), [0.5, 0.5], [1.0, 2.0], 1000)
    assert result.accuracy == pytest.approx([0.5, 0.5])
    assert result.loss == pytest.approx([LN(2), LN(2)], rel=1e-6)


@pytest.mark.parametrize("batch_tokens", [1, 1000])
def test_listwise_by_hand(batch_tokens):
    # Objective 0, beta 1: context 0 has its best first, -ln 4/7; context 1 its best second, -ln 1/3; context 2 ln 2.
    # Objective 1, beta 2: context 0 has its best last, softmax (16, 4, 1) / 21; context 2 ln 2. Context 1 says nothing.
    result = profile(scorer, data(comparisons="listwise"), [1.0, 0.0], [1.0, 2.0], batch_tokens)
    assert result.loss == pytest.approx([(LN(7 / 4) + LN(3) + LN(2)) / 3, (LN(21) + LN(2)) / 2], rel=1e-6)
    assert result.accuracy == pytest.approx([3.5 / 5, 0.5 / 3])  # accuracy is over pairs all the same


@pytest.mark.parametrize("batch_tokens", [1, 1000])
def test_rankings_by_hand(batch_tokens):
    # Objective 0, beta 1: context 0 is ordered as it should be, 4 of 7 and then 2 of 3; context 1 has 1 of 3, context 2
    # 1 of 2: four choices. Objective 1, beta 2: the last of context 0 before two that tie, 1 of 21; context 2 ln 2.
    rankings = data(comparisons="rankings")
    result = profile(scorer, rankings, [1.0, 0.0], [1.0, 2.0], batch_tokens)
    losses = [(LN(7 / 4) + LN(3 / 2) + LN(3) + LN(2)) / 4, (LN(21) + LN(2)) / 2]
    assert result.loss == pytest.approx(losses, rel=1e-6)
    assert result.accuracy == pytest.approx([3.5 / 5, 0.5 / 3])
    # The base chooses at random: out of 3, 2, 2 and 2 candidates, and out of 3 and 2.
    base = profile(None, rankings, [1.0, 0.0], [1.0, 2.0], batch_tokens)
    assert base.loss == pytest.approx([(LN(3) + 3 * LN(2)) / 4, (LN(3) + LN(2)) / 2], rel=1e-12)
