"""The language scorer: log pi(y_i | x, w) of every candidate response, and of the frozen reference.

    scores[B, n] = scorer(contexts, weights[B, m], temperatures[B, m])

The policy is a frozen base with LoRA adapters and a conditioning (models/conditioning.py); the reference is the same
base with both switched off, so the two share all frozen weights.

Scope `sequence` lets the adapters act on every token, as in the paper. With scope `response` soft tokens stand between
prompt and response, and adapters act from the last prompt token on: the prompt is then encoded once by the frozen
base, without gradient, for all candidates and all trade-offs.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from pydantic import BaseModel, ConfigDict
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from cosdpo.config import Config
from cosdpo.data.batching import length_batches
from cosdpo.data.tokenization import TokenizedContext
from cosdpo.errors import InputError
from cosdpo.losses import rescale
from cosdpo.models.base import load_base
from cosdpo.models.conditioning import AdapterState, EndAdapter, Gates, HyperPrompt, attach, attach_ends
from cosdpo.models.log_probabilities import token_divergences, token_log_probabilities
from cosdpo.models.packing import Layout, PromptCache, lay_out

# peft asks every model for a property that transformers has renamed; the plan of a job is no place to say so.
warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)


class Card(BaseModel):
    """What a checkpoint says of itself in cosdpo.json."""

    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    task: Literal["language"] = "language"
    base: str
    objectives: list[str]
    trained_temperature: list[float]
    conditioning: Literal["hyper_prompt", "gated_lora", "both", "none"]
    scope: Literal["sequence", "response"]
    temperature_conditioned: bool
    gates: Literal["affine", "quadratic"]
    adapt_ends: bool
    soft_tokens: int
    prompt_template: str
    response_template: str
    append_eos: bool

    @classmethod
    def of(cls, config: Config) -> Card:
        """The card of a run with this configuration."""
        return cls(
            base=config.model.base,
            objectives=config.objectives,
            trained_temperature=config.temperatures,
            conditioning=config.conditioning,
            scope=config.scope,
            temperature_conditioned=config.model.temperature_conditioned,
            gates=config.model.gates,
            adapt_ends=config.model.adapt_ends,
            soft_tokens=config.model.soft_tokens if config.conditioning in ("hyper_prompt", "both") else 0,
            prompt_template=config.data.prompt_template,
            response_template=config.data.response_template,
            append_eos=config.data.append_eos,
        )


class FrozenScorer(nn.Module):
    """The reference: log pi_ref(y_i | x) under the frozen base, and the scoring pass that the tuned model shares."""

    body: Any
    head: Any
    embed: Any

    def __init__(self, causal: Any) -> None:
        super().__init__()
        # Views, not second registrations: whoever owns the module named `model` owns these weights.
        object.__setattr__(self, "body", causal.base_model)
        object.__setattr__(self, "head", causal.get_output_embeddings())
        object.__setattr__(self, "embed", causal.get_input_embeddings())
        self.state = AdapterState()

    @classmethod
    def of(cls, causal: Any) -> FrozenScorer:
        """A scorer that owns the frozen base `causal`."""
        scorer = cls(causal)
        scorer.model = causal
        return scorer

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self.embed.weight.device
        return device

    @torch.no_grad()
    def reference(self, contexts: Sequence[TokenizedContext]) -> Tensor:
        """log pi_ref(y_i | x), [B, n]: the base without adapters and soft tokens; absent candidates are 0."""
        return self._scores(contexts, self._predictors(contexts, None, None, None, tuned=False))

    def all_references(self, contexts: Sequence[TokenizedContext], batch_tokens: int) -> list[list[float]]:
        """log pi_ref of every candidate of every context, in batches of similar length."""
        scores: list[list[float]] = [[]] * len(contexts)
        for indices in length_batches([c.tokens for c in contexts], batch_tokens):
            rows = self.reference([contexts[i] for i in indices]).tolist()
            for i, row in zip(indices, rows, strict=True):
                scores[i] = row[: len(contexts[i].candidates)]
        return scores

    def _predictors(
        self,
        contexts: Sequence[TokenizedContext],
        soft: Tensor | None,
        gates: Tensor | None,
        cache: PromptCache | None,
        tuned: bool,
    ) -> Tensor:
        """Final hidden states [T, H] that predict response tokens: the first of every candidate, then the others."""
        k = soft.shape[1] if soft is not None else 0
        cached = cache.lengths if cache is not None else None
        prefixes = [(1 if cached is not None else len(c.prompt)) + k for c in contexts]
        layout = lay_out(prefixes, [[len(y) - 1 for y in c.candidates] for c in contexts], cached)
        if cache is not None and cache.layers:
            layout.cache = cache

        placeholder = [0] * k
        ids: list[int] = []
        soft_at: list[int] = []
        for context in contexts:
            start = len(ids) + (cached is not None)  # soft tokens follow the last prompt token, or open the prompt
            soft_at.extend(range(start, start + k))
            ids += context.prompt[-1:] + placeholder if cached is not None else placeholder + context.prompt
        for context in contexts:
            for y in context.candidates:
                ids += y[:-1]
        layout = layout.to(self.device, self.embed.weight.dtype)
        self.state.enabled, self.state.gates, self.state.rows = tuned, gates, layout.context_of_token
        embeddings = self.embed(torch.tensor(ids, device=self.device))
        if soft is not None:
            index = torch.tensor(soft_at, device=self.device)
            embeddings = embeddings.index_copy(0, index, soft.flatten(0, 1).to(embeddings.dtype))
        hidden = self._run(embeddings, layout)

        firsts = hidden.index_select(0, layout.last_prefix).index_select(0, layout.context_of_row)
        return torch.cat([firsts, hidden[sum(prefixes) :]])

    def _scores(self, contexts: Sequence[TokenizedContext], predictors: Tensor) -> Tensor:
        """log-probabilities summed over response tokens, [B, n], from hidden states as `_predictors` orders them."""
        rows = [y for c in contexts for y in c.candidates]
        tokens = [y[0] for y in rows] + [t for y in rows for t in y[1:]]
        row_of_token = _rows_of_tokens(rows)
        log_p = token_log_probabilities(
            predictors, self.head.weight, getattr(self.head, "bias", None), torch.tensor(tokens, device=self.device)
        )
        sums = log_p.new_zeros(len(rows)).index_add(0, torch.tensor(row_of_token, device=self.device), log_p)
        n = max(len(c.candidates) for c in contexts)
        context = torch.tensor([b for b, c in enumerate(contexts) for _ in c.candidates], device=self.device)
        column = torch.tensor([i for c in contexts for i in range(len(c.candidates))], device=self.device)
        return sums.new_zeros(len(contexts), n).index_put((context, column), sums)

    def _run(self, embeddings: Tensor, layout: Layout) -> Tensor:
        """Final hidden states of packed tokens, [T, H]."""
        half = self.embed.weight.dtype == torch.bfloat16
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            output = self.body(
                inputs_embeds=embeddings[None],
                position_ids=layout.positions[None],
                # Four dimensions: transformers takes the mask as it is; `attend` reads the layout's own.
                attention_mask=layout.prefix_mask,
                use_cache=False,
                layout=layout,
            )
        hidden: Tensor = output.last_hidden_state[0]
        return hidden


class LanguageScorer(FrozenScorer):
    """A conditioned language model over the objectives named by its card."""

    prompt: HyperPrompt | None
    gates: Gates | None

    def __init__(self, model: Any, card: Card) -> None:
        super().__init__(model.get_base_model())
        self.model = model
        self.card = card
        layers = attach(model, self.state)
        conditions = len(card.objectives) * (2 if card.temperature_conditioned else 1)
        width = self.embed.weight.shape[1]
        rank = model.peft_config["default"].r
        self.prompt = None
        self.gates = None
        if card.conditioning in ("hyper_prompt", "both"):
            self.prompt = HyperPrompt(card.soft_tokens, width, conditions, self.embed.weight.float().std())
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
        return cls(get_peft_model(base, lora), Card.of(config))

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
        cache = self._encode_prompts(contexts) if self.card.scope == "response" else None
        return self._scores(contexts, self._tuned(contexts, weights, temperatures, cache))

    def _tuned(
        self, contexts: Sequence[TokenizedContext], weights: Tensor, temperatures: Tensor, cache: PromptCache | None
    ) -> Tensor:
        """The tuned model's `_predictors`."""
        conditions = self.conditions(weights, temperatures)
        soft = self.prompt(conditions) if self.prompt is not None else None
        gates = self.gates(conditions) if self.gates is not None else None
        return self._predictors(contexts, soft, gates, cache, tuned=True)

    @torch.no_grad()
    def rescaled(self, contexts: Sequence[TokenizedContext], weights: Tensor, temperatures: Tensor, c: float) -> Tensor:
        """log pi(y_i | x, w) of the model at c times the trained temperature, [B, n]; absent candidates are 0.

        Per token the logits are (1 - 1/c) z_ref + (1/c) z, as they are mixed at decoding time. That is the optimum at
        c * beta token by token, and an approximation of it for whole responses (Liu et al. 2024, arXiv 2402.02992).

        Args:
            temperatures: [B, m]; only their ratios matter here.
            c: ratio of the wanted to the trained temperature; 1 is the tuned model alone, infinity the base alone.
        """
        cache = self._encode_prompts(contexts) if self.card.scope == "response" else None
        if c == 1:
            return self._scores(contexts, self._tuned(contexts, weights, temperatures, cache))
        base = self._predictors(contexts, None, None, cache, tuned=False)
        if c == float("inf"):
            return self._scores(contexts, base)
        # The head is linear and frozen: mixing the hidden states mixes the logits.
        tuned = self._tuned(contexts, weights, temperatures, cache)
        return self._scores(contexts, rescale(tuned, base, c))

    @torch.no_grad()
    def rescaled_to_each(
        self, contexts: Sequence[TokenizedContext], weights: Tensor, temperatures: Tensor, ratios: Sequence[float]
    ) -> list[Tensor]:
        """`rescaled` at every c of `ratios`, [B, n] each, from one pass of the tuned model and one of the base."""
        cache = self._encode_prompts(contexts) if self.card.scope == "response" else None
        tuned = self._tuned(contexts, weights, temperatures, cache)
        if set(ratios) == {1}:
            return [self._scores(contexts, tuned)] * len(ratios)
        base = self._predictors(contexts, None, None, cache, tuned=False)
        return [self._scores(contexts, tuned if c == 1 else rescale(tuned, base, c)) for c in ratios]

    @torch.no_grad()
    def divergence(
        self, contexts: Sequence[TokenizedContext], weights: Tensor, temperatures: Tensor, ratios: Sequence[float]
    ) -> list[Tensor]:
        """KL(pi || pi_ref) of the next-token distributions along the candidates' tokens, [T] in nats, at every c.

        Args:
            temperatures: [B, m]; only their ratios matter here.
            ratios: the c of `rescaled`; all of them share one pass of the tuned model and one of the base.
        """
        cache = self._encode_prompts(contexts) if self.card.scope == "response" else None
        base = self._predictors(contexts, None, None, cache, tuned=False)
        tuned = self._tuned(contexts, weights, temperatures, cache)
        head = self.head.weight, getattr(self.head, "bias", None)
        return [token_divergences(rescale(tuned, base, c), base, *head) for c in ratios]

    @torch.no_grad()
    def _encode_prompts(self, contexts: Sequence[TokenizedContext]) -> PromptCache:
        """Keys and values of every prompt but its last token, under the frozen base."""
        lengths = [len(c.prompt) - 1 for c in contexts]
        cache = PromptCache(lengths)
        if max(lengths) == 0:
            return cache
        layout = lay_out(lengths, [[] for _ in contexts]).to(self.device, self.embed.weight.dtype)
        layout.record = cache
        self.state.enabled = False
        ids = torch.tensor([t for c in contexts for t in c.prompt[:-1]], device=self.device)
        self._run(self.embed(ids), layout)
        return cache

    def trainable(self) -> dict[str, Tensor]:
        """The trained tensors by name: adapters, hyper prompt, gates."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def save(self, folder: Path) -> None:
        """Writes peft's adapter_config.json and adapter_model.safetensors, conditioning.safetensors and cosdpo.json."""
        folder.mkdir(parents=True, exist_ok=True)
        self.model.save_pretrained(str(folder), safe_serialization=True)
        (folder / "README.md").unlink(missing_ok=True)
        conditioning = {
            n: p.detach().cpu().contiguous() for n, p in self.trainable().items() if not n.startswith("model.")
        }
        save_file(conditioning, folder / "conditioning.safetensors")
        (folder / "cosdpo.json").write_text(json.dumps(self.card.model_dump(), indent=2) + "\n")

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
            InputError: the folder is not a checkpoint, or its base cannot be loaded.
        """
        card = read_card(folder)
        model = PeftModel.from_pretrained(load_base(base or card.base, dtype, quantization), str(folder))
        scorer = cls(model, card)
        missing = scorer.load_state_dict(load_file(folder / "conditioning.safetensors"), strict=False).missing_keys
        absent = [name for name in missing if not name.startswith("model.")]
        if absent:
            raise InputError(f"{folder} is not a whole checkpoint: conditioning.safetensors lacks {', '.join(absent)}")
        return scorer.to(device).eval()


def _rows_of_tokens(rows: Sequence[Sequence[int]]) -> list[int]:
    """Candidate that each predicted token belongs to: first tokens of all, then the others."""
    return list(range(len(rows))) + [r for r, y in enumerate(rows) for _ in y[1:]]


def read_card(folder: Path) -> Card:
    """The card of the checkpoint in `folder`; raises InputError where there is none."""
    try:
        return Card.model_validate_json((folder / "cosdpo.json").read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} is not a cosdpo checkpoint: cosdpo.json is missing or broken") from error


def check_adapters(config: Config, base: Any) -> None:
    """Raises InputError when the adapters of `config` do not fit `base`, which may be on the meta device."""
    m = len(config.objectives)
    blocks = m if config.model.gates == "affine" else m * (m + 1) // 2
    if config.conditioning in ("gated_lora", "both") and config.model.lora_rank < blocks:
        raise InputError(
            f"model.lora_rank {config.model.lora_rank} is smaller than the {blocks} blocks that "
            f"{config.model.gates} gates need for {m} objectives; raise it"
            + ("" if config.model.gates == "affine" else ", or set model.gates affine")
        )
    linear = {
        name.rsplit(".", 1)[-1] for name, module in base.named_modules() if isinstance(module, nn.Linear | Conv1D)
    }
    unknown = [name for name in config.model.lora_targets if name.rsplit(".", 1)[-1] not in linear]
    if unknown:
        raise InputError(f"model.lora_targets {unknown}: no such modules; the base has {sorted(linear)}")
