"""Choosing the next token of every row at once, each with its own settings and its own random numbers.

A row draws one uniform number per token from its own generator and takes the token at which the cumulative
probability passes it. What else is in the batch changes neither the number nor the row's distribution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cosdpo.arrays import Floats
from cosdpo.models.transfer import on_device
from serve.engine.requests import SamplingParams

NUCLEUS = 256
"""Likeliest tokens looked at first for top_k and top_p, before more are sorted."""


def uniforms(seed: int | None, count: int) -> Floats:
    """The uniform numbers in [0, 1) of one request, one per token; Philox, keyed by the seed."""
    return np.random.Generator(np.random.Philox(None if seed is None else seed % 2**64)).random(count)


@dataclass(frozen=True)
class SamplingSettings:
    """The sampling settings of S rows."""

    sampled: Tensor
    """[R] rows that are drawn; the others take the likeliest token."""
    temperature: Tensor
    """[R, 1]."""
    top_k: Tensor
    """[R, 1]; the vocabulary's size where all count."""
    top_p: Tensor
    """[R, 1]."""
    min_logit: Tensor
    """[R, 1] log of min_p: how far below the likeliest token's a logit may lie."""
    filtered: bool
    """Whether any row has top_k, top_p or min_p."""
    most: int
    """Likeliest tokens among which every row's top_k and top_p surely end."""

    @classmethod
    def of(cls, rows: list[SamplingParams], vocabulary: int, device: torch.device) -> SamplingSettings:
        """Those that the requests of these rows ask for."""
        drawn = [(i, row) for i, row in enumerate(rows) if row.temperature > 0]

        def column(values: list[float] | list[int], dtype: torch.dtype) -> Tensor:
            return on_device(values, device, dtype)[:, None]

        top_k = [min(row.top_k or vocabulary, vocabulary) for _, row in drawn]
        top_p = [row.top_p for _, row in drawn]
        min_p = [row.min_p for _, row in drawn]
        return cls(
            sampled=on_device([i for i, _ in drawn], device, torch.long),
            temperature=column([row.temperature for _, row in drawn], torch.float32),
            top_k=column(top_k, torch.long),
            top_p=column(top_p, torch.float32),
            min_logit=column(min_p, torch.float32).log(),
            filtered=any(k < vocabulary for k in top_k) or any(p < 1 for p in top_p) or any(min_p),
            most=max((k for k, p in zip(top_k, top_p, strict=True) if k < vocabulary or p < 1), default=1),
        )


def choose(logits: Tensor, settings: SamplingSettings, draws: list[float]) -> tuple[Tensor, Tensor]:
    """The next token of each row, [S], and whether its logits were numbers, [S].

    Args:
        logits: [S, V] in float32; overwritten.
        draws: a uniform number in [0, 1) for each of the `settings.sampled` rows.
    """
    best, tokens = logits.max(-1)
    sound = best.isfinite()
    if len(settings.sampled):
        everyone = len(settings.sampled) == len(logits)
        x, top = (t if everyone else t.index_select(0, settings.sampled) for t in (logits, best[:, None]))
        x = x.sub_(top).div_(settings.temperature)
        if settings.filtered:
            threshold = _threshold(x, settings).maximum(settings.min_logit)
            x = x.masked_fill_(x < threshold, float("-inf"))
        cumulative = x.exp_().cumsum(-1)
        total = cumulative[:, -1:]
        u = on_device(draws, logits.device, torch.float32)[:, None]
        # Strictly below the total, so that the token found always has some probability.
        passed = torch.searchsorted(cumulative, torch.minimum(u * total, total * (1 - 2**-23)), right=True)
        # A row of nan finds nothing; it is not sound, and its token is not used.
        tokens[settings.sampled] = passed[:, 0].clamp_max_(logits.shape[1] - 1)
    return tokens, sound


def _threshold(x: Tensor, settings: SamplingSettings) -> Tensor:
    """The smallest logit of each row that top_k, then top_p, leave, [R, 1]; ties with it stay.

    top_p keeps the fewest likeliest tokens, of those that top_k left, whose probabilities reach it.
    """
    vocabulary, top_k, top_p = x.shape[1], settings.top_k, settings.top_p
    # Whether the first look was enough is asked of the device: sorting more costs it less than an answer.
    width = min(NUCLEUS, vocabulary) if x.device.type == "cpu" else settings.most
    unlimited = (top_k >= vocabulary) & (top_p >= 1)
    everything = x.exp().sum(-1, keepdim=True)
    while True:
        top = x.topk(width).values
        ranks = torch.arange(width, device=x.device)
        weights = top.exp() * (ranks < top_k)
        total = torch.where(top_k > width, everything, weights.sum(-1, keepdim=True))
        kept = ((weights.cumsum(-1) - weights < top_p * total) & (ranks < top_k)).sum(-1, keepdim=True)
        enough = (kept < width) | (top_k <= width) | unlimited
        if width >= settings.most or bool(enough.all()):
            break
        width = min(8 * width, vocabulary)
    return torch.where(unlimited, float("-inf"), top.gather(1, kept.clamp_min(1) - 1))


def log_probabilities(logits: Tensor, chosen: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """log p of the chosen tokens [S], and of the `count` likeliest with their ids, [S, count] each."""
    log_p = logits.log_softmax(-1)
    top = log_p.topk(count)
    return log_p.gather(1, chosen[:, None])[:, 0], top.values, top.indices
