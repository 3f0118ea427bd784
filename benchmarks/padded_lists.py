"""The other side of benchmarks/ranking.py: a ListNetwork on random batches that are padded to their longest list.

As allRank and ptranking do it: every layer runs on padded rows. Inputs are standardised once beforehand.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from cosdpo.config import Config
from cosdpo.data.packed_lists import PackedLists
from cosdpo.data.ranking_data import RankingData
from cosdpo.losses import conditioned_loss, listwise_dpo
from cosdpo.models.list_network import ListNetwork
from cosdpo.models.ranking_scorer import RankingScorer
from cosdpo.training.loop import Sampler, optimizer_for
from cosdpo.training.objective import Objective


class Padded(nn.Module):
    """A ListNetwork with every layer on padded rows [B, n, ...]."""

    def __init__(self, network: ListNetwork) -> None:
        super().__init__()
        self.network = copy.deepcopy(network)

    def decays(self, name: str) -> bool:
        return self.get_parameter(name).ndim > 1

    def forward(self, x: Tensor, conditions: Tensor, mask: Tensor) -> Tensor:
        """Scores [B, n] of standardised features [B, n, F] under conditions [B, c]; mask [B, n] as in the losses."""
        net, keys = self.network, mask[:, None, None, :]

        def gated(hidden: Tensor, gate: nn.Module | None) -> Tensor:
            return hidden if gate is None else hidden * (1 + gate.affine(conditions))[:, None]

        x = net.embed(x)
        if net.embed_conditions is not None:
            x = x + net.embed_conditions(conditions)[:, None]
        x = gated(net.dropout(x), net.gate)
        for block in net.blocks:
            if block.attention is not None:
                attention = block.attention
                qkv = attention.qkv(block.norm_attention(x)).unflatten(-1, (3, attention.heads, -1))
                query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
                attended = F.scaled_dot_product_attention(query, key, value, attn_mask=keys)
                x = x + attention.dropout(attention.out(attended.transpose(1, 2).flatten(2)))
            feed = block.feed_forward
            x = x + feed.dropout(feed.fall(gated(F.gelu(feed.rise(block.norm(x))), feed.gate)))
        return net.head(net.norm(x)).squeeze(-1)


class PaddedTraining:
    """Training on random batches, padded to the longest list; inputs are standardised beforehand, once."""

    def __init__(self, scorer: RankingScorer, data: RankingData, config: Config, slate: int | None = None) -> None:
        self.data, self.config, self.slate = data, config, slate
        self.model = Padded(scorer.network)
        self.optimizer = optimizer_for(self.model, config)
        self.objective, self.sampler = Objective(data, config), Sampler(data, config)
        whole = PackedLists.of(data.lists.features, data.lengths)
        with torch.no_grad():
            inputs = scorer.base.standardiser(whole)
        split = data.lengths.tolist()
        self.inputs = inputs.split(split)
        self.targets = torch.from_numpy(data.targets).split(split)
        self.reference = torch.from_numpy(data.reference).split(split)

    def loss(self, contexts: list[int], weights: Tensor, beta: Tensor) -> Tensor:
        """The mean loss of a batch of lists."""

        def collate(rows: tuple[Tensor, ...]) -> Tensor:
            return pad_sequence([rows[i][: self.slate] for i in contexts], batch_first=True)

        x, targets, reference = (collate(rows) for rows in (self.inputs, self.targets, self.reference))
        lengths = torch.tensor([len(self.reference[i]) for i in contexts])
        mask = torch.arange(x.shape[1]) < lengths[:, None]
        scores = reference + self.model(x, weights, mask) / beta.mean(-1, keepdim=True)
        losses = listwise_dpo((scores - reference) * mask, targets.transpose(1, 2), beta, mask) * self.objective.scale
        return conditioned_loss(weights, losses, targets.transpose(1, 2).any(-1), self.config.training.penalty).mean()

    def epoch(self, seed: int) -> None:
        """Every list once."""
        size = self.config.training.batch_size
        order = np.random.default_rng(seed).permutation(len(self.data))
        self.model.train()
        for step in range(len(order) // size):
            draw = self.sampler(step)  # the weights only
            loss = self.loss(order[step * size : (step + 1) * size].tolist(), draw.weights, draw.temperatures)
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.training.clip)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
