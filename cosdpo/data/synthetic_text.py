"""Synthetic reviews: data that the package makes itself, so that the first run needs nothing from outside.

Small reviews of small places, with three objectives that pull apart: `cheerful` counts glad against gloomy words,
`brief` counts all words and `vivid` those for the senses. Everything is a function of its seed.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from types import MappingProxyType

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from cosdpo.data import grammar
from cosdpo.data.preferences import Preferences, RawContext


def cheerful(prompt: str, response: str) -> float:
    """1/2 + (glad - gloomy words) / 10, within [0, 1]."""
    words = _words(response)
    balance = sum(word in grammar.GLAD for word in words) - sum(word in grammar.GLOOMY for word in words)
    return min(1.0, max(0.0, 0.5 + balance / 10))


def brief(prompt: str, response: str) -> float:
    """1 - words / 40, at least 0; an answer without a word is none and scores 0."""
    words = len(_words(response))
    return max(0.0, 1 - words / 40) if words else 0.0


def vivid(prompt: str, response: str) -> float:
    """2 * words for the senses / (words + 6), at most 1: their share, discounted in short answers."""
    words = _words(response)
    return min(1.0, 2 * sum(word in grammar.SENSORY for word in words) / (len(words) + 6))


SCORERS: MappingProxyType[str, Callable[[str, str], float]] = MappingProxyType(
    {"cheerful": cheerful, "brief": brief, "vivid": vivid}
)
"""The objectives: (prompt, response) -> score in [0, 1], higher is better."""


def corpus(n: int, seed: int) -> list[tuple[str, str]]:
    """n pairs (prompt, response) to pretrain a base model on; it should read prompt + " " + response."""
    rng = random.Random(seed)
    return [(prompt, grammar.answer(rng, place)) for prompt, place in itertools.islice(_questions(rng), n)]


def preferences(n: int, seed: int, candidates: int = 4) -> Preferences:
    """n contexts with different sampled responses, scored on all objectives.

    Contexts repeat only beyond the 2,560 questions there are. Another seed draws from the same questions: hold out by
    `Preferences.split`.
    """
    rng = random.Random(seed)
    rows: list[RawContext] = []
    for prompt, place in itertools.islice(_questions(rng), n):
        responses: dict[str, None] = {}
        while len(responses) < candidates:
            responses[grammar.answer(rng, place)] = None
        scores = {name: [scorer(prompt, response) for response in responses] for name, scorer in SCORERS.items()}
        rows.append(RawContext(len(rows), prompt, list(responses), scores))
    return Preferences.from_rows(rows, tuple(SCORERS), "the synthetic reviews")


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token per word or mark, with <pad>, <s>, </s> and <unk>; decoding restores the text.

    Nothing is added around a text by itself, as with GPT-2's tokenizer.
    """
    words = ["<pad>", "<s>", "</s>", "<unk>", *grammar.vocabulary()]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
    )


def _questions(rng: random.Random) -> Iterator[tuple[str, str]]:
    """All questions in random order, then again in another."""
    questions = grammar.questions()
    while True:
        rng.shuffle(questions)
        yield from questions


def _words(text: str) -> list[str]:
    return grammar.WORDS.findall(text.lower())
