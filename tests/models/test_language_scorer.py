"""The language scorer: packed, shared-prompt scoring of many trade-offs at once equals its slow twin (slow_twin.py)."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from cosdpo.config import DataConfig
from cosdpo.data.sources import load
from cosdpo.data.tokenization import TokenizedContext, tokenize
from cosdpo.errors import InputError
from cosdpo.models.base import load_base, load_tokenizer
from cosdpo.models.frozen_scorer import FrozenScorer
from cosdpo.models.language_scorer import LanguageScorer
from tests.models.conftest import disturb
from tests.tiny_models import FORM_NAMES, FORMS, KINDS, settings

every_kind = pytest.mark.parametrize("kind", KINDS)
two_kinds = pytest.mark.parametrize("kind", ["gpt2-tied", "llama-untied"])
every_form = pytest.mark.parametrize("form", FORMS, ids=FORM_NAMES)
both_scopes = pytest.mark.parametrize("scope", ["sequence", "response"])


def tokens(length: int, seed: int) -> list[int]:
    return torch.randint(3, 48, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def context(seed: int, prompt: int, *responses: int) -> TokenizedContext:
    return TokenizedContext(tokens(prompt, seed), [tokens(n, 100 * seed + i) for i, n in enumerate(responses)])


CONTEXTS = [context(1, 5, 3, 1, 6), context(2, 1, 2, 2), context(3, 9, 1, 4, 4, 7), context(4, 2, 1)]
"""Prompts of one token and more; one to four candidates; responses of a single token and more."""
WEIGHTS = torch.tensor([[0.2, 0.8], [1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
BETA = torch.tensor([[0.5, 0.5], [0.1, 0.9], [2.0, 1.0], [0.5, 0.5]])


def by_candidate(score) -> Tensor:
    """[B, n] of score(row, prompt, response), 0 where a candidate is absent."""
    rows = [[score(b, c.prompt, y) for y in c.candidates] for b, c in enumerate(CONTEXTS)]
    longest = max(map(len, rows))
    return torch.stack([torch.stack(row + [torch.zeros(())] * (longest - len(row))) for row in rows])


@every_kind
@every_form
def test_scores_and_gradients_equal_the_slow_twin(make_twins, kind, form):
    scorer, twin = make_twins(kind, **form)
    scorer.train()  # the base has dropout in its config, which must not act
    fast = scorer(CONTEXTS, WEIGHTS, BETA)
    slow = by_candidate(lambda b, prompt, y: twin.score(prompt, y, WEIGHTS[b], BETA[b]))
    torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-4)

    # That the comparison means something: the policy is neither the base nor the same at every weight.
    assert (fast - scorer.reference(CONTEXTS)).abs().max() > 0.5
    assert (fast - scorer(CONTEXTS, WEIGHTS.flip(1), BETA)).abs().max() > 0.1

    arriving = torch.randn(slow.shape, generator=torch.Generator().manual_seed(5)) * (slow != 0)
    trained = scorer.trainable()
    expected = torch.autograd.grad((slow * arriving).sum(), list(trained.values()))
    gradients = torch.autograd.grad((fast * arriving).sum(), list(trained.values()))
    for name, gradient, right in zip(trained, gradients, expected, strict=True):
        assert right.abs().max() > 0, name
        torch.testing.assert_close(gradient, right, rtol=1e-4, atol=1e-4 * float(right.abs().max()), msg=name)


@every_kind
def test_reference_equals_transformers(make_twins, model_folder, kind):
    scorer, twin = make_twins(kind)
    expected = by_candidate(lambda _, prompt, y: twin.reference(prompt, y))
    torch.testing.assert_close(scorer.reference(CONTEXTS), expected, rtol=1e-5, atol=1e-4)
    # The same from a base on its own, as the cache is filled, in batches that hold one context each or all.
    frozen = FrozenScorer.of(load_base(str(model_folder(kind)), torch.float32))
    for batch_tokens in (1, 10_000):
        scores = frozen.all_references(CONTEXTS, batch_tokens)
        assert [len(row) for row in scores] == [len(c.candidates) for c in CONTEXTS]
        for row, right in zip(scores, expected.tolist(), strict=True):
            assert row == pytest.approx(right[: len(row)], rel=1e-5, abs=1e-4)


def test_reference_of_a_real_model_on_real_text_equals_transformers(shared):
    folder = shared / "models" / "stories260K"
    tokenizer, data = load_tokenizer(str(folder)), DataConfig(append_eos=False)
    stories = load(str(shared / "data" / "stories-prefs" / "validation.jsonl"), ["positivity", "brevity"], data, None)
    contexts = tokenize(stories.head(3), tokenizer, data, room=512).contexts
    plain = AutoModelForCausalLM.from_pretrained(folder)
    scores = FrozenScorer.of(load_base(str(folder), torch.float32)).reference(contexts)
    for row, c in zip(scores, contexts, strict=True):
        for score, y in zip(row, c.candidates, strict=True):
            with torch.no_grad():
                log_p = plain(input_ids=torch.tensor([c.prompt + y])).logits[0, len(c.prompt) - 1 : -1].log_softmax(-1)
            torch.testing.assert_close(score, log_p[range(len(y)), y].sum(), rtol=1e-5, atol=1e-3)


@two_kinds
@every_form
def test_a_score_does_not_depend_on_its_batch(make_twins, kind, form):
    scorer, _ = make_twins(kind, **form)
    together = scorer(CONTEXTS, WEIGHTS, BETA)
    backwards = scorer(CONTEXTS[::-1], WEIGHTS.flip(0), BETA.flip(0)).flip(0)
    torch.testing.assert_close(backwards, together, rtol=1e-5, atol=1e-4)
    for b, c in enumerate(CONTEXTS):
        for i, y in enumerate(c.candidates):
            alone = scorer([TokenizedContext(c.prompt, [y])], WEIGHTS[b : b + 1], BETA[b : b + 1])
            torch.testing.assert_close(alone[0, 0], together[b, i], rtol=1e-5, atol=1e-4)


@every_kind
@both_scopes
def test_the_longest_context_fits(make_twins, kind, scope):
    # 48 positions: 20 of the prompt, 3 soft tokens, 25 of the response.
    scorer, twin = make_twins(kind, scope=scope)
    full = context(9, 20, 25, 2)
    fast = scorer([full], WEIGHTS[:1], BETA[:1])[0]
    slow = torch.stack([twin.score(full.prompt, y, WEIGHTS[0], BETA[0]) for y in full.candidates])
    torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-4)


@two_kinds
@both_scopes
def test_gradient_checkpointing_changes_nothing(make_twins, kind, scope):
    scorer, _ = make_twins(kind, scope=scope)
    scorer.train()
    trained = list(scorer.trainable().values())
    plain_scores = scorer(CONTEXTS, WEIGHTS, BETA)
    plain = torch.autograd.grad(plain_scores.square().sum(), trained)
    scorer.model.get_base_model().activation_checkpointing_enable({"use_reentrant": False})
    scores = scorer(CONTEXTS, WEIGHTS, BETA)
    torch.testing.assert_close(scores, plain_scores)
    for ours, expected in zip(torch.autograd.grad(scores.square().sum(), trained), plain, strict=True):
        torch.testing.assert_close(ours, expected)


@every_kind
def test_a_fresh_gated_scorer_is_the_base(make_scorer, kind):
    scorer = make_scorer(kind, conditioning="gated_lora")
    torch.testing.assert_close(scorer(CONTEXTS, WEIGHTS, BETA), scorer.reference(CONTEXTS))


@pytest.mark.parametrize(
    ("gates", "rank", "blocks"),
    [("affine", 4, {0: [0, 1], 1: [2, 3]}), ("quadratic", 6, {0: [0, 1], 1: [2, 3], None: [4, 5]})],
)
def test_at_a_vertex_only_that_objectives_ranks_act_at_first(make_scorer, gates, rank, blocks):
    # Ranks fall into equal blocks: one per objective, and with quadratic gates one for the pair, which acts between.
    scorer = make_scorer("llama-tied", conditioning="gated_lora", model__gates=gates, model__lora_rank=rank)
    reference = scorer.reference(CONTEXTS)
    updates = [p for n, p in scorer.trainable().items() if "lora_B" in n or n.endswith("_b")]
    for owner, columns in blocks.items():
        with torch.no_grad():
            for b in updates:
                b.zero_()
                b[:, columns] = 0.2
        for vertex in (0, 1):
            weights = torch.eye(2)[[vertex]].expand(4, 2)
            change = (scorer(CONTEXTS, weights, BETA) - reference).abs().max()
            assert (change > 0.1) if vertex == owner else (change < 1e-4)
        between = scorer(CONTEXTS, torch.full((4, 2), 0.5), BETA)
        assert (between - reference).abs().max() > 0.1


@every_form
def test_a_temperature_conditioned_scorer_reads_the_ratios_of_temperatures_alone(make_twins, form):
    scorer, twin = make_twins("gpt2-tied", **form, model__temperature_conditioned=True)
    scores = scorer(CONTEXTS, WEIGHTS, BETA)
    torch.testing.assert_close(scorer(CONTEXTS, WEIGHTS, 7 * BETA), scores)
    assert (scorer(CONTEXTS, WEIGHTS, BETA.flip(1))[1] - scores[1]).abs().max() > 0.05
    torch.testing.assert_close(scorer(CONTEXTS, WEIGHTS, BETA.flip(1))[0], scores[0])  # 0.5, 0.5 is its own mirror
    slow = by_candidate(lambda b, prompt, y: twin.score(prompt, y, WEIGHTS[b], BETA[b]))
    torch.testing.assert_close(scores, slow, rtol=1e-5, atol=1e-4)


def test_other_scorers_do_not_read_the_temperatures(make_twins):
    scorer, _ = make_twins("gpt2-tied")
    assert torch.equal(scorer(CONTEXTS, WEIGHTS, BETA), scorer(CONTEXTS, WEIGHTS, 3 * BETA.flip(1)))


def test_lora_dropout_acts_in_training_alone(make_scorer):
    scorer = make_scorer("llama-tied", conditioning="gated_lora", model__lora_dropout=0.5)
    disturb(scorer)
    scorer.train()
    assert (scorer(CONTEXTS, WEIGHTS, BETA) - scorer(CONTEXTS, WEIGHTS, BETA)).abs().max() > 0.01
    scorer.eval()
    assert torch.equal(scorer(CONTEXTS, WEIGHTS, BETA), scorer(CONTEXTS, WEIGHTS, BETA))


@two_kinds
def test_bfloat16_is_close_to_float32(make_twins, model_folder, kind):
    exact, _ = make_twins(kind)
    config = settings(model_folder(kind), conditioning="both")
    half = LanguageScorer.create(config, load_base(config.model.base, torch.bfloat16))
    half.load_state_dict({n: p.detach() for n, p in exact.trainable().items()}, strict=False)
    scores, right = half(CONTEXTS, WEIGHTS, BETA), exact(CONTEXTS, WEIGHTS, BETA)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, right, rtol=0.05, atol=0.3)
    scores.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in half.trainable().values())


class TestSaving:
    @two_kinds
    @every_form
    def test_a_loaded_scorer_scores_the_same(self, make_twins, tmp_path, kind, form):
        scorer, _ = make_twins(kind, **form, model__temperature_conditioned=form["scope"] == "response")
        scorer.save(tmp_path / "checkpoint")
        files = {path.name for path in (tmp_path / "checkpoint").iterdir()}
        assert files == {
            "README.md",
            "adapters.json",
            "adapters.safetensors",
            "conditioning.safetensors",
            "cosdpo.json",
        }
        loaded = LanguageScorer.load(tmp_path / "checkpoint")
        assert not loaded.training
        assert torch.equal(loaded(CONTEXTS, WEIGHTS, BETA), scorer.eval()(CONTEXTS, WEIGHTS, BETA))
        assert torch.equal(loaded.reference(CONTEXTS), scorer.reference(CONTEXTS))
        # And once more, since a loaded checkpoint may be saved elsewhere.
        loaded.save(tmp_path / "copy")
        again = LanguageScorer.load(tmp_path / "copy")
        assert torch.equal(again(CONTEXTS, WEIGHTS, BETA), scorer(CONTEXTS, WEIGHTS, BETA))

    def test_the_base_may_have_moved(self, make_twins, model_folder, tmp_path):
        scorer, _ = make_twins("gpt2-tied")
        moved = tmp_path / "elsewhere"
        shutil.copytree(model_folder("gpt2-tied"), moved)
        scorer.save(tmp_path / "checkpoint")
        card = json.loads((tmp_path / "checkpoint" / "cosdpo.json").read_text())
        assert card["objectives"] == ["kind", "short"]
        assert card["trained_temperature"] == [0.5, 0.5]
        card["base"] = str(tmp_path / "gone")
        (tmp_path / "checkpoint" / "cosdpo.json").write_text(json.dumps(card))
        with pytest.raises(InputError, match="gone"):
            LanguageScorer.load(tmp_path / "checkpoint")
        loaded = LanguageScorer.load(tmp_path / "checkpoint", base=str(moved))
        assert torch.equal(loaded(CONTEXTS, WEIGHTS, BETA), scorer.eval()(CONTEXTS, WEIGHTS, BETA))

    def test_what_is_no_checkpoint_is_refused(self, tmp_path):
        with pytest.raises(InputError, match=r"has no cosdpo\.json; give the checkpoint folder"):
            LanguageScorer.load(tmp_path)
        (tmp_path / "cosdpo.json").write_text('{"format": 99}')
        with pytest.raises(InputError, match="is not that of a conditioned language model") as error:
            LanguageScorer.load(tmp_path)
        assert "\n" not in str(error.value)


def test_wrong_settings_are_refused_in_one_line(make_scorer):
    for gates, rank, blocks in (("affine", 1, 2), ("quadratic", 2, 3)):
        with pytest.raises(InputError, match=f"lora_rank {rank} is smaller than the {blocks} blocks") as error:
            make_scorer("gpt2-tied", conditioning="gated_lora", model__lora_rank=rank, model__gates=gates)
        assert "\n" not in str(error.value)
    make_scorer("gpt2-tied", conditioning="hyper_prompt", model__lora_rank=1)
    with pytest.raises(InputError, match=r"lora_targets \['lm_head'\]: no such modules below the head"):
        make_scorer("gpt2-tied", model__lora_targets=["c_attn", "lm_head"])
    with pytest.raises(InputError, match=r"lora_targets.*c_attn") as error:
        make_scorer("gpt2-tied", model__lora_targets=["q_proj"])
    assert "\n" not in str(error.value)


def test_only_the_conditioning_and_the_adapters_are_trained(make_scorer):
    scorer = make_scorer("gpt2-tied", model__lora_targets=["c_attn"], model__gates="quadratic", model__adapt_ends=True)
    # Rank 4. c_attn is 16 x 48 in each of 2 layers; the ends have 48 x 16 and 16 x 16; each of these 4 has gates of
    # 2 slopes, one of the pair, and an offset. Hyper prompt: 3 tokens of 16 with 2 slopes and an offset.
    assert scorer.trained_parameters() == 4 * (2 * 64 + 64 + 32) + 4 * 4 * 4 + 3 * 16 * 3
