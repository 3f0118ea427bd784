"""What an experiment is made of: cases, their folders, and their trainings under each budget."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosdpo.config import Config
from cosdpo.errors import InputError
from cosdpo.experiment.plan import alone, cases, conditioned_by, entries, run_name, source_name
from tests import tiny_rankers
from tests.tiny_models import settings


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

    def test_each_has_a_place_of_its_own_in_the_storage(self):
        config = tiny_rankers.settings(data__folds=2, comparison__seeds=[7], scaling__storage="s3://bucket/x")
        places = [case.config.scaling.storage for case in cases(config)]
        assert places == ["s3://bucket/x/seed-7/fold-1", "s3://bucket/x/seed-7/fold-2"]


class TestRun:
    """The plan of one conditioned run: its folder is that of its only training."""

    def plan(self, **changes: object) -> list[tuple[str, Path, int, Path]]:
        config = alone(tiny_rankers.settings(output="runs/x", seed=4, **changes))
        found = []
        for case in cases(config, lone=True):
            (entry,) = entries(case.config)
            (run,) = entry.runs
            names = case.training(run), case.measuring(entry)
            found.append((case.name, case.config.output, case.config.data.fold, case.folder(run_name(run))))
            assert case.config.seed == 4
            assert case.front(entry) == case.config.output / "front.json"
            assert names == (f"{case.name} training".strip(), f"{case.name} measuring".strip())
        return found

    def test_without_folds(self):
        place = Path("runs/x")
        assert self.plan() == [("", place, 0, place)]

    def test_a_folder_per_fold(self):
        places = [Path("runs/x/fold-1"), Path("runs/x/fold-2")]
        assert self.plan(data__folds=2) == [(f"fold-{k}", places[k - 1], k, places[k - 1]) for k in (1, 2)]

    def test_one_fold_alone_has_the_folder_to_itself(self):
        place = Path("runs/x")
        assert self.plan(data__folds=2, data__fold=2) == [("", place, 2, place)]


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
        fronts = {case.front(entry) for case in cases(config) for entry in entries(case.config)}
        assert len(fronts) == 2 * 2 * 4
        assert tmp_path / "seed-1" / "soup-time.json" in fronts

    def test_its_steps_and_folders(self):
        config = self.config(output="runs/x", comparison={"methods": ["modpo"], "seeds": [0]})
        (case,) = cases(config)
        (entry,) = entries(case.config)
        run = next(run for run in entry.runs if run.margins)
        assert case.training(run) == f"seed-0 {run.name}@100"
        assert case.measuring(entry) == "seed-0 measure modpo (steps)"
        assert case.folder(run_name(run)) == Path(f"runs/x/seed-0/runs/{run.name}@100")
        assert {source_name(run, name) for name in run.margins} <= {run_name(run) for run in entry.runs}

    def test_a_conditioning_that_the_task_does_not_know(self):
        with pytest.raises(InputError, match=r"names 'gates'; a language model knows hyper_prompt, gated_lora, both"):
            conditioned_by("gates", self.config())
        with pytest.raises(InputError, match=r"names 'gated_lora'; a ranking model knows concatenation, gates, both"):
            conditioned_by("gated_lora", tiny_rankers.settings())
