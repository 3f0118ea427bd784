"""Rows of a mixed batch against slow twins: plain transformers with merged weights, and cosdpo.models.generation."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from cosdpo.models.generation import generate
from cosdpo.models.language_scorer import LanguageScorer
from serve.engine.requests import Chunk, Generation
from tests.models.slow_twin import SlowTwin
from tests.serve.engine.scheduling import Told, ask, batching_of, finish, generation, play
from tests.tiny_models import CONTEXT, FORM_NAMES, FORMS, KINDS, VOCABULARY, letters

EVERYTHING = len(VOCABULARY)
END = VOCABULARY.index("<eos>")
every_form = pytest.mark.parametrize("form", FORMS, ids=FORM_NAMES)


def law(twin: SlowTwin, request: Generation, tokens: list[int]) -> Tensor:
    """log-probabilities [R, V] of each next token, logits mixed as (1/c) z + (1 - 1/c) z_ref."""
    c = sum(request.temperature) / sum(twin.scorer.card.trained_temperature)
    prompt = list(request.prompt)
    with torch.no_grad():
        mixed = torch.zeros(len(tokens), EVERYTHING)
        if c != 1:
            base = twin.plain(input_ids=torch.tensor([prompt + tokens[:-1]])).logits[0]
            mixed += (1 - 1 / c) * base[-len(tokens) :]
        if c != float("inf"):
            weights, beta = torch.tensor(request.weights), torch.tensor(request.temperature)
            mixed += twin.logits(prompt, tokens, weights, beta) / c
    return mixed.log_softmax(-1)


def told_law(told: Told) -> Tensor:
    """The same from the answer's log-probabilities."""
    rows = [
        sorted((token, logprob) for token, _, logprob in each.top)
        for chunk in told.items
        if isinstance(chunk, Chunk)
        for each in chunk.logprobs
    ]
    return torch.tensor([[logprob for _, logprob in row] for row in rows])


def slow(scorer: LanguageScorer, request: Generation) -> list[int]:
    """Greedy tokens of cosdpo.models.generation, alone."""
    c = sum(request.temperature) / sum(scorer.card.trained_temperature)
    beta = None if c == float("inf") else torch.tensor([request.temperature])
    weights = torch.tensor([request.weights])
    prompt, count = list(request.prompt), request.max_new_tokens
    return generate(scorer, [prompt], weights, beta, count, ends=[END], ratios=[c])[0]


def check(scorer: LanguageScorer, twin: SlowTwin | None, told: list[Told]) -> None:
    for one in told:
        tokens = one.sequence.tokens
        if one.sequence.cancelled:
            assert tokens == slow(scorer, one.request)[: len(tokens)]
            continue
        assert tokens == slow(scorer, one.request)
        assert one.text == letters().decode(tokens, skip_special_tokens=True)
        assert one.last.usage.completion_tokens == len(tokens)
        if twin is not None:
            torch.testing.assert_close(told_law(one), law(twin, one.request, tokens), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ["gpt2-untied", "llama-tied", "gptoss-untied"])
@pytest.mark.parametrize("conditioned", [False, True], ids=["", "temperature-conditioned"])
@every_form
def test_rows_of_a_mixed_batch_follow_their_own_law(make_twins, kind, form, conditioned):
    scorer, twin = make_twins(kind, **form, model__temperature_conditioned=conditioned)
    batching, told = play(scorer, seed=3, conditioned=conditioned, logprobs=EVERYTHING)
    check(scorer, twin, told)
    assert batching.stats.finished > 5


def test_an_unconditioned_checkpoint_decodes(make_twins):
    scorer, twin = make_twins("gpt2-tied", conditioning="none")
    _, told = play(scorer, seed=1, logprobs=EVERYTHING)
    check(scorer, twin, told)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["gpt2-tied", "llama-untied"])
def test_greedy_text_is_the_same_on_any_schedule(make_twins, kind, seed):
    scorer, _ = make_twins(kind, conditioning="both", scope=("response", "sequence")[seed % 2])
    check(scorer, None, play(scorer, seed)[1])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(200))
def test_greedy_text_is_the_same_on_200_schedules(make_twins, seed):
    scorer, _ = make_twins(KINDS[seed % 7], **FORMS[seed // 7 % len(FORMS)])
    check(scorer, None, play(scorer, 1000 + seed, requests=16)[1])


@pytest.mark.parametrize("scope", ["response", "sequence"])
@pytest.mark.parametrize("kind", ["gpt2-tied", "llama-tied"])
def test_an_answer_ends_where_the_models_positions_do(make_twins, kind, scope):
    # 44 of 48 positions are the prompt's, 3 the soft tokens'; the token after the last can be predicted, not read.
    scorer, _ = make_twins(kind, scope=scope)
    prompt = [3 + i % 40 for i in range(CONTEXT - 4)]
    batching = batching_of(scorer)
    rows = [ask(batching, generation(prompt, max_new_tokens=10, temperature=(t, t))) for t in (0.5, 1.0, float("inf"))]
    finish(batching)
    check(scorer, None, rows)
    assert [row.sequence.room for row in rows] == [2, 2, 5]
    assert all(row.last.finish_reason == "length" for row in rows if len(row.sequence.tokens) == row.sequence.room)


def test_logprobs_are_of_the_law_before_sampling_settings(make_twins):
    scorer, twin = make_twins("gpt2-tied")
    batching = batching_of(scorer)
    one = ask(batching, generation([5, 9, 20], sampling_temperature=0.3, top_k=5, top_p=0.9, seed=4, logprobs=2))
    finish(batching)
    expected = law(twin, one.request, one.sequence.tokens)
    told = [each for chunk in one.items for each in chunk.logprobs]
    assert [each.token for each in told] == one.sequence.tokens
    assert "".join(each.text for each in told) == one.text
    for each, row in zip(told, expected, strict=True):
        best = row.topk(2)
        assert each.logprob == pytest.approx(float(row[each.token]), abs=1e-4)
        assert [token for token, _, _ in each.top] == best.indices.tolist()
        assert [p for _, _, p in each.top] == pytest.approx(best.values.tolist(), abs=1e-4)


def test_seeds_reproduce_a_request_in_any_company(make_twins):
    scorer, _ = make_twins("llama-tied")
    mine = generation(
        [5, 9, 20], sampling_temperature=1.0, top_p=0.95, max_new_tokens=20, seed=7, temperature=(1.0, 1.0)
    )
    texts = []
    for company in (0, 1, 5):
        batching = batching_of(scorer, prefill_tokens=3)
        others = [
            ask(batching, generation([7, 8 + i], sampling_temperature=1.5, max_new_tokens=9)) for i in range(company)
        ]
        for _ in range(company):
            batching.step()
        one = ask(batching, mine)
        finish(batching)
        texts.append(one.text)
        assert len({other.text for other in others}) == company  # without a seed everyone draws anew
    assert texts[0] == texts[1] == texts[2]
    batching = batching_of(scorer)
    other_seed = ask(batching, generation(mine.prompt, sampling_temperature=1.0, max_new_tokens=20, seed=8))
    finish(batching)
    assert other_seed.text != texts[0]


def test_the_end_token_ends_an_answer_but_is_never_the_first(make_twins):
    scorer, _ = make_twins("llama-untied")
    request = generation([5, 9, 20, 4, 33], max_new_tokens=8)
    free = generate(scorer.eval(), [list(request.prompt)], torch.tensor([request.weights]), None, 8)[0]
    later = next(i for i, token in enumerate(free) if token not in free[:i] and i > 1)

    def answer(*ends: int, ignore_eos: bool = False) -> Told:
        batching = batching_of(scorer)
        batching.ends, batching.end_ids = frozenset(ends), torch.tensor(ends)
        one = ask(batching, replace(request, sampling=replace(request.sampling, ignore_eos=ignore_eos)))
        finish(batching)
        return one

    ended = answer(free[later])
    assert (ended.sequence.tokens, ended.last.finish_reason) == (free[:later], "stop")
    assert ended.last.usage.completion_tokens == later
    endless = answer(free[later], ignore_eos=True)
    assert (len(endless.sequence.tokens), endless.last.finish_reason) == (8, "length")
    assert free[later] not in endless.sequence.tokens
    started = answer(free[0], END)
    assert started.sequence.tokens
    assert free[0] not in started.sequence.tokens


def test_answers_end_as_the_chat_template_ends_turns_too(make_twins):
    scorer, _ = make_twins("llama-untied")
    tokenizer = letters()
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}<bos>{% endfor %}"
    assert batching_of(scorer, tokenizer).ends == {VOCABULARY.index("<bos>"), END}
