"""What a conditioned scorer does on held-out comparisons, weight by weight: accuracy and loss per objective."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cosdpo.data.batching import Batch, PreferenceData, length_batches
from cosdpo.losses import listwise_dpo, pairwise_dpo

Floats = npt.NDArray[np.float64]
Scorer = Callable[[Sequence[Any], Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Profile:
    """Values per objective at one weight, each [m]."""

    accuracy: Floats
    """Share of ordered pairs that the implicit reward orders as objective j does; equal rewards count half."""
    loss: Floats
    """Mean DPO loss over the comparisons of objective j, at the temperature asked for."""


@torch.no_grad()
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
    device = device or torch.device("cpu")
    w = torch.as_tensor(np.asarray(weights), dtype=torch.float32, device=device)
    beta = torch.as_tensor(np.asarray(temperatures), dtype=torch.float32, device=device)
    m = len(w)
    right, pairs, loss, comparisons = (np.zeros(m) for _ in range(4))
    for indices in data.in_order_of_length(batch_tokens):
        batch = data.batch(indices).to(device)
        rows = (len(indices), m)
        scores = batch.reference if scorer is None else scorer(batch.contexts, w.expand(rows), beta.expand(rows))
        rewards = ((scores - batch.reference) * batch.mask).double()
        r, p = _ordered(rewards, batch)
        right += r
        pairs += p
        if data.pairwise:
            loss += pairwise_dpo(rewards, batch.preferred, beta.expand(rows).double()).sum(0).cpu().numpy()
            comparisons += p
        else:
            losses = listwise_dpo(rewards, batch.targets.double(), beta.expand(rows).double(), batch.mask)
            loss += losses.sum(0).cpu().numpy()
            comparisons += batch.targets.any(-1).sum(0).cpu().numpy()
    return Profile(accuracy=right / pairs, loss=loss / comparisons)


def _ordered(rewards: Tensor, batch: Batch) -> tuple[Floats, Floats]:
    """Pairs ordered right (ties half) and pairs, per objective, [m] each."""
    margins = rewards[:, :, None] - rewards[:, None, :]
    credit = (margins > 0).double() + 0.5 * (margins == 0)
    preferred = batch.preferred.double()
    return (
        torch.einsum("bik,bjik->j", credit, preferred).cpu().numpy(),
        preferred.sum((0, 2, 3)).cpu().numpy(),
    )


def divergence(
    scorer: Any,
    data: PreferenceData,
    contexts: int,
    weights: Sequence[float] | Floats,
    temperatures: Sequence[float] | Floats,
    batch_tokens: int,
) -> float:
    """Mean KL(pi || pi_ref) per token along the candidates of the first `contexts` contexts, in nats: how far the
    policy has gone from the base on text that neither of them wrote.
    """
    chosen = data.contexts[:contexts]
    w = torch.as_tensor(np.asarray(weights), dtype=torch.float32, device=scorer.device)
    beta = torch.as_tensor(np.asarray(temperatures), dtype=torch.float32, device=scorer.device)
    total, tokens = 0.0, 0
    for indices in length_batches([context.tokens for context in chosen], batch_tokens):
        rows = (len(indices), len(w))
        per_token = scorer.divergence([chosen[i] for i in indices], w.expand(rows), beta.expand(rows))
        total, tokens = total + float(per_token.double().sum()), tokens + len(per_token)
    return total / tokens
