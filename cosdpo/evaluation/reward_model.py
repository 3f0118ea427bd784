"""Reward models: sequence classifiers with one output that score a response to a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from cosdpo import hub_check as hub
from cosdpo.errors import InputError

BATCH = 16
"""Texts per forward pass."""


class RewardModel:
    """A scorer that is a model. Safetensors weights only; code of the repository is never run.

    The pair is given as the model's tokenizer knows it: through its chat template (user, assistant) if it has one, as
    two segments if it has a separator token (BERT and its family), else as one text, joined as they are.
    """

    def __init__(self, name: str) -> None:
        """Loads the model from a folder or the hub, onto the GPU if there is one.

        Raises:
            InputError: it cannot be had, has other than one output, or comes without a trained head.
        """
        if not Path(name).is_dir():
            hub.require(name, "model", "give hub:FOLDER with a local copy")
        device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
            self.model, loading = AutoModelForSequenceClassification.from_pretrained(
                name,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                dtype="auto" if device == "cuda" else torch.float32,
            )
        except (OSError, ValueError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(
                f"evaluation.scorers: cannot load the reward model {name!r} ({reason}); give a sequence classifier of "
                "transformers with safetensors weights"
            ) from None
        if self.model.config.num_labels != 1:
            raise InputError(
                f"evaluation.scorers: {name!r} has {self.model.config.num_labels} outputs; a reward model has one"
            )
        if loading["missing_keys"]:
            raise InputError(
                f"evaluation.scorers: {name!r} has no trained {sorted(loading['missing_keys'])[0]}; give a sequence "
                "classifier of transformers, or score with it through module:function"
            )
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.model.config.pad_token_id = self.tokenizer.pad_token_id
        self.tokenizer.padding_side = "right"  # no position ids are passed, so that text must start at position 0
        self.tokenizer.truncation_side = "left"  # the response is what is judged
        longest = getattr(self.model.config, "max_position_embeddings", None) or self.tokenizer.model_max_length
        self.max_length = min(longest, self.tokenizer.model_max_length)
        self.model.to(device).eval()

    @torch.inference_mode()
    def __call__(self, prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        """The model's output for each pair; of a pair too long for the model, the start is cut."""
        pairs = list(zip(prompts, responses, strict=True))
        order = sorted(range(len(pairs)), key=lambda i: len(pairs[i][0]) + len(pairs[i][1]))
        scores = [0.0] * len(pairs)
        for start in range(0, len(pairs), BATCH):
            rows = order[start : start + BATCH]
            inputs = self._encode([pairs[i] for i in rows]).to(self.model.device)
            for i, score in zip(rows, self.model(**inputs).logits[:, 0].float().tolist(), strict=True):
                scores[i] = score
        return scores

    def _encode(self, pairs: list[tuple[str, str]]) -> Any:
        options: Any = {"padding": True, "truncation": True, "max_length": self.max_length, "return_tensors": "pt"}
        if self.tokenizer.chat_template is not None:
            chats = [[{"role": "user", "content": x}, {"role": "assistant", "content": y}] for x, y in pairs]
            return self.tokenizer.apply_chat_template(chats, tokenize=True, return_dict=True, **options)
        if self.tokenizer.sep_token is not None:
            return self.tokenizer([x for x, _ in pairs], [y for _, y in pairs], **options)
        return self.tokenizer([x + y for x, y in pairs], **options)
