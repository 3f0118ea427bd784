"""Whether packed scoring (models/packing.py) is right for an architecture, before anything is trained on its scores.

A miniature of the base, of the same layers with random weights and a short sliding window, scores short and long
contexts packed and, in transformers' own eager attention, row by row. Architectures whose layers mix tokens in ways
that packing does not know (recurrent states, soft caps, attention to both sides) give other values and are refused.

python -m cosdpo.models.check NAME ...     the same for bases by name, and with their own weights
python -m cosdpo.models.check              every architecture that transformers knows, by its default configuration
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging as hf_logging

from cosdpo.data.tokenization import TokenizedContext
from cosdpo.errors import InputError
from cosdpo.models.base import check_head, context_length, freeze, load_base, load_config, skeleton
from cosdpo.models.frozen_scorer import FrozenScorer
from cosdpo.models.packing import ATTENTION

TOLERANCE = 1e-3
"""Nats that the log-probability of a response may be off."""
WINDOW = 8
LARGEST = 100_000_000
"""Parameters of a miniature; real ones have fewer than half."""
_VOCABULARY = 96
_SIZES: dict[tuple[str, ...], int] = {
    ("vocab_size",): _VOCABULARY,
    ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size"): 96,
    ("moe_intermediate_size", "shared_expert_intermediate_size", "shared_intermediate_size"): 32,
    ("num_experts", "num_local_experts", "n_routed_experts"): 4,
    ("num_experts_per_tok", "num_experts_per_token"): 2,
    ("n_group", "topk_group", "n_shared_experts"): 1,
    ("pad_token_id", "bos_token_id", "eos_token_id"): 0,
    ("sliding_window", "attention_chunk_size"): WINDOW,
}


def check_architecture(name: str, config: Any) -> None:
    """Raises InputError where responses of a base with this configuration would not be scored as the base does it.

    Args:
        name: how the base is called in the message.
        config: transformers' configuration.
    """
    fault = _fault(json.dumps(config.to_dict(), sort_keys=True, default=str), config.model_type)
    if fault:
        raise InputError(f"model.base {name}: {config.model_type} models are not supported: {fault}")


def errors(causal: Any, contexts: Sequence[TokenizedContext]) -> list[float]:
    """Nats between packed and eager log-probabilities: the largest of each context alone, and of all in one pass.

    Args:
        causal: a model of `load_base` or `miniature`.
    """
    scorer = FrozenScorer.of(causal)
    packed = [scorer.reference([context])[0] for context in contexts]
    together = scorer.reference(contexts)
    causal.set_attn_implementation("eager")
    try:
        plain = [_plain(causal, context, scorer.device) for context in contexts]
    finally:
        causal.set_attn_implementation(ATTENTION)
    alone = [float((p - right).abs().max()) for p, right in zip(packed, plain, strict=True)]
    mixed = [float((together[i, : len(right)] - right).abs().max()) for i, right in enumerate(plain)]
    return [*alone, max(mixed)]


def _plain(causal: Any, context: TokenizedContext, device: torch.device) -> torch.Tensor:
    scores = []
    for response in context.candidates:
        ids = torch.tensor([context.prompt + response], device=device)
        with torch.no_grad():
            law = causal(input_ids=ids, use_cache=False).logits[0, len(context.prompt) - 1 : -1].float().log_softmax(-1)
        scores.append(law.gather(1, ids[0, len(context.prompt) :, None]).sum())
    return torch.stack(scores)


def contexts_of(vocabulary: int, long: int) -> list[TokenizedContext]:
    """A short context and one of `long` tokens, of random ids."""
    draw = torch.Generator().manual_seed(0)

    def tokens(count: int) -> list[int]:
        return torch.randint(1, vocabulary, (count,), generator=draw).tolist()

    return [
        TokenizedContext(tokens(3), [tokens(2), tokens(1)]),
        TokenizedContext(tokens(long - long // 3), [tokens(long // 3), tokens(max(1, long // 6))]),
    ]


def miniature(config: Any) -> Any:
    """A model with the layers of `config`, few, narrow and of random weights, in packed attention."""
    tiny = type(config)(**_shrunken(config))
    tiny._attn_implementation = ATTENTION
    if sum(p.numel() for p in skeleton(tiny).parameters()) > LARGEST:
        raise ValueError("its layers cannot be made small")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(tiny, trust_remote_code=False, dtype=torch.float32)
        # As initialised, a model hardly attends: every error of attention would be small.
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=1.0 if "embed" in name else 1.5 * parameter.shape[-1] ** -0.5)
            elif "norm" not in name:
                torch.nn.init.normal_(parameter, std=0.5)
    return freeze(model.eval())


def _shrunken(config: Any) -> dict[str, Any]:
    """The configuration's fields with few layers, heads of the same size, and small matrices otherwise."""
    fields: dict[str, Any] = config.to_dict()
    names: Mapping[str, str] = getattr(config, "attribute_map", {})

    def put(keys: Sequence[str], value: int) -> None:
        for key in {names.get(key, key) for key in keys}:
            if fields.get(key) is not None:
                fields[key] = value

    layers = int(config.num_hidden_layers)
    kinds = fields.get("layer_types") or []
    # As many as it takes to have one of every kind, and two at least.
    few = min(layers, max([2, *(1 + kinds.index(kind) for kind in set(kinds))]))
    for key, value in fields.items():
        if isinstance(value, list) and len(value) == layers:
            fields[key] = value[:few]
    put(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), few)
    for keys, size in _SIZES.items():
        put(keys, size)

    heads = int(config.num_attention_heads)
    key_heads = int(getattr(config, "num_key_value_heads", None) or heads)
    size = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    few_heads = min(heads, 4)
    put(("num_attention_heads", "n_head", "n_heads", "num_heads"), few_heads)
    put(("num_key_value_heads",), few_heads if key_heads == heads else 1 if key_heads == 1 else few_heads // 2)
    put(("hidden_size", "n_embd", "d_model"), few_heads * size)
    fields.pop("quantization_config", None)
    return fields


@cache
def _fault(fields: str, kind: str) -> str:
    """What is wrong with the architecture of these fields; the check of one runs once in a process."""
    config = CONFIG_MAPPING[kind].from_dict(json.loads(fields))
    if not hasattr(config, "vocab_size") or not hasattr(config, "num_hidden_layers"):
        return "they are of more than text; give a text model"
    if getattr(config, "is_encoder_decoder", False):
        return "they have an encoder; give a decoder-only model"
    verbosity = hf_logging.get_verbosity()
    hf_logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = max(errors(miniature(config), contexts_of(_VOCABULARY, 3 * WINDOW)))
    except Exception as error:  # what transformers' models raise on a pass that they do not know is anything
        reason = (str(error).strip() or "no message").splitlines()[0][:80]
        return f"packed scoring fails ({type(error).__name__}: {reason})"
    finally:
        hf_logging.set_verbosity(verbosity)
    if not found <= TOLERANCE:
        return f"packed scoring would be off by {found:.2g} nats in a context of {3 * WINDOW} tokens"
    return ""


def _by_default(kind: str) -> str:
    """A table row for an architecture with its default configuration."""
    try:
        config = CONFIG_MAPPING[kind]()
        check_head(kind, config)
        check_architecture(kind, config)
    except InputError as error:
        return (
            f"| {kind} | refused: {str(error).split(': ', 1)[1].removeprefix(f'{kind} models are not supported: ')} |"
        )
    except Exception as error:  # a default configuration may be one that transformers itself refuses
        return f"| {kind} | not checked: no default configuration ({type(error).__name__}) |"
    return f"| {kind} | supported |"


def _of_base(name: str) -> str:
    """A table row for a base with its own weights."""
    config = load_config(name)
    check_architecture(name, config)
    window = getattr(config, "sliding_window", None) or 0
    long = min(context_length(config), max(48, window + 16 if window < 2048 else 0))
    short_error, long_error, mixed = errors(load_base(name, torch.float32), contexts_of(int(config.vocab_size), long))
    return f"| {name} | {config.model_type} | {short_error:.1e} | {long_error:.1e} ({long} tokens) | {mixed:.1e} |"


def main(names: Sequence[str]) -> None:
    """Prints a table in Markdown."""
    if names:
        print("| base | architecture | short context | long context | both in one pass |\n|---|---|---|---|---|")
        for name in names:
            print(_of_base(name), flush=True)
        return
    print("| architecture | |\n|---|---|")
    for kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        print(_by_default(kind), flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except InputError as error:
        sys.exit(f"error: {error}")
