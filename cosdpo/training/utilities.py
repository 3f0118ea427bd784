"""Scores added up: a soft target for every pair at every weight (ours).

Where objectives disagree about a pair, the weighted sum of losses leaves it the less decided the evener the weights
are, however sure one of the objectives is. Scores say how sure. With z_j the normal quantile of a score among all
training scores of objective j,

    S(w) = sum_j w_j z_j / ||w||_2,      target of a pair: sigmoid(Delta S / 0.5),

so that S has the same spread at every w where objectives are independent. Against these targets goes one pairwise
cross-entropy at beta r. It costs nothing beside a step's one pass. At a vertex it is DPO on its objective with targets
that are softer the nearer two scores are.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cosdpo.arrays import Floats
from cosdpo.losses import soft_pairwise_dpo


class Utilities:
    """Scalarised scores of the candidates of a batch."""

    def __init__(self, scores: Floats) -> None:
        """Args:
        scores: [m, N] of all training candidates, NaN where there is none.
        """
        self.sorted = [torch.from_numpy(np.sort(values[~np.isnan(values)])) for values in scores]

    def quantiles(self, scores: Tensor) -> Tensor:
        """z of scores [B, m, n]; NaN stays NaN, ties share the quantile of their middle."""
        return torch.stack([self._quantile(scores[:, j], known) for j, known in enumerate(self.sorted)], 1)

    @staticmethod
    def _quantile(values: Tensor, known: Tensor) -> Tensor:
        known, values = known.to(values), values.contiguous()
        below = torch.searchsorted(known, values)
        up_to = torch.searchsorted(known, values, right=True)
        share = (below + up_to).to(values) / (2 * len(known))
        # Of scores that the training data has, none is beyond these; held-out ones may be.
        edge = 0.5 / max(1, len(known))
        z: Tensor = torch.special.ndtri(share.clamp(edge, 1 - edge)).masked_fill(values.isnan(), torch.nan)
        return z

    def __call__(self, scores: Tensor, weights: Tensor) -> Tensor:
        """S(w) [B, n], NaN for a candidate without a label of an objective that has weight.

        An objective for which a context has no label at all is left out of its S, as from the weighted sum of losses.

        Args:
            scores: [B, m, n].
            weights: [B, m].
        """
        z = self.quantiles(scores)
        labelled = ~z.isnan().all(-1)
        share = F.normalize((weights * labelled).to(z), dim=-1)
        summed = torch.where(share[..., None] > 0, share[..., None] * z, 0.0).sum(1)
        return torch.where((share.sum(-1) > 0)[:, None], summed, torch.nan)

    def losses(self, rewards: Tensor, scores: Tensor, weights: Tensor, beta: Tensor, group: int) -> Tensor:
        """[B], of which the neighbouring `group` contexts that are compared with each other have the same.

        Args:
            rewards: [B, n].
            beta: [B, m] temperatures; the pair's is their mean by the weights.
        """
        common = ((weights * beta).sum(-1) / weights.sum(-1)).to(rewards)
        utility = self(scores, weights).to(rewards)
        rewards, utility = (values.reshape(len(values) // group, -1) for values in (rewards, utility))
        return soft_pairwise_dpo(rewards, utility, common[::group]).repeat_interleave(group)
