"""What a conditioned scorer does on held-out comparisons, weight by weight: accuracy and loss per objective."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cosdpo.arrays import Floats
from cosdpo.data.batching import Batch, PreferenceData, length_batches
from cosdpo.evaluation.bootstrap import PerContext
from cosdpo.losses import preferences_across

Scorer = Callable[[Sequence[Any], Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Profile:
    """Values per objective at one weight, over C contexts."""

    right: PerContext
    """Ordered pairs that the implicit reward orders as objective j does; equal rewards count half."""
    losses: PerContext
    """DPO losses of the comparisons of objective j, at the temperature asked for."""
    rewards: Floats
    """[C, n] implicit rewards of the candidates, 0 where there is none."""

    @property
    def accuracy(self) -> Floats:
        """Share of ordered pairs that are ordered right, [m]."""
        return self.right.mean

    @property
    def loss(self) -> Floats:
        """Mean loss over the comparisons, [m]."""
        return self.losses.mean


def profile(
    scorer: Scorer | None,
    data: PreferenceData,
    weights: Sequence[float] | Floats,
    temperatures: Sequence[float] | Floats,
    batch_tokens: int,
    device: torch.device | None = None,
) -> Profile:
    """Scores all of `data` at one weight.

    Args:
        scorer: None is the reference itself, whose rewards are 0 by definition rather than by rounding.
        weights, temperatures: [m], the same for every context.
        batch_tokens: tokens per forward pass.
    """
    score = None if scorer is None else lambda *batch: [scorer(*batch)]
    return profiles(score, data, weights, temperatures, [1.0], batch_tokens, device)[0]


@torch.no_grad()
def profiles(
    score: Callable[[Sequence[Any], Tensor, Tensor], Sequence[Tensor]] | None,
    data: PreferenceData,
    weights: Sequence[float] | Floats,
    temperatures: Sequence[float] | Floats,
    ratios: Sequence[float],
    batch_tokens: int,
    device: torch.device | None = None,
) -> list[Profile]:
    """Scores all of `data` at one weight and several multiples c of the temperatures, a profile for each.

    Args:
        score: gives the scores [B, n] of a batch at every c, in the order of `ratios`; None is the reference.
        weights, temperatures: [m], the same for every context.
        ratios: the c; the loss of each profile is taken at c * temperatures.
        batch_tokens: tokens per forward pass.
    """
    device = device or torch.device("cpu")
    w = torch.as_tensor(np.asarray(weights), dtype=torch.float32, device=device)
    beta = torch.as_tensor(np.asarray(temperatures), dtype=torch.float32, device=device)
    totals = _Totals.of(data, len(ratios))
    for indices in data.in_order_of_length(batch_tokens):
        batch = data.batch(indices).to(device)
        rows = (len(indices), len(w))
        if score is None:
            scores: Sequence[Tensor] = [batch.reference] * len(ratios)
        else:
            scores = score(batch.contexts, w.expand(rows), beta.expand(rows))
        for total, c, at_c in zip(totals, ratios, scores, strict=True):
            rewards = ((at_c - batch.reference) * batch.mask).double()
            total.add(indices, rewards, batch, (c * beta).expand(rows).double())
    return [total.profile() for total in totals]


def profiles_of(
    rewards: Floats, data: PreferenceData, temperatures: Sequence[float] | Floats, batch_tokens: int
) -> list[Profile]:
    """The profiles of given rewards [K, C, n], as `profiles` has them of a scorer's."""
    totals = _Totals.of(data, len(rewards))
    beta = torch.as_tensor(np.asarray(temperatures), dtype=torch.float64)
    for indices in data.in_order_of_length(batch_tokens):
        batch = data.batch(indices)
        for total, row in zip(totals, torch.from_numpy(rewards[:, indices, : batch.mask.shape[1]]), strict=True):
            total.add(indices, row, batch, beta.expand(len(indices), -1))
    return [total.profile() for total in totals]


class _Totals:
    """Sums within each context at one temperature, [C, m] each."""

    def __init__(self, comparisons: Floats, candidates: int) -> None:
        self.comparisons = comparisons
        self.right, self.pairs, self.loss = (np.zeros_like(comparisons) for _ in range(3))
        self.rewards = np.zeros((len(comparisons), candidates))

    @classmethod
    def of(cls, data: PreferenceData, count: int) -> list[_Totals]:
        """So many, of nothing yet."""
        comparisons, candidates = data.counts_of_each(), max(labels.shape[1] for labels in data.scores)
        return [cls(comparisons, candidates) for _ in range(count)]

    def add(self, indices: Sequence[int], rewards: Tensor, batch: Batch, beta: Tensor) -> None:
        """Counts the batch of the contexts at `indices` with rewards [B, n] at temperatures [B, m]."""
        self.right[indices], self.pairs[indices] = _ordered(rewards, batch)
        self.loss[indices] = batch.losses(rewards, beta).cpu().numpy()
        self.rewards[indices, : rewards.shape[1]] = rewards.cpu().numpy()

    def profile(self) -> Profile:
        """What they come to."""
        right, losses = PerContext(self.right, self.pairs), PerContext(self.loss, self.comparisons)
        return Profile(right, losses, self.rewards)


def _ordered(rewards: Tensor, batch: Batch) -> tuple[Floats, Floats]:
    """Pairs ordered right (ties half), and pairs, per context and objective, [B, m] each."""
    margins = rewards[:, :, None] - rewards[:, None, :]
    credit = (margins > 0).double() + 0.5 * (margins == 0)
    preferred = preferences_across(batch.scores, 1).double()
    return torch.einsum("bik,bjik->bj", credit, preferred).cpu().numpy(), preferred.sum((2, 3)).cpu().numpy()


def divergence(
    scorer: Any,
    data: PreferenceData,
    contexts: int,
    weights: Sequence[float] | Floats,
    temperatures: Sequence[float] | Floats,
    ratios: Sequence[float],
    batch_tokens: int,
) -> PerContext:
    """KL(pi || pi_ref) per token along the candidates of the first `contexts` contexts, in nats: how far the policy has
    gone from the base on text that neither of them wrote. Its mean is [R, 1], for every multiple c of the temperatures.
    """
    chosen = data.contexts[:contexts]
    w = torch.as_tensor(np.asarray(weights), dtype=torch.float32, device=scorer.device)
    beta = torch.as_tensor(np.asarray(temperatures), dtype=torch.float32, device=scorer.device)
    tokens = np.array([[sum(map(len, context.candidates))] for context in chosen], dtype=np.float64)
    nats = np.zeros((len(ratios), len(chosen), 1))
    for indices in length_batches([context.tokens for context in chosen], batch_tokens):
        rows = (len(indices), len(w))
        per_context = scorer.divergence([chosen[i] for i in indices], w.expand(rows), beta.expand(rows), ratios)
        nats[:, indices, 0] = torch.stack(per_context).cpu().numpy()
    return PerContext(nats, tokens)
