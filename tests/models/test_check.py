"""Architectures are scored right or refused: the errors of packed scoring on miniatures of real configurations."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import CONFIG_MAPPING, Phi3Config

from cosdpo.errors import InputError
from cosdpo.models import packing
from cosdpo.models.base import context_length
from cosdpo.models.check import check_architecture, contexts_of, errors, main, miniature
from tests.refusals import Jobs
from tests.tiny_models import job_options, letters, write_model

# fmt: off
SUPPORTED = [
    "gpt2", "gpt_neox", "gpt_bigcode", "opt", "biogpt", "bitnet", "phi", "phi3", "llama", "mistral", "ministral3",
    "mixtral", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "gemma", "gemma3_text", "gpt_oss", "starcoder2", "olmo",
    "olmo2", "olmo3", "olmoe", "cwm", "exaone4", "glm", "glm4", "glm4_moe", "granite", "granite_swa", "granitemoe",
    "helium", "smollm3", "seed_oss", "arcee", "apertus", "ernie4_5", "ernie4_5_moe", "deepseek_v3", "mimo_v2_flash",
    "minimax_m2", "internlm3",
]
# fmt: on
REFUSED = {
    "bert": r"off by .* nats",  # attends to both sides
    "modernbert-decoder": r"off by .* nats",
    "qwen3_next": r"off by .* nats",  # recurrent states go from one context to the next
    "qwen3_5_text": r"off by .* nats",
    "jamba": r"off by .* nats",
    "falcon": "packed scoring fails",  # attention of their own, without transformers' interface
    "bloom": "packed scoring fails",
    "mpt": "packed scoring fails",
    "gptj": "packed scoring fails",
    "stablelm": "packed scoring fails",
    "rwkv": "packed scoring fails",
    "mamba": "packed scoring fails",
    "llama4_text": "packed scoring fails",
    "gemma3": "more than text",
    "llama4": "more than text",
    "qwen3_5": "more than text",
    "t5": "an encoder",
}


@pytest.mark.parametrize("kind", SUPPORTED)
def test_supported(kind):
    check_architecture("m", CONFIG_MAPPING[kind]())


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_in_one_line(kind):
    with pytest.raises(
        InputError, match=rf"model\.base m: {kind} models are not supported: .*{REFUSED[kind]}"
    ) as error:
        check_architecture("m", CONFIG_MAPPING[kind]())
    assert "\n" not in str(error.value)


def test_a_window_that_is_not_used_is_none():
    qwen = CONFIG_MAPPING["qwen2"]
    kinds = ["full_attention", "sliding_attention"]
    mixed = qwen(use_sliding_window=True, sliding_window=4096, layer_types=kinds * 16)
    for config in (qwen(sliding_window=4096), mixed):
        check_architecture("m", config)


@pytest.mark.parametrize(("kind", "what"), [("mistral", "sliding_window"), ("gpt_oss", "s_aux")])
def test_the_check_sees_what_an_attention_leaves_out(monkeypatch, kind, what):
    model = miniature(CONFIG_MAPPING[kind]())
    contexts = contexts_of(96, 24)
    assert max(errors(model, contexts)) < 1e-4

    whole = packing.attend
    without = lambda *args, **kwargs: whole(*args, **{**kwargs, what: None})  # noqa: E731
    monkeypatch.setitem(packing.AttentionInterface._global_mapping, packing.ATTENTION, without)
    short, long, _ = errors(model, contexts)
    assert long > 0.1
    assert (short > 0.1) == (what == "s_aux")  # no window is as short as the short context


def test_miniatures_have_every_kind_of_layer():
    gemma = miniature(CONFIG_MAPPING["gemma3_text"]()).config  # five windows, then one layer that sees all
    assert set(gemma.layer_types) == {"sliding_attention", "full_attention"}
    assert gemma.num_hidden_layers == 6


def test_longrope_ends_where_its_frequencies_change():
    rope = {"rope_type": "longrope", "short_factor": [1.0] * 48, "long_factor": [2.0] * 48, "rope_theta": 1e4}
    long = Phi3Config(
        max_position_embeddings=131072, original_max_position_embeddings=4096, rope_parameters=rope, pad_token_id=0
    )
    assert context_length(long) == 4096
    assert context_length(Phi3Config(max_position_embeddings=2048, pad_token_id=0)) == 2048


def test_the_check_leaves_the_random_state_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    check_architecture("m", CONFIG_MAPPING["llama"](vocab_size=777))
    assert torch.equal(before, torch.get_rng_state())


def test_by_name_with_the_bases_own_weights(tmp_path, capsys):
    folder = write_model(tmp_path / "base", "gptoss-untied")
    main([str(folder)])
    row = [cell.strip() for cell in capsys.readouterr().out.splitlines()[-1].strip("|").split("|")]
    assert row[:2] == [str(folder), "gpt_oss"]
    assert all(float(cell.split()[0]) < 1e-4 for cell in row[2:])


def bert(folder):
    config = {"model_type": "bert", "is_decoder": True, "vocab_size": 48, "hidden_size": 16, "intermediate_size": 16}
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 2, "num_attention_heads": 2}))
    (folder / "model.safetensors").touch()
    letters().save_pretrained(folder)
    return folder


def test_a_job_refuses_it_before_ray(jobs: Jobs, tmp_path):
    options = job_options(bert(tmp_path / "bert"), tmp_path)
    refusal = jobs.refusal(options, "")
    assert "bert models are not supported" in refusal
