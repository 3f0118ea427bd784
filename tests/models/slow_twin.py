"""The slow twin of the language scorer: plain transformers, one candidate at a time, adapters merged into the weights.

For one context its policy is an ordinary causal model with the weights W + scaling * B diag(g(w)) A, whose input
embeddings have the soft tokens in their place. It is differentiable in everything that is trained.
"""

from __future__ import annotations

from pathlib import Path

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor
from torch.func import functional_call
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from cosdpo.models.language import LanguageScorer


class SlowTwin:
    """Scores and next-token logits of `scorer`, computed the plain way on the base in `folder`."""

    def __init__(self, scorer: LanguageScorer, folder: Path) -> None:
        self.scorer = scorer
        self.plain = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
        self.plain.requires_grad_(False)

    def merged(self, conditions: Tensor) -> dict[str, Tensor]:
        """The weights of the adapted matrices at `conditions`, [conditions]."""
        gates = self.scorer.gates(conditions[None])[0] if self.scorer.gates is not None else None
        modules = self.scorer.model.get_base_model().named_modules()
        layers = [(name, module) for name, module in modules if isinstance(module, LoraLayer)]
        weights = {}
        for index, (name, layer) in enumerate(layers):
            a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
            gate = torch.ones(len(a)) if gates is None else gates[index]
            delta = layer.scaling["default"] * b @ torch.diag(gate) @ a
            transposed = isinstance(layer.get_base_layer(), Conv1D)  # GPT-2 stores [in, out]
            weights[f"{name}.weight"] = self.plain.get_parameter(f"{name}.weight") + (delta.T if transposed else delta)
        return weights

    def logits(self, prompt: list[int], response: list[int], weights: Tensor, temperatures: Tensor) -> Tensor:
        """Logits [R, V] that predict each response token."""
        scorer, embed = self.scorer, self.plain.get_input_embeddings()
        conditions = weights
        if scorer.card.temperature_conditioned:
            conditions = torch.cat([weights, temperatures / temperatures.sum()])
        soft = scorer.prompt(conditions[None])[0] if scorer.prompt is not None else embed.weight[:0]
        tail = embed(torch.tensor(response[:-1], dtype=torch.long))
        past = None
        if scorer.card.scope == "sequence":
            inputs = torch.cat([soft, embed(torch.tensor(prompt)), tail])
        else:
            if len(prompt) > 1:
                with torch.no_grad():
                    past = self.plain(input_ids=torch.tensor([prompt[:-1]]), use_cache=True).past_key_values
            inputs = torch.cat([embed(torch.tensor(prompt[-1:])), soft, tail])
        arguments = {"inputs_embeds": inputs[None], "past_key_values": past, "use_cache": past is not None}
        output = functional_call(self.plain, self.merged(conditions), kwargs=arguments)
        return output.logits[0, -len(response) :]

    def score(self, prompt: list[int], response: list[int], weights: Tensor, temperatures: Tensor) -> Tensor:
        """log pi(response | prompt, weights)."""
        log_p = self.logits(prompt, response, weights, temperatures).log_softmax(-1)
        return log_p[range(len(response)), response].sum()

    def reference(self, prompt: list[int], response: list[int]) -> Tensor:
        """log pi_ref(response | prompt), by transformers alone."""
        with torch.no_grad():
            logits = self.plain(input_ids=torch.tensor([prompt + response])).logits[0]
        log_p = logits[len(prompt) - 1 : -1].log_softmax(-1)
        return log_p[range(len(response)), response].sum()
