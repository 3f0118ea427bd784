"""The average of trained language scorers, as a soup needs it: exact for LoRA."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from peft import get_peft_model, get_peft_model_state_dict
from peft.utils import set_peft_model_state_dict

from cosdpo.errors import InputError
from cosdpo.models.adapter_settings import ADAPTERS, adapter_file, read_adapter_settings
from cosdpo.models.base import load_base, load_config, skeleton
from cosdpo.models.cards import LanguageCard
from cosdpo.models.language_scorer import LanguageScorer
from cosdpo.models.tensors import read_tensors


def average(
    shares: Mapping[Path, float], dtype: torch.dtype, device: torch.device, quantization: str = "none"
) -> LanguageScorer:
    """The language scorer whose update of every matrix is sum_j share_j B_j A_j.

    Ranks are concatenated, A = [A_1; A_2; ...] and B = [share_1 B_1, share_2 B_2, ...]: averaging the factors instead
    would mix B_1 with A_2.

    Args:
        shares: checkpoint folder of each unconditioned run with its share.

    Raises:
        InputError: checkpoints that are broken or conditioned, or that differ in more than the values of their
            adapters.
    """
    folders = list(shares)
    if len(folders) == 1 and shares[folders[0]] == 1:
        return LanguageScorer.load(folders[0], dtype, str(device), quantization=quantization)
    cards = [LanguageCard.read(folder) for folder in folders]
    card = cards[0]
    settings = [read_adapter_settings(folder) for folder in folders]
    first = settings[0]
    adapters = {(s.r, s.lora_alpha, *sorted(s.target_modules or ())) for s in settings}
    if card.conditioning != "none" or any(other != card for other in cards) or len(adapters) > 1:
        raise InputError("only runs without conditioning, on the same base and with the same adapters can be averaged")
    with torch.device("meta"):
        like = get_peft_model(skeleton(load_config(card.base)), settings[-1])
    names = get_peft_model_state_dict(like, save_embedding_layers=False)
    parts = [read_tensors(adapter_file(folder, ADAPTERS), names) for folder in folders]
    first.r, first.lora_alpha = first.r * len(parts), first.lora_alpha * len(parts)
    model = get_peft_model(load_base(card.base, dtype, quantization), first)
    joined = {}
    for name in parts[0]:
        tensors = [part[name] for part in parts]
        if "lora_A" in name:
            joined[name] = torch.cat(tensors, 0)
        else:
            joined[name] = torch.cat([s * t for s, t in zip(shares.values(), tensors, strict=True)], 1)
    set_peft_model_state_dict(model, joined)
    return LanguageScorer(model, card).to(device).eval()
