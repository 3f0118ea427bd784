"""What a sweep leaves: the best configuration, the table of trials, and what its metrics are worth."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest

from cosdpo.cli.command_line import read_config, to_yaml
from cosdpo.config import SweepConfig
from cosdpo.errors import InputError
from cosdpo.experiment.sweep.record import Record, records
from cosdpo.experiment.sweep.sweep_result import write_trials
from cosdpo.experiment.sweep.targets import Target, measured_values, targets
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


def test_every_trial_with_a_front_is_a_run_of_its_own(tmp_path):
    found = sweep_result(tmp_path, [0.3, 0.9, 0.5], stopped=[1], failed=[2])
    for trial in found.trials:
        (tmp_path / "trials" / trial.name).mkdir(parents=True)
    done = {"steps": 40, "seconds": 3.0, "reward_seconds": 0.0, "parameters": 100, "peak_memory": 1}
    (tmp_path / "trials" / "trial-00" / "done.json").write_text(json.dumps(done | {"base_parameters": 7}))
    whole, half = found.runs()
    assert (whole.config.output, half.config.output) == (tmp_path / "trials/trial-00", tmp_path / "trials/trial-01")
    assert whole.config.temperature == found.trials[0].settings["temperature"]
    assert (whole.front, half.front) == (found.fronts["trial-00"], found.fronts["trial-01"])
    assert whole.facts == {"base": "made up", "trial": "trial-00", "base_parameters": 7}
    assert half.facts == {"base": "made up", "trial": "trial-01"}
    assert whole.dropped == found.task.notes


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


def test_more_or_less_is_better():
    assert (Target("seconds").sign, Target("hypervolume/loss").sign) == (-1, 1)
