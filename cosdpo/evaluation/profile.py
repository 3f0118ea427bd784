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
from cosdpo.losses import preferences_across

Scorer = Callable[[Sequence[Any], Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Profile:
    """Values per objective at one weight, each [m]."""

    accuracy: Floats
    """Share of ordered pairs that the implicit reward orders as objective j does; equal rewards count half."""
    loss: Floats
    """Mean DPO loss over the comparisons of objective j, at the temperature asked for."""


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
    totals = [_Totals(len(w)) for _ in ratios]
    for indices in data.in_order_of_length(batch_tokens):
        batch = data.batch(indices).to(device)
        rows = (len(indices), len(w))
        if score is None:
            scores: Sequence[Tensor] = [batch.reference] * len(ratios)
        else:
            scores = score(batch.contexts, w.expand(rows), beta.expand(rows))
        for total, c, at_c in zip(totals, ratios, scores, strict=True):
            rewards = ((at_c - batch.reference) * batch.mask).double()
            total.add(rewards, batch, (c * beta).expand(rows).double())
    counts = data.counts()
    return [total.profile(counts) for total in totals]


class _Totals:
    """Sums over the batches at one temperature, [m] each."""

    def __init__(self, m: int) -> None:
        self.right, self.pairs, self.loss = (np.zeros(m) for _ in range(3))

    def add(self, rewards: Tensor, batch: Batch, beta: Tensor) -> None:
        """Counts a batch with rewards [B, n] at temperatures [B, m]."""
        right, pairs = _ordered(rewards, batch)
        self.right += right
        self.pairs += pairs
        self.loss += batch.losses(rewards, beta).sum(0).cpu().numpy()

    def profile(self, comparisons: Floats) -> Profile:
        """The means, of the losses over the comparisons of each objective, [m]."""
        return Profile(self.right / self.pairs, self.loss / comparisons)


def _ordered(rewards: Tensor, batch: Batch) -> tuple[Floats, Floats]:
    """Pairs ordered right (ties half), and pairs, per objective, [m] each."""
    margins = rewards[:, :, None] - rewards[:, None, :]
    credit = (margins > 0).double() + 0.5 * (margins == 0)
    preferred = preferences_across(batch.scores, 1).double()
    return torch.einsum("bik,bjik->j", credit, preferred).cpu().numpy(), preferred.sum((0, 2, 3)).cpu().numpy()


def divergence(
    scorer: Any,
    data: PreferenceData,
    contexts: int,
    weights: Sequence[float] | Floats,
    temperatures: Sequence[float] | Floats,
    ratios: Sequence[float],
    batch_tokens: int,
) -> list[float]:
    """Mean KL(pi || pi_ref) per token along the candidates of the first `contexts` contexts, in nats: how far the
    policy has gone from the base on text that neither of them wrote. One for every multiple c of the temperatures.
    """
    chosen = data.contexts[:contexts]
    w = torch.as_tensor(np.asarray(weights), dtype=torch.float32, device=scorer.device)
    beta = torch.as_tensor(np.asarray(temperatures), dtype=torch.float32, device=scorer.device)
    total, tokens = np.zeros(len(ratios)), 0
    for indices in length_batches([context.tokens for context in chosen], batch_tokens):
        rows = (len(indices), len(w))
        per_token = scorer.divergence([chosen[i] for i in indices], w.expand(rows), beta.expand(rows), ratios)
        total += [float(kl.double().sum()) for kl in per_token]
        tokens += len(per_token[0])
    means: list[float] = (total / tokens).tolist()
    return means
