"""The report's sentences tell the truth about fronts made to say one thing each."""

from __future__ import annotations

import numpy as np
import pytest

from cosdpo.evaluation.front import Front, Main, Measured, main_metric
from cosdpo.evaluation.numbers import listed, number, over_folds, seconds, short
from cosdpo.reports.narrative import behind, findings, headline
from tests.built_fronts import built

GRID = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])


def make(
    values: object,
    base: float | list[float] = 0.5,
    total: float = 60.0,
    name: str = "accuracy",
    main: Main | None = None,
    higher_is_better: bool = True,
) -> Front:
    measured = Measured(np.asarray(values, dtype=np.float64), np.broadcast_to(base, 2), [0.5, 0.5], higher_is_better)
    return built(
        GRID[: len(measured.values)],  # type: ignore[arg-type]
        {name: measured},
        objectives=["kind", "brief"],
        train_seconds=60.0,
        train_seconds_total=total,
        main=main,
    )


def test_steered() -> None:
    front = make(0.6 + 0.2 * GRID)
    assert headline(front) == (
        "The weights steer both objectives: kind accuracy from 0.6 to 0.8 and brief accuracy from 0.6 to 0.8."
    )
    assert findings(front)[0] == "One training run of 1 min 00 s gave 3 measured trade-offs."
    assert findings(front)[1].startswith(
        "All of them beat the base model's accuracy in every objective at once, and 3 of"
    )


def test_steered_in_part() -> None:
    values = 0.6 + 0.2 * GRID
    values[:, 1] = 0.7
    assert headline(make(values)) == "The weights steer kind, but not reliably brief."
    assert findings(make(values))[-1] == "The rank correlation of weight and accuracy stays under 0.9 for brief."


def test_not_steered() -> None:
    front = make(0.6 - 0.2 * GRID, base=0.55)  # turned round; only (.5, .5) would do, and its .5 is below the base
    assert headline(front) == "The weights do not steer kind and brief reliably."
    assert findings(front)[1].startswith("None of them beats the base model's accuracy")


def test_what_ends_worse_than_the_base_is_named() -> None:
    values = 0.5 + 0.2 * GRID  # at its own end each is at .7
    assert behind(make(values, base=0.69)) == []
    (sentence,) = behind(make(values - [0, 0.05], base=0.69))
    assert sentence == (
        "At its own end the accuracy of brief (0.650, base 0.690) is worse than the base's: lower "
        "training.learning_rate or training.steps, or give more data."
    )
    assert sentence in findings(make(values - [0, 0.05], base=0.69))


def test_a_loss_is_worse_where_it_is_higher() -> None:
    front = make(0.7 - 0.1 * GRID, base=[0.65, 0.55], name="loss", higher_is_better=False)
    assert [sentence[:46] for sentence in behind(front)] == ["At its own end the loss of brief (0.600, base "]


def test_what_is_worse_in_several_metrics_is_one_sentence() -> None:
    front = make(0.5 + 0.2 * GRID - [0, 0.05], base=0.69)
    loss = make(0.7 - 0.1 * GRID, base=[0.65, 0.55], name="loss", higher_is_better=False)
    points = [
        point.model_copy(update={"values": point.values | other.values})
        for point, other in zip(front.points, loss.points, strict=True)
    ]
    both = front.model_copy(update={"metrics": front.metrics | loss.metrics, "points": points})
    assert behind(both) == [
        "At its own end the accuracy of brief (0.650, base 0.690) and the loss of brief (0.600, base 0.550) are worse "
        "than the base's: lower training.learning_rate or training.steps, or give more data."
    ]


def test_one_point() -> None:
    assert headline(make([[0.6, 0.7]])) == "One trade-off: kind accuracy 0.6 and brief accuracy 0.7."


def test_all_runs_are_counted() -> None:
    assert findings(make(GRID, total=3700.0))[0].startswith("Training runs of together 1 h 01 min")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([0.38, 0.371, 0.392], "0.371 at its lowest and 0.392 at its highest trade-off."),
        ([0.38, 0.38, 0.38], "0.380 at every trade-off."),
        ([0.38], "0.380."),
    ],
)
def test_price(values: list[float], says: str) -> None:
    main = Main(name="relevance", metric="ndcg@10", base=0.385, values=values)
    front = make(0.6 + 0.2 * GRID[: len(values)], main=main)
    assert findings(front)[-1] == f"The price: relevance ndcg@10 goes from 0.385 (base) to {says}"


def test_deviation_over_folds() -> None:
    # .01, .02, .03: mean .02, squared deviations 1, 0, 1 (e-4), halved: .01
    assert over_folds([0.01, 0.02, 0.03]) == "0.02 ± 0.01"
    assert over_folds([0.25]) == "0.250"


def test_accuracy_is_the_main_metric() -> None:
    assert main_metric(make(GRID)) == "accuracy"
    assert main_metric(make(GRID, name="own")) == "own"
    ranking = make(GRID, name="loss")
    ranking.metrics["ndcg@10"] = ranking.metrics["loss"]
    assert main_metric(ranking) == "ndcg@10"


@pytest.mark.parametrize(
    ("value", "long", "brief"),
    [
        (0.0, "0", "0"),
        (0.73456, "0.735", "0.73"),
        (0.047312, "0.0473", "0.047"),
        (-12.2, "\u221212.200", "\u221212.2"),
        (98304.0, "98,304", "98,304"),
        (1.0, "1.000", "1"),
    ],
)
def test_numbers(value: float, long: str, brief: str) -> None:
    assert (number(value), short(value)) == (long, brief)


@pytest.mark.parametrize(
    ("value", "text"), [(4.21, "4.2 s"), (59.6, "1 min 00 s"), (158, "2 min 38 s"), (11100, "3 h 05 min")]
)
def test_durations(value: float, text: str) -> None:
    assert seconds(value) == text


def test_lists() -> None:
    assert [listed(list("abc")[:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]
