"""Sources: schemas and containers read to the same table, real files to known counts, mistakes to one line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub.errors import HFValidationError

from cosdpo import hub_check as hub
from cosdpo.config import DataConfig
from cosdpo.data.comparisons import label_matrix
from cosdpo.data.preferences import Preferences
from cosdpo.data.sources import load
from cosdpo.data.turns import ChatTemplate
from cosdpo.errors import InputError
from tests.tiny_models import letters

SCORED = [
    {"prompt": "p {x}", "responses": ["a", "b", "c"], "scores": {"good": [1.0, 2.0, 3.0], "short": None}},
    {"prompt": "q", "responses": ["d", "e"], "scores": {"good": [0.5, 0.0], "short": [1.0, 2.0]}},
]
PKU = [
    {
        "prompt": "p",
        "response_0": "a",
        "response_1": "b",
        "better_response_id": 0,
        "safer_response_id": "1",
        "more": True,
    },
    {"prompt": "q", "response_0": "c", "response_1": "d", "better_response_id": None, "safer_response_id": 0},
]
HEAD = "\n\nHuman: hi\n\nAssistant: hello\n\nHuman: well?"
Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(rows: list[Any], name: str = "data.jsonl") -> str:
        path = tmp_path / name
        if path.suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        else:
            lines = json.dumps(rows, indent=1) if path.suffix == ".json" else "\n".join(map(json.dumps, rows)) + "\n"
            path.write_text(lines)
        return str(path)

    return to_file


def read(location: str, *objectives: str, **data: Any) -> Preferences:
    return load(location, objectives, DataConfig(**data), None)


def refusal(location: str, *objectives: str, **data: Any) -> str:
    with pytest.raises(InputError) as error:
        read(location, *objectives, **data)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", ["data.jsonl", "data.json", "data.parquet"])
def test_scored_rows_read_alike_from_every_container(write: Write, name: str) -> None:
    preferences = read(write(SCORED, name), "short", "good")
    assert [preferences.context(i) for i in range(2)] == ["p {x}", "q"]
    assert preferences.candidates(0) == ["a", "b", "c"]
    assert preferences.scores(0) == [None, [1.0, 2.0, 3.0]]
    assert preferences.scores(1) == [[1.0, 2.0], [0.5, 0.0]]


@pytest.mark.parametrize("name", ["data.jsonl", "data.json", "data.parquet"])
def test_pku_rows_read_alike_from_every_container(write: Write, name: str) -> None:
    rows = [{**row, "safer_response_id": str(row["safer_response_id"])} for row in PKU]
    preferences = read(write(rows, name), "better", "safer")
    assert preferences.candidates(1) == ["c", "d"]
    assert preferences.scores(0) == [[1.0, 0.0], [0.0, 1.0]]
    assert preferences.scores(1) == [None, [1.0, 0.0]]


@pytest.mark.parametrize(
    "rows",
    [
        [{"chosen": HEAD + "\n\nAssistant: yes", "rejected": HEAD + "\n\nAssistant: no"}],
        [{"text": [HEAD + "\n\nAssistant: yes", HEAD + "\n\nAssistant: no"], "score": [1, 0]}],
    ],
)
def test_hh_conversations_part_after_the_last_assistant_turn(write: Write, rows: list[Any]) -> None:
    preferences = read(write(rows), "helpful")
    assert preferences.context(0) == HEAD + "\n\nAssistant:"
    assert preferences.candidates(0) == [" yes", " no"]
    assert preferences.scores(0) == [[1.0, 0.0]]


def test_hh_rows_of_different_conversations_are_dropped_and_logged(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [
        {"chosen": HEAD + "\n\nAssistant: yes", "rejected": HEAD + "\n\nAssistant: "},
        {"chosen": HEAD + "\n\nAssistant: yes", "rejected": HEAD + "?\n\nAssistant: no"},
        {"chosen": HEAD + "\n\nAssistant: a\n\nHuman: b\n\nAssistant: yes", "rejected": HEAD + "\n\nAssistant: no"},
        {"chosen": "yes", "rejected": "no"},
    ]
    preferences = read(write(rows), "helpful")
    assert preferences.candidates(0) == [" yes", " "]  # a turn that says nothing is an answer that people judged
    assert preferences.dropped == {
        "conversations that differ before the last assistant turn": 2,
        "conversations without an assistant turn": 1,
    }
    assert "dropped 3 of 4 rows: 2 conversations that differ" in caplog.text


def test_one_source_per_objective_leaves_the_others_null(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [{"chosen": f"{HEAD}\n\nAssistant: {a}", "rejected": f"{HEAD}\n\nAssistant: {b}"} for a, b in ("ab", "cd")]
    files = write(texts[:1], "a.jsonl"), write(texts[1:], "b.json")
    preferences = read(f"helpful={files[0]}, harmless={files[1]}", "harmless", "helpful")
    assert [preferences.scores(i) for i in range(2)] == [[[1.0, 0.0], None], [None, [1.0, 0.0]]]
    assert [preferences.candidates(i)[0] for i in range(2)] == [" c", " a"]
    (tmp_path / "run=1").mkdir()
    monkeypatch.chdir(tmp_path)
    assert len(read(write(SCORED, "run=1/data.jsonl").removeprefix(f"{tmp_path}/"), "good")) == 2
    only = read(f"helpful={files[0]},harmless=nowhere.json", "helpful")
    assert (len(only), only.objectives) == (1, ("helpful",))
    assert "it has helpful, harmless" in refusal(f"helpful={files[0]},harmless={files[1]}", "honest")
    assert "helpful=a.json,harmless=b.json" in refusal(f"helpful={files[0]},harmless", "helpful")
    assert "one source per objective" in refusal(files[0], "helpful", "harmless")


def test_templates_leave_braces_in_the_text_alone(write: Write) -> None:
    preferences = read(
        write(SCORED), "good", prompt_template="USER: {prompt} ASSISTANT:", response_template=" {response}"
    )
    assert preferences.context(0) == "USER: p {x} ASSISTANT:"
    assert preferences.candidates(1) == [" d", " e"]
    assert "put it where the prompt goes" in refusal(write(SCORED), "good", prompt_template="USER: {text}")
    assert "data.response_template 'x'" in refusal(write(SCORED), "good", response_template="x")


class Tagged(ChatTemplate):
    """<role>text of all messages; an answer ends with a full stop."""

    def __init__(self) -> None:
        super().__init__(letters())

    def prompt(self, messages: Any, tools: Any = None) -> str:
        if messages[0]["role"] == "system":
            raise ValueError("no system\nhere")
        return "".join(f"<{message['role']}>{message['content']}" for message in messages)

    def response(self, prompt: str, messages: Any, answer: Any, tools: Any = None) -> str:
        return f"{answer if isinstance(answer, str) else answer[-1]['content']}."


def test_chats_go_through_the_template(write: Write) -> None:
    chat = [{"role": "user", "content": "hello"}]
    for name in ("chat.jsonl", "chat.parquet"):
        path = write([{**SCORED[1], "prompt": chat}], name)
        rendered = load(path, ["good"], DataConfig(), Tagged())
        assert rendered.context(0) == "<user>hello"
        assert rendered.candidates(0) == ["d.", "e."]
        assert "tokenizer has no chat template; take a model.base that has one" in refusal(path, "good")
    for message in ({"role": "user"}, {"content": "hi"}, "hi"):
        assert "with role and content" in refusal(write([{**SCORED[1], "prompt": [message]}]), "good")
    system = [{"role": "system", "content": "hello"}]
    refused = [
        (system, ["a", "b"], r"chat.jsonl:1: the chat template refuses the prompt \(no system\); mend"),
        (chat, ["a", " "], r"chat.jsonl:1: response 2 of 2 is empty"),
    ]
    for prompt, responses, message in refused:
        path = write([{**SCORED[1], "prompt": prompt, "responses": responses}], "chat.jsonl")
        with pytest.raises(InputError, match=message):
            load(path, ["good"], DataConfig(), Tagged())


def test_max_rows_counts_usable_contexts(write: Write) -> None:
    tied = {"prompt": "t", "responses": ["a", "b"], "scores": {"good": [1, 1]}}
    preferences = read(write([tied, *SCORED]), "good", max_rows=1)
    assert (len(preferences), preferences.context(0)) == (1, "p {x}")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"responses": ["a", "b"], "scores": {"good": [1, 0]}}, "prompt is missing; give a text, or a list of chat"),
        ({"prompt": 3, "responses": ["a", "b"], "scores": {"good": [1, 0]}}, "prompt is 3"),
        ({"prompt": "p", "responses": "ab", "scores": {"good": [1, 0]}}, "responses is 'ab'; give a list"),
        ({"prompt": "p", "responses": ["a", 1], "scores": {"good": [1, 0]}}, "responses[1] is 1; give a text"),
        ({"prompt": "p", "responses": ["a", "b"], "scores": [1, 0]}, "scores is [1, 0]; give an object"),
        ({"prompt": "p", "responses": ["a", "b"], "scores": {"good": 1}}, "scores.good is 1; give a list"),
        ({"prompt": "p", "responses": ["a", "b"], "scores": {"good": [1, 0, 2]}}, "good has 3 labels for 2 responses"),
        ({"prompt": "p", "responses": ["a", "b"], "scores": {"good": [1, float("nan")]}}, "label 2 of good is 'nan'"),
        ({"prompt": "p", "responses": ["a", ""], "scores": {"good": [1, 0]}}, "response 2 of 2 is empty"),
    ],
)
def test_broken_rows_are_named_by_file_and_line(write: Write, row: dict[str, Any], message: str) -> None:
    assert f"data.jsonl:3: {message}" in refusal(write([*SCORED, row]), "good")


@pytest.mark.parametrize("label", [2, "x", -1, 0.5])
def test_pku_labels_name_a_response(write: Write, label: object) -> None:
    message = refusal(write([PKU[0], {**PKU[1], "safer_response_id": label}]), "better", "safer")
    assert f"data.jsonl:2: safer_response_id is {label!r}; give 0 or 1, or null" in message


def test_files_are_checked_before_their_rows(write: Write, tmp_path: Path) -> None:
    assert "nowhere.jsonl does not exist" in refusal(str(tmp_path / "nowhere.jsonl"), "good")
    (tmp_path / "data.tsv").write_text("prompt,response\n")
    assert "is not a .jsonl, .json, .csv, .parquet or .arrow file" in refusal(str(tmp_path / "data.tsv"), "good")
    (tmp_path / "torn.jsonl").write_text(json.dumps(SCORED[0]) + '\n\n{"prompt": "p", "resp\n')
    assert "torn.jsonl:3: broken JSON" in refusal(str(tmp_path / "torn.jsonl"), "good")
    (tmp_path / "torn.json").write_text('[{"prompt": 1},\n {"prompt" 2}]')
    assert "torn.json:2: broken JSON" in refusal(str(tmp_path / "torn.json"), "good")
    (tmp_path / "words.jsonl").write_text('"text"\n')
    assert "words.jsonl:1: is not an object" in refusal(str(tmp_path / "words.jsonl"), "good")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and no more")
    assert "cannot read" in refusal(str(tmp_path / "torn.parquet"), "good")
    (tmp_path / "latin.jsonl").write_bytes('{"prompt": "caf\xe9"}'.encode("latin-1"))
    assert "latin.jsonl is not UTF-8" in refusal(str(tmp_path / "latin.jsonl"), "good")
    assert "has no rows" in refusal(write([], "empty.jsonl"), "good")
    assert "set data.train" in refusal("", "good")


def test_wrong_columns_list_what_is_there_and_what_is_expected(write: Write) -> None:
    message = refusal(write([{"prompt": "p", "answers": ["a"]}]), "good")
    assert (
        "has the columns prompt, answers; expected prompt, responses, scores (scored) or prompt, response_0" in message
    )
    message = refusal(write(SCORED), "better", format="pku")
    assert "has the columns prompt, responses, scores; expected prompt, response_0, response_1, better" in message
    assert "it has good, short" in refusal(write(SCORED), "good", "kind")


def test_json_lines_may_be_called_json_and_have_gaps(tmp_path: Path) -> None:
    path = tmp_path / "lines.json"
    path.write_text("\ufeff" + "\n\n".join(map(json.dumps, SCORED)), encoding="utf-8")
    assert len(read(str(path), "good")) == 2


def test_hub_datasets_take_folder_and_split(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def fake(repository: str, data_dir: str | None, split: str) -> datasets.Dataset:
        asked.append((repository, data_dir, split))
        return datasets.Dataset.from_list([{**row, "safer_response_id": 0} for row in PKU])

    monkeypatch.setattr(datasets, "load_dataset", fake)
    preferences = read("PKU-Alignment/PKU-SafeRLHF-10K", "safer")
    assert preferences.scores(1) == [[1.0, 0.0]]
    read("owner/name/a/b:test[:10]", "safer")
    assert asked == [("PKU-Alignment/PKU-SafeRLHF-10K", None, "train"), ("owner/name", "a/b", "test[:10]")]


def test_without_the_hub_a_local_file_is_proposed(monkeypatch: pytest.MonkeyPatch) -> None:
    message = refusal("owner/unknown", "better")
    assert "not in the local cache and HF_HUB_OFFLINE is set; unset it, or set data.train to a .jsonl" in message

    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("no route")

    def unknown(*_: object, **__: object) -> None:
        raise HFValidationError

    monkeypatch.setattr(hub, "is_offline_mode", lambda: False)
    monkeypatch.setattr(hub.HfApi, "dataset_info", unreachable)
    assert "cannot reach the hub for the dataset 'owner/unknown' (no route); set data.train" in refusal(
        "owner/unknown", "a"
    )

    monkeypatch.setattr(hub.HfApi, "dataset_info", unknown)
    assert "the hub has no dataset 'owner/unknown', or it is private; check the name, or set" in refusal(
        "owner/unknown", "a"
    )

    def broken(*_: object, **__: object) -> None:
        raise ValueError("Unknown split 'tset'. Should be one of ['train'].\nmore")

    monkeypatch.setattr(hub.HfApi, "dataset_info", lambda *_, **__: None)
    monkeypatch.setattr(datasets, "load_dataset", broken)
    assert "(Unknown split 'tset'. Should be one of ['train'].); set data.train" in refusal("owner/name:tset", "a")


def test_real_stories(shared: Path) -> None:
    folder = shared / "data/stories-prefs"
    for name, rows in (("train", 853), ("validation", 107)):
        preferences = read(str(folder / f"{name}.jsonl"), "positivity", "brevity", "dialogue")
        assert (len(preferences), preferences.dropped) == (rows, {})


def test_real_pku_objectives_disagree_on_19_rows(shared: Path) -> None:
    preferences = read(str(shared / "data/pku-safe-rlhf-32/train.json"), "better", "safer")
    gaps = np.array([np.diff(label_matrix(preferences.scores(i)))[:, 0] for i in range(len(preferences))])
    assert len(preferences) == 32
    assert (gaps.prod(1) < 0).sum() == 19


def test_real_hh_drops_14_rows(shared: Path) -> None:
    folder = shared / "data/hh"
    location = f"helpful={folder / 'helpful.test.json'},harmless={folder / 'harmless.test.json'}"
    preferences = read(location, "helpful", "harmless")
    assert preferences.dropped == {"conversations that differ before the last assistant turn": 14}
    labelled = [[scores is not None for scores in preferences.scores(i)] for i in range(len(preferences))]
    assert labelled == [[True, False]] * (2352 - 9) + [[False, True]] * (2312 - 5)
    assert all(preferences.context(i).endswith("\n\nAssistant:") for i in range(len(preferences)))
