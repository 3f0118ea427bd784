"""The slow twin of the language scorer: plain transformers, one candidate at a time, adapters merged into the weights.

For one context its policy is an ordinary causal model with the weights W + scaling * B diag(g(w)) A, whose input
embeddings have the soft tokens in their place, and whose embedding table and final hidden states have their own update
of that form. It is differentiable in everything that is trained.
"""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor
from torch.func import functional_call
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from cosdpo.models.language_scorer import LanguageScorer


@cache
def _plain(folder: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval().requires_grad_(False)


class SlowTwin:
    """Scores and next-token logits of `scorer`, computed the plain way on the base in `folder`."""

    def __init__(self, scorer: LanguageScorer, folder: Path) -> None:
        self.scorer = scorer
        self.plain = copy.deepcopy(_plain(folder))

    def gates(self, conditions: Tensor) -> Tensor:
        """[layers, rank] of one context; of ones where the adapters are not gated."""
        if self.scorer.gates is not None:
            return self.scorer.gates(conditions[None])[0]
        return torch.ones(100, self.scorer.model.peft_config["default"].r)

    def merged(self, gates: Tensor) -> dict[str, Tensor]:
        """The adapted matrices of the body."""
        modules = self.scorer.model.get_base_model().base_model.named_modules()
        layers = [(name, module) for name, module in modules if isinstance(module, LoraLayer)]
        weights = {}
        for index, (name, layer) in enumerate(layers):
            a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
            delta = layer.scaling["default"] * b @ torch.diag(gates[index]) @ a
            transposed = isinstance(layer.get_base_layer(), Conv1D)  # GPT-2 stores [in, out]
            weight = self.plain.base_model.get_parameter(f"{name}.weight")
            weights[f"{name}.weight"] = weight + (delta.T if transposed else delta)
        return weights

    def logits(self, prompt: list[int], response: list[int], weights: Tensor, temperatures: Tensor) -> Tensor:
        """Logits [R, V] that predict each response token."""
        scorer, table = self.scorer, self.plain.get_input_embeddings()(torch.arange(self.plain.config.vocab_size))
        conditions = weights
        if scorer.card.temperature_conditioned:
            conditions = torch.cat([weights, temperatures / temperatures.sum()])
        gates = self.gates(conditions)
        merged = self.merged(gates)
        ends = scorer.ends if scorer.gates is not None and scorer.card.adapt_ends else None
        if ends is not None:  # the last two rows of gates
            table = table + ends.scaling * ends.lora_in_a @ torch.diag(gates[-2]) @ ends.lora_in_b.T

        soft = scorer.prompt(conditions[None])[0] if scorer.prompt is not None else table[:0]
        past = None
        if scorer.card.scope == "sequence":
            inputs = torch.cat([soft, table[prompt], table[response[:-1]]])
        else:
            if len(prompt) > 1:
                with torch.no_grad():
                    past = self.plain(input_ids=torch.tensor([prompt[:-1]]), use_cache=True).past_key_values
            inputs = torch.cat([table[prompt[-1:]], soft, table[response[:-1]]])
        arguments = {"inputs_embeds": inputs[None], "past_key_values": past, "use_cache": past is not None}
        hidden = functional_call(self.plain.base_model, merged, kwargs=arguments).last_hidden_state[0]
        if ends is not None:
            hidden = hidden + ends.scaling * hidden @ ends.lora_out_a.T @ torch.diag(gates[-1]) @ ends.lora_out_b.T
        return self.plain.get_output_embeddings()(hidden[-len(response) :])

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
