"""Prompts told back: their tokens' log-probabilities against LanguageScorer and the slow twin, at any trade-off."""

from __future__ import annotations

import pytest
import torch

from cosdpo.data.tokenization import TokenizedContext
from cosdpo.models.language_scorer import LanguageScorer
from serve.engine.requests import Chunk, Generation, TokenLogprob
from tests.serve.engine.scheduling import RATIOS, Told, ask, batching_of, check_empty, finish, generation, play
from tests.tiny_models import FORM_NAMES, FORMS, VOCABULARY, letters

PROMPT = [7, 30, 4, 39, 12, 12, 5]


def likely(told: Told) -> list[TokenLogprob]:
    return [each for chunk in told.items if isinstance(chunk, Chunk) for each in chunk.logprobs]


def expected(scorer: LanguageScorer, request: Generation) -> list[float]:
    """log-probability of each prompt token after the first: differences of the scores of ever longer responses."""
    c = sum(request.temperature) / sum(scorer.card.trained_temperature)
    weights, beta = torch.tensor([request.weights]), torch.tensor([request.temperature])
    first, *rest = request.prompt
    if not rest:
        return []
    context = TokenizedContext([first], [rest[: n + 1] for n in range(len(rest))])
    if c == float("inf"):
        sums = scorer.reference([context])[0].tolist()
    else:
        sums = scorer.rescaled([context], weights, beta, c)[0].tolist()
    return [after - before for before, after in zip([0.0, *sums], sums, strict=False)]


@pytest.mark.parametrize("kind", ["gpt2-untied", "llama-tied"])
@pytest.mark.parametrize("form", FORMS, ids=FORM_NAMES)
def test_log_probabilities_are_the_scorers(make_twins, kind, form):
    scorer, _ = make_twins(kind, **form, model__temperature_conditioned=True)
    batching = batching_of(scorer)
    told = [
        ask(
            batching,
            generation(prompt, echo=True, max_new_tokens=n, logprobs=2, weights=w, temperature=(0.7 * c, 0.3 * c)),
        )
        for c in RATIOS
        for prompt, w, n in ((PROMPT, (0.3, 0.7), 0), (PROMPT[:4], (1.0, 0.0), 3), ([9], (0.5, 0.5), 2))
    ]
    finish(batching)
    check_empty(batching)
    for one in told:
        prompt = list(one.request.prompt)
        tokens = likely(one)
        assert [each.token for each in tokens] == prompt + one.sequence.tokens
        assert len(one.sequence.tokens) == one.request.max_new_tokens
        assert (tokens[0].logprob, tokens[0].top) == (None, ())
        assert [each.logprob for each in tokens[1 : len(prompt)]] == pytest.approx(
            expected(scorer, one.request), abs=1e-4
        )
        assert all(len(each.top) == 2 and each.top[0][2] >= max(each.logprob, each.top[1][2]) for each in tokens[1:])
        assert one.text == letters().decode(prompt + one.sequence.tokens, skip_special_tokens=True)
        assert one.last.usage.completion_tokens == one.request.max_new_tokens
        assert one.last.finish_reason == "length"


def test_the_likeliest_of_a_place_are_those_of_the_slow_twin(make_twins):
    scorer, twin = make_twins("llama-tied", scope="sequence")
    batching = batching_of(scorer)
    one = ask(batching, generation(PROMPT, echo=True, max_new_tokens=0, logprobs=len(VOCABULARY)))
    finish(batching)
    with torch.no_grad():
        weights, beta = torch.tensor(one.request.weights), torch.tensor(one.request.temperature)
        law = twin.logits(PROMPT[:1], PROMPT[1:], weights, beta).log_softmax(-1)
    for each, row in zip(likely(one)[1:], law, strict=True):
        found = torch.tensor([logprob for _, _, logprob in sorted(each.top)])
        torch.testing.assert_close(found, row, atol=1e-4, rtol=0)
        # A program that asks whether the token that came is the likeliest compares these numbers.
        assert each.logprob in [logprob for token, _, logprob in each.top if token == each.token]


def test_what_follows_a_prompt_is_the_same_without_it(make_twins):
    scorer, _ = make_twins("gpt2-tied")
    for ending in ({}, {"stop": ("!",)}):
        batching = batching_of(scorer)
        plain, echoed = (ask(batching, generation(PROMPT, echo=echo, logprobs=0, **ending)) for echo in (False, True))
        finish(batching)
        assert echoed.text == letters().decode(PROMPT) + plain.text
        assert likely(echoed)[len(PROMPT) :] == likely(plain)


def test_a_stop_string_in_the_prompt_does_not_stop(make_twins):
    scorer, _ = make_twins("gpt2-tied")
    batching = batching_of(scorer)
    free = ask(batching, generation(PROMPT, max_new_tokens=8))
    finish(batching)
    prompt = letters().decode(PROMPT)
    for stop in (prompt[2:4], free.text[0]):
        one = ask(batching, generation(PROMPT, echo=True, logprobs=0, max_new_tokens=8, stop=(stop,)))
        finish(batching)
        assert one.text == prompt + free.text.split(stop)[0]
        assert "".join(each.text for each in likely(one)) == one.text
        assert [each.token for each in likely(one)][: len(PROMPT)] == PROMPT


def test_prompts_without_log_probabilities_need_no_pass(make_twins):
    scorer, _ = make_twins("gpt2-tied")
    batching = batching_of(scorer)
    batching.echoes.scorer = None  # whoever asks it fails
    one = ask(batching, generation(PROMPT, echo=True, max_new_tokens=0))
    finish(batching)
    assert (one.text, one.last.logprobs) == (letters().decode(PROMPT), ())


@pytest.mark.parametrize("seed", range(3))
def test_on_any_schedule(make_twins, seed):
    """Among others that are cancelled at any time, under any limits."""
    scorer, _ = make_twins("llama-tied", conditioning="both", scope=("response", "sequence")[seed % 2])
    _, told = play(scorer, seed, echo=True, logprobs=1)
    for one in told:
        if not one.sequence.cancelled:
            tokens = likely(one)[: len(one.request.prompt)]
            assert [each.logprob for each in tokens[1:]] == pytest.approx(expected(scorer, one.request), abs=1e-4)
