"""front.json: what is computed into it, that it survives the file, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from cosdpo.errors import InputError
from cosdpo.evaluation.front import Front, Main, Measured, build

WEIGHTS = [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]]
ACCURACY = Measured(values=[[0.6, 0.9], [0.7, 0.8], [0.8, 0.55]], base=[0.5, 0.5], reference_point=[0.5, 0.5])
LOSS = Measured(
    values=[[0.6, 0.4], [0.5, 0.6], [0.8, 0.9]], base=[0.7, 0.7], reference_point=[0.7, 0.7], higher_is_better=False
)


def make(**changes: object) -> Front:
    arguments: dict[str, object] = {
        "method": "cos",
        "task": "language",
        "objectives": ["positivity", "brevity"],
        "seed": 3,
        "trained_temperature": 0.1,
        "train_seconds": 12.5,
        "trained_parameters": 1000,
        "weights": WEIGHTS,
        "metrics": {"accuracy": ACCURACY, "loss": LOSS},
    }
    return build(**{**arguments, **changes})  # type: ignore[arg-type]


def test_higher_is_better_by_hand() -> None:
    # Above (.5, .5): boxes .1 x .4, .2 x .3 and .3 x .05 form a staircase: .1 * .4 + .1 * .3 + .1 * .05 = .075.
    metric = make().metrics["accuracy"]
    assert metric.hypervolume == pytest.approx(0.075)
    assert metric.controllability == pytest.approx([1.0, 1.0])
    assert metric.non_dominated == 3
    assert metric.spread == pytest.approx(math.hypot(0.2, 0.35))


def test_losses_are_negated_by_hand() -> None:
    # Below (.7, .7): boxes .1 x .3 and .2 x .1 overlap in .1 x .1, so .03 + .02 - .01; (.8, .9) is beyond.
    # Objective 0: w rises 0, .5, 1 and -loss has ranks 2, 3, 1: rho = 1 - 6 (1 + 1 + 4) / 24. Objective 1: ranks of w
    # 3, 2, 1 and of -loss 3, 2, 1.
    metric = make().metrics["loss"]
    assert metric.hypervolume == pytest.approx(0.04)
    assert metric.controllability == pytest.approx([-0.5, 1.0])
    assert metric.non_dominated == 2
    assert metric.spread == pytest.approx(math.hypot(0.1, 0.2))
    assert metric.reference_point == [0.7, 0.7]  # as measured, not negated


def test_copies_count_once_as_non_dominated() -> None:
    collapsed = Measured(values=[[0.6, 0.6]] * 3, base=[0.5, 0.5], reference_point=[0.5, 0.5])
    metric = make(metrics={"accuracy": collapsed}).metrics["accuracy"]
    assert (metric.non_dominated, metric.controllability) == (1, [0.0, 0.0])


def test_file_has_the_keys_of_the_contract(tmp_path: Path) -> None:
    make().save(tmp_path / "front.json")
    written = json.loads((tmp_path / "front.json").read_text())
    assert list(written) == [
        "method",
        "task",
        "objectives",
        "seed",
        "trained_temperature",
        "train_seconds",
        "train_seconds_total",
        "trained_parameters",
        "metrics",
        "points",
    ]
    contract = {"higher_is_better", "reference_point", "hypervolume", "base"}
    assert set(written["metrics"]["loss"]) == contract | {"controllability", "spread", "non_dominated"}
    assert written["metrics"]["loss"]["higher_is_better"] is False
    assert written["train_seconds_total"] == 12.5
    assert written["points"][1] == {
        "weights": [0.5, 0.5],
        "temperature": [0.1, 0.1],
        "values": {"accuracy": [0.7, 0.8], "loss": [0.5, 0.6]},
    }


def test_round_trip_keeps_everything(tmp_path: Path) -> None:
    third = 1 / 3
    front = make(weights=[[third, 1 - third]] * 3, trained_temperature=[0.1, 0.3], train_seconds_total=99.0)
    front.save(tmp_path / "front.json")
    assert Front.load(tmp_path / "front.json") == front
    assert front.points[0].temperature == [0.1, 0.3]


def test_other_indicators_in_a_metric_are_kept(tmp_path: Path) -> None:
    written = json.loads(make().model_dump_json())
    written["metrics"]["loss"]["kl"] = 0.7
    (tmp_path / "front.json").write_text(json.dumps(written))
    assert Front.load(tmp_path / "front.json").model_dump()["metrics"]["loss"]["kl"] == 0.7


def test_an_other_indicator_may_be_null(tmp_path: Path) -> None:
    written = json.loads(make().model_dump_json())
    written["metrics"]["loss"]["kl"] = None
    (tmp_path / "front.json").write_text(json.dumps(written))
    Front.load(tmp_path / "front.json").save(tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text()) == written


def test_main_objective_and_folds_survive_the_file(tmp_path: Path) -> None:
    main = Main(name="relevance", metric="ndcg@10", base=0.385, values=[0.371, 0.38, 0.392])
    folds = Measured(ACCURACY.values, ACCURACY.base, ACCURACY.reference_point, hypervolume_folds=[0.07, 0.08])
    front = make(task="ranking", main=main, metrics={"ndcg@10": folds})
    front.save(tmp_path / "front.json")
    assert Front.load(tmp_path / "front.json") == front
    written = json.loads((tmp_path / "front.json").read_text())
    assert written["main"] == {
        "name": "relevance",
        "metric": "ndcg@10",
        "higher_is_better": True,
        "base": 0.385,
        "values": [0.371, 0.38, 0.392],
    }
    assert written["metrics"]["ndcg@10"]["hypervolume_folds"] == [0.07, 0.08]
    assert written["metrics"]["ndcg@10"]["hypervolume"] == pytest.approx(0.075)  # of the points, not of the folds


def test_main_losses_are_negated() -> None:
    values = [0.3, 0.2]
    assert Main(name="relevance", metric="ndcg@10", base=0.1, values=values).gains.tolist() == [0.3, 0.2]
    loss = Main(name="relevance", metric="loss", higher_is_better=False, base=0.1, values=values)
    assert loss.gains.tolist() == [-0.3, -0.2]


def test_arrays_of_a_front() -> None:
    front = make()
    assert front.weights.tolist() == WEIGHTS
    assert front.values("loss")[2].tolist() == [0.8, 0.9]
    assert front.gains("loss")[2].tolist() == [-0.8, -0.9]
    assert front.gains("accuracy")[2].tolist() == [0.8, 0.55]


def test_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "front.json"
    make().save(path)
    before = path.read_text()

    def broken(self: Path, target: Path) -> Path:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(OSError, match="disk full"):
        make(seed=4).save(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["front.json"]
    assert path.read_text() == before


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "does not exist"),
        ("{", "front.json is no front"),
        ("{}", "method: Field required"),
        ('"seed": "x"', "seed: Input should be a valid integer"),
        ('"objectives": ["a"]', "2 numbers for 1 objectives"),
        ('"surprise": 1', "surprise: Extra inputs"),
        ('"train_seconds": NaN', "train_seconds"),
        ('"main": {"name": "a", "metric": "b", "base": 1, "values": [1, 2]}', "main.values has 2 numbers for 3 points"),
        ('"main": {"name": "a", "metric": "b", "base": 1, "values": [1, 2, NaN]}', "main.values.2"),
        ('"main": {"name": "a", "metric": "b", "base": Infinity, "values": [1, 2, 3]}', "main.base"),
    ],
)
def test_broken_files_are_refused_in_one_line(tmp_path: Path, text: str | None, says: str) -> None:
    path = tmp_path / "front.json"
    if text is not None:
        if text.startswith('"'):  # a good file with one key changed; the last of two equal keys counts
            text = make().model_dump_json()[:-1] + f", {text}}}"
        path.write_text(text)
    with pytest.raises(InputError) as error:
        Front.load(path)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_values_must_cover_all_metrics(tmp_path: Path) -> None:
    written = json.loads(make().model_dump_json())
    del written["points"][1]["values"]["loss"]
    (tmp_path / "front.json").write_text(json.dumps(written))
    with pytest.raises(InputError, match=r"points\[1\].values"):
        Front.load(tmp_path / "front.json")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"weights": [[1.0, 0.0]]}, r"values of shape \(3, 2\)"),
        ({"weights": [[0.2, 0.3, 0.5]] * 3}, "a column per objective"),
        ({"weights": [[0.2, 0.3]] * 3}, "sum to 0.5"),
        ({"temperatures": [0.1, 0.1, 0.1]}, "temperatures"),
        ({"temperatures": 0.2}, "no point is at the trained temperature 0.1"),
        ({"trained_temperature": -1.0}, "trained_temperature"),
        ({"metrics": {"a": Measured([[1, math.nan]] * 3, [0, 0], [0, 0])}}, "objective 1 is not finite"),
        ({"metrics": {"a": Measured([[1, 2]] * 3, [0], [0, 0])}}, "base"),
        ({"metrics": {"a": Measured([[1, 2]] * 3, [0, 0], [0, math.inf])}}, "reference point"),
        ({"metrics": {}}, "metrics"),
        ({"metrics": {"a": Measured([[1, 2]] * 3, [0, 0], [0, 0], hypervolume_folds=[1, -1])}}, "hypervolume_folds.1"),
        ({"metrics": {"a": Measured([[1, 2]] * 3, [0, 0], [0, 0], hypervolume_folds=[])}}, "hypervolume_folds"),
        ({"main": Main(name="a", metric="b", base=1, values=[1] * 4)}, "main.values has 4 numbers for 3 points"),
    ],
)
def test_wrong_measurements_are_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says) as error:
        make(**changes)
    assert "\n" not in str(error.value)


def warm() -> Front:
    """Points at the trained temperature 0.1, then at half of it, which are better, and at four times it."""
    offsets = [0.0, 0.05, -0.02]
    accuracy = [[a + d, b + d] for d in offsets for a, b in [[0.6, 0.9], [0.7, 0.8], [0.8, 0.55]]]
    main = Main(name="KL", metric="nats", higher_is_better=False, base=0.0, values=[float(i) for i in range(9)])
    return make(
        weights=WEIGHTS * 3,
        temperatures=[[beta] * 2 for beta in (0.1, 0.05, 0.4) for _ in range(3)],
        metrics={"accuracy": Measured(accuracy, ACCURACY.base, ACCURACY.reference_point)},
        main=main,
    )


def test_figures_are_of_the_trained_temperature_alone(tmp_path: Path) -> None:
    front = warm()
    alone = make(
        metrics={"accuracy": ACCURACY},
        main=Main(name="KL", metric="nats", higher_is_better=False, base=0.0, values=[0.0, 1.0, 2.0]),
    )
    assert front.metrics == alone.metrics
    assert front.at(1).model_dump_json() == alone.model_dump_json()
    assert alone.at(1) is alone
    front.save(tmp_path / "front.json")
    again = Front.load(tmp_path / "front.json")
    assert again == front
    assert again.at(1).model_dump_json() == alone.model_dump_json()
    assert [point.temperature for point in again.points] == [[0.1, 0.1]] * 3 + [[0.05, 0.05]] * 3 + [[0.4, 0.4]] * 3


def test_the_front_at_another_temperature() -> None:
    front = warm()
    assert front.ratios == [0.5, 1.0, 4.0]
    half = front.at(0.5)
    assert half.main is not None
    assert half.main.values == [3.0, 4.0, 5.0]
    assert half.values("accuracy") == pytest.approx(warm().at(1).values("accuracy") + 0.05)
    # Boxes above (.5, .5): .15 x .45, .25 x .35 and .35 x .1: .15 * .45 + .1 * .35 + .1 * .1.
    assert half.metrics["accuracy"].hypervolume == pytest.approx(0.15 * 0.45 + 0.1 * 0.35 + 0.1 * 0.1)
    assert half.at(0.5) is half


def test_temperatures_of_one_each() -> None:
    front = make(
        trained_temperature=[0.1, 0.3],
        weights=WEIGHTS * 2,
        temperatures=[[0.1, 0.3]] * 3 + [[0.3, 0.9]] * 3,
        metrics={"accuracy": Measured([*ACCURACY.values, *LOSS.values], ACCURACY.base, ACCURACY.base)},
    )  # type: ignore[misc]
    assert front.ratios == [1.0, 3.0]
    assert front.metrics["accuracy"].hypervolume == pytest.approx(0.075)
    assert len(front.at(3).points) == 3
