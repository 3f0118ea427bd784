"""Token ids by hand, with a tokenizer of one token per letter: a is 3, b is 4, c is 5; <bos> is 1, <eos> is 2."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from tokenizers import processors

from cosdpo.config import DataConfig
from cosdpo.data.duplicates import distinct
from cosdpo.data.preferences import Preferences, schema
from cosdpo.data.sources import load
from cosdpo.data.tokenization import Tokenized, tokenize, tokenize_prompts
from cosdpo.data.turns import chat_template
from cosdpo.errors import InputError
from tests.tiny_models import letters

CHAT = (
    "{% for m in messages %}{{ m.role[0] }}{{ m.content }}{{ eos_token }}{% endfor %}{{ 'a' if add_generation_prompt }}"
)


def preferences(*rows: tuple[str, list[str]]) -> Preferences:
    scores = [list(range(len(candidates))) for _, candidates in rows]
    columns = {"context": [p for p, _ in rows], "candidates": [c for _, c in rows], "score:x": scores}
    columns["chat"] = [False] * len(rows)
    columns["question"] = [None] * len(rows)
    columns["finished"] = [[True] * len(texts) for texts in columns["candidates"]]
    return Preferences(pa.table(columns, schema=schema(["x"])), ("x",))


def tokens(*rows: tuple[str, list[str]], room: int = 40, bos: bool = False, **data: object) -> Tokenized:
    return tokenize(preferences(*rows), letters(bos), DataConfig.model_validate(data), room)


def test_prompt_and_responses_by_hand():
    result = tokens(("ab", ["c", "ca"]), ("c", ["a", "b", "abc"]))
    assert [c.prompt for c in result.contexts] == [[3, 4], [5]]
    assert [c.candidates for c in result.contexts] == [[[5, 2], [5, 3, 2]], [[3, 2], [4, 2], [3, 4, 5, 2]]]
    assert result.rows == [0, 1]
    assert result.notes == {}
    assert [c.tokens for c in result.contexts] == [7, 9]


def test_the_beginning_is_marked_on_prompts_alone_and_the_end_when_asked_for():
    result = tokens(("ab", ["c", "ca"]), bos=True, append_eos=False)
    assert result.contexts[0].prompt == [1, 3, 4]
    assert result.contexts[0].candidates == [[5], [5, 3]]


def test_a_beginning_that_the_chat_template_wrote_is_not_doubled():
    assert tokenize_prompts(letters(bos=True), ["<bos>ab", "ab", "<bos>"]) == [[1, 3, 4], [1, 3, 4], [1]]
    assert tokenize_prompts(letters(), ["<bos>ab"]) == [[1, 3, 4]]


def test_an_empty_prompt_is_refused_unless_its_beginning_is_marked():
    assert tokenize_prompts(letters(bos=True), ["a", ""]) == [[1, 3], [1]]
    with pytest.raises(InputError, match="prompt 1 has no tokens"):
        tokenize_prompts(letters(), ["a", ""])


def test_a_tokenizer_without_an_end_token_is_refused():
    tokenizer = letters()
    tokenizer.eos_token = None
    with pytest.raises(InputError, match=r"--data\.append_eos false"):
        tokenize(preferences(("a", ["b", "c"])), tokenizer, DataConfig(), 10)
    tokenize(preferences(("a", ["b", "c"])), tokenizer, DataConfig(append_eos=False), 10)


def test_an_end_that_a_response_has_is_not_doubled():
    result = tokens(("a", ["b<eos>", "c", "<eos>b"]), ("a", ["b", "<eos>"]))
    assert [c.candidates for c in result.contexts] == [[[4, 2], [5, 2], [2, 4, 2]], [[4, 2], [2]]]
    assert tokens(("a", ["b<eos>", "c"]), append_eos=False).contexts[0].candidates == [[4, 2], [5]]


@pytest.mark.parametrize("bos", [True, False])
def test_a_tokenizer_that_appends_an_end_does_so_to_no_prompt_and_once_to_a_response(bos):
    tokenizer = letters()
    begin = "<bos> " if bos else ""
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin}$A <eos>", special_tokens=[("<bos>", 1), ("<eos>", 2)]
    )
    assert tokenizer("ab")["input_ids"] == [1] * bos + [3, 4, 2]
    (context,) = tokenize(preferences(("ab", ["c", "<eos>"])), tokenizer, DataConfig(), 10).contexts
    assert context.prompt == [1] * bos + [3, 4]
    assert context.candidates == [[5, 2], [2]]


class TestSameTokens:
    def test_without_another_response_or_a_preference_a_context_is_dropped_and_counted(self):
        rows = (("a", ["abcc", "abca"]), ("a", ["abcc", "b", "abca"]), ("a", ["b", "abcc", "abca"]))
        result = tokens(*rows, room=4)
        # The mean of 0 and 2 is that of the one between; those of 1 and 2 are above it.
        assert result.rows == [2]
        assert result.contexts[0].candidates == [[4, 2], [3, 4, 5]]
        assert result.scores == [[[0.0, 1.5]]]
        assert result.notes == {
            "responses cut at the end": 6,
            "responses dropped: the same tokens as another": 3,
            "contexts dropped: no other response left": 1,
            "contexts dropped: no preference left": 1,
        }

    def test_nothing_left_says_why(self):
        with pytest.raises(InputError, match=r"1 contexts dropped: no other response left.*raise data\.max_length"):
            tokens(("a", ["abcc", "abca"]), room=4)

    def test_unknown_letters_are_the_same_token(self):
        assert tokens(("a", ["X", "Y", "b"])).scores == [[[0.5, 2.0]]]

    def test_equal_scores_have_their_own_mean(self):
        """0.1 + 0.1 + 0.1 is not 3 * 0.1 in binary: a tie with another candidate stays one."""
        assert distinct("abaca", [[0.1] * 5, None]) == (["a", "b", "c"], [[0.1, 0.1, 0.1], None])


def test_long_responses_are_cut_at_the_end_and_counted():
    # Room 6: prompt of 2, so 4 tokens for a response: "abcab" loses "b" and its end, "cab" + end just fits.
    result = tokens(("ab", ["abcab", "cab"]), ("a", ["b", "c"]), room=6)
    assert result.contexts[0].candidates == [[3, 4, 5, 3], [5, 3, 4, 2]]
    assert result.notes == {"responses cut at the end": 1}


class TestPromptTooLong:
    rows = (("ab", ["c", "a"]), ("abcabc", ["a", "b"]), ("b", ["abc", "c"]))

    def test_error(self):
        with pytest.raises(InputError, match=r"row 1: its prompt has 6 tokens and leaves no room .* in 6") as error:
            tokens(*self.rows, room=6)
        assert "data.prompt_too_long" in str(error.value)
        assert "\n" not in str(error.value)

    def test_one_token_of_room_is_enough(self):
        result = tokens(*self.rows, room=7)
        assert result.contexts[1].candidates == [[3], [4]]
        assert result.notes == {"responses cut at the end": 2}

    def test_drop(self):
        result = tokens(*self.rows, room=6, prompt_too_long="drop")
        assert result.rows == [0, 2]
        assert [c.prompt for c in result.contexts] == [[3, 4], [4]]
        assert result.contexts[1].candidates == [[3, 4, 5, 2], [5, 2]]  # each response stays with its own prompt
        assert result.notes == {"contexts dropped: prompt too long": 1}

    def test_drop_of_everything(self):
        with pytest.raises(InputError, match=r"within 2 tokens \(1 contexts dropped.*raise data\.max_length"):
            tokens(("abc", ["a", "b"]), room=2, prompt_too_long="drop")

    def test_truncate_makes_room_for_the_whole_response(self):
        # Responses of 2 with their end: the last 6 - 2 letters of the prompt stay.
        result = tokens(*self.rows, room=6, prompt_too_long="truncate")
        assert result.rows == [0, 1, 2]
        assert result.contexts[1].prompt == [5, 3, 4, 5]
        assert result.contexts[1].candidates == [[3, 2], [4, 2]]
        assert result.notes == {"prompts cut at the start": 1}

    def test_truncate_keeps_the_beginning(self):
        (context,) = tokens(("abcabc", ["a", "b"]), room=6, prompt_too_long="truncate", bos=True).contexts
        assert context.prompt == [1, 3, 4, 5]
        (context,) = tokens(("abc", ["a", "b"]), room=2, prompt_too_long="truncate", bos=True).contexts
        assert (context.prompt, context.candidates) == ([5], [[3], [4]])

    def test_truncate_gives_a_response_half_the_room_at_most(self):
        result = tokens(("abcabc", ["aaaaaaaa", "b"]), room=6, prompt_too_long="truncate")
        assert result.contexts[0].prompt == [3, 4, 5]
        assert result.contexts[0].candidates == [[3, 3, 3], [4, 2]]
        assert result.notes == {"prompts cut at the start": 1, "responses cut at the end": 1}

    @pytest.mark.parametrize("room", [2, 3, 5, 8, 13])
    @pytest.mark.parametrize("policy", ["drop", "truncate"])
    def test_whatever_is_kept_fits_and_has_tokens(self, room, policy):
        rows = [("a" * p, ["b" * n, "c" * (n + 1)]) for p in range(1, 12) for n in range(1, 12, 3)]
        result = tokens(*rows, room=room, prompt_too_long=policy)
        assert result.rows
        for row, c in zip(result.rows, result.contexts, strict=True):
            assert 1 <= len(c.prompt) <= room - max(map(len, c.candidates))
            assert all(c.candidates)
            assert len(c.prompt) <= len(rows[row][0])

    @pytest.mark.parametrize(
        "policy",
        [
            "error",
            "drop",
            "truncate",
        ],
    )
    @pytest.mark.parametrize("room", [1, 0])
    def test_no_room_at_all_is_refused(self, room, policy):
        with pytest.raises(InputError):
            tokens(("ab", ["a", "b"]), room=room, prompt_too_long=policy)


def test_a_response_that_was_cut_off_has_no_end(tmp_path: Path):
    rows = [{"prompt": "ab", "responses": ["c", "d"], "finished": [True, False], "scores": {"x": [1, 0]}}]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tokenizer = letters()
    (context,) = tokenize(load(str(path), ["x"], DataConfig(), None), tokenizer, DataConfig(), 40).contexts
    assert [tokenizer.decode(y) for y in context.candidates] == ["c<eos>", "d"]
    tokenizer.chat_template = CHAT
    rows[0]["prompt"] = [{"role": "user", "content": "ab"}]
    path.write_text(json.dumps(rows[0]))
    chats = load(str(path), ["x"], DataConfig(), chat_template(tokenizer))
    (context,) = tokenize(chats, tokenizer, DataConfig(), 40).contexts
    assert [tokenizer.decode(y) for y in context.candidates] == ["c<eos>", "d"]
    rows[0]["finished"] = [True]
    path.write_text(json.dumps(rows[0]))
    with pytest.raises(InputError, match=r"finished is \[True\]; give true or false for each response"):
        load(str(path), ["x"], DataConfig(), chat_template(tokenizer))
