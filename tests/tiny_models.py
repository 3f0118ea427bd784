"""Tiny random language models in transformers' own format, with a tokenizer of letters: seconds become milliseconds.

Weights are large (deviation 0.3) and biases are not 0, so that every part of a model shows in its logits.
"""

from __future__ import annotations

import copy
import json
import string
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GptOssConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
)

from cosdpo.config import Config
from cosdpo.data.batching import PreferenceData
from cosdpo.data.tokenization import TokenizedContext
from cosdpo.models.base import load_base
from cosdpo.models.frozen_scorer import FrozenScorer
from cosdpo.models.language_scorer import LanguageScorer

VOCABULARY = ["<unk>", "<bos>", "<eos>", *string.ascii_lowercase, *string.digits, *" .,!?'-:\n"]
CONTEXT = 48
"""Positions of the tiny models."""


def letters(bos: bool = False) -> PreTrainedTokenizerFast:
    """A tokenizer with one token per character; `bos` puts <bos> before every text, as Llama's does."""
    tokenizer = Tokenizer(models.WordLevel({token: i for i, token in enumerate(VOCABULARY)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", VOCABULARY.index("<bos>"))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<bos>", eos_token="<eos>", pad_token="<eos>"
    )


def byte_level() -> PreTrainedTokenizerFast:
    """A byte-level BPE as GPT-2's, of 259 tokens and a merge: <eos> is 2, byte b is 3 + b, and {" is the last."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    letter = {b: chr(b if b in printable else next(others)) for b in range(256)}
    vocabulary = {"<unk>": 0, "<bos>": 1, "<eos>": 2, **{letter[b]: 3 + b for b in range(256)}, '{"': 259}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("{", '"')]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<bos>", eos_token="<eos>")


_WINDOW = 5
"""Positions that a query of a layer with a sliding window sees: fewer than most contexts of the tests have."""
_ALTERNATING = {"sliding_window": _WINDOW, "head_dim": 4, "layer_types": ["sliding_attention", "full_attention"]}
_OF_LLAMAS_FORM: dict[str, tuple[type[PreTrainedConfig], dict[str, object]]] = {
    "llama": (LlamaConfig, {}),
    "mistral": (MistralConfig, {"sliding_window": _WINDOW}),
    "gemma3": (Gemma3TextConfig, {**_ALTERNATING, "query_pre_attn_scalar": 4}),
    "gptoss": (GptOssConfig, {**_ALTERNATING, "num_local_experts": 4, "num_experts_per_tok": 2}),
}
"""Windows in all layers; in every other one; in every other one, with attention sinks and experts."""


def shape(kind: str, vocabulary: int = len(VOCABULARY)) -> PreTrainedConfig:
    """A config of one of KINDS."""
    family, head = kind.split("-")
    shared = {"vocab_size": vocabulary, "bos_token_id": 1, "eos_token_id": 2, "initializer_range": 0.3}
    tied = {"tie_word_embeddings": head == "tied"}
    if family == "gpt2":
        return GPT2Config(n_positions=CONTEXT, n_embd=16, n_layer=2, n_head=4, **shared, **tied)
    cls, more = _OF_LLAMAS_FORM[family]
    return cls(
        **more,
        max_position_embeddings=CONTEXT,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        **shared,
        **tied,
    )


FORMS: list[dict[str, object]] = [
    {"conditioning": conditioning, "scope": scope, **form}
    for scope in ("sequence", "response")
    for conditioning, form in (
        ("hyper_prompt", {}),
        ("gated_lora", {"model__gates": "affine", "model__adapt_ends": False}),
        ("gated_lora", {"model__gates": "quadratic", "model__adapt_ends": True}),
        ("both", {"model__gates": "quadratic", "model__adapt_ends": True}),
    )
]
"""Every way in which weights enter a model."""
FORM_NAMES = ["-".join(str(value) for value in form.values() if isinstance(value, str)) for form in FORMS]
KINDS = (
    "gpt2-tied",
    "gpt2-untied",
    "llama-tied",
    "llama-untied",
    "mistral-untied",
    "gemma3-tied",
    "gptoss-untied",
)
"""All families; llama and those of its form with grouped-query attention; heads tied to the embeddings and not."""


def write_model(folder: Path, kind: str, vocabulary: int = len(VOCABULARY)) -> Path:
    """Writes model and tokenizer to `folder`."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(shape(kind, vocabulary))
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(parameter, std=0.1)
            elif name.endswith("sinks"):
                torch.nn.init.normal_(parameter, std=1.0)
    model.save_pretrained(folder)
    letters(bos=kind.startswith("llama")).save_pretrained(folder)
    return folder


def settings(base: Path | str, **changes: object) -> Config:
    """A configuration of a tiny run; `changes` by dotted key, with two underscores for the dot."""
    tree: dict[str, dict[str, object] | object] = {
        "objectives": ["kind", "short"],
        "conditioning": "gated_lora",
        "scope": "sequence",
        "temperature": 0.5,
        "model": {
            "base": str(base),
            "gates": "quadratic",
            "adapt_ends": True,
            "lora_rank": 4,
            "lora_alpha": 8.0,
            "soft_tokens": 3,
        },
    }
    for key, value in changes.items():
        section, _, leaf = key.rpartition("__")
        if section:
            tree.setdefault(section, {})[leaf] = value  # type: ignore[index,union-attr]
        else:
            tree[leaf] = value
    return Config.model_validate(tree)


@cache
def _loaded(folder: str) -> Any:
    return load_base(folder, torch.float32)


def base(folder: Path | str) -> Any:
    """The frozen base in `folder`; that of one folder is read once."""
    return copy.deepcopy(_loaded(str(folder)))


def preferences(folder: Path, config: Config, contexts: int = 24) -> PreferenceData:
    """Random contexts of 1 to 6 prompt tokens and 2 to 4 candidates, with their reference scores under the base.

    The first objective likes low token ids, the second, unlabelled in every fourth context, likes short responses.
    """
    rng = np.random.default_rng(7)
    inputs, scores = [], []
    for number in range(contexts):
        candidates = [rng.integers(3, 48, rng.integers(1, 7)).tolist() for _ in range(rng.integers(2, 5))]
        inputs.append(TokenizedContext(rng.integers(3, 48, rng.integers(1, 7)).tolist(), candidates))
        short = None if number % 4 == 3 else [-float(len(y)) for y in candidates]
        scores.append([[-float(np.mean(y)) for y in candidates], short])
    frozen = FrozenScorer.of(base(folder))
    reference = [np.array(row) for row in frozen.all_references(inputs, 4096)]
    return PreferenceData(inputs, scores, reference, config.data)


def scorer(config: Config) -> LanguageScorer:
    """A fresh scorer, initialised as a worker does it."""
    torch.manual_seed(config.seed)
    return LanguageScorer.create(config, base(config.model.base))


def rows(count: int, seed: int) -> list[dict[str, object]]:
    """Scored preferences in letters: `kind` counts the letter a, `short` is minus the length; they often disagree."""
    rng = np.random.default_rng(seed)

    def text(low: int, high: int) -> str:
        return "".join(rng.choice(list("aabcdefgh "), rng.integers(low, high))).strip() or "b"

    made: list[dict[str, object]] = []
    while len(made) < count:
        responses = [text(2, 9) for _ in range(3)]
        scores = {"kind": [float(y.count("a")) for y in responses], "short": [-float(len(y)) for y in responses]}
        made.append({"prompt": text(3, 8), "responses": responses, "scores": scores})
    return made


def write_rows(path: Path, made: Sequence[dict[str, object]]) -> Path:
    """JSON lines, where a float nan becomes NaN."""
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return path


def job_options(base: Path, folder: Path) -> dict[str, str]:
    """Options of a job, by dotted key, that nothing is wrong with; its files lie in `folder`, its run is not there."""
    return {
        "model.base": str(base),
        "data.train": str(write_rows(folder / "train.jsonl", rows(12, 0))),
        "data.validation": str(write_rows(folder / "validation.jsonl", rows(4, 1))),
        "objectives": "kind,short",
        "output": str(folder / "run"),
    }
