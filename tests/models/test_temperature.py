"""Temperatures that are asked for, and the language model rescaled to them, against the slow twin in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from cosdpo.data.tokenization import TokenizedContext
from cosdpo.errors import InputError
from cosdpo.models.generation import generate
from cosdpo.models.language_scorer import LanguageScorer
from cosdpo.models.temperature import SMALLEST_RATIO, ratio, temperatures
from tests.models.slow_twin import SlowTwin
from tests.models.test_generation import BETA, PROMPTS, WEIGHTS, greedy
from tests.tiny_models import FORM_NAMES, FORMS, KINDS

CONTEXTS = [TokenizedContext([5, 9, 20], [[4, 33, 7], [8]]), TokenizedContext([7], [[11, 3], [3, 8, 19, 25], [6]])]
RATIOS = [0.5, 1.5, 4.0]
every_form = pytest.mark.parametrize("form", FORMS, ids=FORM_NAMES)


class TestAsked:
    def test_one_number_is_for_all_objectives(self):
        np.testing.assert_array_equal(temperatures(0.3, [0.1, 0.1], False), [0.3, 0.3])
        np.testing.assert_array_equal(temperatures(None, [0.1, 0.2], False), [0.1, 0.2])

    def test_multiples_of_the_trained_ones_need_no_conditioning_and_other_ratios_do(self):
        np.testing.assert_array_equal(temperatures([0.3, 0.6], [0.1, 0.2], False), [0.3, 0.6])
        np.testing.assert_array_equal(temperatures([0.6, 0.3], [0.1, 0.2], True), [0.6, 0.3])
        with pytest.raises(InputError, match="other ratios than the trained"):
            temperatures(0.3, [0.1, 0.2], False)

    @pytest.mark.parametrize("wrong", [0, -1.0, math.nan, math.inf, [0.1], [0.1, 0.1, 0.1], [0.1, math.inf], "warm"])
    def test_anything_else_is_refused(self, wrong):
        with pytest.raises(InputError, match="temperature must be a number > 0, or 2 of them, one per objective"):
            temperatures(wrong, [0.1, 0.1], False)

    def test_infinity_is_the_base_where_it_is_allowed(self):
        assert np.isinf(temperatures(math.inf, [0.1, 0.2], False, infinite=True)).all()

    def test_the_ratio_of_sums(self):
        assert ratio(np.array([0.3, 0.5]), [0.1, 0.3]) == pytest.approx(2.0)
        assert ratio(np.array([0.1, 0.2]), [0.1, 0.2]) == 1.0
        assert ratio(np.array([math.inf, math.inf]), [0.1, 0.2]) == math.inf

    def test_numbers_whose_sum_is_no_number(self):
        huge = temperatures([1e308, 1e308], [0.1, 0.1], False)
        np.testing.assert_array_equal(huge, [1e308, 1e308])
        assert ratio(huge, [0.1, 0.1]) == math.inf

    def test_far_below_the_trained_one_is_refused_with_the_bound(self):
        assert ratio(np.array([0.01]), [0.1], SMALLEST_RATIO) == pytest.approx(0.1)
        with pytest.raises(InputError, match=r"0\.005 is 0\.05 of the trained 0\.1; give at least 0\.01"):
            ratio(np.array([0.005]), [0.1], SMALLEST_RATIO)


def base_and_tuned(twin: SlowTwin, prompt: list[int], response: list[int], row: int) -> tuple[Tensor, Tensor]:
    """z_ref and z of every response token, in float64."""
    with torch.no_grad():
        base = twin.plain(input_ids=torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1].double()
        return base, twin.logits(prompt, response, WEIGHTS[row], BETA[row]).double()


def mixed_logits(twin: SlowTwin, prompt: list[int], response: list[int], row: int, c: float) -> Tensor:
    """(1 - 1/c) z_ref + (1/c) z."""
    base, tuned = base_and_tuned(twin, prompt, response, row)
    return (1 - 1 / c) * base + tuned / c


@pytest.mark.parametrize("kind", KINDS)
@every_form
def test_rescaled_scores_are_those_of_mixed_logits(make_twins, kind, form):
    scorer, twin = make_twins(kind, **form)
    scorer.eval()
    ours = {c: scorer.rescaled(CONTEXTS, WEIGHTS[:2], BETA[:2], c) for c in RATIOS}
    for b, context in enumerate(CONTEXTS):
        for i, response in enumerate(context.candidates):
            base, tuned = base_and_tuned(twin, context.prompt, response, b)
            for c in RATIOS:
                log_p = ((1 - 1 / c) * base + tuned / c).log_softmax(-1)
                expected = float(log_p[range(len(response)), response].sum())
                assert float(ours[c][b, i]) == pytest.approx(expected, abs=1e-5 * len(response) + 1e-5), c
    assert all(float(scores[0, 2]) == 0 for scores in ours.values())  # no such candidate


def scores_at(scorer: LanguageScorer, c: float) -> Tensor:
    return scorer.rescaled(CONTEXTS, WEIGHTS[:2], BETA[:2], c)


@every_form
def test_the_ends_of_the_temperature(make_twins, form):
    scorer, _ = make_twins("llama-untied", **form)
    scorer.eval()
    with torch.no_grad():
        tuned, base = scorer(CONTEXTS, WEIGHTS[:2], BETA[:2]), scorer.reference(CONTEXTS)
    assert torch.equal(scores_at(scorer, 1.0), tuned)
    # With scope response the base reads a cached prompt here, which rounds otherwise than reading it in one piece.
    torch.testing.assert_close(scores_at(scorer, math.inf), base, rtol=0, atol=1e-5)
    gaps = [float((scores_at(scorer, c) - base).abs().max()) for c in (1.0, 10.0, 1e3, 1e6)]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 1e-4 < gaps[1]


@pytest.mark.parametrize("kind", KINDS)
@every_form
def test_each_row_of_a_batch_decodes_at_its_own_temperature(make_twins, kind, form):
    scorer, twin = make_twins(kind, **form)
    scorer.eval()
    ratios = [0.5, 1.0, math.inf, 3.0]
    together = generate(scorer, PROMPTS, WEIGHTS, BETA, max_new_tokens=6, ratios=ratios)
    tuned = generate(scorer, PROMPTS, WEIGHTS, BETA, max_new_tokens=6)
    base = generate(scorer, PROMPTS, None, None, max_new_tokens=6)
    assert together[1] == tuned[1]
    assert together[2] == base[2]
    for b in (0, 3):
        assert len(together[b]) == 6
        expected = greedy(lambda p, y, b=b: mixed_logits(twin, p, y, b, ratios[b]), PROMPTS[b], together[b])
        assert together[b] == expected


def test_rows_at_one_run_no_base_and_rows_at_infinity_run_nothing_else(make_twins, monkeypatch):
    scorer, _ = make_twins("gpt2-tied", conditioning="gated_lora", scope="sequence")
    scorer.eval()
    passes: list[tuple[int, bool]] = []
    body = scorer.body.forward

    def counted(*args: object, **kwargs: object) -> object:
        embeddings = kwargs["inputs_embeds"]
        assert isinstance(embeddings, Tensor)
        passes.append((len(embeddings), scorer.state.enabled))
        return body(*args, **kwargs)

    monkeypatch.setattr(scorer.body, "forward", counted)
    generate(scorer, PROMPTS, WEIGHTS, BETA, max_new_tokens=1, ratios=[1.0, 2.0, 1.0, math.inf])
    assert passes == [(3, True), (2, False)]
    passes.clear()
    generate(scorer, PROMPTS, WEIGHTS, BETA, max_new_tokens=1)
    assert passes == [(4, True)]


@pytest.mark.parametrize("c", [1.0, 2.0])
@every_form
def test_the_distance_from_the_base_is_that_of_the_slow_twin(make_twins, form, c):
    scorer, twin = make_twins("llama-tied", **form)
    scorer.eval()
    _, ours = scorer.divergence(CONTEXTS, WEIGHTS[:2], BETA[:2], [7.0, c])
    expected = [0.0] * len(CONTEXTS)
    for b, context in enumerate(CONTEXTS):
        for response in context.candidates:
            log_p = mixed_logits(twin, context.prompt, response, b, c).log_softmax(-1)
            log_q = mixed_logits(twin, context.prompt, response, b, math.inf).log_softmax(-1)
            expected[b] += float((log_p.exp() * (log_p - log_q)).sum())
    assert ours.tolist() == pytest.approx(expected, abs=1e-5)
    assert min(expected) > 1e-4
