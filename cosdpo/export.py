"""One point of a front as a model of its own, for whatever loads adapters or models: a PEFT folder, or a whole model.

    python -m cosdpo.export --checkpoint runs/mine/checkpoint --weights helpful=0.7,harmless=0.3 --to out
    python -m cosdpo.export --checkpoint runs/mine/checkpoint --weights helpful=0.7,harmless=0.3 --to out --merge

At fixed weights w gated LoRA is LoRA: delta W = B diag(g(w)) A = B A' with A' = diag(g(w)) A. The update of token
embeddings is LoRA of the embedding table, and that of the final hidden states h before the head W is LoRA of the head:
W (h + B A' h) = W h + (W B) A' h. So the export computes what the checkpoint does, up to rounding.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, PeftModel
from peft.tuners.lora import LoraLayer
from peft.utils import SAFETENSORS_WEIGHTS_NAME
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from cosdpo.cli.command_line import framed, read
from cosdpo.config.section import LocalPath, Location, Rate, Section
from cosdpo.errors import InputError
from cosdpo.files import whole_folder
from cosdpo.models.adapter_settings import ADAPTERS, adapter_file
from cosdpo.models.base import load_config, load_tokenizer, skeleton
from cosdpo.models.cards import LanguageCard
from cosdpo.models.gguf_file import as_folder
from cosdpo.models.language_scorer import LanguageScorer
from cosdpo.models.temperature import ratio, temperatures
from cosdpo.models.tensors import fill
from cosdpo.simplex import named_weights, normalise


class ExportSettings(Section):
    """What is exported, and where to."""

    checkpoint: LocalPath
    """Checkpoint folder of a conditioned language model."""
    weights: str
    """Importance of the objectives, such as helpful=0.7,harmless=0.3; those left out weigh 0. Scaled to sum 1."""
    to: LocalPath
    """Folder to write; it must not exist."""
    temperature: Rate | list[Rate] | None = None
    """DPO temperature, one or one per objective; null is the trained one. Only a model that was trained with
    model.temperature_conditioned has another one within, at the same sum."""
    merge: bool = False
    """Write a whole model with the point in its weights, instead of an adapter."""
    base: Location = ""
    """Where the base is, if not where the checkpoint says."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Type of a merged model's weights; auto is that of the base's files. Adapters are float32."""


def export(settings: ExportSettings) -> Path:
    """Writes the export and returns its folder.

    Raises:
        InputError: no checkpoint of a language model, weights or a temperature that it cannot have, a form that neither
            PEFT nor plain weights can hold, or a folder that exists or cannot be written.
    """
    card = LanguageCard.read(settings.checkpoint)
    weights = normalise(named_weights(settings.weights), card.objectives)
    beta = temperatures(settings.temperature, card.trained_temperature, card.temperature_conditioned)
    if ratio(beta, card.trained_temperature) != 1:
        raise InputError(
            f"temperature {beta.tolist()} mixes the logits of base and model, which no adapter does; export at the "
            f"trained {card.trained_temperature}, and rescale in serving"
        )
    if settings.to.exists():
        raise InputError(f"to {settings.to} exists; name another folder")
    check_form(card, settings.merge)
    base = settings.base or card.base
    opening = _opening(load_tokenizer(base)) if card.scope == "response" else None
    scorer = _load(settings.checkpoint, card, base)
    with torch.no_grad():
        conditions = scorer.conditions(torch.tensor(weights[None]).float(), torch.tensor(beta[None]).float())
        _, gates = scorer.soft_and_gates(conditions)
    tensors, targets = _adapter(scorer, gates[0] if gates is not None else None)
    try:
        with whole_folder(settings.to) as folder:
            _write_adapter(folder, scorer, tensors, targets, opening, base)
            if settings.merge:
                _merge(folder, base, settings.dtype)
                load_tokenizer(base).save_pretrained(folder)
            shares = ", ".join(f"{name} {share:.4g}" for name, share in zip(card.objectives, weights, strict=True))
            (folder / "README.md").write_text(_readme(settings, card, shares), encoding="utf-8")
    except OSError as error:
        raise InputError(f"to {settings.to} cannot be written ({error.strerror}); name another folder") from None
    return settings.to


def check_form(card: LanguageCard, merge: bool = False) -> None:
    """Raises InputError for a checkpoint that neither PEFT nor, with `merge`, plain weights can hold."""
    if card.conditioning in ("hyper_prompt", "both"):
        raise InputError(
            f"conditioning {card.conditioning} has soft tokens beside its adapters, which no adapter format holds; "
            "train with conditioning gated_lora to export"
        )
    if card.scope == "sequence":
        return
    if merge:
        raise InputError(
            f"scope response acts from the last prompt token on, weights act on all tokens; {_MEND} merged"
        )
    if _has_ends(card):
        raise InputError(
            "scope response with model.adapt_ends updates embeddings from the last prompt token on, which no adapter "
            f"format does; {_MEND}, or with model.adapt_ends false"
        )


_MEND = "train with scope sequence to export it"


def _has_ends(card: LanguageCard) -> bool:
    return card.adapt_ends and card.conditioning == "gated_lora"


def _load(checkpoint: Path, card: LanguageCard, base: str) -> LanguageScorer:
    """The checkpoint on a base without weights; where the head is updated, on one whose weights stay in their files."""
    if _has_ends(card):
        return LanguageScorer.load(checkpoint, _stored_type(base), base=base)
    scorer = LanguageScorer.on(checkpoint, card, skeleton(load_config(base, weights=False, quantised=True)))
    for layer in (module for module in scorer.modules() if isinstance(module, LoraLayer)):
        layer.lora_A.to_empty(device="cpu")  # peft put them where the base is: nowhere
        layer.lora_B.to_empty(device="cpu")
    fill(scorer.adapters(), adapter_file(checkpoint, ADAPTERS))
    return scorer.eval()


def _stored_type(base: str) -> torch.dtype:
    stored: torch.dtype | None = getattr(load_config(base), "dtype", None)
    return stored or torch.float32


def _opening(tokenizer: Any) -> list[int]:
    """The token behind which an export of scope `response` acts.

    Raises:
        InputError: there is no such one.
    """
    if (last := _last_token(tokenizer)) is None:
        raise InputError(
            "scope response acts from the last prompt token on, and this tokenizer has no chat template that ends in a "
            f"token of its own, which PEFT's activated LoRA could know it by; {_MEND}"
        )
    return [last]


def _last_token(tokenizer: Any) -> int | None:
    """The token that every prompt of a chat ends with; None where there is no such one."""
    if not tokenizer.chat_template:
        return None
    ends = set()
    for text in ("hello", "What is the sum of 2 and 3?"):
        chat = [{"role": "user", "content": text}]
        rendered = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        if rendered == tokenizer.apply_chat_template(chat, tokenize=False):
            return None
        ends.add(tokenizer(rendered, add_special_tokens=False)["input_ids"][-1])
    return ends.pop() if len(ends) == 1 else None


def _adapter(scorer: LanguageScorer, gates: Tensor | None) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of plain LoRA by PEFT's names, and the modules that they adapt.

    Args:
        gates: [layers, rank] at the weights; None for adapters without gates.
    """
    model = scorer.model.get_base_model()
    names = {module: name for name, module in model.named_modules()}
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    tensors: dict[str, Tensor] = {}
    targets = [names[layer] for layer in layers]
    for index, layer in enumerate(layers):
        pair: Any = layer.lora_A["default"], layer.lora_B["default"]
        a, b = (factor.weight for factor in pair)
        tensors[f"{_PREFIX}{names[layer]}.lora_A.weight"] = a if gates is None else gates[index][:, None] * a
        tensors[f"{_PREFIX}{names[layer]}.lora_B.weight"] = b
    if gates is not None and _has_ends(scorer.card):
        ends = scorer.ends
        embed, head = names[scorer.embed], names[scorer.head]
        # Some bases multiply their embeddings as they are looked up: PEFT multiplies the update too, ours comes after.
        scale = float(getattr(scorer.embed, "scalar_embed_scale", 1.0))
        tensors[f"{_PREFIX}{embed}.lora_embedding_A"] = (ends.lora_in_a * gates[-2]).T
        tensors[f"{_PREFIX}{embed}.lora_embedding_B"] = ends.lora_in_b / scale
        tensors[f"{_PREFIX}{head}.lora_A.weight"] = gates[-1][:, None] * ends.lora_out_a
        tensors[f"{_PREFIX}{head}.lora_B.weight"] = scorer.head.weight.float() @ ends.lora_out_b
        targets += [embed, head]
    return {name: tensor.detach().float().contiguous().clone() for name, tensor in tensors.items()}, targets


_PREFIX = "base_model.model."
"""How PEFT's names of a model's modules begin."""


def _write_adapter(
    folder: Path,
    scorer: LanguageScorer,
    tensors: dict[str, Tensor],
    targets: list[str],
    opening: list[int] | None,
    base: str,
) -> None:
    trained = scorer.model.peft_config["default"]
    settings = LoraConfig(
        task_type="CAUSAL_LM",
        r=trained.r,
        lora_alpha=trained.lora_alpha,
        target_modules=targets,
        fan_in_fan_out=trained.fan_in_fan_out,
        alora_invocation_tokens=opening,
        base_model_name_or_path=base,
        inference_mode=True,
    )
    settings.save_pretrained(str(folder))
    save_file(tensors, folder / SAFETENSORS_WEIGHTS_NAME, metadata={"format": "pt"})


def _merge(folder: Path, base: str, dtype: str) -> None:
    """Replaces the adapter in `folder` by a whole model."""
    model: Any = AutoModelForCausalLM.from_pretrained(as_folder(base), dtype=torch.float32, trust_remote_code=False)
    head = model.get_output_embeddings()
    if head.weight is model.get_input_embeddings().weight:  # each gets an update of its own
        head.weight = nn.Parameter(head.weight.detach().clone())
        model.config.tie_word_embeddings = False
    merged: Any = PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
    for path in folder.iterdir():
        path.unlink()
    merged.to(_stored_type(base) if dtype == "auto" else getattr(torch, dtype)).save_pretrained(folder)


def _readme(settings: ExportSettings, card: LanguageCard, shares: str) -> str:
    kind = "model" if settings.merge else "adapter"
    load = (
        f'AutoModelForCausalLM.from_pretrained("{settings.to.name}")'
        if settings.merge
        else f'PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("{card.base}"), "{settings.to.name}")'
    )
    return (
        f"---\nbase_model: {card.base}\n---\n\n"
        f"One point of a front, exported by cosdpo as a plain {kind}: {shares}.\n\n```python\nmodel = {load}\n```\n"
    )


def main(argv: Sequence[str]) -> None:
    """Exports what the command line asks for."""

    def program() -> None:
        print(export(read(ExportSettings, argv, __doc__)))

    framed(program)


if __name__ == "__main__":
    main(sys.argv[1:])
