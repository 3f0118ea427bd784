"""The law where it can be proved: free scores for every candidate, at the exact minimum of the loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cosdpo.losses import conditioned_loss, listwise_dpo, pairwise_dpo, rescale

CONTEXTS, CANDIDATES, OBJECTIVES = 4, 4, 2


def optimum(kind: str, beta: float, weights: Tensor, reference: Tensor, seed: int) -> Tensor:
    """Scores [B, n] in float64 that minimise the weighted loss at `beta`, from a random start; each row sums to 0.

    L-BFGS, then Newton's method on the pseudo-inverse, which leaves the constant of a context alone.
    """
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randn(CONTEXTS, OBJECTIVES, CANDIDATES, generator=generator, dtype=torch.float64)
    targets = draws.softmax(-1)
    # Opposite orders: a pair on which all objectives agree has its optimum at infinity.
    order = torch.ones(CANDIDATES, CANDIDATES).triu(1).bool()
    preferred = torch.stack([order, order.T]).expand(CONTEXTS, -1, -1, -1)
    betas, w = (torch.full((CONTEXTS, OBJECTIVES), beta).double(), weights.expand(CONTEXTS, -1))
    mask, labelled = torch.ones(CONTEXTS, CANDIDATES).bool(), torch.ones(CONTEXTS, OBJECTIVES).bool()

    def loss(scores: Tensor) -> Tensor:
        rewards = scores - reference
        if kind == "pairwise":
            losses = pairwise_dpo(rewards, preferred, betas)
        else:
            losses = listwise_dpo(rewards, targets, betas, mask)
        return conditioned_loss(w, losses, labelled).sum()

    start = torch.randn(CONTEXTS, CANDIDATES, generator=torch.Generator().manual_seed(int(1000 * beta)))
    point = start.double().requires_grad_()
    solver = torch.optim.LBFGS([point], max_iter=500, line_search_fn="strong_wolfe", tolerance_grad=1e-12)

    def closure() -> Tensor:
        solver.zero_grad()
        value = loss(point)
        value.backward()
        return value

    solver.step(closure)
    for _ in range(8):
        (gradient,) = torch.autograd.grad(loss(point), point)
        hessian = torch.autograd.functional.hessian(loss, point).reshape(point.numel(), point.numel())
        point.data -= (torch.linalg.pinv(hessian, rtol=1e-10, hermitian=True) @ gradient.flatten()).view_as(point)
    scores = point.detach()
    return scores - scores.mean(1, keepdim=True)


def law(trained_at: float, betas: list[float], seeds: int) -> dict[str, Any]:
    """Largest absolute difference of scores, trained at c * beta against trained at beta and rescaled, by loss; and
    the largest change that the temperature makes, next to which the differences are to be seen.
    """
    optima: dict[str, Any] = {}
    for kind in ("pairwise", "listwise"):
        gaps, changes = [], []
        for seed in range(seeds):
            generator = torch.Generator().manual_seed(100 + seed)
            reference = 3 * torch.randn(CONTEXTS, CANDIDATES, generator=generator, dtype=torch.float64)
            reference = reference - reference.mean(1, keepdim=True)
            for weights in torch.tensor([[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]], dtype=torch.float64):
                trained = optimum(kind, trained_at, weights, reference, seed)
                for beta in betas:
                    anew = optimum(kind, beta, weights, reference, seed)
                    gaps.append(float((anew - rescale(trained, reference, beta / trained_at)).abs().max()))
                    changes.append(float((anew - trained).abs().max()))
        optima[kind] = {"max_abs": max(gaps), "largest_change": max(changes)}
    return optima
