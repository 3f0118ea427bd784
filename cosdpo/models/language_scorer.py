"""The language scorer: log pi(y_i | x, w) of every candidate response.

    scores[B, n] = scorer(contexts, weights[B, m], temperatures[B, m])

The policy is a frozen base with LoRA adapters and a conditioning (models/conditioning.py); the reference is the same
base with both switched off (models/frozen_scorer.py), so the two share all frozen weights.

Scope `sequence` lets the adapters act on every token, as in the paper. With scope `response` soft tokens stand between
prompt and response, and adapters act from the last prompt token on: the prompt is then encoded once by the frozen
base, without gradient, for all candidates and all trade-offs.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from cosdpo.config import Config
from cosdpo.data.tokenization import TokenizedContext
from cosdpo.errors import InputError
from cosdpo.losses import rescale
from cosdpo.models.adapter_settings import ADAPTERS, adapter_file, read_adapter_settings, rename_adapters
from cosdpo.models.base import checkpoint_activations, load_base, load_config, skeleton
from cosdpo.models.cards import LanguageCard
from cosdpo.models.check import check_architecture
from cosdpo.models.conditioning import EndAdapter, Gates, HyperPrompt, attach, attach_ends
from cosdpo.models.frozen_scorer import FrozenScorer
from cosdpo.models.log_probabilities import token_divergences
from cosdpo.models.packing import PromptCache
from cosdpo.models.tensors import fill

CONDITIONING = "conditioning.safetensors"

_README = """\
---
base_model: {base}
tags: [cosdpo]
---

A conditioned model of [COS-DPO](https://arxiv.org/abs/2410.08316): one set of adapters whose gates (or soft tokens)
depend on the importance weights of the objectives, which cosdpo.json names. Adapters alone are not the model, so these
are not in a form that peft loads.

```bash
python -m serve --checkpoint THIS_FOLDER                                        # every trade-off, by request
python -m cosdpo.export --checkpoint THIS_FOLDER --weights NAME=1 --to FOLDER   # one of them, as plain peft
```
"""

# peft asks every model for a property that transformers has renamed; the plan of a job is no place to say so.
warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)


class LanguageScorer(FrozenScorer):
    """A conditioned language model over the objectives named by its card."""

    prompt: HyperPrompt | None
    gates: Gates | None

    def __init__(self, model: Any, card: LanguageCard) -> None:
        super().__init__(model.get_base_model())
        self.model = model
        self.card = card
        layers = attach(model, self.state)
        conditions = len(card.objectives) * (2 if card.temperature_conditioned else 1)
        width = self.embed.weight.shape[1]
        rank = model.peft_config["default"].r
        self.prompt, self.gates = None, None
        if card.conditioning in ("hyper_prompt", "both"):
            # Gemma's embeddings are multiplied by a constant as they are looked up.
            scale = self.embed.weight.float().std() * getattr(self.embed, "scalar_embed_scale", 1.0)
            self.prompt = HyperPrompt(card.soft_tokens, width, conditions, scale)
        if card.conditioning in ("gated_lora", "both"):
            self.gates = Gates(layers + 2, rank, len(card.objectives), conditions, card.gates)
            if card.adapt_ends:
                scaling = model.peft_config["default"].lora_alpha / rank
                self.ends = EndAdapter(self.embed.weight.shape[0], width, rank, scaling)
                attach_ends(self.embed, self.body, self.ends, self.state, layers)

    @classmethod
    def create(cls, config: Config, base: Any) -> LanguageScorer:
        """Fresh adapters and conditioning on `base`, initialised under torch's current seed."""
        lora = LoraConfig(
            task_type="CAUSAL_LM",
            r=config.model.lora_rank,
            lora_alpha=config.model.lora_alpha,  # type: ignore[arg-type]  # any float scales as well
            lora_dropout=config.model.lora_dropout,
            target_modules=config.model.lora_targets or "all-linear",
            # GPT-2's matrices are stored as [inputs, outputs]. peft finds out by itself, with a warning per matrix.
            fan_in_fan_out=any(isinstance(module, Conv1D) for module in base.modules()),
        )
        check_adapters(config, base)
        if config.model.gradient_checkpointing:
            checkpoint_activations(base)
        scorer = cls(get_peft_model(base, lora), LanguageCard.of(config))
        if scorer.gates is not None:
            scorer.gates.deal(config.model.shared_ranks)
        return scorer

    def start_from(self, folder: Path) -> None:
        """Takes over the adapters and conditioning of a checkpoint of the same form.

        Raises:
            InputError: they have other forms.
        """
        fill(self.adapters(), adapter_file(folder, ADAPTERS))
        fill(self.conditioning(), folder / CONDITIONING)

    def decays(self, name: str) -> bool:
        """Whether AdamW's weight decay acts on a parameter: on the adapters' matrices alone."""
        return "lora_" in name

    def trained_parameters(self) -> int:
        """Number of adapter, gate and hyper-prompt parameters."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    def conditions(self, weights: Tensor, temperatures: Tensor) -> Tensor:
        """[w] or [w; bbar], shape [B, m] or [B, 2m]."""
        if not self.card.temperature_conditioned:
            return weights
        return torch.cat([weights, temperatures / temperatures.sum(-1, keepdim=True)], -1)

    def forward(self, contexts: Sequence[TokenizedContext], weights: Tensor, temperatures: Tensor) -> Tensor:
        """log pi(y_i | x, w) summed over response tokens, [B, n] in float32; absent candidates are 0.

        Args:
            weights: [B, m] on the scorer's device.
            temperatures: [B, m]; only their ratios matter, and only to a temperature-conditioned model.
        """
        return self._scores(contexts, self._tuned(contexts, weights, temperatures, self._prompts(contexts)))

    def soft_and_gates(self, conditions: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Soft tokens [B, k, H] and gates [B, layers, rank] under `conditions`; None where the model has none."""
        soft = self.prompt(conditions) if self.prompt is not None else None
        return soft, self.gates(conditions) if self.gates is not None else None

    def _prompts(self, contexts: Sequence[TokenizedContext]) -> PromptCache | None:
        """What the frozen base encodes beforehand, shared by all passes over `contexts`; None in scope `sequence`."""
        return self._encode_prompts(contexts) if self.card.scope == "response" else None

    def _tuned(
        self, contexts: Sequence[TokenizedContext], weights: Tensor, temperatures: Tensor, cache: PromptCache | None
    ) -> Tensor:
        """The tuned model's `_predictors`."""
        soft, gates = self.soft_and_gates(self.conditions(weights, temperatures))
        return self._predictors(contexts, soft, gates, cache, tuned=True)

    @torch.no_grad()
    def rescaled(self, contexts: Sequence[TokenizedContext], weights: Tensor, temperatures: Tensor, c: float) -> Tensor:
        """`rescaled_to_each` of a single ratio."""
        return self.rescaled_to_each(contexts, weights, temperatures, [c])[0]

    @torch.no_grad()
    def predictors(
        self, contexts: Sequence[TokenizedContext], weights: Tensor, temperatures: Tensor, c: float
    ) -> Tensor:
        """Final hidden states [T, H] whose logits predict the responses' tokens at a multiple c of the trained
        temperature: the first of every candidate, then the others.
        """
        return self._predictors_at_each(contexts, weights, temperatures, [c])[0]

    @torch.no_grad()
    def rescaled_to_each(
        self, contexts: Sequence[TokenizedContext], weights: Tensor, temperatures: Tensor, ratios: Sequence[float]
    ) -> list[Tensor]:
        """log pi(y_i | x, w) of the model at multiples c of the trained temperature, [B, n] each; absent candidates
        are 0.

        Per token the logits are (1 - 1/c) z_ref + (1/c) z, as they are mixed at decoding time. That is the optimum at
        c * beta token by token, and an approximation of it for whole responses (Liu et al. 2024, arXiv 2402.02992).

        Args:
            temperatures: [B, m]; only their ratios matter here.
            ratios: the c, wanted over trained temperature, which share one pass of the tuned model and one of the base;
                1 is the tuned model alone, infinity the base alone.
        """
        hidden = self._predictors_at_each(contexts, weights, temperatures, ratios)
        return [self._scores(contexts, predictors) for predictors in hidden]

    def _predictors_at_each(
        self, contexts: Sequence[TokenizedContext], weights: Tensor, temperatures: Tensor, ratios: Sequence[float]
    ) -> list[Tensor]:
        cache = self._prompts(contexts)
        tuned = self._tuned(contexts, weights, temperatures, cache)
        if set(ratios) == {1}:
            return [tuned] * len(ratios)
        base = self._predictors(contexts, None, None, cache, tuned=False)
        # The head is linear and frozen: mixing the hidden states mixes the logits.
        return [tuned if c == 1 else rescale(tuned, base, c) for c in ratios]

    @torch.no_grad()
    def divergence(
        self, contexts: Sequence[TokenizedContext], weights: Tensor, temperatures: Tensor, ratios: Sequence[float]
    ) -> list[Tensor]:
        """KL(pi || pi_ref) of the next-token distributions, summed over all candidates' tokens, [B] in nats, at each c.

        Args:
            temperatures: [B, m]; only their ratios matter here.
            ratios: the c of `rescaled`; all of them share one pass of the tuned model and one of the base.
        """
        cache = self._prompts(contexts)
        base = self._predictors(contexts, None, None, cache, tuned=False)
        tuned = self._tuned(contexts, weights, temperatures, cache)
        head = self.head.weight, getattr(self.head, "bias", None)
        return [self._sums(contexts, token_divergences(rescale(tuned, base, c), base, *head)).sum(1) for c in ratios]

    def trainable(self) -> dict[str, Tensor]:
        """The trained tensors by name: adapters, hyper prompt, gates."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def adapters(self) -> dict[str, Tensor]:
        """The adapters' tensors by the names that they have in adapters.safetensors."""
        tensors: dict[str, Tensor] = get_peft_model_state_dict(self.model, save_embedding_layers=False)
        return tensors

    def conditioning(self) -> dict[str, Tensor]:
        """The tensors of hyper prompt, gates and the ends' adapters, by name."""
        return {n: p for n, p in self.named_parameters() if not n.startswith("model.")}

    def save(self, folder: Path) -> None:
        """Writes adapters.json, adapters.safetensors, conditioning.safetensors, cosdpo.json and a README.md."""
        folder.mkdir(parents=True, exist_ok=True)
        self.model.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)
        rename_adapters(folder)
        (folder / "README.md").write_text(_README.format(base=self.card.base), encoding="utf-8")
        conditioning = {n: p.detach().cpu().contiguous() for n, p in self.conditioning().items()}
        save_file(conditioning, folder / CONDITIONING)
        self.card.write(folder)

    @classmethod
    def load(
        cls,
        folder: Path,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
        base: str = "",
        quantization: str = "none",
    ) -> LanguageScorer:
        """A scorer from `save`; `base` overrides where the base model is found, `quantization` is as in training.

        Raises:
            InputError: the folder is not a whole checkpoint, or its base cannot be loaded.
        """
        card = LanguageCard.read(folder)
        return cls.on(folder, card, load_base(base or card.base, dtype, quantization)).to(device).eval()

    @classmethod
    def check(cls, folder: Path, base: str = "") -> None:
        """Raises InputError for a folder that `load` refuses; of the base it reads the configuration alone."""
        card = LanguageCard.read(folder)
        config = load_config(base or card.base)
        check_architecture(base or card.base, config)
        modules = skeleton(config)
        with torch.device("meta"):
            cls.on(folder, card, modules)

    @classmethod
    def on(cls, folder: Path, card: LanguageCard, base: Any) -> LanguageScorer:
        """The scorer of a checkpoint on `base`; adapters of a base on the meta device stay there."""
        try:
            scorer = cls(get_peft_model(base, read_adapter_settings(folder)), card)
        except ValueError as error:
            raise InputError(f"{folder} does not fit its base: {str(error).splitlines()[0]}") from None
        fill(scorer.adapters(), adapter_file(folder, ADAPTERS))
        fill(scorer.conditioning(), folder / CONDITIONING)
        return scorer


def check_adapters(config: Config, base: Any) -> None:
    """Raises InputError when the adapters of `config` do not fit `base`, which may be on the meta device."""
    m = len(config.objectives)
    blocks = m if config.model.gates == "affine" else m * (m + 1) // 2
    shared = config.model.shared_ranks
    if config.conditioning in ("gated_lora", "both") and config.model.lora_rank - shared < blocks:
        less = f" less model.shared_ranks {shared}" if shared else ""
        raise InputError(
            f"model.lora_rank {config.model.lora_rank}{less} is smaller than the {blocks} blocks that "
            f"{config.model.gates} gates need for {m} objectives; raise it"
            + ("" if config.model.gates == "affine" else ", or set model.gates affine")
        )
    adaptable = (name for name, module in base.base_model.named_modules() if isinstance(module, nn.Linear | Conv1D))
    linear = {name.rsplit(".", 1)[-1] for name in adaptable}  # not the head, whose gradient is that of a frozen one
    unknown = [name for name in config.model.lora_targets if name.rsplit(".", 1)[-1] not in linear]
    if unknown:
        raise InputError(f"model.lora_targets {unknown}: no such modules below the head; there are {sorted(linear)}")
