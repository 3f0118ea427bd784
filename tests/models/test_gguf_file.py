"""A base in a GGUF file is the model that the file was written from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from cosdpo.errors import InputError
from cosdpo.models.base import load_base, load_config, load_tokenizer
from cosdpo.training.reference import model_fingerprint
from tests.tiny_models import write_model

gguf = pytest.importorskip("gguf", reason="needs the package gguf")
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
"""llama.cpp's names of Llama's tensors."""


def write_gguf(folder: Path, path: Path) -> LlamaForCausalLM:
    """Writes the tiny Llama in `folder` as llama.cpp would, with a byte-level vocabulary; returns the model."""
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    config, writer = model.config, gguf.GGUFWriter(path, "llama")
    heads, kv = config.num_attention_heads, config.num_key_value_heads
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.hidden_size // heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    tokens = ["<unk>", "<s>", "</s>", *map(chr, range(0x100, 0x100 + config.vocab_size - 4)), "\u0100\u0101"]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * len(tokens))
    writer.add_token_merges(["\u0100 \u0101"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    for name, tensor in model.state_dict().items():
        values = tensor.numpy().astype(np.float32)
        stem, _, kind = name.rpartition(".")
        if stem.endswith(("q_proj", "k_proj")):
            # llama.cpp turns neighbouring pairs of a head by an angle, transformers the halves.
            count = heads if stem.endswith("q_proj") else kv
            values = values.reshape(count, 2, -1, values.shape[1]).swapaxes(1, 2).reshape(values.shape)
        if stem.startswith("model.layers."):
            _, _, layer, own = stem.split(".", 3)
            writer.add_tensor(f"blk.{layer}.{NAMES[own]}.{kind}", values)
        elif not (stem == "lm_head" and config.tie_word_embeddings):
            writer.add_tensor(f"{NAMES[stem]}.{kind}", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COSDPO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("kind", ["llama-tied", "llama-untied"])
def test_a_gguf_file_is_the_model_it_was_written_from(kind: str, tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "tiny.gguf"
    model = write_gguf(write_model(tmp_path / "tiny", kind), path)
    read = load_base(str(path), torch.float32)
    ids = torch.arange(3, 15)[None]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.bfloat16())  # the form in which it is kept
        torch.testing.assert_close(read(ids).logits, model(ids).logits, atol=1e-4, rtol=1e-4)
    assert load_config(str(path)).model_type == "llama"
    assert load_tokenizer(str(path)).convert_tokens_to_ids("\u0104") == 7
    assert len(list((cache / "gguf").iterdir())) == 1, "converted once"


def test_the_file_is_what_identifies_its_weights(tmp_path: Path) -> None:
    one, other = tmp_path / "one.gguf", tmp_path / "other.gguf"
    one.write_bytes(b"weights")
    other.write_bytes(b"weighty")
    assert model_fingerprint(str(one), None) != model_fingerprint(str(other), None)


@pytest.mark.parametrize(
    ("content", "says"), [(b"no GGUF at all", "cannot be read as a GGUF model"), (None, "no such file")]
)
def test_what_is_no_gguf_file_is_refused_in_a_line(
    content: bytes | None, says: str, tmp_path: Path, cache: Path
) -> None:
    path = tmp_path / "broken.gguf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=says):
        load_config(str(path))
    assert not list(cache.rglob("*.safetensors"))
