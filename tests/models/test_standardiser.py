"""The statistics of features against numpy in float64, and what documents look like then, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from cosdpo.data.packed_lists import PackedLists
from cosdpo.models import standardiser
from cosdpo.models.standardiser import LARGEST, Standardiser

RNG = np.random.default_rng(0)
RAW = np.stack(
    [
        RNG.normal(size=100),
        1e4 + 100 * RNG.normal(size=100),  # large against its deviation
        RNG.lognormal(0, 3, 100),  # heavy-tailed
        -RNG.lognormal(0, 3, 100),
        1e-9 * RNG.normal(size=100),  # small, and yet it varies
    ],
    1,
).astype(np.float32)


def fitted(features: np.ndarray, log1p: bool = False, list_features: bool = False) -> Standardiser:
    made = Standardiser(features.shape[1], log1p, list_features)
    made.fit(features)
    return made


def inputs(made: Standardiser, rows: np.ndarray | list[list[float]], *lengths: int) -> torch.Tensor:
    features = np.array(rows, np.float32)
    return made(PackedLists.of(features, lengths or (len(features),)))


@pytest.mark.parametrize("log1p", [True, False])
@pytest.mark.parametrize("block", [7, 100, 1000])
def test_statistics_equal_numpy_s(monkeypatch, log1p, block):
    monkeypatch.setattr(standardiser, "BLOCK", block)
    made = fitted(RAW, log1p)
    values = RAW.astype(np.float64)
    if log1p:
        values = np.sign(values) * np.log1p(np.abs(values))
    np.testing.assert_allclose(made.mean.numpy(), values.mean(0), rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(made.deviation.numpy(), values.std(0), rtol=1e-3)
    expected = np.clip((values - values.mean(0)) / values.std(0), -LARGEST, LARGEST)
    np.testing.assert_allclose(inputs(made, RAW).numpy(), expected, rtol=1e-3, atol=2e-3)


def test_a_large_mean_does_not_swallow_the_deviation(monkeypatch):
    monkeypatch.setattr(standardiser, "BLOCK", 9)
    rows = (1e5 + RNG.normal(size=(100, 1))).astype(np.float32)
    np.testing.assert_allclose(fitted(rows).deviation.numpy(), rows.astype(np.float64).std(0), rtol=1e-6)


@pytest.mark.parametrize("block", [3, 1000])
@pytest.mark.parametrize("log1p", [True, False])
def test_constant_features_are_0_whatever_comes_later(monkeypatch, block, log1p):
    monkeypatch.setattr(standardiser, "BLOCK", block)
    rows = np.array([[0.0, 7.0, 1e7 + 1, 1e-9, i] for i in range(10)], np.float32)
    made = fitted(rows, log1p)
    assert inputs(made, rows)[:, :4].abs().max() == 0
    assert inputs(made, rows)[:, 4].abs().min() > 0.1
    later = inputs(made, [[5.0, -7.0, 0.0, 3.0, 1.0]])
    assert later[0, :4].tolist() == [0, 0, 0, 0]


def test_heavy_tails_by_hand():
    """Not fitted, the mean is 0 and the deviation 1: log(1 + x) on both sides of 0, cut at 8."""
    made = Standardiser(1, log1p=True, list_features=False)
    values = inputs(made, [[math.e - 1], [0.0], [1 - math.e**2], [1e30], [-1e30]])[:, 0]
    assert values.tolist() == pytest.approx([1, 0, -2, LARGEST, -LARGEST], abs=1e-6)


def test_scale_and_origin_do_not_matter_without_compression():
    base = RAW[:, :1]
    expected = inputs(fitted(base), base)
    for scale in (1e-20, 1e-3, 1e6):
        moved = (scale * base.astype(np.float64)).astype(np.float32)
        torch.testing.assert_close(inputs(fitted(moved), moved), expected, rtol=1e-4, atol=1e-4)


class TestListFeatures:
    def test_by_hand(self):
        """Not fitted; (1, 3) lie one deviation of 1 off their mean, (0, 0, 6) have the deviation 8^.5."""
        made = Standardiser(1, log1p=False, list_features=True)
        assert made.inputs == 2
        values = inputs(made, [[1], [3], [0], [0], [6]], 2, 3)
        root = 8**0.5
        assert values[:, 0].tolist() == [1, 3, 0, 0, 6]
        expected = [-1 / 1.01, 1 / 1.01, -2 / (root + 0.01), -2 / (root + 0.01), 4 / (root + 0.01)]
        assert values[:, 1].tolist() == pytest.approx(expected, rel=1e-5)

    def test_one_document_is_its_list_s_mean(self):
        made = Standardiser(2, log1p=False, list_features=True)
        assert inputs(made, [[3, -2], [5, 5]], 1, 1).tolist() == [[3, -2, 0, 0], [5, 5, 0, 0]]

    def test_a_list_in_which_a_feature_is_constant(self):
        made = Standardiser(1, log1p=False, list_features=True)
        values = inputs(made, [[0.3]] * 3 + [[1], [2]], 3, 2)
        assert values[:3, 1].abs().max() < 1e-4
        assert values[3:, 1].abs().min() > 0.9

    def test_lists_do_not_mix(self):
        made = fitted(RAW, log1p=True, list_features=True)
        together = inputs(made, RAW, 40, 1, 59)
        for begin, end in ((0, 40), (40, 41), (41, 100)):
            torch.testing.assert_close(inputs(made, RAW[begin:end]), together[begin:end], rtol=1e-4, atol=1e-4)

    def test_the_first_half_is_what_there_is_without_them(self):
        with_, without = fitted(RAW, True, True), fitted(RAW, True, False)
        assert without.inputs == 5
        assert torch.equal(inputs(with_, RAW, 60, 40)[:, :5], inputs(without, RAW, 60, 40))


def test_statistics_are_saved_with_the_model():
    made = fitted(RAW, True, True)
    other = Standardiser(5, True, True)
    other.load_state_dict(made.state_dict())
    assert torch.equal(inputs(other, RAW), inputs(made, RAW))
    assert not list(made.parameters())
