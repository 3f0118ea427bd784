"""A point of a front outside of the project: plain PEFT and plain transformers compute what the checkpoint does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from cosdpo.data.tokenization import TokenizedContext
from cosdpo.errors import InputError
from cosdpo.export import ExportSettings, export, main
from cosdpo.models.generation import generate
from cosdpo.models.language_scorer import LanguageScorer
from tests.tiny_models import letters, scorer, settings, write_model

WEIGHTS = {"kind": 0.7, "short": 0.3}
CONTEXT = TokenizedContext([5, 6, 7, 8, 9], [[10, 11, 12, 2], [13, 5], [20, 21, 22, 23, 24, 25]])
KINDS = ["gpt2-tied", "gpt2-untied", "llama-tied", "llama-untied", "mistral-untied", "gemma3-tied"]


def trained(folder: Path, kind: str = "llama-tied", chat: bool = False, **changes: Any) -> LanguageScorer:
    """A checkpoint in folder/checkpoint that is far from its base."""
    base = write_model(folder / "base", kind)
    if chat:
        tokenizer = letters()
        tokenizer.chat_template = (
            "{% for m in messages %}{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}-{% endif %}"
        )
        tokenizer.save_pretrained(base)
    made = scorer(settings(base, **{"scope": "sequence", **changes})).eval()
    with torch.no_grad():
        for parameter in made.trainable().values():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)), alpha=0.1)
    made.save(folder / "checkpoint")
    return made


def exported(folder: Path, **changes: Any) -> Path:
    usual = {"checkpoint": folder / "checkpoint", "weights": "kind=0.7,short=0.3", "to": folder / "out"}
    return export(ExportSettings(**{**usual, **changes}))


def plain(folder: Path) -> Any:
    """The base in plain transformers."""
    return AutoModelForCausalLM.from_pretrained(
        folder / "base", dtype=torch.float32, attn_implementation="eager"
    ).eval()


@torch.no_grad()
def scores(model: Any) -> Tensor:
    """log-probabilities of the context's candidates, one plain pass each."""
    sums = []
    for candidate in CONTEXT.candidates:
        ids = torch.tensor([CONTEXT.prompt + candidate])
        logits = model(ids).logits[0].log_softmax(-1)
        places = torch.arange(len(CONTEXT.prompt) - 1, ids.shape[1] - 1)
        sums.append(logits[places, torch.tensor(candidate)].sum())
    return torch.stack(sums)


@torch.no_grad()
def ours(made: LanguageScorer) -> Tensor:
    beta = torch.tensor([made.card.trained_temperature])
    return made([CONTEXT], torch.tensor([list(WEIGHTS.values())]), beta)[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ends", [True, False])
def test_plain_peft_scores_as_the_checkpoint_does(kind: str, ends: bool, tmp_path: Path) -> None:
    made = trained(tmp_path, kind, model__adapt_ends=ends)
    model = PeftModel.from_pretrained(plain(tmp_path), str(exported(tmp_path))).eval()
    torch.testing.assert_close(scores(model), ours(made), atol=1e-4, rtol=1e-5)
    assert (scores(model) - scores(plain(tmp_path))).abs().min() > 0.01


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ends", [True, False])
def test_plain_transformers_scores_as_the_checkpoint_does(kind: str, ends: bool, tmp_path: Path) -> None:
    made = trained(tmp_path, kind, model__adapt_ends=ends)
    folder = exported(tmp_path, merge=True)
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    torch.testing.assert_close(scores(model), ours(made), atol=1e-4, rtol=1e-5)
    assert not list(folder.glob("adapter*"))
    ours_in, theirs_in = (AutoTokenizer.from_pretrained(where)("abc") for where in (folder, tmp_path / "base"))
    assert ours_in["input_ids"] == theirs_in["input_ids"]


@pytest.mark.parametrize("gates", ["affine", "quadratic"])
def test_every_form_of_gates_is_exported(gates: str, tmp_path: Path) -> None:
    made = trained(tmp_path, model__gates=gates, model__lora_alpha=3.0)
    model = PeftModel.from_pretrained(plain(tmp_path), str(exported(tmp_path))).eval()
    torch.testing.assert_close(scores(model), ours(made), atol=1e-4, rtol=1e-5)


def test_an_adapter_is_made_without_the_weights_of_the_base(tmp_path: Path) -> None:
    made = trained(tmp_path, model__adapt_ends=False)
    model = plain(tmp_path)
    (tmp_path / "base" / "model.safetensors").unlink()
    adapted = PeftModel.from_pretrained(model, str(exported(tmp_path))).eval()
    torch.testing.assert_close(scores(adapted), ours(made), atol=1e-4, rtol=1e-5)


def test_a_temperature_conditioned_model_is_exported_at_the_ratios_asked_for(tmp_path: Path) -> None:
    made = trained(tmp_path, model__temperature_conditioned=True)
    folder = exported(tmp_path, temperature=[0.8, 0.2])
    model = PeftModel.from_pretrained(plain(tmp_path), str(folder)).eval()
    expected = made([CONTEXT], torch.tensor([[0.7, 0.3]]), torch.tensor([[0.8, 0.2]]))[0]
    torch.testing.assert_close(scores(model), expected.detach(), atol=1e-4, rtol=1e-5)


def test_scope_response_becomes_activated_lora(tmp_path: Path) -> None:
    made = trained(tmp_path, chat=True, scope="response", model__adapt_ends=False)
    model = PeftModel.from_pretrained(plain(tmp_path), str(exported(tmp_path))).eval()
    prompt = letters()("abc\n-")["input_ids"]
    beta = torch.tensor([made.card.trained_temperature])
    (expected,) = generate(made, [prompt], torch.tensor([[0.7, 0.3]]), beta, 12)
    ids = torch.tensor([prompt])
    text = model.generate(input_ids=ids, max_new_tokens=12, do_sample=False, eos_token_id=None, pad_token_id=2)
    assert text[0, len(prompt) :].tolist() == expected
    (base,) = generate(made, [prompt], None, None, 12)
    assert expected != base


@pytest.mark.parametrize(
    ("form", "changes", "says"),
    [
        ({"conditioning": "hyper_prompt"}, {}, "has soft tokens beside its adapters"),
        ({"conditioning": "both"}, {}, "train with conditioning gated_lora to export"),
        ({"scope": "response"}, {"merge": True}, "train with scope sequence to export it merged"),
        ({"scope": "response"}, {}, "or with model.adapt_ends false"),
        ({"scope": "response", "model__adapt_ends": False}, {}, "has no chat template that ends in a token of its own"),
        ({}, {"weights": "kind=1,fair=1"}, "unknown objectives ['fair']"),
        ({}, {"weights": "kind"}, "'kind' is no list of weights"),
        ({}, {"weights": "kind=0"}, "weights must not all be zero"),
        ({}, {"temperature": 1.0}, "mixes the logits of base and model, which no adapter does"),
        ({}, {"temperature": [1.0, 2.0]}, "has other ratios than the trained"),
        ({}, {"to": Path("/proc/nowhere/out")}, "cannot be written"),
    ],
)
def test_what_has_no_such_form_is_refused(
    form: dict[str, Any], changes: dict[str, Any], says: str, tmp_path: Path
) -> None:
    trained(tmp_path, **form)
    with pytest.raises(InputError, match=re.escape(says)):
        exported(tmp_path, **changes)
    assert {path.name for path in tmp_path.iterdir()} == {"base", "checkpoint"}


def test_a_base_in_a_gguf_file_is_merged_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gguf", reason="needs the package gguf")
    from tests.models.test_gguf_file import write_gguf

    monkeypatch.setenv("COSDPO_CACHE", str(tmp_path / "cache"))
    write_gguf(write_model(tmp_path / "tiny", "llama-untied"), tmp_path / "tiny.gguf")
    made = trained(tmp_path)
    made.card = made.card.model_copy(update={"base": str(tmp_path / "tiny.gguf")})
    made.save(tmp_path / "checkpoint")
    folder = exported(tmp_path, merge=True, dtype="float32")
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    expected = ours(LanguageScorer.load(tmp_path / "checkpoint"))
    torch.testing.assert_close(scores(model), expected, atol=1e-4, rtol=1e-5)


def test_plain_peft_does_not_take_a_checkpoint_for_its_own(tmp_path: Path) -> None:
    trained(tmp_path)
    with pytest.raises(ValueError, match=r"adapter_config\.json"):
        PeftModel.from_pretrained(plain(tmp_path), str(tmp_path / "checkpoint"))
    assert "cosdpo.export --checkpoint THIS_FOLDER" in (tmp_path / "checkpoint" / "README.md").read_text()


def test_checkpoints_of_earlier_versions_have_names_of_peft(tmp_path: Path) -> None:
    made = trained(tmp_path)
    for name, before in (
        ("adapters.json", "adapter_config.json"),
        ("adapters.safetensors", "adapter_model.safetensors"),
    ):
        (tmp_path / "checkpoint" / name).rename(tmp_path / "checkpoint" / before)
    loaded = LanguageScorer.load(tmp_path / "checkpoint")
    torch.testing.assert_close(ours(loaded), ours(made), atol=0, rtol=0)


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained(tmp_path)
    asked = ["--checkpoint", str(tmp_path / "checkpoint"), "--weights", "kind=1", "--to", str(tmp_path / "out")]
    main(asked)
    assert capsys.readouterr().out.strip() == str(tmp_path / "out")
    assert "kind 1, short 0" in (tmp_path / "out" / "README.md").read_text()
    with pytest.raises(SystemExit) as ended:
        main(asked)
    assert ended.value.code == 2
    assert "exists; name another folder" in capsys.readouterr().err
