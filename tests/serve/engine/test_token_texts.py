"""The tokens of a text, with real tokenizers: their texts add up to it, and their bytes are its UTF-8."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models
from transformers import AutoTokenizer, GPT2TokenizerFast

from serve.engine.requests import Chunk, Generation, SamplingParams, TokenLogprob
from serve.engine.sequence import Sequence
from serve.engine.text_stream import TextStream, TokenDecoder


def tokenizer_of(shared: Path, model: str) -> Any:
    folder = shared / "models" / model
    if model == "gpt2-tokenizer":
        return GPT2TokenizerFast(str(folder / "vocab.json"), str(folder / "merges.txt")).backend_tokenizer
    return AutoTokenizer.from_pretrained(folder).backend_tokenizer


def word_pieces() -> Tokenizer:
    """BERT's way: spaces between words are the decoder's, and ## glues."""
    words = ["[UNK]", "play", "##ing", "chess", "##ers"]
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    return tokenizer


def told(tokenizer: Any, tokens: list[int], *stops: str, log: int | None = 0) -> list[Chunk]:
    """The chunks of an answer of these tokens; the log-probability of the k-th is -k."""
    sampling = SamplingParams(stop=stops, logprobs=log)
    chunks: list[Any] = []
    sequence = Sequence(
        request=Generation(
            prompt=(1,), weights=(1.0,), temperature=(1.0,), max_new_tokens=len(tokens), sampling=sampling
        ),
        emit=chunks.append,
        ratio=1.0,
        room=len(tokens),
        rows=[],
        text=TextStream(TokenDecoder(tokenizer), stops, log is not None),
        uniforms=np.zeros(0),
    )
    for k, token in enumerate(tokens):
        if sequence.add(token, TokenLogprob(token, "", b"", -k, ()) if log is not None else None) is not None:
            break
    return chunks


def joined(chunks: list[Chunk]) -> tuple[str, list[TokenLogprob]]:
    return "".join(chunk.text for chunk in chunks), [each for chunk in chunks for each in chunk.logprobs]


def test_sentencepiece_tokens_keep_their_spaces(shared):
    tokenizer = tokenizer_of(shared, "stories260K")
    ids = tokenizer.encode("The pond was", add_special_tokens=False).ids
    text, tokens = joined(told(tokenizer, ids))
    assert text == "The pond was"
    assert [each.text for each in tokens] == ["The", " p", "o", "nd", " was"]
    assert [each.utf8 for each in tokens] == [b"The", b" p", b"o", b"nd", b" was"]
    assert [each.logprob for each in tokens] == [0, -1, -2, -3, -4]
    bytes_of = TokenDecoder(tokenizer).bytes_of
    assert [bytes_of.named(i) for i in ids] == [b" The", b" p", b"o", b"nd", b" was"]
    assert bytes_of.named(2) == b"</s>"
    assert bytes_of(2) == b""


@pytest.mark.parametrize("model", ["stories260K", "gpt2-tokenizer"])
def test_characters_of_several_tokens_belong_to_the_last_and_bytes_to_each(shared, model):
    tokenizer = tokenizer_of(shared, model)
    ids = tokenizer.encode("a漢b", add_special_tokens=False).ids[-4:]  # U+6F22 is E6 BC A2
    text, tokens = joined(told(tokenizer, ids))
    assert text == "漢b"
    assert [each.text for each in tokens] == ["", "", "漢", "b"]
    assert [each.utf8 for each in tokens] == [b"\xe6", b"\xbc", b"\xa2", b"b"]
    cut, broken = joined(told(tokenizer, ids[:2]))  # ends within the character
    assert "".join(each.text for each in broken) == cut
    assert set(cut) == {"\ufffd"}
    assert [each.utf8 for each in broken] == [b"\xe6", b"\xbc"]


def test_spaces_that_a_decoder_puts_belong_to_the_token_after_them():
    text, tokens = joined(told(word_pieces(), [1, 2, 3, 1, 4]))
    assert text == "playing chess players"
    assert [each.text for each in tokens] == ["play", "ing", " chess", " play", "ers"]


@pytest.mark.parametrize(
    ("stops", "texts"),
    [
        (("on",), ["The", " p"]),  # the token o is all of it behind the cut
        (("ond",), ["The", " p"]),
        (("e p",), ["Th"]),
        (("d w",), ["The", " p", "o", "n"]),
        (("was",), ["The", " p", "o", "nd", " "]),
        (("wasp",), ["The", " p", "o", "nd", " was"]),  # held back until the end
        (("The",), []),
    ],
)
def test_tokens_of_a_stop_string_are_cut(shared, stops, texts):
    tokenizer = tokenizer_of(shared, "stories260K")
    ids = tokenizer.encode("The pond was", add_special_tokens=False).ids
    text, tokens = joined(told(tokenizer, ids, *stops))
    assert text == "".join(texts)
    assert [each.text for each in tokens] == texts
    assert b"".join(each.utf8 for each in tokens).decode() == text


@pytest.mark.parametrize("model", ["stories260K", "gpt2-tokenizer"])
def test_random_tokens(shared, model):
    """Of every chunk; and asking for log-probabilities changes nothing of the text."""
    tokenizer = tokenizer_of(shared, model)
    rng = random.Random(0)
    for _ in range(200):
        tokens = [rng.randrange(1, tokenizer.get_vocab_size()) for _ in range(rng.randrange(1, 40))]
        if rng.random() < 0.5:
            tokens = tokenizer.encode("".join(chr(rng.choice([97, 32, 233, 28450, 128578])) for _ in range(20))).ids
        whole = tokenizer.decode(tokens, skip_special_tokens=True)
        at = rng.randrange(len(whole)) if whole else 0
        stops = [whole[at : at + rng.randrange(1, 5)]] if whole and rng.random() < 0.5 else []
        chunks = told(tokenizer, tokens, *stops)
        assert all("".join(each.text for each in chunk.logprobs) == chunk.text for chunk in chunks)
        text, each = joined(chunks)
        assert text == joined(told(tokenizer, tokens, *stops, log=None))[0]
        assert [one.logprob for one in each] == [-k for k in range(len(each))]
        assert stops or len(each) == len(tokens)
        if "\ufffd" not in whole:
            assert b"".join(one.utf8 for one in each) == text.encode()
