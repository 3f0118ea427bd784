"""Loading a base: what is frozen, and what is refused in one line."""

from __future__ import annotations

import json

import pytest
import torch

from cosdpo.errors import InputError
from cosdpo.models.base import check_vocabulary, load_base, load_config, load_tokenizer
from tests.tiny_models import letters


def one_line(error: pytest.ExceptionInfo[InputError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("kind", ["gpt2-tied", "llama-untied"])
def test_a_base_has_neither_gradients_nor_dropout(model_folder, kind):
    base = load_base(str(model_folder(kind)), torch.float32)
    assert not any(p.requires_grad for p in base.parameters())
    assert all(m.p == 0 for m in base.modules() if isinstance(m, torch.nn.Dropout))


def test_the_type_is_the_one_asked_for(model_folder):
    base = load_base(str(model_folder("llama-tied")), torch.bfloat16)
    assert {p.dtype for p in base.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("load", [load_config, load_tokenizer, lambda name: load_base(name, torch.float32)])
def test_a_missing_or_incomplete_folder_is_refused(tmp_path, load):
    with pytest.raises(InputError, match=r"model\.base .*gone: no such folder") as error:
        load(str(tmp_path / "gone"))
    one_line(error)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="not a complete model folder") as error:
        load(str(tmp_path / "empty"))
    one_line(error)


def test_a_folder_without_weights_is_refused(model_folder, tmp_path):
    for file in model_folder("gpt2-tied").glob("*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(InputError, match="not a complete model folder") as error:
        load_base(str(tmp_path), torch.float32)
    one_line(error)


def test_a_name_that_the_hub_does_not_provide_is_refused(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match=r"model\.base nobody/has-this-model: .*the hub did not provide it") as error:
        load_config("nobody/has-this-model")
    one_line(error)
    with pytest.raises(InputError, match=r"model\.base is not set"):
        load_config("")


@pytest.mark.parametrize("field", ["final_logit_softcapping", "logit_scale", "logits_scaling"])
def test_heads_that_are_not_linear_are_refused(model_folder, tmp_path, field):
    config = json.loads((model_folder("llama-tied") / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, field: 0.5}))
    with pytest.raises(InputError, match=f"{field} is not supported") as error:
        load_config(str(tmp_path))
    one_line(error)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused():
    tokenizer = letters()
    check_vocabulary("m", tokenizer, len(tokenizer))
    check_vocabulary("m", tokenizer, len(tokenizer) + 16)  # padded vocabularies are usual
    with pytest.raises(InputError, match=f"has {len(tokenizer)} tokens but the model only {len(tokenizer) - 1}"):
        check_vocabulary("m", tokenizer, len(tokenizer) - 1)
