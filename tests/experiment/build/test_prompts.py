"""Prompts as files have them: texts and chats, repeated and too long ones."""

from __future__ import annotations

import re

import pytest

from cosdpo.errors import InputError
from cosdpo.experiment.build.prompts import REPEATED, TOO_LONG, read_prompts
from tests.tiny_models import letters

CHATTY = (
    "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}a:{% endif %}"
)


def test_texts_are_asked_once_in_their_template(asking) -> None:
    config = asking(["abc", "de", "abc"], data__prompt_template="q {prompt}?")
    prompts, dropped = read_prompts(config, letters(), 40)
    assert [prompt.text for prompt in prompts] == ["q abc?", "q de?"]
    assert [prompt.given for prompt in prompts] == [{"prompt": "abc"}, {"prompt": "de"}]
    assert [letters().decode(prompt.ids) for prompt in prompts] == ["q abc?", "q de?"]
    assert dropped == {REPEATED: 1}


def test_chats_are_rendered_and_kept_as_they_came(asking) -> None:
    tokenizer = letters()
    tokenizer.chat_template = CHATTY
    chat = [{"role": "user", "content": "abc"}]
    (prompt,), dropped = read_prompts(asking([chat]), tokenizer, 40)
    assert prompt.text == "abc"
    assert prompt.given == {"prompt": chat}
    assert prompt.ids == tokenizer("u:abc\na:", add_special_tokens=False)["input_ids"]
    assert dropped == {}


def test_prompts_of_preferences_are_prompts(asking, tmp_path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(
        '{"chosen": "\\n\\nHuman: hi\\n\\nAssistant: a", "rejected": "\\n\\nHuman: hi\\n\\nAssistant: b"}\n'
    )
    (prompt,), _ = read_prompts(asking(build__prompts=str(path)), letters(), 40)
    assert prompt.text == "\n\nHuman: hi\n\nAssistant:"


def test_long_prompts_are_refused_or_dropped(asking) -> None:
    wanted = ["abc", "a much longer one"]
    with pytest.raises(InputError, match=r"prompts\.jsonl:2: the prompt has 17 tokens and leaves no room"):
        read_prompts(asking(wanted), letters(), 10)
    prompts, dropped = read_prompts(asking(wanted, data__prompt_too_long="drop"), letters(), 10)
    assert [prompt.text for prompt in prompts] == ["abc"]
    assert dropped == {TOO_LONG: 1}


@pytest.mark.parametrize(
    ("prompts", "says"),
    [
        (["abc", [{"role": "user", "content": "x"}]], "some that are chats; give them in two files"),
        ([[{"role": "user", "content": "x"}]], "the tokenizer has no chat template"),
        ([[{"role": "user"}]], "give a text, or a list of chat messages"),
        ([None], "prompt is missing; give a text"),
    ],
)
def test_what_is_no_prompt_is_refused(prompts, says, asking) -> None:
    with pytest.raises(InputError, match=re.escape(says)):
        read_prompts(asking(prompts), letters(), 40)
