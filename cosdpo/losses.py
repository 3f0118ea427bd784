"""Losses of direct preference optimisation for several objectives, as pure functions of tensors.

Shapes: B contexts, n candidates (padded to the longest list of the batch), m objectives.

    rewards  [B, n]        r_i = log pi_theta(y_i | x) - log pi_ref(y_i | x), or a ranker's score minus the reference's
    beta     [B, m]        DPO temperatures, > 0
    mask     [B, n] bool   true where a candidate exists
    losses   [B, m]        L_j of each context; 0 where the context carries no preference for objective j

Everything is computed in the type of `rewards`; pass float32 or better.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def listwise_dpo(rewards: Tensor, targets: Tensor, beta: Tensor, mask: Tensor) -> Tensor:
    """L_j = - sum_i p_i^j log softmax_i(beta_j r_i), shape [B, m].

    The Plackett-Luce top-one (ListNet) form of the DPO loss, COS-DPO section 3; n = 2 with p = (1, 0) is exactly
    DPO (Rafailov et al. 2023, equation 7).

    Args:
        targets: [B, m, n] target distributions p^j, rows summing to 1, or to 0 to mask the context for objective j.
    """
    logits = (beta[:, :, None] * rewards[:, None, :]).masked_fill(~mask[:, None, :], float("-inf"))
    log_policy = logits.log_softmax(-1).masked_fill(~mask[:, None, :], 0.0)
    return -(targets * log_policy).sum(-1)


def pairwise_dpo(rewards: Tensor, preferred: Tensor, beta: Tensor) -> Tensor:
    """L_j = - sum over pairs (i over k) of log sigmoid(beta_j (r_i - r_k)), shape [B, m].

    DPO (Rafailov et al. 2023, equation 7) on every ordered pair of a context.

    Args:
        preferred: [B, m, n, n] bool, [b, j, i, k] true where objective j prefers candidate i to k. Padded candidates
            are in no pair.
    """
    margins = rewards[:, :, None] - rewards[:, None, :]
    losses = -F.logsigmoid(beta[:, :, None, None] * margins[:, None])
    return torch.where(preferred, losses, 0.0).sum((-1, -2))


def soft_pairwise_dpo(rewards: Tensor, utility: Tensor, beta: Tensor, deviation: float = 0.5) -> Tensor:
    """Mean cross-entropy of all pairs against sigmoid(Delta S / deviation) at margins beta Delta r, shape [B].

    Conservative DPO's form (Mitchell 2023) with a target per pair instead of one smoothing for all.

    Args:
        utility: [B, n] S, NaN for candidates that are in no pair.
        beta: [B].
    """
    known = ~utility.isnan()
    target = ((utility[:, :, None] - utility[:, None, :]) / deviation).sigmoid()
    margins = beta[:, None, None] * (rewards[:, :, None] - rewards[:, None, :])
    pairs = (known[:, :, None] & known[:, None, :]).triu(1)  # (k, i) says what (i, k) says
    entropies = torch.where(
        pairs, F.binary_cross_entropy_with_logits(margins, target.nan_to_num(), reduction="none"), 0.0
    )
    return entropies.sum((-1, -2)) / pairs.sum((-1, -2)).clamp(min=1)


def preferences_across(scores: Tensor, group: int) -> Tensor:
    """Which candidates of `group` neighbouring contexts beat which, bool [B / group, m, group n, group n].

    A group of contexts read as one long list, for `pairwise_dpo` on rewards of shape [B / group, group n]. Comparing
    responses to different prompts is relative preference optimisation (Yin et al. 2024, arXiv 2402.10958), there with
    weights by the prompts' similarity. It takes log Z(x), which cancels within a context, to be alike in all of them.

    Args:
        scores: [B, m, n], NaN where a candidate does not exist or is unlabelled: it is then in no pair.
        group: 1 compares the candidates of each context with each other alone.
    """
    lists: Tensor = scores.unflatten(0, (-1, group)).transpose(1, 2).flatten(2)
    return lists[..., :, None] > lists[..., None, :]


def labelled_for(scores: Tensor) -> Tensor:
    """[B, m] true where a context carries a preference for objective j: two of its labels differ.

    Args:
        scores: [B, m, n], NaN where a candidate does not exist or is unlabelled.
    """
    missing = scores.isnan()
    highest = scores.masked_fill(missing, float("-inf")).amax(-1)
    return highest > scores.masked_fill(missing, float("inf")).amin(-1)


def plackett_luce(rewards: Tensor, scores: Tensor, beta: Tensor) -> Tensor:
    """Negative log-likelihood of whole rankings under Plackett-Luce, shape [B, m].

    With s = beta_j r, every candidate i that has others strictly below it is a choice of i out of itself and those:

        L_j = - sum_i [ s_i - log( exp(s_i) + sum_{k below i} exp(s_k) ) ]
            = - sum_i log sigmoid( s_i - log sum_{k below i} exp(s_k) )

    A strict order gives the likelihood of that order, one winner over equal others the listwise loss, n = 2 exactly DPO
    (Rafailov et al. 2023, equation 7). Ties are ours: tied candidates are not compared with each other, and the sum is
    then one of log-likelihoods of choices that overlap.

    Args:
        scores: [B, m, n] by which objective j ranks, NaN where a candidate does not exist or is unlabelled: it is then
            in no choice.
    """
    nowhere = scores.isnan()
    ranked, order = scores.masked_fill(nowhere, float("-inf")).sort(-1, descending=True)
    logits = (beta[:, :, None] * rewards[:, None, :]).masked_fill(nowhere, float("-inf")).gather(-1, order)
    below = torch.searchsorted(-ranked, -ranked, right=True)  # place of the first candidate strictly below
    chosen = below < (~nowhere).sum(-1, keepdim=True)
    # logcumsumexp: no exponential overflows, and no epsilon is needed.
    tails = F.pad(logits.flip(-1).logcumsumexp(-1).flip(-1), (0, 1), value=float("-inf"))
    margins = logits - tails.gather(-1, below)
    return -F.logsigmoid(torch.where(chosen, margins, float("inf"))).sum(-1)


def cosmos_penalty(weights: Tensor, losses: Tensor, labelled: Tensor) -> Tensor:
    """G = - cos(w, L) over the objectives that a context is labelled for, shape [B] (Ruchte and Grabocka 2021).

    It keeps the vector of losses aligned with the weights, which spreads the front. A context labelled for fewer than
    two objectives has no direction to align and contributes 0.

    Args:
        weights: [B, m] importance weights.
        losses: [B, m].
        labelled: [B, m] bool, true where a context carries a preference for objective j.
    """
    w = weights * labelled
    cosine = F.cosine_similarity(w, losses * labelled, dim=-1)
    return torch.where(labelled.sum(-1) > 1, -cosine, 0.0)


def conditioned_loss(weights: Tensor, losses: Tensor, labelled: Tensor, penalty: float = 0.0) -> Tensor:
    """sum_j w_j L_j + lambda G(w, L) per context, shape [B] (COS-DPO, equation of Weight-COS-DPO)."""
    total = (weights * losses).sum(-1)
    if penalty:
        total = total + penalty * cosmos_penalty(weights, losses, labelled)
    return total


def tchebycheff(weights: Tensor, losses: Tensor, labelled: Tensor, smoothing: float) -> Tensor:
    """max_j w_j L_j over the labelled objectives, or its smooth form mu log sum_j exp(w_j L_j / mu), shape [B].

    The weighted Tchebycheff scalarisation and the smooth one of Lin et al. (2024, arXiv 2402.19078) at the ideal point
    0. Every Pareto-optimal point is its minimum at some weights, also where the front is not convex and no weighted sum
    has it. 0 where no objective is labelled.

    Args:
        weights: [B, m].
        losses: [B, m] mean losses of something, not of one context: a maximum of means is not a mean of maxima.
        labelled: [B, m] bool.
        smoothing: mu; 0 takes the maximum itself.
    """
    weighted = (weights * losses).masked_fill(~labelled, float("-inf"))
    weighted = torch.where(labelled.any(-1, keepdim=True), weighted, 0.0)
    return smoothing * (weighted / smoothing).logsumexp(-1) if smoothing else weighted.amax(-1)


def modpo_margins(rewards: Tensor, weights: Tensor, beta: float) -> Tensor:
    """(1 / beta) sum_{k != j} w_k r_i^k: what MO-DPO subtracts from the rewards of objective j, shape of one r^k.

    MO-DPO (Zhou et al. 2023, arXiv 2310.03708) trains objective j with w_j > 0 by

        L = - log sigmoid( (1 / w_j) [ beta (r_1 - r_2) - sum_{k != j} w_k (r^k_1 - r^k_2) ] )

    which is DPO of objective j on the shifted rewards r - margins at temperature beta / w_j. The listwise form has the
    softmax in place of the sigmoid and is shifted alike.

    Args:
        rewards: [K, ...] margin rewards r^k = beta log(pi_k / pi_ref) of the other objectives' own policies.
        weights: [K] their weights w_k.
    """
    margins: Tensor = torch.tensordot(weights, rewards, dims=1) / beta
    return margins


def rescale(scores: Tensor, reference: Tensor, c: Tensor | float) -> Tensor:
    """(1 - 1/c) s_ref + (1/c) s: the scores of the optimum at temperature c * beta, any shape.

    The linear transformation property of COS-DPO: the loss sees the model only through beta * r, so the optimum at
    c * beta has 1/c times the rewards. Exact for rankers; per token it approximates a language model (Liu et al. 2024,
    decoding-time realignment).

    Args:
        c: ratio of the wanted to the trained temperature, > 0; a tensor must broadcast to `scores`.
    """
    return reference + (scores - reference) / c
