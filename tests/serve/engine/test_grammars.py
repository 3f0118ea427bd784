"""Answers that follow a schema: masks worked out by hand, whole answers checked by jsonschema, refusals."""

from __future__ import annotations

import asyncio
import json
import time

import jsonschema
import pytest
import torch
from tokenizers import Tokenizer

from cosdpo.models.base import load_base, load_tokenizer
from cosdpo.models.language_scorer import LanguageScorer
from serve.engine import grammars
from serve.engine.grammars import Grammar, Grammars, TokenMasks
from serve.engine.requests import Chunk, UnusableSchemaError
from tests.serve.engine.scheduling import Told, ask, batching_of, finish, generation
from tests.tiny_models import byte_level, letters, settings, write_model

END, PADDED = 2, 272
"""The end token, and the vocabulary of the models, which is larger than the tokenizer's."""
PAIR = {
    "type": "object",
    "properties": {"a": {"type": "integer", "minimum": -9, "maximum": 99}, "b": {"enum": ["x", "y\u00e9", None]}},
    "required": ["a", "b"],
    "additionalProperties": False,
}
SCHEMAS = [
    PAIR,
    {"type": "array", "items": {"type": "boolean"}, "maxItems": 2},
    {"anyOf": [{"type": "string", "maxLength": 3}, {"const": {"k": [1]}}]},
    {"$defs": {"n": {"type": "array", "maxItems": 1, "items": {"$ref": "#/$defs/n"}}}, "$ref": "#/$defs/n"},
    {"type": "string", "pattern": "^[ab]{2,4}$"},
]


def ids(text: str) -> list[int]:
    return [3 + byte for byte in text.encode()]


@pytest.fixture(scope="module")
def compiled() -> Grammars:
    return Grammars(byte_level().backend_tokenizer, PADDED, frozenset([END]))


@pytest.fixture(scope="module")
def scorer(tmp_path_factory) -> LanguageScorer:
    folder = write_model(tmp_path_factory.mktemp("bytes"), "llama-tied", PADDED)
    torch.manual_seed(1)
    config = settings(folder, scope="response")
    return LanguageScorer.create(config, load_base(config.model.base, torch.float32))


def allowed(all_of_them: list[Grammar | None]) -> list[set[int]]:
    """Tokens that each row may take; those of a row without a grammar too."""
    masks, logits = TokenMasks(PADDED), torch.zeros(len(all_of_them), PADDED)
    masks.begin(all_of_them)
    assert masks.apply(logits) == {}
    return [set(row.isfinite().nonzero()[:, 0].tolist()) for row in logits]


def after(compiled: Grammars, schema: object, text: str) -> set[int]:
    grammar = compiled.grammar(json.dumps(schema))
    for token in ids(text):
        assert token in allowed([grammar])[0]
        grammar.latest = token
    return allowed([grammar])[0]


@pytest.mark.parametrize(
    ("schema", "text", "expected"),
    [
        ({"enum": ["ab", "ac"]}, "", {*ids('"')}),
        ({"enum": ["ab", "ac"]}, '"a', {*ids("bc")}),
        ({"enum": ["ab", "ac"]}, '"ac"', {END}),
        ({"type": "integer", "maximum": 12, "minimum": 1}, "1", {END, *ids("012")}),
        ({"type": "integer", "maximum": 12, "minimum": 1}, "12", {END}),
        ({"type": "boolean"}, "", {*ids("tf")}),
        ({"const": "\u00e9"}, '"', {3 + 0xC3}),
        ({"const": "\u00e9"}, '"\u00e9', {*ids('"')}),
        ({"type": "object", "properties": {"a": {}}, "required": ["a"]}, "", {*ids("{"), 259}),
    ],
)
def test_masks_by_hand(compiled, schema, text, expected):
    """An end token is allowed exactly where the grammar may end; <unk>, <bos> and what no tokenizer knows never are."""
    assert after(compiled, schema, text) == expected


def test_masks_touch_structured_rows_alone(compiled):
    rows = [None, compiled.grammar('{"type": "boolean"}'), None, compiled.grammar('{"const": 7}')]
    everything = set(range(PADDED))
    assert allowed(rows) == [everything, {*ids("tf")}, everything, {*ids("7")}]


def test_an_end_token_that_is_not_marked_as_special_is_no_text():
    """Its text, <eos>, could stand in a string."""
    plain = byte_level().backend_tokenizer.to_str()
    tokenizer = Tokenizer.from_str(json.dumps(json.loads(plain) | {"added_tokens": []}))
    free = after(Grammars(tokenizer, PADDED, frozenset([END])), {"type": "string"}, '"a')
    assert {*ids('az"')} <= free
    assert END not in free


def check(told: Told, schema: object) -> bool:
    """Whether the answer came to its end, which then fulfils the schema."""
    if told.last.finish_reason == "stop":
        jsonschema.validate(json.loads(told.text), schema)
        return True
    assert len(told.sequence.tokens) == told.sequence.room
    return False


@pytest.mark.parametrize("schema", SCHEMAS, ids=[json.dumps(schema)[:30] for schema in SCHEMAS])
def test_every_answer_follows_its_schema(scorer, schema):
    """Of a random model, at twice its randomness, with other settings and trade-offs beside each other."""
    batching = batching_of(scorer, byte_level())
    answers = [
        ask(
            batching,
            generation(
                ids("hi"),
                weights=(seed / 15, 1 - seed / 15),
                temperature=(0.5, 0.5) if seed % 3 else (1.0, 1.0),
                max_new_tokens=44,
                sampling_temperature=2.0,
                seed=seed,
                top_k=(0, 7)[seed % 2],
                top_p=(1.0, 0.9)[seed % 2],
                json_schema=json.dumps(schema),
            ),
        )
        for seed in range(16)
    ]
    finish(batching)
    assert sum(check(told, schema) for told in answers) >= 8
    assert batching.stats.failed == 0


def test_free_rows_beside_structured_ones_are_as_without(scorer):
    """Their tokens, and their log-probabilities bit by bit, with and without a base row."""
    free = [
        generation(ids("ab"), sampling_temperature=1.0, seed=seed, logprobs=3, max_new_tokens=20, temperature=beta)
        for seed, beta in enumerate([(0.5, 0.5), (1.0, 1.0)])
    ]
    like = [
        generation(r.prompt, sampling_temperature=1.0, seed=9, max_new_tokens=20, temperature=r.temperature)
        for r in free
    ]

    def told(neighbours: dict[str, object]) -> list[tuple[list[int], list[float]]]:
        batching = batching_of(scorer, byte_level())
        answers = [ask(batching, request) for request in free]
        for request in like:
            changes = {name: getattr(request, name) for name in ("weights", "temperature", "max_new_tokens")}
            ask(batching, generation(request.prompt, sampling_temperature=1.0, seed=9, **changes, **neighbours))
        finish(batching)
        return [
            (one.sequence.tokens, [t.logprob for c in one.items if isinstance(c, Chunk) for t in c.logprobs])
            for one in answers
        ]

    structured = told({"json_schema": '{"type": "array", "items": {"type": "integer"}, "minItems": 30}'})
    assert structured == told({})
    assert [len(tokens) for tokens, _ in structured] == [20, 20]


def test_log_probabilities_are_those_of_the_free_answer(scorer):
    """The first token has no choice, and its log-probability is the one it has among all tokens."""
    batching = batching_of(scorer, byte_level())
    free = ask(batching, generation(ids("ab"), max_new_tokens=1, logprobs=PADDED))
    held = ask(batching, generation(ids("ab"), max_new_tokens=1, logprobs=0, json_schema='{"const": true}'))
    finish(batching)
    (told,) = held.last.logprobs
    assert told.token == ids("t")[0]
    assert told.logprob == pytest.approx({token: p for token, _, p in free.last.logprobs[0].top}[told.token])
    assert told.logprob < -1


def test_an_answer_complete_at_its_last_token_stops(scorer):
    batching = batching_of(scorer, byte_level())
    exact, cut, stopped = (
        ask(batching, generation(ids("ab"), max_new_tokens=room, stop=stop, json_schema='{"const": true}'))
        for room, stop in ((4, ()), (3, ()), (20, ("ue",)))
    )
    finish(batching)
    assert [(t.text, t.last.finish_reason) for t in (exact, cut, stopped)] == [
        ("true", "stop"),
        ("tru", "length"),
        ("tr", "stop"),
    ]


def test_a_cancelled_answer_leaves_the_others(scorer):
    batching = batching_of(scorer, byte_level())
    gone, stays = (
        ask(batching, generation(ids("ab"), max_new_tokens=40, json_schema=json.dumps(schema)))
        for schema in (PAIR, {"const": True})
    )
    batching.step()
    gone.sequence.cancelled = True
    finish(batching)
    assert (stays.text, stays.last.finish_reason) == ("true", "stop")
    assert batching.stats.cancelled == 1


def test_an_answer_whose_masks_cost_too_much_ends_alone(scorer, monkeypatch):
    batching = batching_of(scorer, byte_level())
    free = ask(batching, generation(ids("ab"), max_new_tokens=30))
    finish(batching)
    monkeypatch.setattr(grammars, "LEXER_FUEL", 300)
    schema = '{"type": "string", "pattern": "(.*a.{20})(.*b.{20})(.*c.{20})"}'
    costly = ask(batching, generation(ids("ab"), max_new_tokens=40, json_schema=schema, seed=1, sampling_temperature=1))
    beside = ask(batching, generation(ids("ab"), max_new_tokens=30))
    finish(batching)
    error = costly.items[-1]
    assert isinstance(error, UnusableSchemaError)
    assert str(error).startswith("response_format: the answer cannot be held to the schema any longer: ")
    assert "\n" not in str(error)
    assert beside.sequence.tokens == free.sequence.tokens
    assert batching.stats.failed == 1


REFUSED = [
    ({"not": {"type": "string"}}, "not"),
    ({"type": "array", "uniqueItems": True}, "uniqueItems"),
    ({"if": {"type": "string"}, "then": {"minLength": 3}}, "then"),
    ({"type": "string", "format": "colour"}, "colour"),
    ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
    ({"type": "integer", "minimum": 5, "maximum": 3}, "minimum"),
    ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "oneOf"),
    ({"type": "integer", "not": {}, "x-guidance": {"lenient": True}}, "not"),
    ({"$ref": "#/$defs/none"}, "none"),
    ({"$ref": "https://example.org/schema.json"}, "example.org"),
    ({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, "nothing fulfils it"),
    ({"$ref": "#"}, "nothing fulfils"),
    ({"type": "strin"}, "strin"),
]


@pytest.mark.parametrize(("schema", "told"), REFUSED, ids=[told for _, told in REFUSED])
def test_what_cannot_be_followed_is_refused(compiled, schema, told):
    with pytest.raises(UnusableSchemaError, match=told) as caught:
        compiled.grammar(json.dumps(schema))
    assert str(caught.value).startswith("response_format: the schema ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("tokenizer", [letters(), letters(bos=True)])
def test_a_tokenizer_that_cannot_write_json_is_refused(tokenizer):
    unable = Grammars(tokenizer.backend_tokenizer, 60, frozenset([END]))
    unable.load()
    with pytest.raises(UnusableSchemaError, match="response_format: the model's tokenizer cannot write all of JSON"):
        unable.grammar('{"type": "object"}')


def test_schemas_are_compiled_once_and_beside_the_loop(compiled, monkeypatch):
    calls: list[str] = []
    made = Grammars(byte_level().backend_tokenizer, PADDED, frozenset([END]))
    monkeypatch.setattr(made, "_compiled", lambda schema: (calls.append(schema), time.sleep(0.3)))
    monkeypatch.setattr(grammars, "COMPILE_SECONDS", 0.05)
    with pytest.raises(UnusableSchemaError, match=r"response_format: the schema was not compiled within 0\.05 s"):
        asyncio.run(made.compile("{}"))
    assert calls == ["{}"]
    schema = '{"const": 12345}'
    asyncio.run(compiled.compile(schema))
    before = compiled._compiled.cache_info()
    assert compiled.grammar(schema).matcher is not compiled.grammar(schema).matcher
    after_twice = compiled._compiled.cache_info()
    assert (after_twice.hits - before.hits, after_twice.misses - before.misses) == (2, 0)


@pytest.mark.parametrize(("folder", "answer"), [("stories260K", '{"who": "l\u00e9on \U0001f600", "n": -1.5e3}')])
def test_a_real_sentencepiece_tokenizer_writes_what_it_reads(shared, folder, answer):
    """Tokens of bytes and tokens that begin with a space, each allowed in its place; the decoded text is the answer."""
    tokenizer = load_tokenizer(str(shared / "models" / folder))
    backend = tokenizer.backend_tokenizer
    found = Grammars(backend, len(tokenizer), frozenset([tokenizer.eos_token_id])).grammar('{"type": "object"}')
    read = grammars._tokenizer(backend, len(tokenizer), frozenset([tokenizer.eos_token_id])).tokenize_str(answer)
    assert found.matcher.try_consume_tokens(read) == len(read)
    assert found.complete()
    assert backend.decode(read).removeprefix(" ") == answer
