"""What a sweep leaves: the best configuration, the table of trials, and what its metrics are worth."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cosdpo.cli.command_line import read_config, to_yaml
from cosdpo.config import SweepConfig
from cosdpo.errors import InputError
from cosdpo.experiment.sweep.record import Record, records
from cosdpo.experiment.sweep.space import parse_space
from cosdpo.experiment.sweep.sweep_result import write_trials
from cosdpo.experiment.sweep.targets import Target, measured_values, targets
from cosdpo.reports.best_fronts import pareto
from cosdpo.reports.importance import importances, judged
from tests.fake_sweep import configuration, front, sweep_result


def test_the_best_is_finished_and_first_by_the_first_metric(tmp_path):
    found = sweep_result(tmp_path, [0.3, 0.9, 0.6, 1.0], stopped=[3], metrics=["hypervolume", "parameters"])
    assert [trial.name for trial in found.finished] == ["trial-01", "trial-02", "trial-00"]
    cheap = sweep_result(tmp_path, [0.3, 0.9], metrics=["parameters", "hypervolume"])
    assert cheap.best.name == "trial-00"


def test_the_best_configuration_is_read_as_it_was_written(tmp_path):
    found = sweep_result(tmp_path, [0.3, 0.9])
    (tmp_path / "best.yaml").write_text(to_yaml(found.best_config()))
    config = read_config(["--config", str(tmp_path / "best.yaml")])
    assert config == found.best_config()
    assert config.temperature == found.best.settings["temperature"]  # to the last bit
    assert (config.model.gates, config.model.lora_rank) == ("quadratic", 5)
    assert config.sweep == SweepConfig()
    assert config.output == tmp_path / "best"
    assert not config.resume


def test_the_table_has_a_row_for_every_front(tmp_path):
    found = sweep_result(tmp_path, [0.3, 0.9, 0.5], stopped=[1], failed=[2])
    write_trials(found, tmp_path / "trials.parquet")
    rows = pq.read_table(tmp_path / "trials.parquet").to_pylist()
    assert [(row["trial"], row["step"]) for row in rows] == [
        ("trial-00", 20),
        ("trial-00", 40),
        ("trial-01", 20),
        ("trial-02", None),
    ]
    assert [row["state"] for row in rows] == ["finished", "finished", "stopped", "failed"]
    assert rows[1]["hypervolume/accuracy"] == found.trials[0].last["hypervolume/accuracy"]
    assert rows[3]["hypervolume/accuracy"] is None
    assert rows[3]["reason"] == "the loss is not finite"
    assert rows[2]["model.gates"] == "quadratic"
    assert rows[2]["model.lora_rank"] == 5


def test_records_are_read_in_the_order_of_their_start(tmp_path):
    for number, name in enumerate(["b", "a"]):
        folder = tmp_path / "trials" / name
        folder.mkdir(parents=True)
        Record(name=name, started=float(number), settings={"temperature": 0.1}, steps=4).save(folder)
    (tmp_path / "trials" / "empty").mkdir()
    assert [record.name for record in records(tmp_path)] == ["b", "a"]
    assert Record.load(tmp_path / "trials" / "empty") is None


class TestMetrics:
    def test_values_of_a_front(self):
        # (w^.5)(1 - w)^.5 staircase above the base: one step of each of the 5 points.
        values = measured_values(front(1.0, seconds=7.0, parameters=12))
        assert (values["seconds"], values["parameters"]) == (7.0, 12.0)
        assert values["controllability/accuracy"] == pytest.approx(1.0)
        staircase = sum(
            0.4 * (b**0.5 - a**0.5) * 0.4 * (1 - b) ** 0.5
            for a, b in [(0.0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0)]
        )
        assert values["hypervolume/accuracy"] == pytest.approx(staircase)

    def test_short_names_mean_the_main_metric(self, tmp_path):
        config = configuration(tmp_path, metrics=["hypervolume", "controllability/loss", "seconds"])
        assert [(one.name, one.mode) for one in targets(config)] == [
            ("hypervolume/accuracy", "max"),
            ("controllability/loss", "max"),
            ("seconds", "min"),
        ]

    @pytest.mark.parametrize(
        ("metrics", "message"),
        [
            ([], "sweep.metrics is empty"),
            (["hypervolum"], "there is no metric 'hypervolum'; did you mean hypervolume?"),
            (["hypervolume/reward"], "there is no metric 'hypervolume/reward'"),
            (["xyz"], "there is no metric 'xyz'; there are hypervolume, controllability, parameters"),
            (["hypervolume", "hypervolume/accuracy"], "names one twice"),
        ],
    )
    def test_wrong_ones(self, tmp_path, metrics, message):
        with pytest.raises(InputError, match=message):
            targets(configuration(tmp_path, metrics=metrics))

    def test_asha_goes_by_one_that_can_be_measured_along_the_way(self, tmp_path):
        with pytest.raises(InputError, match="asha goes by one metric"):
            targets(configuration(tmp_path, scheduler="asha", metrics=["hypervolume", "seconds"]))
        with pytest.raises(InputError, match="asha cannot go by parameters"):
            targets(configuration(tmp_path, scheduler="asha", metrics=["parameters"]))


class TestImportance:
    def test_trials_are_judged_where_all_of_them_were(self, tmp_path):
        found = sweep_result(tmp_path, [0.3, 0.9], stopped=[1])
        step, values = judged(found.trials, found.targets[0])
        assert step == 20
        assert values == {trial.name: trial.history[0]["hypervolume/accuracy"] for trial in found.trials}

    def test_without_a_common_step_the_newest_value_counts(self, tmp_path):
        found = sweep_result(tmp_path, [0.3, 0.9])
        short = found.trials[1].model_copy(update={"history": [{"step": 5.0, "hypervolume/accuracy": 0.2}]})
        assert judged([found.trials[0], short], found.targets[0])[1]["trial-01"] == 0.2

    @pytest.mark.parametrize("count", [6, 30])
    def test_what_decides_comes_first(self, tmp_path, count):
        # Quality is the temperature; gates and rank follow the number of the trial.
        found = sweep_result(tmp_path, [((7 * k) % count) / count for k in range(count)])
        order, how = importances(found.trials, parse_space(found.config), found.targets[0])
        assert next(iter(order)) == "temperature"
        assert how == ("rank correlation" if count < 10 else "PED-ANOVA, shares of 1")
        assert set(order) == set(found.config.sweep.space)


def test_pareto_keeps_what_none_beats(tmp_path):
    # More quality and more parameters by number, so that of 0.3, 0.9, 0.5 the third is beaten by the second.
    found = sweep_result(tmp_path, [0.3, 0.9, 0.5], metrics=["hypervolume", "parameters"])
    assert [t.name for t in pareto(found.trials, found.targets)] == ["trial-00", "trial-01"]


def test_more_or_less_is_better():
    assert (Target("seconds").sign, Target("hypervolume/loss").sign) == (-1, 1)


def test_paths_are_kept(tmp_path):
    assert sweep_result(tmp_path, [1.0]).config.output == Path(tmp_path)
