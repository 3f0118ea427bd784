"""The losses of all objectives on a batch, and the one that a step minimises."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cosdpo.config import Config
from cosdpo.data.batching import Batch
from cosdpo.data.training_data import TrainingData
from cosdpo.losses import conditioned_loss, labelled_for, pairwise_dpo, preferences_across, tchebycheff
from cosdpo.training.strategies.strategy import Strategy
from cosdpo.training.utilities import Utilities
from cosdpo.training.vertices import rewards_at_vertices


class Objective:
    """L_j of each context of a batch, scaled so that their mean over all contexts is the mean over comparisons.

    Where contexts are compared with each other, each has the mean over all comparisons of its group.
    """

    def __init__(self, data: TrainingData, config: Config) -> None:
        counts = data.comparisons(config.objectives)
        self.scale = torch.tensor(len(data) / counts, dtype=torch.float32)
        self.group = config.training.compare_across
        self.target = config.training.target
        self.penalty = config.training.penalty
        self.same_weights = config.training.group
        self.smoothing = None if config.training.scalarisation == "linear" else config.training.smoothing
        self.utilities = Utilities(data.all_scores()) if self.target == "scores" else None

    def losses(self, rewards: Tensor, batch: Batch, beta: Tensor) -> Tensor:
        """[B, m] from rewards [B, n] and temperatures [B, m]."""
        if self.group > 1:
            preferred = preferences_across(batch.scores, self.group)
            losses = pairwise_dpo(rewards.reshape(len(preferred), -1), preferred, beta[:: self.group])
            return (losses / preferred.sum((-1, -2)).clamp(min=1)).repeat_interleave(self.group, 0)
        return batch.losses(rewards, beta) * self.scale.to(rewards.device, non_blocking=True)

    def minimised(
        self, strategy: Strategy, batch: Batch, weights: Tensor, beta: Tensor
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """What training.target minimises on a batch, [B] as a function of its rewards [B, n] and losses [B, m].

        Asked before the scoring pass whose gradient is taken, as a scorer keeps the state of its last pass and the
        target "rewards" makes passes of its own.
        """
        if self.utilities is not None:
            utilities = self.utilities
            return lambda rewards, losses: utilities.losses(rewards, batch.scores, weights, beta, self.group)
        if self.smoothing is not None:
            base = self.losses(torch.zeros_like(batch.reference), batch, beta)
            return lambda rewards, losses: self._tchebycheff(weights, losses, base)
        labelled = labelled_for(batch.scores)
        if self.target == "labels":
            return lambda rewards, losses: conditioned_loss(weights, losses, labelled, self.penalty)
        others = rewards_at_vertices(strategy, batch, weights, beta, self.common(labelled))
        return lambda rewards, losses: conditioned_loss(
            others.weights, self.losses(rewards - others.margins, batch, others.temperatures), labelled
        )

    def _tchebycheff(self, weights: Tensor, losses: Tensor, base: Tensor) -> Tensor:
        """[B] the scalarisation of the mean losses of contexts with the same weights, over those of the base."""
        of_group, of_base = (values.unflatten(0, (-1, self.same_weights)).mean(1) for values in (losses, base))
        labelled = of_base > 0
        ratios = of_group / torch.where(labelled, of_base, 1.0)
        assert self.smoothing is not None
        scalar = tchebycheff(weights[:: self.same_weights], ratios, labelled, self.smoothing)
        return scalar.repeat_interleave(self.same_weights)

    def common(self, labelled: Tensor) -> Tensor:
        """[B, m] `labelled`, the same for all contexts that are compared with each other."""
        groups: Tensor = labelled.unflatten(0, (-1, self.group)).any(1)
        return groups.repeat_interleave(self.group, 0)
