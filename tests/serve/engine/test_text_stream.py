"""Text as it comes equals the text decoded at once, cut at its first stop string."""

from __future__ import annotations

import random

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, GPT2TokenizerFast

from serve.engine.text_stream import TextStream, TokenDecoder
from tests.tiny_models import letters


def stream(tokenizer, tokens: list[int], *stops: str) -> tuple[list[str], bool, int]:
    """Pieces given out, whether a stop string was met, and after how many tokens."""
    text = TextStream(TokenDecoder(tokenizer), stops)
    pieces = []
    for count, token in enumerate(tokens, 1):
        pieces.append(text.push(token))
        if text.stopped:
            return pieces, True, count
    pieces.append(text.finish(tokens))
    return pieces, text.stopped, len(tokens)


def of_letters(text: str) -> list[int]:
    return letters()(text)["input_ids"]


@pytest.mark.parametrize(
    ("text", "stops", "pieces"),
    [
        ("abc", (), ["a", "b", "c", ""]),
        ("abxyc", ("xy",), ["a", "b", "", ""]),  # x waits for y
        ("abxzc", ("xy",), ["a", "b", "", "xz", "c", ""]),
        ("abx", ("xy",), ["a", "b", "", "x"]),  # at the end what is held comes out
        ("aaab", ("aab",), ["", "", "a", ""]),
        ("abcd", ("bcd", "c"), ["a", "", "b"]),  # the first to be complete
        ("a\n\nb", ("\n\n",), ["a", "", ""]),
        ("ab", ("a",), [""]),
    ],
)
def test_stop_strings_across_tokens(text, stops, pieces):
    given, stopped, _ = stream(letters().backend_tokenizer, of_letters(text), *stops)
    assert given == pieces
    assert stopped == any(stop in text for stop in stops)


def byte_level() -> Tokenizer:
    """One token per byte, so that most characters take several."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def test_characters_of_several_tokens_come_out_whole():
    tokenizer = byte_level()
    text = "a é 漢字 🙂!"
    pieces, _, _ = stream(tokenizer, tokenizer.encode(text).ids)
    assert "".join(pieces) == text
    assert all("�" not in piece for piece in pieces)
    cut = tokenizer.encode(text).ids[:-2]  # ends within the emoji
    assert "".join(stream(tokenizer, cut)[0]) == tokenizer.decode(cut)
    pieces, stopped, _ = stream(tokenizer, tokenizer.encode(text).ids, "字")
    assert stopped
    assert "".join(pieces) == "a é 漢"


@pytest.mark.parametrize("model", ["stories260K", "gpt2-tokenizer"])
def test_random_tokens_of_real_tokenizers(shared, model):
    folder = shared / "models" / model
    if model == "gpt2-tokenizer":
        tokenizer = GPT2TokenizerFast(str(folder / "vocab.json"), str(folder / "merges.txt")).backend_tokenizer
    else:
        tokenizer = AutoTokenizer.from_pretrained(folder).backend_tokenizer
    rng = random.Random(0)
    for _ in range(100):
        tokens = [rng.randrange(3, tokenizer.get_vocab_size()) for _ in range(rng.randrange(1, 40))]
        whole = tokenizer.decode(tokens, skip_special_tokens=True)
        assert "".join(stream(tokenizer, tokens)[0]) == whole
        at = rng.randrange(len(whole)) if whole else 0
        stop = whole[at : at + rng.randrange(1, 5)]
        if stop and "�" not in stop:
            pieces, stopped, used = stream(tokenizer, tokens, stop)
            assert stopped
            assert "".join(pieces) == whole[: whole.index(stop)]
            if tokens[used - 2] not in TokenDecoder(tokenizer).open:  # it stops as soon as it can
                assert stop not in tokenizer.decode(tokens[: used - 1], skip_special_tokens=True)
