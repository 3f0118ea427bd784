"""Generation: cached, left-padded, each row with its own weights, against decoding by the slow twin from scratch."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch import Tensor

from cosdpo.models.generation import decode, generate
from tests.tiny_models import CONTEXT, FORM_NAMES, FORMS, KINDS, letters

PROMPTS = [[5, 9, 20, 4, 33], [7], [40, 11, 3, 3, 8, 19, 25, 30], [6, 12]]
WEIGHTS = torch.tensor([[0.2, 0.8], [1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
BETA = torch.tensor([[0.5, 0.5], [0.1, 0.9], [2.0, 1.0], [0.5, 0.5]])
every_form = pytest.mark.parametrize("form", FORMS, ids=FORM_NAMES)


def greedy(logits_of, prompt: list[int], made: list[int]) -> list[int]:
    """The likeliest token after the prompt and after each of `made` but the last: `made` if it was decoded so."""
    with torch.no_grad():
        return logits_of(prompt, made).argmax(-1).tolist()


@pytest.mark.parametrize("kind", KINDS)
@every_form
def test_a_batch_of_trade_offs_decodes_like_the_slow_twin(make_twins, kind, form):
    scorer, twin = make_twins(kind, **form)
    scorer.eval()
    together = generate(scorer, PROMPTS, WEIGHTS, BETA, max_new_tokens=6)
    for b, prompt in enumerate(PROMPTS):
        assert len(together[b]) == 6
        assert together[b] == greedy(lambda p, y, b=b: twin.logits(p, y, WEIGHTS[b], BETA[b]), prompt, together[b])
    for b in (1, 2):  # of one token, and the longest
        alone = generate(scorer, [PROMPTS[b]], WEIGHTS[b : b + 1], BETA[b : b + 1], max_new_tokens=6)
        assert alone == [together[b]]
    assert generate(scorer, PROMPTS, WEIGHTS.flip(1), BETA, max_new_tokens=6) != together  # the weights steer


@pytest.mark.parametrize("kind", KINDS)
def test_without_weights_the_base_decodes(make_twins, kind):
    scorer, twin = make_twins(kind)
    scorer.eval()

    def logits(prompt: list[int], response: list[int]) -> Tensor:
        return twin.plain(input_ids=torch.tensor([prompt + response[:-1]])).logits[0, len(prompt) - 1 :]

    expected = generate(scorer, PROMPTS, None, None, max_new_tokens=5)
    assert [len(made) for made in expected] == [5] * 4
    assert expected == [greedy(logits, *row) for row in zip(PROMPTS, expected, strict=True)]
    assert generate(scorer, PROMPTS, WEIGHTS, BETA, max_new_tokens=5) != expected
    assert generate(scorer, PROMPTS, None, None, max_new_tokens=5) == expected  # the adapters are off again


@pytest.mark.parametrize("scope", ["sequence", "response"])
def test_prompts_of_one_token(make_twins, scope):
    scorer, twin = make_twins("gpt2-tied", conditioning="gated_lora", scope=scope)
    prompts = [[5], [7]]
    made = generate(scorer.eval(), prompts, WEIGHTS[:2], BETA[:2], max_new_tokens=3)
    for b, prompt in enumerate(prompts):
        assert len(made[b]) == 3
        assert made[b] == greedy(lambda p, y, b=b: twin.logits(p, y, WEIGHTS[b], BETA[b]), prompt, made[b])


def test_a_row_ends_at_the_end_token_and_the_others_go_on(make_twins):
    scorer, _ = make_twins("llama-untied")
    free = generate(scorer.eval(), PROMPTS, WEIGHTS, BETA, max_new_tokens=8)
    firsts = {row[0] for row in free}
    end = next(token for row in free for token in row if token not in firsts)
    ended = generate(scorer, PROMPTS, WEIGHTS, BETA, max_new_tokens=8, ends=[end])
    assert ended == [row[: row.index(end)] if end in row else row for row in free]
    assert len({len(row) for row in ended}) > 1  # the end token was taken from one row, and at least one other goes on


def test_an_answer_is_never_empty(make_twins):
    scorer, twin = make_twins("llama-untied")
    end = generate(scorer.eval(), PROMPTS[:1], WEIGHTS[:1], BETA[:1], max_new_tokens=1)[0][0]
    (made,) = generate(scorer, PROMPTS[:1], WEIGHTS[:1], BETA[:1], max_new_tokens=1, ends=[end])
    with torch.no_grad():
        second = twin.logits(PROMPTS[0], [0], WEIGHTS[0], BETA[0])[0].topk(2).indices[1].item()
    assert made == [second]


@pytest.mark.parametrize("kind", ["gpt2-tied", "llama-untied"])
@every_form
def test_sampling_follows_the_policy(make_twins, kind, form):
    # 600 rows of one prompt each draw one token at temperature 1/2: frequencies against softmax(2 logits).
    scorer, twin = make_twins(kind, **form)
    rows = 600
    made = generate(
        scorer.eval(), [PROMPTS[0]] * rows, WEIGHTS[:1].expand(rows, 2), BETA[:1].expand(rows, 2), 1, 0.5, seed=3
    )
    with torch.no_grad():
        law = (twin.logits(PROMPTS[0], [0], WEIGHTS[0], BETA[0])[0] / 0.5).softmax(-1).double().numpy()
    counts = torch.bincount(torch.tensor(made)[:, 0], minlength=len(law)).double().numpy()
    common = law > 5 / rows
    observed = [*counts[common], counts[~common].sum()]
    expected = [*law[common], law[~common].sum()]
    assert len(observed) > 2
    assert stats.chisquare(observed, [p * rows / sum(expected) for p in expected]).pvalue > 1e-3


def test_a_row_draws_from_its_seed_and_place_whatever_else_is_in_the_batch(make_twins):
    scorer, _ = make_twins("gpt2-tied")
    scorer.eval()

    def sample(rows: int, seed: int) -> list[list[int]]:
        return generate(scorer, PROMPTS[:rows], WEIGHTS[:rows], BETA[:rows], 12, 1.0, seed)

    assert sample(4, seed=1) == sample(4, seed=1)
    assert sample(4, seed=1) != sample(4, seed=2)
    assert sample(2, seed=1) == sample(4, seed=1)[:2]
    same = generate(scorer, [PROMPTS[0]] * 3, WEIGHTS[:1].expand(3, 2), BETA[:1].expand(3, 2), 12, 1.0, seed=1)
    assert len({tuple(row) for row in same}) == 3


def test_temperature_conditioning_reads_the_rows_temperatures(make_twins):
    scorer, twin = make_twins("gpt2-tied", model__temperature_conditioned=True)
    made = generate(scorer.eval(), PROMPTS, WEIGHTS, BETA, max_new_tokens=5)
    for b, prompt in enumerate(PROMPTS):
        assert len(made[b]) == 5
        assert made[b] == greedy(lambda p, y, b=b: twin.logits(p, y, WEIGHTS[b], BETA[b]), prompt, made[b])


@pytest.mark.parametrize(
    "kind",
    [
        "gpt2-tied",
        "llama-tied",
    ],
)
@pytest.mark.parametrize("scope", ["sequence", "response"])
def test_generation_stops_at_the_models_context(make_scorer, kind, scope):
    # 44 of 48 positions are the prompt's, 3 the soft tokens'; GPT-2 has no embedding for a position beyond.
    scorer = make_scorer(kind, scope=scope)
    prompt = [3 + i % 40 for i in range(CONTEXT - 4)]
    made = generate(scorer.eval(), [prompt, prompt[:5]], WEIGHTS[:2], BETA[:2], max_new_tokens=10)
    assert 1 <= len(made[0]) <= 10
    assert made[1] == generate(scorer, [prompt[:5]], WEIGHTS[1:2], BETA[1:2], max_new_tokens=10)[0]


def test_decoding_leaves_special_tokens_out():
    tokenizer = letters(bos=True)
    assert decode(tokenizer, [tokenizer("a cat.")["input_ids"], [tokenizer.eos_token_id]]) == ["a cat.", ""]
