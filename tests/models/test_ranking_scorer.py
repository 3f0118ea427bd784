"""Rankers: what the reference is to them, the temperature's exact law, checkpoints, and the closed-form front."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cosdpo.arrays import Singles
from cosdpo.config import Config
from cosdpo.data.packed_lists import PackedLists
from cosdpo.data.query_lists import QueryLists
from cosdpo.data.ranking_data import RankingData
from cosdpo.errors import InputError
from cosdpo.models.cards import BaseCard, NetworkCard
from cosdpo.models.ranking_scorer import BaseRanker, RankingScorer
from cosdpo.models.standardiser import Standardiser
from cosdpo.training.loop import optimizer_for, train
from cosdpo.training.training_state import Clock
from tests.tiny_rankers import base_ranker, disturb, query_lists, scorer, settings

LISTS = query_lists(4, 1, 6, 3)
WEIGHTS = torch.tensor([[0.2, 0.8], [1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
BETA = torch.full((4, 2), 0.5)
FORMS = [
    {"ranker__parametrisation": parametrisation, "ranker__conditioning": conditioning, **form}
    for parametrisation in ("augmentation", "scratch")
    for conditioning, form in (
        ("concatenation", {"ranker__architecture": "mlp"}),
        ("gates", {"ranker__list_features": False}),
        ("both", {"model__temperature_conditioned": True}),
    )
]
every_form = pytest.mark.parametrize("form", FORMS, ids=lambda form: "-".join(map(str, form.values())))
both_parametrisations = pytest.mark.parametrize("parametrisation", ["augmentation", "scratch"])


def packed(lists: QueryLists = LISTS) -> PackedLists:
    return PackedLists.of(lists.features, lists.lengths)


def make(**changes: object) -> RankingScorer:
    """A scorer whose trained tensors have all left their start, with statistics of the lists above."""
    made = scorer(settings(**changes), LISTS)
    disturb(made, seed=1)
    return made.eval()


class TestReference:
    @every_form
    def test_augmentation_starts_as_the_base_exactly(self, form):
        fresh = scorer(settings(**form | {"ranker__parametrisation": "augmentation"}), LISTS)
        assert torch.equal(fresh(packed(), WEIGHTS, BETA), fresh.base(packed()))
        assert fresh.base(packed()).std() > 0.1

    @both_parametrisations
    def test_known_reference_scores_take_the_base_s_place(self, parametrisation):
        made = make(ranker__parametrisation=parametrisation)
        reference = made.base.scores(packed())
        known = PackedLists.of(LISTS.features, LISTS.lengths, reference.numpy())
        torch.testing.assert_close(made(known, WEIGHTS, 3 * BETA), made(packed(), WEIGHTS, 3 * BETA))
        moved = PackedLists.of(LISTS.features, LISTS.lengths, reference.numpy() + 1)
        # All of the reference at augmentation, and 1 - 1/c of it otherwise.
        change = (made(moved, WEIGHTS, 3 * BETA) - made(known, WEIGHTS, 3 * BETA))[packed().pad(reference) != 0]
        expected = 1 if parametrisation == "augmentation" else 1 - 1 / 3
        torch.testing.assert_close(change, torch.full_like(change, expected), rtol=0, atol=1e-5)

    @every_form
    def test_the_base_is_frozen_and_has_no_dropout(self, form):
        made = make(**form, ranker__dropout=0.5)
        made.train()
        assert torch.equal(made.base(packed()), made.base(packed()))
        # At a c far from 1 both parametrisations pass through the reference.
        scores = made(packed(), WEIGHTS, 3 * BETA)
        assert (made(packed(), WEIGHTS, 3 * BETA) - scores).abs().max() > 1e-3  # dropout acts on what is trained
        before = {name: tensor.clone() for name, tensor in made.base.state_dict().items()}
        scores.square().sum().backward()
        assert all(p.grad is None for p in made.base.parameters())
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in made.network.parameters())
        torch.optim.AdamW([p for p in made.parameters() if p.requires_grad], weight_decay=0.1).step()
        for name, tensor in made.base.state_dict().items():
            assert torch.equal(tensor, before[name]), name

    def test_a_base_is_its_network_on_standardised_features(self):
        base = base_ranker(settings(), LISTS)
        lists = packed()
        expected = base.network(base.standardiser(lists), lists, None)
        assert torch.equal(base.scores(lists), expected)
        assert torch.equal(base(lists, WEIGHTS, BETA), lists.pad(expected))


class TestTemperature:
    @every_form
    @pytest.mark.parametrize("c", [0.25, 0.7, 1.0, 3.0, 40.0])
    def test_scores_are_rescaled_exactly(self, form, c):
        made = make(**form)
        reference, trained = made.base(packed()), made(packed(), WEIGHTS, BETA)
        assert (trained - reference).abs().max() > 0.3
        expected = (1 - 1 / c) * reference + trained / c
        torch.testing.assert_close(made(packed(), WEIGHTS, c * BETA), expected, rtol=1e-5, atol=1e-5)

    def test_from_scratch_the_trained_temperature_gives_the_network_s_own_scores(self):
        made = make(ranker__parametrisation="scratch")
        own = made.network(made.base.standardiser(packed()), packed(), WEIGHTS)
        torch.testing.assert_close(made(packed(), WEIGHTS, BETA), packed().pad(own), rtol=1e-5, atol=1e-6)

    def test_the_added_term_is_divided_by_the_mean_temperature(self):
        made = make()
        own = made.network(made.base.standardiser(packed()), packed(), WEIGHTS)
        beta = torch.tensor([[0.2, 0.6], [2.0, 4.0], [1.0, 1.0], [0.1, 0.3]])  # means 0.4, 3, 1, 0.2
        rewards = packed().unpad(made(packed(), WEIGHTS, beta) - made.base(packed()))
        means = torch.tensor([0.4, 3.0, 1.0, 0.2])[packed().owner]
        torch.testing.assert_close(rewards, own / means, rtol=1e-4, atol=1e-5)

    @both_parametrisations
    def test_a_temperature_conditioned_ranker_reads_ratios(self, parametrisation):
        made = make(model__temperature_conditioned=True, ranker__parametrisation=parametrisation)
        even, uneven = torch.tensor([[0.5, 0.5]]).expand(4, 2), torch.tensor([[0.2, 0.8]]).expand(4, 2)
        reference = made.base(packed())
        change = (made(packed(), WEIGHTS, uneven) - made(packed(), WEIGHTS, even)).abs()
        assert change[packed().pad(torch.ones(14)) > 0].min() > 1e-4
        torch.testing.assert_close(
            4 * (made(packed(), WEIGHTS, 4 * uneven) - reference),
            made(packed(), WEIGHTS, uneven) - reference,
            rtol=1e-4,
            atol=1e-5,
        )
        plain = make(ranker__parametrisation=parametrisation)
        assert torch.allclose(plain(packed(), WEIGHTS, uneven), plain(packed(), WEIGHTS, even))

    def test_every_list_has_its_own_weights_and_temperature(self):
        made = make(model__temperature_conditioned=True)
        beta = torch.tensor([[0.5, 0.5], [0.1, 0.9], [2.0, 1.0], [0.3, 0.3]])
        together = made(packed(), WEIGHTS, beta)
        for b in range(4):
            alone = made(packed(LISTS.subset([b])), WEIGHTS[b : b + 1], beta[b : b + 1])[0]
            torch.testing.assert_close(alone, together[b, : len(alone)], rtol=1e-4, atol=1e-5)
            assert (together[b, len(alone) :] == 0).all()


class TestSaving:
    @every_form
    def test_a_loaded_ranker_scores_the_same(self, form, tmp_path):
        made = make(**form)
        made.save(tmp_path / "checkpoint")
        assert {path.name for path in (tmp_path / "checkpoint").iterdir()} == {"cosdpo.json", "model.safetensors"}
        loaded = RankingScorer.load(tmp_path / "checkpoint")
        assert loaded.card == made.card
        assert not loaded.training
        assert torch.equal(loaded(packed(), WEIGHTS, 2 * BETA), made(packed(), WEIGHTS, 2 * BETA))
        assert torch.equal(loaded.base(packed()), made.base(packed()))
        assert not any(p.requires_grad for p in loaded.base.parameters())

    def test_a_loaded_base_scores_the_same(self, tmp_path):
        base = base_ranker(settings(ranker__dropout=0.5), LISTS)
        base.save(tmp_path)
        loaded = BaseRanker.load(tmp_path)
        assert torch.equal(loaded(packed()), base(packed()))
        assert not loaded.training
        assert loaded.trained_parameters() == 0

    def test_what_the_card_says(self, tmp_path):
        make(model__temperature_conditioned=True, temperature=[0.1, 0.3]).save(tmp_path)
        card = json.loads((tmp_path / "cosdpo.json").read_text())
        assert (card["task"], card["objectives"], card["auxiliary"]) == ("ranking", ["a", "b"], {"a": 11, "b": 12})
        assert (card["trained_temperature"], card["temperature_conditioned"]) == ([0.1, 0.3], True)
        assert card["base"]["numbers"] == list(range(1, 11))

    def test_other_folders_are_refused(self, tmp_path):
        make().save(tmp_path / "conditioned")
        base_ranker(settings(), LISTS).save(tmp_path / "base")
        for load, kind, other in (
            (RankingScorer.load, "conditioned ranker", tmp_path / "base"),
            (BaseRanker.load, "base ranker", tmp_path / "conditioned"),
        ):
            with pytest.raises(
                InputError, match=rf"nowhere has no cosdpo\.json; give the checkpoint folder of a {kind}"
            ):
                load(tmp_path / "nowhere")
            with pytest.raises(InputError, match=rf"cosdpo\.json is not that of a {kind}, .*; give") as error:
                load(other)
            assert "\n" not in str(error.value)

    def test_broken_folders_are_refused(self, tmp_path):
        make().save(tmp_path)
        weights = tmp_path / "model.safetensors"
        message = r"model\.safetensors cannot be read"
        weights.write_bytes(b"none")
        with pytest.raises(InputError, match=message):
            RankingScorer.load(tmp_path)
        weights.unlink()
        with pytest.raises(InputError, match=message):
            RankingScorer.load(tmp_path)
        (tmp_path / "cosdpo.json").write_text("{")
        with pytest.raises(InputError, match="is not that of a conditioned ranker"):
            RankingScorer.load(tmp_path)


class TestScore:
    whole = np.concatenate([LISTS.features, LISTS.auxiliary], 1)[5:11]
    """All twelve features of the third list."""

    def test_equals_the_batch(self):
        made = make()
        expected = made(packed(), WEIGHTS, BETA)[2].detach().numpy()
        np.testing.assert_allclose(made.score(self.whole[:, :10], [0, 1]), expected, rtol=1e-4, atol=1e-5)

    def test_accepts_inputs_or_all_features(self):
        made = make()
        scores = made.score(self.whole, [0.3, 0.7])
        assert scores.shape == (6,)
        assert scores.dtype == np.float64
        np.testing.assert_array_equal(made.score(self.whole[:, :10].tolist(), np.array([0.3, 0.7])), scores)
        # Auxiliary features are no inputs.
        changed = self.whole.copy()
        changed[:, 10:] = 99
        np.testing.assert_array_equal(made.score(changed, [0.3, 0.7]), scores)

    def test_inputs_are_picked_by_their_numbers(self):
        # Objectives in the middle: inputs are the features 1, 3, 4 and 6.
        config = settings(data__auxiliary={"a": 5, "b": 2})
        rows = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
        lists = QueryLists(
            rows[:, [0, 2, 3, 5]], rows[:, [4, 1]], np.zeros(3, np.float32), np.array([0, 3]), ("q",), (1, 3, 4, 6)
        )
        made = RankingScorer.create(config, base_ranker(config, lists))
        disturb(made)
        scores = made.eval().score(rows, [0.5, 0.5])
        np.testing.assert_array_equal(made.score(rows[:, [0, 2, 3, 5]], [0.5, 0.5]), scores)

    def test_temperatures(self):
        made = make()
        trained = made.score(self.whole, [0.3, 0.7])
        for same in (0.5, [0.5, 0.5], np.array([0.5, 0.5])):
            np.testing.assert_array_equal(made.score(self.whole, [0.3, 0.7], same), trained)
        reference = made.base(packed())[2].numpy()
        for twice in (1.0, [1.0, 1.0]):
            scores = made.score(self.whole, [0.3, 0.7], twice)
            np.testing.assert_allclose(scores, (reference + trained) / 2, rtol=1e-4, atol=1e-5)

    def test_one_document(self):
        assert make().score(self.whole[:1], [0.3, 0.7]).shape == (1,)

    @pytest.mark.parametrize(
        "features",
        [np.ones((3, 11)), np.ones((3, 9)), np.ones((3, 13)), np.ones(10), np.ones((0, 10)), np.ones((1, 3, 10))],
    )
    def test_other_shapes_are_refused(self, features):
        with pytest.raises(
            InputError, match=r"features have shape .* of 10 input features, or of all 12 in number order"
        ):
            make().score(features, [0.5, 0.5])

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_features_that_are_not_finite_are_refused(self, value):
        rows = self.whole.copy()
        rows[1, 2] = value
        with pytest.raises(InputError, match="features must be finite"):
            make().score(rows, [0.5, 0.5])

    @pytest.mark.parametrize("value", [0, -0.5, np.nan, np.inf, [0.5], [0.5, 0.5, 0.5], [0.5, -0.5], [0.5, np.nan]])
    def test_wrong_temperatures_are_refused(self, value):
        with pytest.raises(InputError, match="temperature must be a number > 0, or 2 of them, one per objective"):
            make().score(self.whole, [0.5, 0.5], value)

    def test_other_ratios_need_a_ranker_that_was_trained_for_them(self):
        with pytest.raises(
            InputError, match=r"has other ratios than the trained \[0\.5, 0\.5\].*temperature_conditioned"
        ):
            make().score(self.whole, [0.5, 0.5], [0.2, 0.8])
        uneven = make(temperature=[0.1, 0.3])
        with pytest.raises(InputError, match=r"temperature \[0\.2, 0\.2\] has other ratios"):
            uneven.score(self.whole, [0.5, 0.5], 0.2)
        assert np.isfinite(uneven.score(self.whole, [0.5, 0.5], [0.2, 0.6])).all()
        made = make(model__temperature_conditioned=True)
        assert np.isfinite(made.score(self.whole, [0.5, 0.5], [0.2, 0.8])).all()


def test_weight_decay_acts_on_matrices_alone():
    made = make()
    assert made.decays("network.embed.weight")
    assert not made.decays("network.embed.bias")
    assert not made.decays("network.blocks.0.norm.weight")
    groups = optimizer_for(made, settings(training__weight_decay=0.1)).param_groups
    sizes = {group["weight_decay"]: sum(p.numel() for p in group["params"]) for group in groups}
    matrices = sum(p.numel() for p in made.network.parameters() if p.ndim == 2)
    assert sizes == {0.1: matrices, 0.0: made.trained_parameters() - matrices}


class TestClosedForm:
    """With one temperature for all, softmax(beta r) of a free ranker is sum_j w_j p^j (tests/test_oracle.py)."""

    labels = np.array([[4, 1], [2, 1], [1, 2], [1, 4], [2, 2], [3, 5], [1, 1], [2, 1], [1, 4], [5, 2]], np.float32)
    """Two lists of five documents; the objectives pull apart in both."""
    copies = 8

    def config(self, beta: float, **changes: object) -> Config:
        defaults: dict[str, object] = {
            "temperature": beta,
            "ranker__architecture": "mlp",
            "ranker__width": 32,
            "ranker__log1p": False,
            "ranker__list_features": False,
            "training__steps": 400,
            "training__batch_size": 16,
            "training__alpha": 0.7,
        }
        return settings(**defaults | changes)

    def data(self, config: Config, reference: Singles) -> RankingData:
        """Every list several times, so that a batch has it at several weights; documents are their own features."""
        rows = np.tile(np.arange(10), self.copies)
        lists = QueryLists(
            features=np.eye(10, dtype=np.float32)[rows],
            auxiliary=self.labels[rows],
            relevance=np.zeros(len(rows), np.float32),
            offsets=np.arange(0, len(rows) + 1, 5),
            queries=tuple(f"q{i}" for i in range(2 * self.copies)),
            numbers=tuple(range(1, 11)),
        )
        data = RankingData(lists, self.labels[rows], config.data)
        data.reference = reference[rows]
        return data

    def trained(self, config: Config, reference: Singles) -> tuple[RankingScorer, RankingData]:
        standardiser = Standardiser(10, False, False)
        torch.manual_seed(0)
        made = RankingScorer.create(config, BaseRanker.create(config, range(1, 11), standardiser))
        data = self.data(config, reference)
        train(made, data, config, optimizer_for(made, config), Clock(), lambda line: None, lambda clock: None)
        return made.eval(), data

    def rewards(self, made: nn.Module, data: RankingData, weights: Sequence[float], beta: float) -> Tensor:
        """[2, 5] of both lists."""
        batch = data.batch([0, 1])
        with torch.no_grad():
            scores = made(batch.contexts, torch.tensor([weights] * 2), torch.full((2, 2), beta))
        return scores - batch.reference

    @both_parametrisations
    def test_a_trained_ranker_reaches_the_mixture_of_the_targets(self, parametrisation):
        config = self.config(0.5, ranker__parametrisation=parametrisation)
        reference = np.random.default_rng(0).normal(size=10).astype(np.float32)
        made, data = self.trained(config, reference)
        shares = self.labels.reshape(2, 5, 2) / self.labels.reshape(2, 5, 2).sum(1, keepdims=True)
        for first in (0.0, 0.1, 0.3, 0.5, 0.8, 1.0):
            weights = [first, 1 - first]
            reached = (0.5 * self.rewards(made, data, weights, 0.5)).softmax(-1).numpy()
            np.testing.assert_allclose(reached, shares @ weights, atol=0.02)
            # And the same at any other temperature, without training.
            rescaled = (3.0 * self.rewards(made, data, weights, 3.0)).softmax(-1).numpy()
            np.testing.assert_allclose(rescaled, reached, atol=1e-4)

    def test_training_at_another_temperature_divides_the_rewards(self):
        # Powers of two leave all digits alone: the two runs are the same, bit by bit.
        reference = np.zeros(10, np.float32)
        (low, data), (high, _) = (self.trained(self.config(beta, training__steps=40), reference) for beta in (0.5, 2.0))
        for name, tensor in low.state_dict().items():
            assert torch.equal(high.state_dict()[name], tensor), name
        at_low, at_high = self.rewards(low, data, [0.4, 0.6], 0.5), self.rewards(high, data, [0.4, 0.6], 2.0)
        assert at_low.abs().max() > 0.1
        assert torch.equal(at_high, at_low / 4)


def test_cards_refuse_unknown_keys():
    card = BaseCard(
        numbers=[1],
        log1p=True,
        list_features=True,
        network=NetworkCard(architecture="mlp", width=4, layers=1, heads=1, dropout=0.0),
    )
    with pytest.raises(ValueError, match="Extra inputs"):
        BaseCard.model_validate(card.model_dump() | {"colour": "red"})
