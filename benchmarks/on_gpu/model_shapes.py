"""Models by shape, with random weights made on the device itself, and random preferences for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from cosdpo.config import Config
from cosdpo.data.tokenization import TokenizedContext
from cosdpo.models.base import decoder_layers, freeze
from cosdpo.models.language_scorer import LanguageScorer
from cosdpo.models.packing import ATTENTION

RANK = 8
OBJECTIVES = ["first", "second"]
_SIZES: dict[str, dict[str, Any]] = {
    # vocabulary, width, inner width, layers, heads, key heads: Llama 3.2 1B and Llama 2 7B
    "1b": dict(zip(("v", "h", "f", "l", "a", "k"), (128_256, 2048, 8192, 16, 32, 8), strict=True)) | {"tied": True},
    "7b": dict(zip(("v", "h", "f", "l", "a", "k"), (32_000, 4096, 11_008, 32, 32, 32), strict=True)),
    "tiny-1b": dict(zip(("v", "h", "f", "l", "a", "k"), (512, 64, 128, 2, 4, 2), strict=True)) | {"tied": True},
    "tiny-7b": dict(zip(("v", "h", "f", "l", "a", "k"), (256, 64, 128, 3, 4, 4), strict=True)),
}


def shape(name: str, tiny: bool) -> LlamaConfig:
    """A Llama configuration, fresh: transformers writes into those that it is given."""
    size = _SIZES[f"tiny-{name}" if tiny else name]
    return LlamaConfig(
        vocab_size=size["v"],
        hidden_size=size["h"],
        intermediate_size=size["f"],
        num_hidden_layers=size["l"],
        num_attention_heads=size["a"],
        num_key_value_heads=size["k"],
        max_position_embeddings=4096,
        tie_word_embeddings=size.get("tied", False),
        bos_token_id=0,
        eos_token_id=0,
    )


def random_base(config: LlamaConfig, device: torch.device, dtype: torch.dtype, attention: str = ATTENTION) -> Any:
    """A frozen model of random weights, made on `device`."""
    torch.manual_seed(0)
    with device:
        return freeze(AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=attention))


def settings(scope: str = "response", conditioning: str = "gated_lora", **changes: object) -> Config:
    """A run's configuration; `changes` by dotted key, with two underscores for the dot."""
    tree = {
        "objectives": OBJECTIVES,
        "conditioning": conditioning,
        "scope": scope,
        "model": {"base": "random", "lora_rank": RANK, "lora_alpha": float(RANK)},
        "training": {"log_every": 1_000_000, "checkpoint_every": 1_000_000, "learning_rate": 1e-4},
    }
    return Config.model_validate(tree).changed({key.replace("__", "."): value for key, value in changes.items()})


def scorer_of(base: Any, config: Config, device: torch.device, noise: float = 0.0) -> LanguageScorer:
    """A conditioned scorer on `device`, as a training builds it.

    Args:
        noise: deviation of what is added to everything trained, so that the adapters do something.
    """
    torch.manual_seed(1)
    scorer = LanguageScorer.create(config, base)
    with torch.no_grad():
        for parameter in scorer.trainable().values():
            parameter.add_(torch.randn_like(parameter), alpha=noise)
    return scorer.to(device)


def words(vocabulary: int) -> PreTrainedTokenizerFast:
    """A tokenizer of as many words, w0 to the last, which ends a text."""
    made = Tokenizer(models.WordLevel({f"w{i}": i for i in range(vocabulary)}, unk_token="w0"))
    made.pre_tokenizer, made.decoder = pre_tokenizers.WhitespaceSplit(), decoders.WordPiece()
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="w0", eos_token=f"w{vocabulary - 1}")


def random_pairs(count: int, vocabulary: int, longest: int) -> list[TokenizedContext]:
    """Prompts and two responses each, every length from a quarter to a half of `longest`, prompt and response together
    thus at most `longest` tokens.
    """
    rng = np.random.default_rng(0)

    def tokens() -> list[int]:
        return rng.integers(1, vocabulary - 1, rng.integers(longest // 4, longest // 2 + 1)).tolist()

    return [TokenizedContext(tokens(), [tokens(), tokens()]) for _ in range(count)]


def body_and_head(base: Any) -> tuple[int, int]:
    """Weights of the decoder layers and of the head."""
    body = base.base_model if hasattr(base, "base_model") else base.model
    return sum(p.numel() for p in decoder_layers(body).parameters()), base.get_output_embeddings().weight.numel()


def step_operations(contexts: Sequence[TokenizedContext], scope: str, body: int, head: int) -> float:
    """Multiplications and additions that a step over `contexts` needs, at the fewest.

    The frozen body takes two per weight and token forward and two for the gradient of its input; attention and the
    adapters' own products are left out. Prompts under scope `response` go forward only. The head takes two per weight
    and response token for the logits and two for the gradient of the hidden states.
    """
    total = 0.0
    for c in contexts:
        inputs = sum(len(y) - 1 for y in c.candidates)
        frozen, tuned = (len(c.prompt) - 1, inputs + 1) if scope == "response" else (0, inputs + len(c.prompt))
        total += 2 * body * (frozen + 2 * tuned) + 4 * head * sum(map(len, c.candidates))
    return total
