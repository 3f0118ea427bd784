"""Points chosen by what must hold, on fronts whose best point is known."""

from __future__ import annotations

import numpy as np
import pytest

from cosdpo.errors import InputError
from cosdpo.evaluation.choosing import KNEE, choose
from cosdpo.evaluation.front import Front, Main, Measured
from cosdpo.simplex import das_dennis
from tests.built_fronts import built


def made(values: np.ndarray, weights: np.ndarray, higher_is_better: bool = True, main: Main | None = None) -> Front:
    m = weights.shape[1]
    measured = Measured(values, np.zeros(m), np.zeros(m), higher_is_better)
    return built(weights, {"accuracy": measured}, main=main)


@pytest.fixture
def straight() -> Front:
    """a goes from 0.5 to 0.9 with its weight, b from 0.6 to 0.8 with its own; the price is the weight of a, squared."""
    weights = das_dennis(2, 4)
    price = Main(name="KL", metric="nats", higher_is_better=False, base=0.0, values=(weights[:, 0] ** 2).tolist())
    return made(np.stack([0.5 + 0.4 * weights[:, 0], 0.6 + 0.2 * weights[:, 1]], 1), weights, main=price)


def test_the_best_of_one_objective_where_the_other_has_enough(straight: Front) -> None:
    choice = choose(straight, at_least={"a": 0.7}, best="b")
    assert choice.weights == pytest.approx([0.5, 0.5])
    assert choice.values == pytest.approx({"a": 0.7, "b": 0.7, "KL": 0.25})
    assert (choice.misses, choice.measured) == ({}, True)


def test_between_two_measured_weights_values_are_interpolated(straight: Front) -> None:
    choice = choose(straight, at_least={"b": 0.672}, best="a")
    assert choice.weights == pytest.approx([0.64, 0.36])
    assert choice.values["a"] == pytest.approx(0.756)
    assert not choice.measured


def test_a_price_that_must_not_be_exceeded(straight: Front) -> None:
    # Between 0.25 and 0.5 the price rises from 1/16 to 1/4 in a straight line: 0.1 at 0.3.
    choice = choose(straight, at_most={"KL": 0.1}, best="a")
    assert choice.weights == pytest.approx([0.3, 0.7])
    assert choose(straight, best="KL").weights == pytest.approx([0, 1]), "a price is best where it is lowest"


def test_what_cannot_hold_is_missed_by_the_least(straight: Front) -> None:
    choice = choose(straight, at_least={"a": 0.9, "b": 0.8}, best="a")
    # At any weight w of a the misses are 1 - w and w of what each can reach.
    assert choice.weights == pytest.approx([0.5, 0.5])
    assert choice.misses == pytest.approx({"a": 0.2, "b": 0.1})


def test_how_sure_a_chosen_value_is(straight: Front) -> None:
    assert choose(straight).deviations == {}
    metric = straight.metrics["accuracy"].model_copy(update={"deviations": [[0.01 * i, 0.1] for i in range(5)]})
    surer = straight.model_copy(update={"metrics": {"accuracy": metric}})
    assert choose(surer, at_least={"a": 0.7}, best="b").deviations == pytest.approx({"a": 0.02, "b": 0.1})
    # Weights 0.64 lie between those of the third and the fourth point.
    assert choose(surer, at_least={"b": 0.672}, best="a").deviations == pytest.approx({"a": 0.0256, "b": 0.1})


def test_the_knee_is_where_both_have_most() -> None:
    weights = das_dennis(2, 4)
    values = np.array([[0.0, 1.0], [0.2, 0.98], [0.8, 0.9], [0.95, 0.3], [1.0, 0.0]])
    choice = choose(made(values, weights), best=KNEE)
    assert choice.weights == pytest.approx([0.5, 0.5])
    assert choose(made(-values, weights, higher_is_better=False)).weights == choice.weights


def test_three_objectives_are_interpolated_over_the_simplex() -> None:
    weights = das_dennis(3, 5)
    front = made(weights.copy(), weights)  # linear: interpolation is exact
    choice = choose(front, at_least={"a": 0.325, "b": 0.45}, best="c")
    assert choice.weights == pytest.approx([0.325, 0.45, 0.225])
    assert list(choice.values.values()) == pytest.approx(choice.weights)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"at_least": {"x": 1.0}}, "'x' is not in the front, which has a, b, KL"),
        ({"best": "x"}, "'x' is not in the front"),
        ({"metric": "reward"}, "metric 'reward' is not in the front, which has accuracy"),
        ({"at_most": {"a": float("nan")}}, "a: nan is no finite number"),
    ],
)
def test_what_the_front_does_not_have_is_named(straight: Front, wrong: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        choose(straight, **wrong)
