"""TRL's pairs by hand: texts and chats, with and without a prompt, which is never left out."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from cosdpo.config import DataConfig
from cosdpo.data.conversations import question
from cosdpo.data.preferences import Preferences
from cosdpo.data.sources import load
from cosdpo.data.turns import ChatTemplate
from cosdpo.errors import InputError
from tests.data.test_turns import tokenizer_of


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def read(folder: Path, *rows: dict[str, Any], form: str = "auto", name: str = "kind") -> Preferences:
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = DataConfig.model_validate({"format": form})
    return load(f"{name}={path}", [name], config, ChatTemplate(tokenizer_of("chatml on a base")))


def of(preferences: Preferences) -> list[tuple[str, list[str]]]:
    assert all(preferences.scores(i) == [[1.0, 0.0]] for i in range(len(preferences)))
    return [(preferences.context(i), preferences.candidates(i)) for i in range(len(preferences))]


ONE = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
TWO = ["yes<|im_end|>", "no<|im_end|>"]


@pytest.mark.parametrize(
    ("row", "prompt", "responses"),
    [
        ({"prompt": "hi ", "chosen": "yes", "rejected": "no"}, "hi ", ["yes", "no"]),
        ({"prompt": "hi ", "chosen": "hi yes", "rejected": "no"}, "hi ", ["hi yes", "no"]),
        # All texts of the file begin with their prompts.
        ({"prompt": "hi ", "chosen": "hi yes", "rejected": "hi no"}, "hi ", ["yes", "no"]),
        ({"chosen": "The sky is blue.", "rejected": "The sky is black."}, "The sky is", [" blue.", " black."]),
        ({"chosen": "So it is", "rejected": "So it is not"}, "So it", [" is", " is not"]),
        ({"chosen": "Q: why?\nA: yes", "rejected": "Q: why?\nA: no"}, "Q: why?\nA:", [" yes", " no"]),
        ({"chosen": "天空是蓝", "rejected": "天空是黑"}, "天空是", ["蓝", "黑"]),
        ({"prompt": [user("hi")], "chosen": "yes", "rejected": "no"}, ONE, TWO),
        ({"prompt": [user("hi")], "chosen": [assistant("yes")], "rejected": [assistant("no")]}, ONE, TWO),
        (
            {
                "prompt": [user("hi")],
                "chosen": [user("hi"), assistant("yes")],
                "rejected": [user("hi"), assistant("no")],
            },
            ONE,
            TWO,
        ),
        ({"chosen": [user("hi"), assistant("yes")], "rejected": [user("hi"), assistant("no")]}, ONE, TWO),
        # UltraFeedback's: the prompt is the text of a message that both hold.
        (
            {"prompt": "hi", "chosen": [user("hi"), assistant("yes")], "rejected": [user("hi"), assistant("no")]},
            ONE,
            TWO,
        ),
        ({"prompt": "hi", "chosen": [assistant("yes")], "rejected": [assistant("no")]}, ONE, TWO),
        (
            {
                "chosen": [user("hi"), assistant("a"), user("b"), assistant("yes")],
                "rejected": [user("hi"), assistant("a"), user("b"), assistant("no")],
            },
            ONE + "a<|im_end|>\n<|im_start|>user\nb<|im_end|>\n<|im_start|>assistant\n",
            TWO,
        ),
        (
            {"prompt": [user("hi"), assistant("I say")], "chosen": [assistant(" yes")], "rejected": [assistant(" no")]},
            ONE + "I say",
            [" yes<|im_end|>", " no<|im_end|>"],
        ),
        (
            {
                "prompt": [user("hi")],
                "chosen": [assistant("a"), {"role": "tool", "content": "2"}, assistant("yes")],
                "rejected": [assistant("no")],
            },
            ONE,
            ["a<|im_end|>\n<|im_start|>tool\n2<|im_end|>\n<|im_start|>assistant\nyes<|im_end|>", "no<|im_end|>"],
        ),
    ],
)
def test_pairs_part_into_prompt_and_responses(
    row: dict[str, Any], prompt: str, responses: list[str], tmp_path: Path
) -> None:
    assert of(read(tmp_path, row)) == [(prompt, responses)]
    assert of(read(tmp_path, row, form="trl")) == [(prompt, responses)]


def test_a_prompt_is_taken_from_texts_only_where_all_repeat_it(tmp_path: Path) -> None:
    rows = [
        {"prompt": "I", "chosen": "I do", "rejected": "I may"},
        {"prompt": "You", "chosen": "We do", "rejected": "You may"},
    ]
    assert of(read(tmp_path, *rows)) == [("I", ["I do", "I may"]), ("You", ["We do", "You may"])]


def test_anthropic_s_conversations_with_a_prompt_keep_it(tmp_path: Path) -> None:
    head = "\n\nHuman: hi\n\nAssistant:"
    row = {"chosen": f"{head} yes", "rejected": f"{head} no"}
    assert of(read(tmp_path, row)) == of(read(tmp_path, row | {"prompt": head})) == [(head, [" yes", " no"])]
    assert of(read(tmp_path, row | {"prompt": head}, form="hh")) == [(head, [" yes", " no"])]
    with pytest.raises(
        InputError, match=r"pairs.jsonl:1: prompt is 'Be kind.'; give that with which the conversations"
    ):
        read(tmp_path, row | {"prompt": "Be kind."}, form="hh")
    assert of(read(tmp_path, row | {"prompt": "Be kind."})) == [("Be kind.", [f"{head} yes", f"{head} no"])]


def test_chats_that_do_not_answer_the_same_are_dropped_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    start = [user("hi"), assistant("a")]
    with caplog.at_level(logging.WARNING):
        preferences = read(
            tmp_path,
            {"chosen": [*start, user("b"), assistant("yes")], "rejected": [*start, user("c"), assistant("no")]},
            {"chosen": [user("hi"), assistant("yes")], "rejected": [user("hi"), user("no")]},
            {"chosen": [user("hi"), assistant("yes")], "rejected": [user("hi"), assistant("no")]},
        )
    assert of(preferences) == [(ONE, TWO)]
    assert preferences.dropped == {
        "conversations that differ before the last assistant turn": 1,
        "conversations without an assistant turn": 1,
    }
    assert "dropped 2 of 3 rows" in caplog.text


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"prompt": None, "chosen": "a", "rejected": "b"},
            "prompt is missing; give a text, or a list of chat messages",
        ),
        ({"prompt": "", "chosen": "a", "rejected": "b"}, "the prompt is empty"),
        ({"prompt": 3, "chosen": "a", "rejected": "b"}, "prompt is 3; give a text, or a list of chat messages"),
        (
            {"prompt": 3, "chosen": [assistant("a")], "rejected": [assistant("b")]},
            "prompt is 3; give a text, or a list",
        ),
        ({"prompt": "p", "chosen": "a", "rejected": ""}, "response 2 of 2 is empty"),
        ({"prompt": "p", "chosen": [assistant(" ")], "rejected": [assistant("b")]}, "response 1 of 2 is empty"),
        (
            {"prompt": "p", "chosen": "a", "rejected": None},
            "rejected is missing; give a text as the other is, or both as lists",
        ),
        (
            {"prompt": "p", "chosen": [assistant("a")], "rejected": "b"},
            "chosen is [{'role': 'assistant', 'content': 'a'}]; give a text as",
        ),
        ({"prompt": "p", "chosen": [], "rejected": [assistant("b")]}, "chosen is []; give"),
        ({"prompt": "p", "chosen": [{"role": "assistant"}], "rejected": [assistant("b")]}, "chosen is {'role'"),
        ({"chosen": "yes", "rejected": "no"}, "chosen and rejected begin with different words; give a prompt"),
        (
            {"chosen": [assistant("a")], "rejected": [assistant("b")]},
            "chosen and rejected begin with different messages; give",
        ),
        (
            {"prompt": "p", "chosen": [user("hi"), assistant("a")], "rejected": [user("hi"), assistant("b")]},
            "prompt is 'p'; give a message that both chosen and rejected hold, or no prompt",
        ),
    ],
)
def test_what_is_wrong_is_named_by_file_and_line(row: dict[str, Any], message: str, tmp_path: Path) -> None:
    known = {"prompt": "p"} if "prompt" in row else {}
    first = known | {"chosen": "a text", "rejected": "a word"}
    with pytest.raises(InputError) as error:
        read(tmp_path, first, row)
    assert f"pairs.jsonl:2: {message}" in str(error.value)
    assert "\n" not in str(error.value)


def test_one_preference_is_one_objective(tmp_path: Path) -> None:
    read(tmp_path, {"prompt": "p", "chosen": "a", "rejected": "b"}, name="safe")
    with pytest.raises(InputError, match="one source per objective, such as"):
        load(str(tmp_path / "pairs.jsonl"), ["kind", "safe"], DataConfig(), None)


def test_what_a_chat_asks_is_what_its_last_user_says() -> None:
    chat = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": "three"},
        {"role": "assistant", "content": "fo"},
    ]
    assert question(chat) == "three"
    assert question(chat[:1]) is None
