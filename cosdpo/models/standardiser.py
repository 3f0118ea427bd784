"""Features as a ranker sees them: compressed, standardised with training statistics, and once more within the list.

The statistics are part of the model: a caller sends features as the data has them, in training and in serving alike.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from cosdpo.arrays import Singles
from cosdpo.data.packed_lists import PackedLists

LARGEST = 8.0
"""Standardised values are cut at this many deviations: a value never met in training must not swamp all others."""
BLOCK = 65_536
SMALLEST_DEVIATION = 1e-6
"""Relative to the mean: about what float32 still resolves."""


class Standardiser(nn.Module):
    """Maps raw features [T, F] to the network's inputs, [T, F] or [T, 2F]."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, features: int, log1p: bool, list_features: bool) -> None:
        super().__init__()
        self.log1p = log1p
        self.list_features = list_features
        self.inputs = features * (2 if list_features else 1)
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("deviation", torch.ones(features))

    def fit(self, features: Singles) -> None:
        """Sets mean and deviation to those of the training documents [N, F]; constant features become 0."""
        count, mean, squares = 0, np.zeros(features.shape[1]), np.zeros(features.shape[1])
        for start in range(0, len(features), BLOCK):
            block = self._compressed(torch.from_numpy(features[start : start + BLOCK])).double().numpy()
            total = count + len(block)
            delta = block.mean(0) - mean
            # Chan et al.'s pairwise update: a sum of squares minus a squared sum would lose large means.
            squares += ((block - block.mean(0)) ** 2).sum(0) + delta**2 * count * len(block) / total
            mean += delta * len(block) / total
            count = total
        deviation = np.sqrt(squares / count)
        # Also when it is only rounding: then the feature says nothing. Relative, since small features may well vary.
        deviation[deviation <= SMALLEST_DEVIATION * np.abs(mean)] = np.inf
        self.mean.copy_(torch.from_numpy(mean))
        self.deviation.copy_(torch.from_numpy(deviation))

    def _compressed(self, features: Tensor) -> Tensor:
        return torch.sign(features) * torch.log1p(features.abs()) if self.log1p else features

    def forward(self, lists: PackedLists) -> Tensor:
        """The network's inputs of packed lists."""
        x = ((self._compressed(lists.features) - self.mean) / self.deviation).clamp(-LARGEST, LARGEST)
        if not self.list_features:
            return x
        counts = torch.tensor(lists.lengths, dtype=x.dtype, device=x.device)[:, None]
        empty = x.new_zeros(len(lists.lengths), x.shape[1])
        mean = empty.index_add(0, lists.owner, x) / counts
        centred = x - mean.index_select(0, lists.owner)
        deviation = (empty.index_add(0, lists.owner, centred**2) / counts).sqrt()
        # The floor keeps lists apart in which a feature hardly varies from lists in which it does.
        within = centred / (deviation + 0.01).index_select(0, lists.owner)
        return torch.cat([x, within], -1)
