"""Weights: what a person may type, the grid, and the two ways of drawing from a Dirichlet."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from scipy import stats

from cosdpo.errors import InputError
from cosdpo.simplex import das_dennis, dirichlet, named_point, nearest, normalise


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([1, 3], [0.25, 0.75]),
        ([0.25, 0.75], [0.25, 0.75]),
        ([0, 5], [0, 1]),
        ({"brevity": 3, "positivity": 1}, [0.25, 0.75]),
        ({"brevity": 2}, [0, 1]),
        ([1e308, 1e308], [0.5, 0.5]),
        ([1e-320, 3e-320], [0.25, 0.75]),
    ],
)
def test_normalise(weights, expected):
    assert normalise(weights, ["positivity", "brevity"]) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1], "need 2 numbers"),
        ([1, 2, 3], "need 2 numbers"),
        ([[1, 2]], "need 2 numbers"),
        ([-1, 2], "not negative"),
        ([math.nan, 1], "finite"),
        ([math.inf, 1], "finite"),
        ([0, 0], "not all be zero"),
        ({}, "not all be zero"),
        ({"length": 1}, "unknown objectives \\['length'\\]"),
    ],
)
def test_normalise_refuses(weights, message):
    with pytest.raises(InputError, match=message) as error:
        normalise(weights, ["positivity", "brevity"])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("objectives", "partitions"), [(2, 10), (2, 1), (3, 4), (5, 3), (1, 10)])
def test_das_dennis_holds_every_multiple_once(objectives, partitions):
    grid = das_dennis(objectives, partitions)
    steps = partitions if objectives > 1 else 1  # a single objective has one weight
    assert len(grid) == math.comb(steps + objectives - 1, objectives - 1) if objectives > 1 else len(grid) == 1
    multiples = grid * steps
    np.testing.assert_allclose(multiples, multiples.round(), atol=1e-9)
    np.testing.assert_allclose(grid.sum(1), 1)
    assert (grid >= 0).all()
    assert len(np.unique(multiples.round(), axis=0)) == len(grid)


def test_das_dennis_of_two_objectives_runs_from_the_second_to_the_first():
    np.testing.assert_allclose(das_dennis(2, 4), [[0, 1], [0.25, 0.75], [0.5, 0.5], [0.75, 0.25], [1, 0]])


@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize(("objectives", "alpha"), [(2, 1.0), (2, 0.3), (3, 0.5), (3, 2.0), (5, 1.0)])
def test_every_draw_is_dirichlet(objectives, alpha, stratified):
    # Marginals of Dir(alpha, ..., alpha) are Beta(alpha, (m - 1) alpha), and w_j / (w_j + w_k) is Beta(alpha, alpha)
    # and independent of the rest (Devroye 1986, XI.4): together these tell it from other laws on the simplex.
    rng = np.random.default_rng(0)
    draws = np.concatenate([dirichlet(rng, 8, objectives, alpha, stratified) for _ in range(250)])
    assert draws.shape == (2000, objectives)
    assert (draws >= 0).all()
    np.testing.assert_allclose(draws.sum(1), 1, atol=1e-12)
    for j in range(objectives):
        assert stats.kstest(draws[:, j], stats.beta(alpha, alpha * (objectives - 1)).cdf).pvalue > 1e-3
        pair = draws[:, j] + draws[:, j - 1]
        assert stats.kstest(draws[:, j] / pair, stats.beta(alpha, alpha).cdf).pvalue > 1e-3
    if objectives > 2:
        assert abs(stats.spearmanr(draws[:, 0] / (draws[:, 0] + draws[:, 1]), draws[:, 2]).statistic) < 0.08


@pytest.mark.parametrize("objectives", [2, 3])
def test_stratified_batches_have_a_steadier_mean(objectives):
    rng = np.random.default_rng(0)
    variance = {
        stratified: np.var([dirichlet(rng, 8, objectives, 1.0, stratified).mean(0) for _ in range(400)], axis=0)
        for stratified in (False, True)
    }
    # A mean of 8 independent draws has variance Var(Beta(1, m - 1)) / 8 = (m - 1) / (m^2 (m + 1)) / 8.
    m = objectives
    np.testing.assert_allclose(variance[False], (m - 1) / (m * m * (m + 1)) / 8, rtol=0.35)
    assert (variance[True] < 0.5 * variance[False]).all()
    assert variance[True].max() < 1.5 * variance[True].min()  # no objective is favoured
    if objectives == 2:
        # One draw in each of 8 strata of width 1/8: (1/8)^2 / 12 each, so 1 / (12 * 8^3) for the mean; 1/64 of the
        # plain 1 / (12 * 8).
        np.testing.assert_allclose(variance[True], 1 / (12 * 8**3), rtol=0.35)


def test_stratified_draws_of_two_objectives_fill_every_stratum():
    # At alpha 1 the weight is uniform: of 10 draws one lies in each tenth.
    draws = dirichlet(np.random.default_rng(3), 10, 2, 1.0)
    assert sorted(np.floor(draws[:, 0] * 10).astype(int)) == list(range(10))


@pytest.mark.parametrize("stratified", [False, True])
def test_draws_depend_on_the_generator_alone(stratified):
    first, again, other = (dirichlet(np.random.default_rng(s), 6, 3, 0.7, stratified) for s in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_one_objective_always_weighs_everything():
    np.testing.assert_array_equal(dirichlet(np.random.default_rng(0), 4, 1, 1.0), np.ones((4, 1)))


def test_rows_of_one_call_are_not_in_order():
    # Strata are given to rows at random: otherwise a context's place in the batch would decide its weight.
    firsts = np.stack([dirichlet(np.random.default_rng(s), 8, 2, 1.0)[:, 0] for s in range(200)])
    np.testing.assert_allclose(firsts.mean(0), 0.5, atol=0.1)


def test_a_named_point():
    assert named_point("mine@kind=0.7, short=3e-1") == ("mine", {"kind": 0.7, "short": 0.3})
    assert named_point("org/mine") == ("org/mine", None)
    with pytest.raises(InputError, match=r"^model: 'kind' is no list of weights.*, as in NAME@"):
        named_point("mine@kind")


@pytest.mark.parametrize(("m", "partitions"), [(1, 4), (2, 20), (3, 7), (4, 5)])
def test_the_nearest_point_of_the_grid(m: int, partitions: int):
    grid = das_dennis(m, partitions)
    drawn = dirichlet(np.random.default_rng(m), 200, m, 1.0)
    for weights in (*drawn, *grid):
        units = np.array(nearest(weights, partitions))
        assert units.sum() == partitions
        least = np.linalg.norm(grid - weights, axis=1).min()
        assert np.linalg.norm(units / partitions - weights) == pytest.approx(least, abs=1e-9)
    assert nearest(np.full(3, 1 / 3), 20) == [7, 7, 6]


@pytest.mark.parametrize("objectives", [2, 3, 5])
def test_even_draws_need_no_scipy_and_are_what_it_gives(monkeypatch, objectives):
    """Beta(1, b) in closed form, beside scipy's at an alpha that rounds to 1 in all digits that are compared."""
    by_scipy = dirichlet(np.random.default_rng(3), 64, objectives, 1 + 1e-12)
    monkeypatch.setitem(sys.modules, "scipy.special", None)
    drawn = dirichlet(np.random.default_rng(3), 64, objectives, 1.0)
    np.testing.assert_allclose(drawn, by_scipy, atol=1e-9)
