"""Scorers: values by hand, the real file's own scores, and a reward model against its unbatched self."""

import json
import math
import sys
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from cosdpo.data.synthetic_text import SCORERS, build_tokenizer
from cosdpo.errors import InputError
from cosdpo.evaluation.scorers import resolve


def one(name: str, response: str) -> float:
    return resolve(name)(["x"], [response])[0]


@pytest.mark.parametrize(
    ("name", "response", "expected"),
    [
        ("brevity", "One two three. Four!", -2.0),  # (3 + 1) / 2
        ("brevity", "No end here", -3.0),
        ("brevity", 'She ran. "Hi!" he said', -2.0),  # She ran | "Hi | " he said: a lone quote counts as a word
        ("brevity", "...", 0.0),
        ("dialogue", 'He said, "Come in now."', 3 / 5),
        ("dialogue", 'He said, "Come', 1 / 3),  # runs to the end
        ("dialogue", '"Hi" she "said', 2 / 3),
        ("dialogue", "", 0.0),
        ("positivity", "", 0.0),
    ],
)
def test_scores_by_hand(name: str, response: str, expected: float) -> None:
    assert one(name, response) == pytest.approx(expected)


def test_positivity_orders_praise_above_blame() -> None:
    assert one("positivity", "A wonderful day!") > 0.5 > -0.3 > one("positivity", "A terrible day.")


def test_scores_equal_those_of_the_real_file(shared: Path) -> None:
    """All 3,840 responses, to the file's 4 decimals."""
    responses: list[str] = []
    expected: dict[str, list[float]] = {"positivity": [], "brevity": [], "dialogue": []}
    for name in ("train", "validation"):
        for line in (shared / f"data/stories-prefs/{name}.jsonl").read_text().splitlines():
            row = json.loads(line)
            responses += row["responses"]
            for objective, scores in expected.items():
                scores += row["scores"][objective]
    assert len(responses) == 3840
    for objective, scores in expected.items():
        assert resolve(objective)([""] * len(responses), responses) == pytest.approx(scores, abs=5.01e-5, rel=0)


def test_the_synthetic_objectives_are_known_by_name() -> None:
    prompts, responses = ["x", "x"], ["A lovely place.", "Silver rain tapped by the window."]
    for name, scorer in SCORERS.items():
        assert resolve(name)(prompts, responses) == [scorer("x", response) for response in responses]


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(
        InputError, match=r"no scorer 'joy'; take positivity, brevity, .*vivid, MODULE:FUNCTION or hub:NAME"
    ):
        resolve("joy")


def test_positivity_names_the_command_that_installs_vader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vaderSentiment.vaderSentiment", None)
    with pytest.raises(InputError, match="pip install vaderSentiment"):
        resolve("positivity")


def test_functions_of_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_scorers.py").write_text(
        "number = 3\n"
        "def lengths(prompts, responses): return [len(x) + len(y) for x, y in zip(prompts, responses)]\n"
        "def one(prompts, responses): return [1]\n"
        "def broken(prompts, responses): return [float('nan')] * len(responses)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert resolve("own_scorers:lengths")(["ab", "c"], ["d", "efg"]) == [3.0, 4.0]
    for name in ("one", "broken"):
        with pytest.raises(InputError, match="return a finite number for each"):
            resolve(f"own_scorers:{name}")(["x", "x"], ["y", "z"])
    for spec, message in (
        ("own_scorers:number", "is not a function"),
        ("own_scorers:nothing", "has no function 'nothing'"),
        ("no_such_module:f", "cannot import 'no_such_module'"),
        (":f", "cannot import ''"),
    ):
        with pytest.raises(InputError, match=message):
            resolve(spec)


def save_model(folder: Path, kind: type[torch.nn.Module], labels: int = 1, safe: bool = True) -> str:
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    tokenizer.save_pretrained(folder)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=32, num_labels=labels, initializer_range=0.5, **shape
    )  # type: ignore[arg-type]
    model = kind(config)
    model.save_pretrained(folder)  # type: ignore[operator]
    if not safe:
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    return f"hub:{folder}"


def test_a_reward_model_in_batches_equals_one_text_at_a_time(tmp_path: Path) -> None:
    scorer = resolve(save_model(tmp_path, LlamaForSequenceClassification))
    prompts = [f"Tell me about the {place}. " for place in ("cafe", "old inn", "market", "beach")] * 5
    responses = ["It was fine. " * (1 + i % 7) for i in range(20)]
    model = LlamaForSequenceClassification.from_pretrained(tmp_path).eval()
    expected = []
    for prompt, response in zip(prompts, responses, strict=True):
        ids = build_tokenizer()(prompt + response)["input_ids"][-32:]  # the model has 32 positions: the start is cut
        hidden = model.model(torch.tensor([ids])).last_hidden_state[0, -1]
        expected.append((hidden @ model.score.weight[0]).item())
    assert len({round(value, 4) for value in expected}) > 10
    assert scorer(prompts, responses) == pytest.approx(expected, abs=1e-5)
    assert all(map(math.isfinite, scorer(prompts, responses)))


def test_reward_models_that_cannot_judge_are_refused(tmp_path: Path) -> None:
    for name, spec, message in (
        ("two", save_model(tmp_path / "two", LlamaForSequenceClassification, labels=2), "has 2 outputs"),
        ("bare", save_model(tmp_path / "bare", LlamaForCausalLM), "has no trained score.weight"),
        ("pickle", save_model(tmp_path / "pickle", LlamaForSequenceClassification, safe=False), "safetensors weights"),
        ("empty", f"hub:{tmp_path}", "cannot load the reward model"),
        ("absent", "hub:owner/absent", "cannot load the reward model 'owner/absent'"),
    ):
        with pytest.raises(InputError, match=message) as error:
            resolve(spec)
        assert "\n" not in str(error.value), name
