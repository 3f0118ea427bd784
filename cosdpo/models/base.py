"""Loading a frozen base language model and its tokenizer from the hub, a folder or a GGUF file."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, PreTrainedTokenizerBase
from transformers.utils import logging as hf_logging

from cosdpo import hub_check as hub
from cosdpo.errors import InputError
from cosdpo.models.frozen_linear import mkl_is_slow, speed_up
from cosdpo.models.gguf_file import as_folder
from cosdpo.models.packing import ATTENTION

hf_logging.disable_progress_bar()

UNSUPPORTED_HEADS = ("final_logit_softcapping", "logit_scale", "logits_scaling")
"""Config fields of models whose logits are not simply W h + b."""


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of `name`.

    Raises:
        InputError: neither a folder nor reachable on the hub.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(as_folder(name), trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise InputError(_not_found(name, error)) from error
    return tokenizer


def load_config(name: str, weights: bool = True, quantised: bool = False) -> Any:
    """The transformers config of `name`, checked for what the language scorer supports.

    Args:
        weights: refuse a folder that has no weights; a plan needs none.
        quantised: take a quantised model, whose form is all that is asked for.

    Raises:
        InputError: not found, or a head this project cannot score with.
    """
    if not name:
        raise InputError(
            "model.base is not set: give a hub name, a local folder or a .gguf file, such as --model.base gpt2"
        )
    if not _is_local(name):
        hub.require(name, "model", "give a local folder with --model.base")
    folder = as_folder(name)
    if (Path(folder) / "adapter_config.json").exists():
        raise InputError(f"model.base {name} holds an adapter (adapter_config.json); give its model, or merge the two")
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise InputError(_not_found(name, error)) from error
    check_head(name, config)
    if not quantised and (form := getattr(config, "quantization_config", None)):
        method = form.get("quant_method") if isinstance(form, dict) else form.quant_method
        raise InputError(
            f"model.base {name} is quantised ({getattr(method, 'value', method)}); give the model that it was made "
            "from, and model.quantization nf4 to hold that in 4 bits"
        )
    if weights and Path(folder).is_dir() and not any(Path(folder).glob("*.safetensors")):
        raise InputError(f"model.base {name}: not a complete model folder (it has no .safetensors file)")
    # The same function, computed by one fused kernel instead of six elementwise passes.
    if getattr(config, "activation_function", None) == "gelu_new":
        config.activation_function = "gelu_pytorch_tanh"
    return config


def check_head(name: str, config: Any) -> None:
    """Raises InputError for a head whose logits are not simply W h + b."""
    for key in UNSUPPORTED_HEADS:
        if getattr(config, key, None) not in (None, 1, 1.0):
            raise InputError(f"model.base {name}: {key} is not supported; docs/models.md lists what is")


def context_length(config: Any) -> int:
    """Positions that a context may have.

    `longrope` turns every token of a pass by other frequencies once one of its rows is longer than the model was first
    trained for: that length is then the bound, so that rows of one pass do not change each other.
    """
    positions = int(config.max_position_embeddings)
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") != "longrope":
        return positions
    original = rope.get("original_max_position_embeddings") or config.original_max_position_embeddings
    return min(positions, int(original))


def check_vocabulary(name: str, tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> None:
    """Raises InputError when the tokenizer has ids that the model does not know."""
    if len(tokenizer) > vocabulary:
        raise InputError(
            f"model.base {name}: the tokenizer has {len(tokenizer)} tokens but the model only {vocabulary}; "
            "use the tokenizer that the model was trained with"
        )


def load_base(name: str, dtype: torch.dtype, quantization: str = "none") -> Any:
    """The frozen base: parameters without gradient, no dropout, packed attention.

    On the CPU, weights that are stored in `dtype` stay pages of their file: processes of one machine share them, and
    what is copied to a device or cut into parts leaves nothing behind.

    Args:
        quantization: nf4 holds the matrices of the decoder layers in 4 bits, on the current GPU.
    """
    config = load_config(name)
    form = {} if quantization == "none" else {"quantization_config": _four_bits(dtype)}
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            as_folder(name),
            config=config,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            attn_implementation=ATTENTION,
            **form,
        )
    except (OSError, ValueError) as error:
        raise InputError(_not_found(name, error)) from error
    return freeze(model)


def _four_bits(dtype: torch.dtype) -> BitsAndBytesConfig:
    """NF4 with doubly quantised scales (Dettmers et al. 2023, arXiv 2305.14314); products are taken in `dtype`."""
    if not torch.cuda.is_available() or not find_spec("bitsandbytes"):
        raise InputError("model.quantization nf4 needs a GPU and bitsandbytes on every worker; set it to none")
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


def skeleton(config: Any) -> Any:
    """The base's modules without weights, to check settings against before anything is loaded."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, trust_remote_code=False)


def decoder_layers(body: Any) -> nn.ModuleList:
    """The stack of decoder layers of a transformers body."""
    return next(child for child in body.children() if isinstance(child, nn.ModuleList))


def checkpoint_activations(base: Any) -> None:
    """Has every decoder layer compute its activations again in the backward pass."""
    # transformers 5.17 has it under its old name alone, which later ones warn about.
    enable = getattr(base, "activation_checkpointing_enable", None) or base.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def freeze(model: Any) -> Any:
    """Takes gradients and dropout from a base: preference optimisation compares likelihoods, and noise in the tuned
    model alone would bias the comparison with the reference.
    """
    model.requires_grad_(False)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    if mkl_is_slow():
        speed_up(model)
    return model


def _not_found(name: str, error: Exception) -> str:
    if "trust_remote_code" in str(error):
        return f"model.base {name}: it needs code of its own, which is never run; give a model that transformers knows"
    first_line = str(error).strip().splitlines()[0][:160]
    if _is_local(name):
        what = "not a complete model folder" if Path(name).is_dir() else "no such folder"
        return f"model.base {name}: {what} ({first_line})"
    return f"model.base {name}: the hub did not provide it ({first_line}); give a local folder with --model.base"


def _is_local(name: str) -> bool:
    return Path(name).exists() or name.startswith((".", "/", "~"))
