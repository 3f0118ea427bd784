"""What benchmarks/serving.py holds the engine against: the plain base by transformers, static batches, the bare model.

Each function answers its prompts and returns how many tokens it made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM, DynamicCache, StaticCache

from cosdpo.models.base import freeze
from cosdpo.models.generation import generate
from cosdpo.models.language_scorer import LanguageScorer

Prompt = tuple[int, ...]


def plain_base(scorer: LanguageScorer) -> Any:
    """The base without peft's layers, with transformers' own attention: what others would serve."""
    config = type(scorer.body.config).from_dict(scorer.body.config.to_dict())
    with scorer.device:
        model = AutoModelForCausalLM.from_config(config, dtype=scorer.embed.weight.dtype, attn_implementation="sdpa")
    weights = {
        name.replace(".base_layer", ""): value
        for name, value in scorer.model.get_base_model().state_dict().items()
        if ".lora_" not in name
    }
    model.load_state_dict(weights, assign=True)  # the same memory
    return freeze(model.eval())


@torch.inference_mode()
def one_at_a_time(model: Any, prompts: Sequence[Prompt], tokens: int) -> int:
    """transformers' generate, request after request."""
    made = 0
    for prompt in prompts:
        ids = torch.tensor([prompt], device=model.device)
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=True, top_k=0, pad_token_id=0
        )
        made += out.shape[1] - len(prompt)
    return made


def batches(prompts: Sequence[Prompt], lengths: Sequence[int], size: int = 8) -> list[Any]:
    """(prompts, lengths) of each static batch, in arrival order."""
    return [(prompts[i : i + size], lengths[i : i + size]) for i in range(0, len(prompts), size)]


@torch.inference_mode()
def static_by_generate(model: Any, prompts: Sequence[Prompt], lengths: Sequence[int]) -> int:
    """transformers' generate on left-padded batches; only the tokens that were asked for count."""
    made = 0
    for rows, wanted in batches(prompts, lengths):
        longest = max(map(len, rows))
        ids = torch.tensor([[0] * (longest - len(r)) + list(r) for r in rows], device=model.device)
        mask = torch.tensor([[0] * (longest - len(r)) + [1] * len(r) for r in rows], device=model.device)
        out = model.generate(
            ids, attention_mask=mask, max_new_tokens=max(wanted), do_sample=True, top_k=0, pad_token_id=0
        )
        made += sum(min(out.shape[1] - longest, n) for n in wanted)
    return made


@torch.inference_mode()
def static_by_ours(
    scorer: LanguageScorer, prompts: Sequence[Prompt], lengths: Sequence[int], weights: torch.Tensor
) -> int:
    """cosdpo.models.generation on batches; only the tokens that were asked for count."""
    made = at = 0
    for rows, wanted in batches(prompts, lengths):
        out = generate(scorer, [list(r) for r in rows], weights[at : at + len(rows)], None, max(wanted), 1.0)
        made += sum(min(len(tokens), n) for tokens, n in zip(out, wanted, strict=True))
        at += len(rows)
    return made


@torch.inference_mode()
def bare_forward(model: Any, prompts: Sequence[Prompt], tokens: int, static: bool) -> int:
    """The prompts at once, then a token per row and pass; prompts are of one length, tokens any."""
    rows, length = len(prompts), len(prompts[0])
    cache = StaticCache(model.config, max_cache_len=length + tokens) if static else DynamicCache(config=model.config)
    model(torch.tensor(prompts, device=model.device), past_key_values=cache, use_cache=True, logits_to_keep=1)
    token = torch.ones(rows, 1, dtype=torch.long, device=model.device)
    for step in range(1, tokens):
        position = torch.full((1, 1), length + step - 1, device=model.device)
        model(token, past_key_values=cache, use_cache=True, position_ids=position)
    return rows * tokens
