"""Rewards added up: MO-DPO's target inside one conditioned run (ours).

Where objectives disagree about a pair, the mixture of losses sum_j w_j L_j wants it the less decided the evener the
weights are. MO-DPO (Zhou et al. 2023, arXiv 2310.03708) adds up rewards instead, so that such a pair goes to the
objective that is surer of it; it needs a run for every margin and every weight. Here the margins are what the model
itself says, as far as it is trained, at the other vertices e_k of the simplex:

    L(w) = - w_j log sigmoid( (1 / w_j) [ beta_j Delta r(w) - sum_{k != j} w_k beta_k Delta r(e_k) ] ),   j = argmax w

with no gradient through r(e_k). At a vertex that is DPO on its objective. Between, the free optimum at equal
temperatures is r(w) = sum_k w_k r(e_k). It costs m - 1 scoring passes without gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from cosdpo.data.batching import Batch
from cosdpo.training.strategies.strategy import Strategy

LEAST_SHARE = 0.01
"""Least w_j that a loss is divided by: a context may be labelled for an objective of little weight alone."""


@dataclass(frozen=True)
class VertexRewards:
    """What the loss of a batch takes instead of its rewards, temperatures and weights."""

    margins: Tensor
    """[B, n] to subtract from the rewards: sum_{k != j} w_k (beta_k / beta_j) r(e_k)."""
    temperatures: Tensor
    """[B, m] beta / w_j."""
    weights: Tensor
    """[B, m] w_j at j, 0 elsewhere."""


@torch.no_grad()
def rewards_at_vertices(
    strategy: Strategy, batch: Batch, weights: Tensor, beta: Tensor, labelled: Tensor
) -> VertexRewards:
    """Scores the candidates of a batch at the vertices but that of each context's heaviest objective.

    Args:
        weights: [B, m].
        beta: [B, m].
        labelled: [B, m] bool; the heaviest objective is that of those a context is labelled for.
    """
    m = weights.shape[1]
    heaviest = torch.where(labelled, weights, -1.0).argmax(-1, keepdim=True)  # [B, 1]
    own_beta = beta.gather(1, heaviest)
    margins = torch.zeros_like(batch.reference)
    strategy.scorer.eval()  # no dropout in what is subtracted
    for turn in range(1, m):
        other = (heaviest + turn) % m
        vertex = F.one_hot(other[:, 0], m).to(weights.dtype)
        rewards = (strategy.score(batch.contexts, vertex, beta) - batch.reference) * batch.mask
        margins += weights.gather(1, other) * beta.gather(1, other) / own_beta * rewards
    strategy.scorer.train()
    share = weights.gather(1, heaviest)
    return VertexRewards(
        margins, beta / share.clamp(min=LEAST_SHARE), torch.zeros_like(weights).scatter(1, heaviest, share)
    )
