"""Which queries a ranker is trained and judged on, for every form of source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cosdpo.data.ranking_splits import Split, fold_count, read_split
from cosdpo.data.synthetic_ranking import OBJECTIVES
from cosdpo.errors import InputError
from tests.tiny_rankers import query_lists, settings, write_letor


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSDPO_CACHE", str(tmp_path / "cache"))


def write(path: Path, prefix: str, queries: int = 3) -> Path:
    """A file with the queries PREFIX0, PREFIX1, ..., of two documents each."""
    lists = query_lists(*[2] * queries, seed=sum(map(ord, prefix)))
    write_letor(path, lists)
    path.write_text(path.read_text().replace("qid:q", f"qid:{prefix}"))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """train.txt of 6 queries, vali.txt of 2, test.txt of 3."""
    for name, prefix, queries in (("train", "r", 6), ("vali", "v", 2), ("test", "t", 3)):
        write(tmp_path / "data" / f"{name}.txt", prefix, queries)
    return tmp_path / "data"


@pytest.fixture
def folds(tmp_path: Path) -> Path:
    for fold in (1, 2, 3):
        for name in ("train", "vali", "test"):
            write(tmp_path / "folds" / f"Fold{fold}" / f"{name}.txt", f"{name}{fold}-", 2)
    return tmp_path / "folds"


def split(source: Path | str, **changes: object) -> Split:
    return read_split(settings(data__train=str(source), **changes))


def names(parts: Split) -> tuple[set[str], set[str]]:
    """Queries trained and judged on, none of which come twice."""
    for lists in (parts.train, parts.held_out):
        assert len(set(lists.queries)) == len(lists)
    return set(parts.train.queries), set(parts.held_out.queries)


def count(prefix: str, queries: int) -> set[str]:
    return {f"{prefix}{i}" for i in range(queries)}


class TestFiles:
    def test_a_file_alone_holds_out_a_share(self, folder):
        for share, held_out in ((0.34, 2), (0.5, 3), (0.01, 1), (0.99, 5)):
            parts = split(folder / "train.txt", data__validation_share=share)
            train, judged = names(parts)
            assert parts.held_out_name == "validation"
            assert (len(judged), len(train)) == (held_out, 6 - held_out)
            assert train | judged == count("r", 6)

    def test_the_share_is_a_function_of_the_seed(self, folder):
        judged = [names(split(folder / "train.txt", data__validation_share=0.5, seed=s))[1] for s in (0, 0, 1, 2)]
        assert judged[0] == judged[1]
        assert len({frozenset(one) for one in judged}) > 1

    def test_files_given_one_by_one(self, folder):
        validation, test = str(folder / "vali.txt"), str(folder / "test.txt")
        for wanted, expected, name in (("test", count("t", 3), "test"), ("validation", count("v", 2), "validation")):
            parts = split(folder / "train.txt", data__validation=validation, data__test=test, evaluation__split=wanted)
            assert names(parts) == (count("r", 6), expected)
            assert parts.held_out_name == name

    def test_without_a_test_file_the_validation_file_is_held_out(self, folder):
        parts = split(folder / "train.txt", data__validation=str(folder / "vali.txt"), evaluation__split="test")
        assert names(parts) == (count("r", 6), count("v", 2))
        assert parts.held_out_name == "validation"

    def test_without_a_validation_file_a_share_is_held_out_and_the_test_file_left_alone(self, folder):
        (folder / "vali.txt").unlink()
        parts = split(folder, evaluation__split="validation", data__validation_share=0.5)
        train, judged = names(parts)
        assert train | judged == count("r", 6)
        assert len(judged) == 3

    def test_at_most_so_many_queries_of_each_file(self, folder):
        assert names(split(folder, data__max_rows=2)) == (count("r", 2), count("t", 2))
        assert names(split(folder, data__max_rows=100)) == (count("r", 6), count("t", 3))

    def test_documents_come_with_their_queries(self, folder):
        parts = split(folder / "train.txt", data__validation_share=0.5)
        whole = split(folder).train
        for lists in (parts.train, parts.held_out):
            assert lists.numbers == tuple(range(1, 11))
            for query, start in zip(lists.queries, lists.offsets[:-1], strict=True):
                rows = whole.documents([whole.queries.index(query)])
                for array in ("features", "auxiliary", "relevance"):
                    np.testing.assert_array_equal(getattr(lists, array)[start : start + 2], getattr(whole, array)[rows])

    @pytest.mark.parametrize("share", [0.0])
    def test_a_share_of_nothing_is_refused(self, folder, share):
        with pytest.raises(InputError, match=r"data\.validation_share is 0\.0; give a number between 0 and 1"):
            split(folder / "train.txt", data__validation_share=share)

    def test_one_query_cannot_be_shared(self, folder):
        with pytest.raises(InputError, match="cannot hold out a share of 1 query"):
            split(folder / "train.txt", data__max_rows=1)

    def test_missing(self, folder):
        with pytest.raises(InputError, match=r"nowhere\.txt does not exist"):
            split(folder, data__test=str(folder / "nowhere.txt"))
        with pytest.raises(InputError, match="nowhere does not exist"):
            fold_count(settings(data__train=str(folder / "nowhere")).data)


class TestFolders:
    @pytest.mark.parametrize(("wanted", "expected"), [("test", count("t", 3)), ("validation", count("v", 2))])
    def test_train_validation_and_test(self, folder, wanted, expected):
        parts = split(folder, evaluation__split=wanted)
        assert names(parts) == (count("r", 6), expected)
        assert parts.held_out_name == wanted
        assert fold_count(settings(data__train=str(folder)).data) == 1

    def test_files_given_take_the_place_of_those_found(self, folder, tmp_path):
        other = write(tmp_path / "other.txt", "o")
        assert names(split(folder, data__test=str(other)))[1] == count("o", 3)
        assert names(split(folder, data__validation=str(other), evaluation__split="validation"))[1] == count("o", 3)

    @pytest.mark.parametrize("fold", [1, 2, 3])
    def test_folds_of_the_source(self, folds, fold):
        assert names(split(folds, data__fold=fold)) == (count(f"train{fold}-", 2), count(f"test{fold}-", 2))
        judged = names(split(folds, data__fold=fold, evaluation__split="validation"))[1]
        assert judged == count(f"vali{fold}-", 2)

    def test_how_many_folds_a_source_has(self, folds):
        assert fold_count(settings(data__train=str(folds)).data) == 3
        assert fold_count(settings(data__train=str(folds), data__folds=3).data) == 3
        with pytest.raises(InputError, match=r"has 3 folds of its own; leave data\.folds out"):
            fold_count(settings(data__train=str(folds), data__folds=2).data)

    def test_saying_how_many_folds_a_source_has_changes_nothing(self, folds):
        assert names(split(folds, data__fold=2, data__folds=3)) == (count("train2-", 2), count("test2-", 2))


class TestPooledFolds:
    everything = count("r", 6) | count("v", 2) | count("t", 3)

    def test_every_query_is_judged_once_and_never_trained_on_then(self, folder):
        judged: list[str] = []
        for fold in (1, 2, 3, 4):
            parts = split(folder, data__folds=4, data__fold=fold)
            train, held_out = names(parts)
            assert not train & held_out
            assert train | held_out == self.everything
            assert parts.held_out_name == "test"
            judged += parts.held_out.queries
        assert sorted(judged) == sorted(self.everything)

    def test_validation_is_held_out_of_the_other_folds(self, folder):
        for fold in (1, 2, 3):
            tested = names(split(folder, data__folds=3, data__fold=fold))[1]
            parts = split(
                folder, data__folds=3, data__fold=fold, evaluation__split="validation", data__validation_share=0.3
            )
            train, judged = names(parts)
            assert parts.held_out_name == "validation"
            assert judged
            assert not train & judged
            assert train | judged == self.everything - tested

    def test_the_folds_are_a_function_of_the_seed(self, folder):
        folds = [names(split(folder, data__folds=2, data__fold=1, seed=s))[1] for s in (0, 0, 1)]
        assert folds[0] == folds[1] != folds[2]

    def test_a_file_can_be_cut_too(self, folder):
        train, held_out = names(split(folder / "train.txt", data__folds=3, data__fold=3))
        assert (len(train), len(held_out)) == (4, 2)
        assert fold_count(settings(data__train=str(folder / "train.txt"), data__folds=3).data) == 3

    def test_more_folds_than_queries(self, folder):
        with pytest.raises(InputError, match=r"data\.folds 12 needs as many queries, the data has 11"):
            split(folder, data__folds=12, data__fold=1)


def test_the_synthetic_world():
    config = settings(data__synthetic_queries=10, data__validation_share=0.2, data__auxiliary=OBJECTIVES)
    train, held_out = names(read_split(config))
    assert (len(train), len(held_out)) == (8, 2)
    assert train | held_out == {str(i) for i in range(1, 11)}
    # The seed of a run chooses its split and not its data.
    other = read_split(config.model_copy(update={"seed": 3}))
    assert names(other) != (train, held_out)
    assert other.train.numbers == tuple(range(1, 132))
    assert sorted(np.concatenate([other.train.relevance, other.held_out.relevance])) == sorted(
        np.concatenate([read_split(config).train.relevance, read_split(config).held_out.relevance])
    )
    pooled = config.model_copy(update={"data": config.data.model_copy(update={"folds": 5, "fold": 2})})
    assert fold_count(pooled.data) == 5
    assert len(names(read_split(pooled))[1]) == 2
