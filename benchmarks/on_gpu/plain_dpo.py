"""The loop that gpu_training.py holds the trainer against: peft and DPO as one writes them down.

Chosen and rejected sequences lie in one padded batch, the reference is the same model with its adapters off, and both
passes make the logits of every token. bfloat16 by autocast around a bfloat16 base, adapters in float32, fused AdamW on
a GPU, transformers' own scaled-dot-product attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from on_gpu.model_shapes import RANK
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.nn import functional as F

from cosdpo.data.tokenization import TokenizedContext
from cosdpo.models.base import checkpoint_activations

BETA = 0.1
PADDING = 0


class PlainDpo:
    """A model under DPO; the first candidate of every context is the chosen one."""

    def __init__(self, base: Any, device: torch.device, checkpointing: bool) -> None:
        torch.manual_seed(1)
        lora = LoraConfig(task_type="CAUSAL_LM", r=RANK, lora_alpha=RANK, target_modules="all-linear")
        if checkpointing:
            checkpoint_activations(base)
        self.model = get_peft_model(base, lora).to(device).train()
        self.device = device
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-4, fused=device.type == "cuda")

    def step(self, contexts: Sequence[TokenizedContext]) -> float:
        """One optimiser step; returns the loss."""
        ids, present, answered = self._padded(contexts)
        policy = self._log_probabilities(ids, present, answered)
        with torch.no_grad(), self.model.disable_adapter():
            reference = self._log_probabilities(ids, present, answered)
        chosen, rejected = (policy - reference).chunk(2)
        loss = -F.logsigmoid(BETA * (chosen - rejected)).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    def _padded(self, contexts: Sequence[TokenizedContext]) -> tuple[Tensor, Tensor, Tensor]:
        """Token ids, which of them are there, and which belong to responses, [2 B, length] each."""
        rows = [(c.prompt, c.candidates[side]) for side in (0, 1) for c in contexts]
        longest = max(len(prompt) + len(answer) for prompt, answer in rows)

        def padded(values: list[list[int]]) -> Tensor:
            return torch.tensor([v + [PADDING] * (longest - len(v)) for v in values], device=self.device)

        ids = padded([prompt + answer for prompt, answer in rows])
        present = padded([[1] * (len(prompt) + len(answer)) for prompt, answer in rows])
        answered = padded([[0] * len(prompt) + [1] * len(answer) for prompt, answer in rows])
        return ids, present, answered

    def _log_probabilities(self, ids: Tensor, present: Tensor, answered: Tensor) -> Tensor:
        """log-probabilities of the responses, [2 B]."""
        with torch.autocast(self.device.type, torch.bfloat16):
            logits = self.model(input_ids=ids, attention_mask=present, use_cache=False).logits[:, :-1]
        lost = F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="none")
        return -(lost.view(len(ids), -1) * answered[:, 1:]).sum(1)
