"""Whatever a person gets wrong about a ranker: one line, exit code 2, before Ray starts and before a folder is made."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cosdpo.cross_validation import run

from cosdpo.cli.command_line import main
from tests.refusals import RayStartedError, refusal, without_ray, words
from tests.tiny_rankers import base_ranker, query_lists, scorer, settings, write_letor

Job = Callable[..., str]
LENGTHS = (4, 3, 5, 4, 2, 6, 4, 4, 3, 5)
JOB = {"task": "ranking", "data.validation_share": 0.2}
"""Its own defaults, as of jobs/train_ltr.py."""


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSDPO_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def arguments(tmp_path) -> dict[str, str]:
    """The options of a run that nothing is wrong with."""
    for seed, name in enumerate(("train", "vali", "test")):
        write_letor(tmp_path / "data" / f"{name}.txt", query_lists(*LENGTHS, seed=seed))
    return {"data.train": str(tmp_path / "data"), "data.auxiliary": "{a: 11, b: 12}", "output": str(tmp_path / "run")}


@pytest.fixture
def no_ray(monkeypatch) -> None:
    without_ray(monkeypatch)


@pytest.fixture
def job(arguments, tmp_path, no_ray, capsys) -> Job:
    """The one line that the run ends with, given the wrong options; a None leaves an option out."""

    def refused(**changes: str | None) -> str:
        options = arguments | {key.replace("__", "."): value for key, value in changes.items()}
        argv = words(options)
        return refusal(lambda: main(lambda config: run(config) and None, defaults=JOB, argv=argv), tmp_path, capsys)

    return refused


@pytest.mark.parametrize("more", [{}, {"data.folds": "3"}, {"data.folds": "3", "data.fold": "2"}, {"objectives": "b"}])
def test_nothing_is_wrong_with_the_options_that_the_others_start_from(arguments, no_ray, more):
    with pytest.raises(RayStartedError):
        main(lambda config: run(config) and None, defaults=JOB, argv=words(arguments | more))


class TestLines:
    @pytest.fixture
    def with_line(self, job, tmp_path) -> Callable[..., str]:
        """The line about a file whose third line is another."""

        def refused(line: str, name: str = "train", **changes: str) -> str:
            path = tmp_path / "data" / f"{name}.txt"
            lines = path.read_text().splitlines()
            lines[2] = line
            path.write_text("\n".join(lines) + "\n")
            error = job(**changes)
            assert f"{name}.txt:3: " in error
            return error

        return refused

    def test_without_qid(self, with_line):
        assert "has no qid:QUERY after the label" in with_line("2 1:0.5 2:3")

    def test_feature_number_twice(self, with_line):
        assert "feature 2 stands twice; keep one of them" in with_line("2 qid:q0 1:0.5 2:3 2:4")

    def test_feature_number_out_of_order(self, with_line):
        assert "feature 2 stands after feature 3" in with_line("2 qid:q0 1:0.5 3:3 2:4")

    @pytest.mark.parametrize("value", ["high", "nan", "inf", ""])
    def test_value_that_is_no_number(self, with_line, value):
        assert f"feature 2 is '{value}', not a finite number" in with_line(f"2 qid:q0 1:0.5 2:{value}")

    def test_label_that_is_no_grade(self, with_line):
        assert "the label '-1' is not a finite number >= 0" in with_line("-1 qid:q0 1:0.5")

    def test_query_that_comes_again(self, job, tmp_path):
        path = tmp_path / "data" / "train.txt"
        path.write_text(path.read_text() + "1 qid:q0 1:0.5\n")
        assert f"train.txt:{sum(LENGTHS) + 1}: query q0 appears again after another query" in job()

    @pytest.mark.parametrize("name", ["train", "test"])
    def test_with_folds_every_file_is_read_before_anything_is_made(self, with_line, name):
        assert "has no qid:QUERY" in with_line("2 1:0.5 2:3", name, data__folds="3")


class TestData:
    def test_missing(self, job):
        assert "nowhere does not exist" in job(data__train="nowhere")
        assert "nowhere.txt does not exist" in job(data__test="nowhere.txt")

    def test_folder_without_train_txt(self, job, tmp_path):
        (tmp_path / "data" / "train.txt").unlink()
        assert "has no train.txt; give a file, or a folder with train.txt or Fold1" in job()

    def test_auxiliary_feature_that_does_not_exist(self, job):
        assert "objective b is feature 13, but" in job(data__auxiliary="{a: 11, b: 13}")
        # The default is MSLR's.
        assert "objective quality is feature 132, but" in job(data__auxiliary=None)

    def test_auxiliary_features_that_are_one(self, job):
        assert "objectives a and b are both feature 12" in job(data__auxiliary="{a: 12, b: 12}")

    def test_unknown_auxiliary_objective(self, job):
        line = job(objectives="a,c")
        assert "objectives names 'c', data.auxiliary has a, b: add its feature number by --data.auxiliary.c" in line

    def test_the_same_objective_twice(self, job):
        assert "names one twice" in job(objectives="a,a")

    def test_pairwise_comparisons(self, job):
        line = job(data__comparisons="pairwise")
        assert "data.comparisons pairwise is for language models; set it to listwise or rankings" in line

    def test_fold_beyond_the_folds(self, job):
        assert "data.fold is 2, the data has 1; set data.folds" in job(data__fold="2")
        assert "data.fold is 4, the data has 3" in job(data__fold="4", data__folds="3")

    def test_more_folds_than_queries(self, job):
        assert "data.folds 31 needs as many queries, the data has 30" in job(data__folds="31")

    def test_folds_besides_those_of_the_source(self, job, tmp_path):
        for fold in (1, 2):
            write_letor(tmp_path / "folds" / f"Fold{fold}" / "train.txt", query_lists(*LENGTHS))
        line = job(data__train=str(tmp_path / "folds"), data__folds="3")
        assert "has 2 folds of its own; leave data.folds out" in line

    def test_a_later_fold_that_is_wrong(self, job, tmp_path):
        for fold in (1, 2):
            write_letor(tmp_path / "folds" / f"Fold{fold}" / "train.txt", query_lists(*LENGTHS))
        (tmp_path / "folds" / "Fold2" / "train.txt").write_text("1 1:2\n")
        assert "Fold2/train.txt:1: has no qid:QUERY" in job(data__train=str(tmp_path / "folds"))

    @pytest.mark.parametrize("name", ["train", "test"])
    def test_lists_of_one_document_alone(self, job, tmp_path, name):
        write_letor(tmp_path / "data" / f"{name}.txt", query_lists(*[1] * 10))
        assert "objective a has no list in which its labels differ" in job()

    @pytest.mark.parametrize("name", ["train", "test"])
    def test_the_same_relevance_everywhere(self, job, tmp_path, name):
        path = tmp_path / "data" / f"{name}.txt"
        path.write_text("".join("1" + line[1:] for line in path.read_text().splitlines(keepends=True)))
        assert "no query has documents of different labels" in job()

    @pytest.mark.parametrize("name", ["train", "test"])
    def test_counts_for_grades(self, job, tmp_path, name):
        path = tmp_path / "data" / f"{name}.txt"
        path.write_text("5000" + path.read_text()[1:])
        assert "labels must be grades from 0 to 1,000" in job()

    def test_too_few_queries_for_a_batch(self, job):
        assert "training.batch_size 16 is larger than the 10 training contexts" in job(training__batch_size="16")

    def test_different_features_in_the_files_of_a_pool(self, job, tmp_path):
        path = tmp_path / "data" / "test.txt"
        path.write_text(path.read_text().replace(" 12:", " 13:"))
        assert "different features" in job(data__folds="3", data__auxiliary="{a: 10, b: 11}")
        assert "different features" in job(data__auxiliary="{a: 10, b: 11}")


class TestBase:
    def test_folder_that_is_no_ranker(self, job, tmp_path):
        assert "nowhere has no cosdpo.json; give the checkpoint folder of a base ranker" in job(model__base="nowhere")
        assert "has no cosdpo.json" in job(model__base=str(tmp_path / "data"))

    def test_conditioned_ranker_as_base(self, job, tmp_path):
        scorer(settings()).save(tmp_path / "ranker")
        assert "cosdpo.json is not that of a base ranker" in job(model__base=str(tmp_path / "ranker"))

    def test_base_of_other_features(self, job, tmp_path):
        base_ranker(settings(), query_lists(*LENGTHS)).save(tmp_path / "base")
        line = job(model__base=str(tmp_path / "base"), data__auxiliary="{a: 11}")
        assert "was trained on 10 features, data.train has 11 besides data.auxiliary" in line
        # As many of them, and yet others.
        assert "train a base on the same ones" in job(
            model__base=str(tmp_path / "base"), data__auxiliary="{a: 1, b: 2}"
        )

    def test_base_without_weights(self, job, tmp_path):
        base_ranker(settings(), query_lists(*LENGTHS)).save(tmp_path / "base")
        (tmp_path / "base" / "model.safetensors").unlink()
        assert "model.safetensors is missing" in job(model__base=str(tmp_path / "base"))


class TestSettings:
    def test_heads_that_do_not_divide_the_width(self, job):
        assert "ranker.width 10 is not a multiple of ranker.heads 4" in job(ranker__width="10", ranker__heads="4")

    def test_temperatures_for_another_number_of_objectives(self, job):
        assert "temperature has 3 numbers for 2 objectives" in job(temperature="0.1,0.2,0.3")

    def test_unknown_key(self, job):
        assert "did you mean --ranker.layers?" in job(ranker__layer="3")

    def test_output_folder_exists(self, job, tmp_path):
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "thesis.txt").write_text("chapter 1")
        assert "exists: go on with it by --resume" in job()
