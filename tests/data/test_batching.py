"""Batches: padding by hand, what an epoch visits, and bucketing by length."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from cosdpo.config import Config, DataConfig
from cosdpo.data.batching import BatchOrder, PreferenceData, length_batches, of_epochs
from cosdpo.data.tokenization import TokenizedContext
from cosdpo.errors import InputError


@dataclass(frozen=True)
class Context:
    """What bucketing asks of a scorer's input."""

    name: str
    tokens: int


def example(**settings: str) -> PreferenceData:
    """Three contexts of 2, 3 and 2 candidates; the second objective is unlabelled in the first, tied in the last."""
    scores = [
        [[1.0, 0.0], None],
        [[0.0, 2.0, 1.0], [5.0, 5.0, 4.0]],
        [[0.0, 1.0], [3.0, 3.0]],
    ]
    reference = [np.array([-1.0, -2.0]), np.array([-3.0, -4.0, -5.0]), np.array([-6.0, -7.0])]
    contexts = [Context("a", 7), Context("b", 5), Context("c", 9)]
    return PreferenceData(contexts, scores, reference, DataConfig(**settings))


def test_a_batch_by_hand():
    batch = example().batch([1, 0])
    assert [c.name for c in batch.contexts] == ["b", "a"]
    assert batch.reference.tolist() == [[-3, -4, -5], [-1, -2, 0]]
    assert batch.mask.tolist() == [[True, True, True], [True, True, False]]
    nan = float("nan")
    scores = [[[0, 2, 1], [5, 5, 4]], [[1, 0, nan], [nan, nan, nan]]]
    np.testing.assert_array_equal(batch.scores, scores)  # takes NaN for equal
    assert batch.items == 12
    assert batch.targets is batch.margins is None


def test_targets_are_made_for_listwise_losses():
    batch = example(comparisons="listwise").batch([1, 0])
    assert batch.targets is not None
    assert batch.targets.tolist() == [[[0, 1, 0], [0.5, 0.5, 0]], [[1, 0, 0], [0, 0, 0]]]


def test_margins_are_padded_like_references():
    data = example()
    data.set_margins([np.array([1.0, 2.0]), np.array([3.0, 4.0, 5.0]), np.array([6.0, 7.0])])
    assert data.batch([2, 1]).margins.tolist() == [[6, 7, 0], [3, 4, 5]]


def test_a_batch_is_as_wide_as_its_own_longest_list():
    assert example().batch([0, 2]).mask.shape == (2, 2)


def test_moving_a_batch_keeps_everything():
    batch = example(comparisons="listwise").batch([0, 1])
    moved = batch.to(torch.device("cpu"))
    assert moved.contexts == batch.contexts
    for name in ("reference", "mask", "targets", "scores"):
        torch.testing.assert_close(getattr(moved, name), getattr(batch, name), rtol=0, atol=0, equal_nan=True)


def test_comparisons_are_counted_per_objective():
    # Pairs: 1 + 3 + 1 of the first objective, 0 + 2 + 0 of the second; lists: 3 and 1; candidates with others below
    # them: 1 + 2 + 1 and 0 + 2 + 0.
    assert example().comparisons(["x", "y"]).tolist() == [5, 2]
    assert example(comparisons="listwise").comparisons(["x", "y"]).tolist() == [3, 1]
    assert example(comparisons="rankings").comparisons(["x", "y"]).tolist() == [4, 2]


@pytest.mark.parametrize("comparisons", ["pairwise", "listwise", "rankings"])
def test_an_objective_without_any_comparison_is_refused(comparisons):
    scores = [[[1.0, 0.0], None], [[0.0, 1.0], [2.0, 2.0]]]
    settings = DataConfig(comparisons=comparisons)
    data = PreferenceData([Context("a", 1), Context("b", 1)], scores, [np.zeros(2), np.zeros(2)], settings)
    with pytest.raises(InputError, match="objective short has no comparison"):
        data.comparisons(["kind", "short"])


class TestFingerprint:
    @staticmethod
    def of(context: TokenizedContext, scores: list[list[float] | None]) -> str:
        return PreferenceData([context], [scores], None, DataConfig()).fingerprint()

    @pytest.mark.parametrize(
        ("context", "scores"),
        [
            (TokenizedContext([1], [[2, 3], [4, 5]]), [[1.0, 0.0], None]),
            (TokenizedContext([1, 2], [[4, 5], [3]]), [[1.0, 0.0], None]),
            (TokenizedContext([1, 2], [[3], [4, 5]]), [[1.0, 0.5], None]),
            (TokenizedContext([1, 2], [[3], [4, 5]]), [None, [1.0, 0.0]]),
        ],
        ids=["prompt", "order", "score", "objective"],
    )
    def test_whatever_changes_changes_it(self, context, scores):
        first = TokenizedContext([1, 2], [[3], [4, 5]])
        assert self.of(first, [[1.0, 0.0], None]) == self.of(first, [[1.0, 0.0], None])
        assert self.of(context, scores) != self.of(first, [[1.0, 0.0], None])


@pytest.mark.parametrize(("epochs", "steps"), [(1, 3), (2.5, 8), (0.01, 1)])
def test_epochs_in_steps(epochs, steps):
    """25 contexts in batches of 8 are 3 steps, and 1 is left out."""
    config = Config.model_validate({"training": {"epochs": epochs, "batch_size": 8}})
    training = of_epochs(config, 25).training
    assert (training.steps, training.epochs) == (steps, 0)
    assert of_epochs(Config(), 25) == Config()


class TestLengthBatches:
    def test_by_hand(self):
        # Sorted lengths: 1 (index 3), 2 (0), 4 (2), 5 (4), 9 (1); at most 7 tokens at once, a longer one alone.
        assert list(length_batches([2, 9, 4, 1, 5], 7)) == [[3, 0, 2], [4], [1]]

    def test_everything_once(self):
        lengths = np.random.default_rng(0).integers(1, 50, 200)
        batches = list(length_batches(lengths, 100))
        assert sorted(i for batch in batches for i in batch) == list(range(200))
        assert all(sum(lengths[i] for i in batch) <= 100 for batch in batches)

    def test_of_nothing(self):
        assert list(length_batches([], 10)) == []


class TestBatchOrder:
    lengths = np.random.default_rng(1).integers(1, 1000, 50)

    def epoch(self, seed: int, number: int, size: int = 8) -> list[list[int]]:
        order = BatchOrder(self.lengths, size, seed)
        batches = len(self.lengths) // size
        return [order(number * batches + i) for i in range(batches)]

    @pytest.mark.parametrize("size", [1, 8, 50])
    def test_an_epoch_visits_each_context_once_but_for_the_remainder(self, size):
        for number in range(3):
            visited = [i for batch in self.epoch(0, number, size) for i in batch]
            assert len(visited) == len(set(visited)) == 50 // size * size
            assert set(visited) <= set(range(50))

    def test_the_remainder_is_another_one_each_epoch(self):
        left_out = [set(range(50)) - {i for batch in self.epoch(0, n) for i in batch} for n in range(300)]
        assert set().union(*left_out) == set(range(50))

    def test_neighbours_in_length_share_a_batch(self):
        # Fewer contexts than are sorted together: no two batches of an epoch overlap in length.
        ranges = sorted((min(self.lengths[b]), max(self.lengths[b])) for b in self.epoch(0, 0))
        assert all(first[1] <= second[0] for first, second in itertools.pairwise(ranges))

    def test_batches_come_in_random_order_of_length(self):
        means = [self.lengths[b].mean() for b in self.epoch(0, 0)]
        assert means != sorted(means)
        assert means != sorted(means, reverse=True)

    def test_order_is_a_function_of_seed_and_epoch(self):
        assert self.epoch(0, 1) == self.epoch(0, 1)
        assert self.epoch(0, 0) != self.epoch(0, 1)
        assert self.epoch(0, 0) != self.epoch(1, 0)

    def test_any_step_can_be_asked_for_first(self):
        straight, order = self.epoch(0, 2), BatchOrder(self.lengths, 8, 0)
        order(0), order(1000)
        assert [order(12 + i) for i in range(6)] == straight

    def test_a_batch_larger_than_the_data_is_refused(self):
        with pytest.raises(InputError, match=r"training\.batch_size 51 is larger than the 50 training contexts"):
            BatchOrder(self.lengths, 51, 0)
