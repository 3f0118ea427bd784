"""Log-probabilities of given tokens under a frozen language-model head, without the [tokens, vocabulary] matrix.

The head W is frozen, so the gradient of log p(y | h) with respect to the hidden state h is

    W[y] - sum_v p(v | h) W[v]

It depends on h alone, not on what the loss does with the log-probability. The forward pass therefore computes it
while a chunk's logits are at hand and the backward pass only scales it: no logits are kept, none computed twice.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cosdpo.models.frozen_linear import linear

CHUNK_ELEMENTS = 8 << 20
"""Logits alive at a time on a CPU: 32 MB in float32, within the last-level cache of servers."""
CHUNK_ELEMENTS_ON_GPU = 64 << 20
"""The same on a GPU, whose products want hundreds of rows for each time that they read the head."""


def chunk_rows(head: Tensor) -> int:
    """Tokens whose logits under a head [V, H] are alive at a time."""
    elements = CHUNK_ELEMENTS if head.device.type == "cpu" else CHUNK_ELEMENTS_ON_GPU
    return max(16, elements // head.shape[0])


class _TokenLogProbabilities(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, tokens: Tensor) -> Tensor:
        chunk = chunk_rows(weight)
        needs_gradient = ctx.needs_input_grad[0]
        hidden = hidden.to(weight.dtype)
        result = torch.empty(len(tokens), dtype=torch.float32, device=hidden.device)
        gradient = torch.empty_like(hidden) if needs_gradient else None
        for start in range(0, len(tokens), chunk):
            part = slice(start, start + chunk)
            y = tokens[part]
            product = linear(hidden[part], weight)
            logits = product.float() if bias is None else product.float() + bias
            chosen = logits.gather(1, y[:, None])[:, 0]
            largest = logits.amax(1)
            exponentials = logits.sub_(largest[:, None]).exp_()
            total = exponentials.sum(1)
            result[part] = chosen - largest - total.log()
            if gradient is not None:
                expected = linear(exponentials.to(weight.dtype), weight.T)
                gradient[part] = weight.index_select(0, y) - expected / total[:, None].to(weight.dtype)
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * grad_output[:, None].to(gradient.dtype), None, None, None


def token_log_probabilities(hidden: Tensor, weight: Tensor, bias: Tensor | None, tokens: Tensor) -> Tensor:
    """log softmax(h W^T + b)[y] for each token, shape [T], float32.

    Args:
        hidden: [T, H] final hidden states; gradients flow to these alone.
        weight: [V, H] the frozen head.
        bias: [V] or None.
        tokens: [T] ids y.
    """
    log_probabilities: Tensor = _TokenLogProbabilities.apply(hidden, weight, bias, tokens)  # type: ignore[no-untyped-call]
    return log_probabilities


@torch.no_grad()
def token_divergences(hidden: Tensor, other: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """KL(p || q) = sum_v p(v) (log p(v) - log q(v)) of the next-token distributions at each position, [T], in nats.

    Args:
        hidden: [T, H] final hidden states that give p.
        other: [T, H] those that give q.
        weight: [V, H] the head that both share.
        bias: [V] or None.
    """
    chunk = chunk_rows(weight)
    parts = []
    for start in range(0, len(hidden), chunk):
        log_p, log_q = (
            linear(h[start : start + chunk].to(weight.dtype), weight, bias).float().log_softmax(-1)
            for h in (hidden, other)
        )
        parts.append((log_p.exp() * (log_p - log_q)).sum(-1))
    return torch.cat(parts)
