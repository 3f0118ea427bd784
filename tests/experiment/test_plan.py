"""Cases, their trainings under each budget, and the plan that is printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosdpo.config import Config
from cosdpo.experiment.compare import compare
from cosdpo.experiment.plan import cases, entries, run_name
from tests import tiny_rankers
from tests.tiny_models import rows, settings, write_model, write_rows


class TestCases:
    def test_a_folder_per_seed(self):
        config = settings("", output="runs/x", comparison={"seeds": [0, 7]})
        found = cases(config)
        assert [case.name for case in found] == ["seed-0", "seed-7"]
        assert [case.config.output for case in found] == [Path("runs/x/seed-0"), Path("runs/x/seed-7")]
        assert [case.config.seed for case in found] == [0, 7]
        assert {case.config.data.fold for case in found} == {0}
        assert config.output == Path("runs/x")

    def test_seeds_times_folds(self):
        config = tiny_rankers.settings(output="runs/x", data__folds=3, comparison__seeds=[0, 7])
        found = cases(config)
        assert [(case.seed, case.fold) for case in found] == [(0, 1), (0, 2), (0, 3), (7, 1), (7, 2), (7, 3)]
        assert [(case.config.seed, case.config.data.fold) for case in found] == [(c.seed, c.fold) for c in found]
        assert found[4].name == "seed-7/fold-2"
        assert len({case.config.output for case in found}) == 6

    def test_the_fold_that_was_asked_for(self):
        config = tiny_rankers.settings(data__folds=3, data__fold=2, comparison__seeds=[0, 7])
        assert [case.name for case in cases(config)] == ["seed-0/fold-2", "seed-7/fold-2"]

    def test_one_fold(self):
        assert [case.name for case in cases(tiny_rankers.settings(comparison__seeds=[4]))] == ["seed-4"]


class TestEntries:
    def config(self, **changes: object) -> Config:
        return settings("", training__steps=100, grid__partitions=4, **changes)

    def steps(self, config: Config) -> dict[tuple[str, str], list[int]]:
        return {(e.name, e.budget): [run.config.training.steps for run in e.runs] for e in entries(config)}

    def test_by_steps_every_run_has_its_full_number(self):
        # 5 weights: a run for each; a run per objective; and those with one for each of the 3 weights between.
        assert self.steps(self.config()) == {
            ("cos", "steps"): [100],
            ("linear_scalarization", "steps"): [100] * 5,
            ("soup", "steps"): [100] * 2,
            ("modpo", "steps"): [100] * 5,
        }

    def test_by_time_the_runs_share_the_steps_of_the_conditioned_one(self):
        config = self.config(comparison={"budgets": ["time", "steps"]}, baseline={"steps": 40})
        assert self.steps(config) == {
            ("cos", "time"): [100],
            ("linear_scalarization", "time"): [20] * 5,
            ("soup", "time"): [50] * 2,
            ("modpo", "time"): [20] * 5,
            ("cos", "steps"): [100],
            ("linear_scalarization", "steps"): [40] * 5,
            ("soup", "steps"): [40] * 2,
            ("modpo", "steps"): [40] * 5,
        }

    def test_a_run_has_a_step_at_least(self):
        config = self.config(comparison={"budgets": ["time"], "methods": ["soup"]}).changed({"training.steps": 1})
        assert self.steps(config) == {("soup", "time"): [1, 1]}

    def test_same_name_same_training(self):
        config = self.config(comparison={"budgets": ["steps", "time"]})
        by_name: dict[str, Config] = {}
        for entry in entries(config):
            names = [run_name(run) for run in entry.runs]
            assert len(set(names)) == len(names)
            for name, run in zip(names, entry.runs, strict=True):
                assert by_name.setdefault(name, run.config) == run.config
        # cos@100; 5 + 3 @100 of all baselines; by time 5 + 3 @20 of linear scalarization and modpo, 2 @50 of the soup.
        assert len(by_name) == 1 + 8 + 8 + 2

    def test_policies_are_made_of_the_runs_of_their_budget(self):
        for entry in entries(self.config(comparison={"budgets": ["steps", "time"]})):
            names = {run.name for run in entry.runs}
            assert entry.method.at([0.25, 0.75]).shares.keys() <= names

    def test_further_conditionings_are_runs_of_their_own(self):
        config = self.config(comparison={"methods": ["cos"], "conditionings": ["hyper_prompt", "both"]})
        found = list(entries(config))
        assert [entry.name for entry in found] == ["cos", "cos, hyper_prompt", "cos, both"]
        assert [entry.runs[0].config.conditioning for entry in found] == ["gated_lora", "hyper_prompt", "both"]
        assert len({entry.runs[0].name for entry in found}) == 3
        for entry in found:
            assert entry.method.at([0.25, 0.75]).shares == {entry.runs[0].name: 1.0}

    def test_a_front_per_method_and_budget(self, tmp_path):
        config = self.config(comparison={"budgets": ["steps", "time"], "seeds": [0, 1]}, output=tmp_path)
        fronts = {entry.front(case) for case in cases(config) for entry in entries(case.config)}
        assert len(fronts) == 2 * 2 * 4
        assert tmp_path / "seed-1" / "soup-time.json" in fronts


def test_the_printed_plan(tmp_path, capsys):
    write_model(tmp_path / "base", "gpt2-tied")
    config = settings(
        tmp_path / "base",
        output=tmp_path / "run",
        data__train=str(write_rows(tmp_path / "train.jsonl", rows(12, 0))),
        data__validation=str(write_rows(tmp_path / "validation.jsonl", rows(4, 1))),
        training__steps=100,
        grid__partitions=2,
        comparison={"seeds": [0, 1]},
        plan=True,
        baseline={"steps": 40},
    )
    assert compare(config) == []
    assert not (tmp_path / "run").exists()
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines()]
    figures = {words[0]: words[1:4] for words in lines if words and words[0] in config.comparison.methods}
    # 3 weights and 2 seeds. All: the conditioned run, 3 single runs, and modpo's between them.
    assert figures == {
        "cos": ["steps", "2", "200"],
        "linear_scalarization": ["steps", "6", "240"],
        "soup": ["steps", "4", "160"],
        "modpo": ["steps", "6", "240"],
    }
    (together,) = [words for words in lines if words[:1] == ["together,"]]
    assert together[4:6] == ["10", "520"]
    assert "2 seed(s), 1 fold(s), 3 weights" in out


@pytest.mark.parametrize("steps", [40, 80])
def test_gpu_hours_grow_with_the_steps(tmp_path, capsys, steps):
    write_model(tmp_path / "base", "gpt2-tied")
    config = settings(
        tmp_path / "base",
        output=tmp_path / "run",
        data__train=str(write_rows(tmp_path / "train.jsonl", rows(12, 0))),
        data__validation=str(write_rows(tmp_path / "validation.jsonl", rows(4, 1))),
        training__steps=steps,
        comparison={"seeds": [0], "methods": ["cos"]},
        plan=True,
        gpu={"tflops": 1e-6},
    )
    compare(config)
    out = capsys.readouterr().out
    (words,) = [line.split() for line in out.splitlines() if line.startswith("cos")]
    flops = float(out.split(" weights; ")[1].split(" FLOP")[0])
    # steps * FLOP per step at 1e6 FLOP/s, in hours.
    assert float(words[4]) == pytest.approx(steps * flops / 1e6 / 3600, rel=0.01)
