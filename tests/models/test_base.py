"""Loading a base: what is frozen, and what is refused in one line."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from cosdpo.errors import InputError
from cosdpo.models import base
from cosdpo.models.base import check_vocabulary, load_base, load_config, load_tokenizer
from tests.tiny_models import letters

AUTO_MAP = {
    "AutoConfig": "code.Config",
    "AutoModelForCausalLM": "code.Model",
    "AutoModelForSequenceClassification": "code.Model",
    "AutoTokenizer": ["code.Words", "code.Words"],
}


@pytest.fixture
def foreign_model(tmp_path: Path) -> Path:
    """A model of a kind that transformers does not know, whose code leaves a file when it is imported."""
    folder = tmp_path / "foreign"
    folder.mkdir()
    (folder / "code.py").write_text(f"from pathlib import Path\nPath({str(folder / 'ran')!r}).touch()\n")
    (folder / "config.json").write_text(json.dumps({"model_type": "foreign", "auto_map": AUTO_MAP}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "Words", "auto_map": AUTO_MAP}))
    (folder / "model.safetensors").touch()
    return folder


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


@pytest.mark.parametrize("load", [load_config, load_tokenizer, lambda name: load_base(name, torch.float32)])
def test_code_that_comes_with_a_model_is_never_run(foreign_model, load, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda _: pytest.fail("somebody was asked"))
    with pytest.raises(InputError, match="needs code of its own, which is never run") as error:
        load(str(foreign_model))
    one_line(error)
    assert not (foreign_model / "ran").exists()


def test_code_beside_a_model_that_is_known_is_left_alone(model_folder, foreign_model):
    for file in model_folder("llama-tied").iterdir():
        (foreign_model / file.name).write_bytes(file.read_bytes())
    for file in ("config.json", "tokenizer_config.json"):
        tree = json.loads((foreign_model / file).read_text())
        (foreign_model / file).write_text(json.dumps({**tree, "auto_map": AUTO_MAP}))
    assert load_base(str(foreign_model), torch.float32).config.model_type == "llama"
    assert load_tokenizer(str(foreign_model))("a")
    assert not (foreign_model / "ran").exists()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("config.json", {"quantization_config": {"quant_method": "gptq", "bits": 4}}, "is quantised (gptq); give the"),
        (
            "config.json",
            {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}},
            "is quantised",
        ),
        ("adapter_config.json", {"peft_type": "LORA"}, "holds an adapter (adapter_config.json); give its model"),
    ],
)
def test_folders_of_other_forms_are_refused(model_folder, tmp_path, name, content, says):
    folder = tmp_path / "other"
    shutil.copytree(model_folder("gpt2-tied"), folder)
    path = folder / name
    path.write_text(json.dumps((json.loads(path.read_text()) if path.exists() else {}) | content))
    with pytest.raises(InputError, match=re.escape(says)) as error:
        load_config(str(folder))
    one_line(error)


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


class TestFourBits:
    """With stand-ins for bitsandbytes and the GPU; what they compute is not seen here."""

    @pytest.fixture
    def asked(self, monkeypatch, model_folder):
        """What transformers is asked for, in place of which it gives the plain model."""
        calls: list[dict[str, object]] = []
        give = base.AutoModelForCausalLM.from_pretrained

        def from_pretrained(name, **form):
            calls.append(form)
            return give(name, **{k: v for k, v in form.items() if k != "quantization_config"})

        monkeypatch.setattr(base.AutoModelForCausalLM, "from_pretrained", from_pretrained)
        return calls

    def test_the_layers_are_held_in_nf4(self, asked, monkeypatch, model_folder):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(base, "find_spec", lambda name: object())
        model = load_base(str(model_folder("llama-tied")), torch.bfloat16, "nf4")
        assert not any(p.requires_grad for p in model.parameters())
        (form,) = asked
        four = form["quantization_config"].to_dict()
        assert four["load_in_4bit"]
        assert four["bnb_4bit_quant_type"] == "nf4"
        assert four["bnb_4bit_use_double_quant"]
        assert four["bnb_4bit_compute_dtype"] == "bfloat16"

    def test_none_asks_for_nothing(self, asked, model_folder):
        load_base(str(model_folder("llama-tied")), torch.float32)
        assert "quantization_config" not in asked[0]

    def test_without_a_gpu_it_is_refused(self, model_folder, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.raises(InputError, match=r"model\.quantization nf4 needs a GPU and bitsandbytes"):
            load_base(str(model_folder("llama-tied")), torch.bfloat16, "nf4")
