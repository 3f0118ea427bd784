"""Whatever a person gets wrong about a ranker: one line, exit code 2, before Ray starts and before a folder is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.refusals import LENGTHS, ranking_options
from tests.tiny_rankers import base_ranker, query_lists, scorer, settings, write_letor


@pytest.fixture
def options(tmp_path) -> dict[str, str]:
    """Those of a run that nothing is wrong with."""
    return ranking_options(tmp_path)


@pytest.mark.parametrize("line", ["", "--data.folds 3", "--data.folds 3 --data.fold 2", "--objectives b"])
def test_nothing_is_wrong_with_the_options_that_the_others_start_from(jobs, options, line):
    jobs.takes(options, line)


@pytest.mark.parametrize(("line", "says"), [
    ("--data.train nowhere", "nowhere does not exist"),
    ("--data.test nowhere.txt", "nowhere.txt does not exist"),
    ("--data.auxiliary '{a: 11, b: 13}'", "objective b is feature 13, but"),
    ("--data.auxiliary", "objective quality is feature 132, but"),  # the default is MSLR's
    ("--data.auxiliary '{a: 12, b: 12}'", "objectives a and b are both feature 12"),
    ("--objectives a,c", "objectives names 'c', data.auxiliary has a, b: add its feature number by --data.auxiliary.c"),
    ("--objectives a,a", "names one twice"),
    ("--data.comparisons pairwise", "pairwise is for language models; set it to listwise or rankings"),
    ("--data.fold 2", "data.fold is 2, the data has 1; set data.folds"),
    ("--data.fold 4 --data.folds 3", "data.fold is 4, the data has 3"),
    ("--data.folds 31", "data.folds 31 needs as many queries, the data has 30"),
    ("--training.batch_size 16", "training.batch_size 16 is larger than the 10 training contexts"),
    ("--model.base nowhere", "nowhere has no cosdpo.json; give the checkpoint folder of a base ranker"),
    ("--ranker.width 10 --ranker.heads 4", "ranker.width 10 is not a multiple of ranker.heads 4"),
    ("--ranker.layer 3", "did you mean --ranker.layers?"),
    ("--temperature 0.1,0.2,0.3", "temperature has 3 numbers for 2 objectives"),
])  # fmt: skip
def test_options(jobs, options, line, says):
    assert says in jobs.refusal(options, line)


@pytest.mark.parametrize(("third", "says"), [
    ("2 1:0.5 2:3", "has no qid:QUERY after the label"),
    ("2 qid:q0 1:0.5 2:3 2:4", "feature 2 stands twice; keep one of them"),
    ("2 qid:q0 1:0.5 2:high", "feature 2 is 'high', not a finite number"),
    ("2 qid:q0 1:0.5 2:nan", "feature 2 is 'nan', a missing value: say what it counts as, such as --data.missing 0"),
    ("2 qid:q0 1:0.5 2:inf", "feature 2 is 'inf', a missing value: say what it counts as, such as --data.missing 0"),
    ("2 qid:q0 1:0.5 2:", "feature 2 is '', a missing value: say what it counts as, such as --data.missing 0"),
    ("-1 qid:q0 1:0.5", "the label '-1' is not a finite number >= 0"),
])  # fmt: skip
def test_a_line(jobs, options, tmp_path, third, says):
    replace_third(tmp_path / "data" / "train.txt", third)
    error = jobs.refusal(options, "")
    assert "train.txt:3: " in error
    assert says in error


@pytest.mark.parametrize("name", ["train", "test"])
def test_with_folds_every_file_is_read_before_anything_is_made(jobs, options, tmp_path, name):
    replace_third(tmp_path / "data" / f"{name}.txt", "2 1:0.5 2:3")
    assert f"{name}.txt:3: has no qid:QUERY" in jobs.refusal(options, "--data.folds 3")


def replace_third(path: Path, line: str) -> None:
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], line, *lines[3:]]) + "\n")


def first_documents(text: str) -> str:
    """The first line of every query alone."""
    return "".join({line.split()[1]: line for line in text.splitlines(keepends=True)}.values())


def test_a_query_that_comes_again(jobs, options, tmp_path):
    path = tmp_path / "data" / "train.txt"
    path.write_text(path.read_text() + "1 qid:q0 1:0.5\n")
    expected = f"train.txt:{sum(LENGTHS) + 1}: query q0 appears again after another query"
    assert expected in jobs.refusal(options, "")


def test_a_folder_without_train_txt(jobs, options, tmp_path):
    (tmp_path / "data" / "train.txt").unlink()
    assert "has no train.txt; give a file, or a folder with train.txt or Fold1" in jobs.refusal(options, "")


@pytest.mark.parametrize("name", ["train", "test"])
@pytest.mark.parametrize(("change", "says"), [
    (lambda text: first_documents(text), "objective a has no list in which its labels differ"),
    (lambda text: "".join("1" + line[1:] for line in text.splitlines(keepends=True)), "no query has documents of diff"),
    (lambda text: "5000" + text[1:], "labels must be grades from 0 to 1,000"),
], ids=["lists of one document alone", "the same relevance everywhere", "counts for grades"])  # fmt: skip
def test_a_file(jobs, options, tmp_path, name, change, says):
    path = tmp_path / "data" / f"{name}.txt"
    path.write_text(change(path.read_text()))
    assert says in jobs.refusal(options, "")


def test_files_of_different_widths_are_those_of_one_set(jobs, options, tmp_path):
    path = tmp_path / "data" / "test.txt"
    path.write_text(path.read_text().replace(" 12:", " 13:"))
    for line in ("", "--data.folds 3"):
        jobs.takes(options, f"{line} --data.auxiliary '{{a: 10, b: 11}}'")


def test_keys_of_the_notation(jobs, options, tmp_path):
    replace_third(tmp_path / "data" / "train.txt", "2 qid:q0 0:0.5 2:nan")
    assert "train.txt:3: feature number 0: set data.first_feature 0" in jobs.refusal(options, "")
    jobs.takes(options, "--data.first_feature 0 --data.missing -1")


def test_folds_of_the_source(jobs, options, tmp_path):
    for fold in (1, 2):
        write_letor(tmp_path / "folds" / f"Fold{fold}" / "train.txt", query_lists(*LENGTHS))
    line = f"--data.train {tmp_path / 'folds'}"
    assert "has 2 folds of its own; leave data.folds out" in jobs.refusal(options, f"{line} --data.folds 3")
    (tmp_path / "folds" / "Fold2" / "train.txt").write_text("1 1:2\n")
    assert "Fold2/train.txt:1: has no qid:QUERY" in jobs.refusal(options, line)


def test_a_base_that_is_none(jobs, options, tmp_path):
    assert "has no cosdpo.json" in jobs.refusal(options, f"--model.base {tmp_path / 'data'}")
    scorer(settings()).save(tmp_path / "ranker")
    assert "cosdpo.json is not that of a base ranker" in jobs.refusal(options, f"--model.base {tmp_path / 'ranker'}")


def test_a_base_of_other_features_and_without_weights(jobs, options, tmp_path):
    base_ranker(settings(), query_lists(*LENGTHS)).save(tmp_path / "base")
    line = f"--model.base {tmp_path / 'base'}"
    fewer = jobs.refusal(options, f"{line} --data.auxiliary '{{a: 11}}'")
    assert "was trained on 10 features, data.train has 11 besides data.auxiliary" in fewer
    others = jobs.refusal(options, f"{line} --data.auxiliary '{{a: 1, b: 2}}'")  # as many of them
    assert "train a base on the same ones" in others
    (tmp_path / "base" / "model.safetensors").unlink()
    assert "model.safetensors cannot be read" in jobs.refusal(options, line)
