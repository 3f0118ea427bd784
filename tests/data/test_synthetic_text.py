"""Synthetic reviews: scores by hand, a real conflict, and a tokenizer that loses nothing."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from cosdpo.data import grammar
from cosdpo.data.synthetic_text import SCORERS, build_tokenizer, corpus, preferences


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        # words 2, none of them glad, gloomy or for the senses
        ("Fine place.", {"cheerful": 0.5, "brief": 0.95, "vivid": 0.0}),
        # 9 words: lovely, loved against dull; dark, smelled, pine (coffee is none): 2 * 3 / (9 + 6)
        ("Lovely, dull; I loved it. Dark coffee smelled. Pine!", {"cheerful": 0.6, "brief": 0.775, "vivid": 0.4}),
        ("sad " * 50, {"cheerful": 0.0, "brief": 0.0, "vivid": 0.0}),
        # 12 words for the senses among 24: 2 * 12 / (24 + 6)
        ("golden lovely " * 12, {"cheerful": 1.0, "brief": 0.4, "vivid": 0.8}),
        ("", {"cheerful": 0.5, "brief": 0.0, "vivid": 0.0}),
    ],
)
def test_scores_by_hand(response: str, expected: dict[str, float]) -> None:
    assert {name: scorer("x", response) for name, scorer in SCORERS.items()} == pytest.approx(expected)


def test_every_pair_of_objectives_conflicts() -> None:
    """Counted over all pairs of candidates of a context: ordered oppositely by at least 25%."""
    data = preferences(400, seed=0)
    opposite, pairs = np.zeros((3, 3)), 0
    for row in range(len(data)):
        scores = np.array(data.scores(row))
        for i, k in itertools.combinations(range(4), 2):
            signs = np.sign(scores[:, i] - scores[:, k])
            opposite += np.outer(signs, signs) < 0
            pairs += 1
    for j, k in itertools.combinations(range(3), 2):
        assert opposite[j, k] / pairs >= 0.25


def test_preferences_are_complete_and_follow_from_the_seed() -> None:
    data = preferences(50, seed=3, candidates=5)
    assert (len(data), data.objectives, data.dropped) == (50, ("cheerful", "brief", "vivid"), {})
    assert len({data.context(i) for i in range(50)}) == 50
    for i in range(50):
        responses = data.candidates(i)
        assert len(set(responses)) == 5
        assert data.scores(i) == [[scorer(data.context(i), y) for y in responses] for scorer in SCORERS.values()]
    assert preferences(50, seed=3, candidates=5).table.equals(data.table)
    assert not preferences(50, seed=4, candidates=5).table.equals(data.table)


def test_the_tokenizer_restores_every_text(tmp_path: Path) -> None:
    build_tokenizer().save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert 200 <= len(tokenizer) <= 400
    texts = [f"{prompt} {response}" for prompt, response in corpus(2000, seed=1)]
    ids = tokenizer(texts)["input_ids"]
    assert tokenizer.batch_decode(ids) == texts
    assert not {tokenizer.unk_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id} & set(itertools.chain(*ids))
    prompt, response = corpus(1, seed=2)[0]
    assert (
        tokenizer(prompt)["input_ids"] + tokenizer(response)["input_ids"]
        == tokenizer(f"{prompt} {response}")["input_ids"]
    )
    assert (tokenizer.pad_token, tokenizer.bos_token, tokenizer.eos_token) == ("<pad>", "<s>", "</s>")
    assert (
        tokenizer.decode([*tokenizer(response)["input_ids"], tokenizer.eos_token_id], skip_special_tokens=True)
        == response
    )


def test_the_vocabulary_is_exactly_what_the_grammar_writes() -> None:
    pairs = corpus(20000, seed=0)
    written = {token for prompt, response in pairs for token in grammar.MARKS.findall(f"{prompt} {response}")}
    assert written == set(grammar.vocabulary())
    deciding = grammar.GLAD, grammar.GLOOMY, grammar.SENSORY
    assert frozenset().union(*deciding) <= {word.lower() for word in written}
    assert not any(a & b for a, b in itertools.combinations(deciding, 2))


def test_answers_are_short_and_well_formed() -> None:
    for _, response in corpus(2000, seed=5):
        assert 2 <= len(grammar.MARKS.findall(response)) <= grammar.LONGEST
        sentences = response.replace("!", ".").removesuffix(".").split(". ")
        assert 1 <= len(sentences) <= 4
        assert all(sentence[0].isupper() for sentence in sentences)
        assert "{" not in response
        assert not any(f" a {vowel}" in response for vowel in "aeiou")


def test_things_belong_to_the_place_asked_about() -> None:
    things = {thing: place for place, named in grammar.PLACES.items() for thing in named}
    asked = dict(grammar.questions())
    for prompt, response in corpus(1000, seed=6):
        assert {things[word] for word in grammar.MARKS.findall(response) if word in things} <= {asked[prompt]}
