"""LETOR files: values by hand, every refusal with its line, the fast path against the careful one, and the cache."""

from __future__ import annotations

import bz2
import gzip
import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosdpo.data import letor, letor_parser, letor_text
from cosdpo.data.letor_parser import AS_USUAL, Documents, Notation
from cosdpo.data.query_lists import QueryLists
from cosdpo.errors import InputError

DENSE = "2 qid:11 1:0.5 2:0 3:-3\n0 qid:11 1:0 2:1e2 3:4\n1 qid:7 1:0 2:0 3:0.25\n"
BAD = [
    ("2 1:0.5\n", "has no qid:QUERY after the label; write lines as LABEL qid:QUERY"),
    ("2 qid: 1:0.5\n", "has no qid:QUERY"),
    ("2\n", "has no qid:QUERY"),
    ("1 qid:1 1:1 2:2 2:3\n", "feature 2 stands twice; keep one of them"),
    ("1 qid:1 1:one\n", "feature 1 is 'one', not a finite number; mend or leave out the value"),
    ("1 qid:1 1:nan\n", "feature 1 is 'nan', a missing value: say what it counts as, such as --data.missing 0"),
    ("1 qid:1 1:-inf\n", "feature 1 is '-inf', a missing value: say what it counts as, such as --data.missing 0"),
    ("1 qid:1 1:1e39\n", "feature 1 is '1e39', a missing value: say what it counts as, such as --data.missing 0"),
    ("1 qid:1 1:0x1F\n", "feature 1 is '0x1F', not a finite number"),
    ("1 qid:1 1:\n", "feature 1 is '', a missing value: say what it counts as, such as --data.missing 0"),
    ("1 qid:1 1:2:3\n", "feature 1 is '2:3', not a finite number"),
    ("1 qid:1 12\n", "'12' is not NUMBER:VALUE"),
    ("1 qid:1 x:1\n", "'x:1' is not NUMBER:VALUE"),
    ("1 qid:1 0:1\n", "feature number 0: set data.first_feature 0 where a file numbers its features from 0"),
    ("1 qid:1 -1:1\n", "feature number -1 is below 1"),
    ("1 qid:1 123456:1\n", "feature number 123456 is above 10,000"),
    ("-1 qid:1 1:1\n", "the label '-1' is not a finite number >= 0"),
    ("inf qid:1 1:1\n", "the label 'inf' is not a finite number >= 0"),
    ("good qid:1 1:1\n", "the label 'good' is not a finite number >= 0"),
    ("1 qid:\xe9 1:1\n", "is not UTF-8 text; give a LETOR text file"),
    ("1 qid:1 1:1\0\n", "is not text; give a LETOR text file, plain or compressed by gzip or bzip2"),
    ("1 qid:1#a 1:1\n", "a # begins a comment, and stands within the qid here; put a space before it"),
]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COSDPO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "letor"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "train.txt"


def loaded(path: Path, auxiliary: Mapping[str, int] | None = None, notation: Notation = AS_USUAL) -> QueryLists:
    (lists,) = letor.load([path], auxiliary or {}, notation)
    return lists


def equal(first: QueryLists, second: QueryLists) -> None:
    assert (first.queries, first.numbers) == (second.queries, second.numbers)
    for name in ("features", "auxiliary", "relevance", "offsets"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def joined(parts: Iterable[Documents]) -> tuple[list[str], list[float], list[list[float]]]:
    kept = list(parts)
    return (
        [query for part in kept for query in part.queries],
        [label for part in kept for label in part.relevance.tolist()],
        [row for part in kept for row in part.features.tolist()],
    )


class TestReading:
    def test_by_hand(self, file: Path):
        file.write_text(DENSE)
        lists = loaded(file, {})
        assert lists.queries == ("11", "7")
        assert lists.offsets.tolist() == [0, 2, 3]
        assert lists.relevance.tolist() == [2, 0, 1]
        assert lists.features.tolist() == [[0.5, 0, -3], [0, 100, 4], [0, 0, 0.25]]
        assert lists.numbers == (1, 2, 3)
        assert lists.auxiliary.shape == (3, 0)
        assert lists.features.dtype == lists.relevance.dtype == np.float32

    def test_auxiliary_features_are_no_inputs_and_come_in_the_order_asked_for(self, file: Path):
        file.write_text(DENSE)
        lists = loaded(file, {"last": 3, "first": 1})
        assert lists.numbers == (2,)
        assert lists.features.tolist() == [[0], [100], [0]]
        assert lists.auxiliary.tolist() == [[-3, 0.5], [4, 0], [0.25, 0]]

    @pytest.mark.parametrize(
        "text",
        [
            "2 qid:11 1:0.5 3:-3\n0 qid:11 2:1e2 3:4\n1 qid:7 3:0.25\n",
            DENSE.replace("\n", "\r\n"),
            DENSE.replace("\n", " \n"),
            DENSE.rstrip("\n"),
            DENSE.replace("\n", " # docid = 1:2 inc = 1\n"),
            "# a head\n\n" + DENSE.replace("\n", "\n \n"),
            DENSE.replace(" ", "\t  "),
            " " + DENSE,
            "\N{ZERO WIDTH NO-BREAK SPACE}" + DENSE,
            DENSE.replace("2 qid", "+2.0 qid"),
        ],
        ids=[
            "sparse",
            "crlf",
            "trailing space",
            "no last newline",
            "comments",
            "blank",
            "tabs",
            "indent",
            "BOM",
            "plus",
        ],
    )
    def test_other_ways_to_write_the_same(self, tmp_path: Path, text: str):
        (tmp_path / "plain.txt").write_text(DENSE)
        (tmp_path / "other.txt").write_bytes(text.encode())
        equal(loaded(tmp_path / "other.txt", {}), loaded(tmp_path / "plain.txt", {}))

    def test_a_line_without_features_is_a_document_of_zeros(self, file: Path):
        file.write_text("1 qid:a\n0 qid:a 2:5\n")
        assert loaded(file, {}).features.tolist() == [[0, 0], [0, 5]]

    def test_lists_of_one_document_and_query_ids_that_are_no_numbers_are_kept(self, file: Path):
        file.write_text("1 qid:a-1 1:1\n0 qid:b 1:2\n")
        lists = loaded(file, {})
        assert lists.queries == ("a-1", "b")
        assert lists.lengths.tolist() == [1, 1]

    @pytest.mark.parametrize("size", [1, 30, 60, 1000])
    @pytest.mark.parametrize("batch", [1, 2, 1000])
    def test_blocks_batches_and_row_groups_may_end_within_a_query(
        self, file: Path, monkeypatch: pytest.MonkeyPatch, size: int, batch: int
    ):
        monkeypatch.setattr(letor_text, "BLOCK_BYTES", size)
        monkeypatch.setattr(letor, "BATCH", batch)
        monkeypatch.setattr(letor, "ROW_GROUP", batch)
        file.write_text("".join(f"{i % 5} qid:{i // 4} 1:{i} 2:{-i}\n" for i in range(12)))
        lists = loaded(file, {"minus": 2})
        assert lists.queries == ("0", "1", "2")
        assert lists.offsets.tolist() == [0, 4, 8, 12]
        assert lists.features[:, 0].tolist() == list(range(12))
        assert lists.auxiliary[:, 0].tolist() == [-i for i in range(12)]
        assert lists.relevance.tolist() == [i % 5 for i in range(12)]

    def test_equals_scikit_learn_on_real_data(self, shared: Path):
        """Three files of MSLR: with and without trailing spaces, with either line end."""
        datasets = pytest.importorskip("sklearn.datasets")
        for name, documents in (("train", 5_488), ("vali", 1_734), ("test", 1_900)):
            path = shared / "data" / "mslr-sample" / f"{name}.txt"
            features, relevance, ids = datasets.load_svmlight_file(str(path), query_id=True, dtype=np.float32)
            lists = loaded(path, {"clicks": 135, "quality": 132})
            assert lists.features.shape == (documents, 134)
            dense = features.toarray()
            np.testing.assert_array_equal(lists.features, np.delete(dense, [131, 134], axis=1))
            np.testing.assert_array_equal(lists.auxiliary, dense[:, [134, 131]])
            np.testing.assert_array_equal(lists.relevance, relevance)
            np.testing.assert_array_equal(np.repeat(lists.queries, lists.lengths), ids.astype(str))


class TestWhatOthersWrite:
    """Files of LightGBM, XGBoost, scikit-learn and RankLib, compressed ones, and what only a key can tell."""

    @pytest.mark.parametrize("end", [".gz", ".bz2"])
    def test_compressed(self, tmp_path: Path, end: str):
        compress = {".gz": gzip.compress, ".bz2": bz2.compress}[end]
        (tmp_path / "plain.txt").write_text(DENSE)
        (tmp_path / f"train.txt{end}").write_bytes(compress(DENSE.encode()))
        (found,) = letor.locate(tmp_path)
        assert found.train == tmp_path / f"train.txt{end}"
        equal(loaded(found.train), loaded(tmp_path / "plain.txt"))

    def test_the_files_of_one_set_are_as_wide_as_the_widest(self, tmp_path: Path):
        (tmp_path / "narrow.txt").write_text("1 qid:1 1:7\n")
        (tmp_path / "wide.txt").write_text("0 qid:1 1:1 3:5\n")
        narrow, wide = letor.load([tmp_path / "narrow.txt", tmp_path / "wide.txt"], {"last": 3})
        assert (narrow.numbers, narrow.features.tolist(), narrow.auxiliary.tolist()) == ((1, 2), [[7, 0]], [[0]])
        assert (wide.numbers, wide.features.tolist(), wide.auxiliary.tolist()) == ((1, 2), [[1, 0]], [[5]])
        (alone,) = letor.load([tmp_path / "narrow.txt"], {}, least_width=4)
        assert alone.features.tolist() == [[7, 0, 0, 0]]

    def test_features_in_any_order(self, file: Path):
        file.write_text("1 qid:1 3:3 1:1 2:2\n0 qid:1 2:5\n")
        assert loaded(file).features.tolist() == [[1, 2, 3], [0, 5, 0]]

    def test_features_from_0(self, file: Path):
        file.write_text("1 qid:1 0:4 2:6\n0 qid:1 1:5\n")
        lists = loaded(file, {"first": 0}, Notation(first_feature=0))
        assert lists.numbers == (2, 3)
        assert lists.features.tolist() == [[0, 6], [5, 0]]
        assert lists.auxiliary.tolist() == [[4], [0]]
        with pytest.raises(InputError, match=r"objective x is feature 3, .* has 3 features; .* from 0 to 2$"):
            loaded(file, {"x": 3}, Notation(first_feature=0))

    def test_scikit_learns_defaults(self, file: Path):
        datasets = pytest.importorskip("sklearn.datasets")
        features = np.array([[0.5, 0, 2], [0, 0, 1], [3, 4, 0]], np.float32)
        datasets.dump_svmlight_file(features, [1, 0, 2], str(file), query_id=[5, 5, 9])
        lists = loaded(file, {}, Notation(first_feature=0))
        assert (lists.features.tolist(), lists.relevance.tolist()) == (features.tolist(), [1, 0, 2])
        assert (lists.queries, lists.lengths.tolist()) == (("5", "9"), [2, 1])

    @pytest.mark.parametrize("text", ["nan", "NaN", "NA", "null", "", "?", "inf", "-inf", "1.797e308", "3.4028235e38"])
    @pytest.mark.parametrize("reader", ["fast", "careful"])
    def test_missing_values_count_as_the_key_says(self, monkeypatch, file: Path, text: str, reader: str):
        if reader == "careful":
            monkeypatch.setattr(letor_parser, "fast", lambda *given: None)
        file.write_text(f"1 qid:1 1:{text} 2:5\n0 qid:1 1:3 2:{text}\n")
        assert loaded(file, {}, Notation(missing=-1)).features.tolist() == [[-1, 5], [3, -1]]
        with pytest.raises(InputError, match=r"train\.txt:1: feature 1 is .*, a missing value: .* --data\.missing 0"):
            loaded(file)

    @pytest.mark.parametrize("name", ["train.txt.query", "train.txt.group"])
    def test_sizes_of_queries_beside_the_file(self, file: Path, name: str):
        file.write_text("1 1:0.5\n# a remark\n0 1:2\n\n2 1:3 # last\n")
        file.with_name(name).write_text("2\n1\n")
        lists = loaded(file)
        assert (lists.queries, lists.lengths.tolist()) == (("1", "2"), [2, 1])
        assert (lists.features.tolist(), lists.relevance.tolist()) == ([[0.5], [2], [3]], [1, 0, 2])

    def test_queries_in_the_lines_count_more_than_sizes_beside_them(self, file: Path):
        file.write_text(DENSE)
        file.with_name("train.txt.query").write_text("1\n1\n1\n")
        assert loaded(file).queries == ("11", "7")

    @pytest.mark.parametrize(
        ("sizes", "message"),
        [
            ("1\n1\n", "train.txt has more than the 2 documents that its query sizes add up to"),
            ("3\n1\n", "train.txt has 3 documents, its query sizes add up to 4"),
            ("1\nx\n", "train.txt.query:2: 'x' is not the number of documents of a query"),
            ("0\n3\n", "train.txt.query:1: '0' is not the number of documents of a query"),
        ],
    )
    def test_sizes_that_do_not_fit(self, file: Path, sizes: str, message: str):
        file.write_text("1 1:0.5\n0 1:2\n2 1:3\n")
        file.with_name("train.txt.query").write_text(sizes)
        with pytest.raises(InputError, match=re.escape(message)):
            loaded(file)

    @pytest.mark.parametrize(
        ("comment", "docid"),
        [
            ("#docid = GX029-35 inc = 1 prob = 0.08", b"GX029-35"),
            ("# 1A", b"1A"),
            ("#d\u00e9j\u00e0", "d\u00e9j\u00e0".encode()),
            ("# several words", b""),
            ("", b""),
        ],
    )
    def test_names_of_documents_are_kept(self, file: Path, comment: str, docid: bytes):
        file.write_text(f"1 qid:1 1:1 {comment}\n0 qid:1 1:2\n", encoding="utf-8")
        lists = loaded(file)
        assert lists.docids.tolist() == [docid, b""]
        assert lists.subset([0]).docids.tolist() == [docid, b""]

    def test_another_notation_or_other_sizes_are_another_cached_file(self, file: Path, cache: Path):
        file.write_text("1 qid:1 1:nan 2:5\n")
        assert loaded(file, {}, Notation(missing=1)).features.tolist() == [[1, 5]]
        assert loaded(file, {}, Notation(missing=2)).features.tolist() == [[2, 5]]
        assert len(list(cache.iterdir())) == 2


class TestPaths:
    values = st.floats(-1e6, 1e6, width=32)

    @given(st.lists(st.tuples(st.integers(0, 4), st.dictionaries(st.integers(1, 6), values)), min_size=1, max_size=8))
    def test_fast_equals_careful(self, rows: list[tuple[int, dict[int, float]]]):
        lines = [
            f"{label} qid:{i} {' '.join(f'{k}:{cells[k]!r}' for k in sorted(cells))}\n".encode()
            for i, (label, cells) in enumerate(rows)
        ]
        quick = letor_parser.fast(lines, 6)
        assert quick is not None
        assert joined([quick]) == joined([letor_parser.careful(lines, 6, Path("f"))])

    @pytest.mark.parametrize(("line", "message"), BAD)
    def test_fast_accepts_nothing_that_careful_refuses(self, line: str, message: str):
        assert letor_parser.fast([b"1 qid:0 1:1\n", line.encode("latin-1")], letor_text.MOST_FEATURES) is None

    def test_careful_is_not_needed_for_real_data(self, shared: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(letor_parser, "careful", None)
        parts = letor_parser.parse(shared / "data" / "mslr-sample" / "vali.txt")
        assert sum(len(part.queries) for part in parts) == 1_734

    @given(
        st.lists(
            st.tuples(
                st.integers(1, 5), st.lists(st.tuples(st.integers(0, 4), values, values), min_size=5, max_size=5)
            ),
            min_size=1,
            max_size=5,
        )
    )
    def test_what_is_written_is_read(
        self, tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[int, list[tuple[int, float, float]]]]
    ):
        kept = [rows[:length] for length, rows in drawn]
        flat = [row for rows in kept for row in rows]
        path = tmp_path_factory.mktemp("drawn") / "train.txt"
        path.write_text("".join(f"{y} qid:{q} 1:{a!r} 2:{b!r}\n" for q, rows in enumerate(kept) for y, a, b in rows))
        lists = loaded(path, {"b": 2})
        assert lists.lengths.tolist() == [len(rows) for rows in kept]
        assert lists.relevance.tolist() == [y for y, _, _ in flat]
        assert lists.features[:, 0].tolist() == [a for _, a, _ in flat]
        assert lists.auxiliary[:, 0].tolist() == [b for _, _, b in flat]


class TestRefusals:
    @pytest.mark.parametrize(("line", "message"), BAD)
    @pytest.mark.parametrize("size", [1, 1000])
    def test_a_wrong_line(self, file: Path, monkeypatch: pytest.MonkeyPatch, size: int, line: str, message: str):
        monkeypatch.setattr(letor_text, "BLOCK_BYTES", size)
        file.write_bytes(("# head\n1 qid:0 1:1\n\n" + line + "0 qid:0 1:0\n").encode("latin-1"))
        with pytest.raises(InputError) as caught:
            loaded(file, {})
        assert str(caught.value).startswith(f"{file}:4: {message}")
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("size", [1, 1000])
    def test_a_query_that_comes_again(self, file: Path, monkeypatch: pytest.MonkeyPatch, size: int):
        monkeypatch.setattr(letor_text, "BLOCK_BYTES", size)
        file.write_text("# head\n1 qid:3 1:1\n\n1 qid:4 1:1\n1 qid:3 1:1\n")
        with pytest.raises(InputError) as caught:
            loaded(file, {})
        assert str(caught.value) == (
            f"{file}:5: query 3 appears again after another query; "
            "the documents of a query must be consecutive, sort the file by query"
        )

    @pytest.mark.parametrize("number", [0, 4, -1])
    def test_an_objective_that_is_no_feature(self, file: Path, number: int):
        file.write_text(DENSE)
        message = f"objective clicks is feature {number}, but .* has 3 features; give a feature number from 1 to 3$"
        with pytest.raises(InputError, match=message):
            loaded(file, {"first": 1, "clicks": number})

    def test_objectives_of_one_feature(self, file: Path):
        file.write_text(DENSE)
        with pytest.raises(InputError, match=r"^objectives a and b are both feature 2; give each its own$"):
            loaded(file, {"a": 2, "b": 2})

    def test_no_input_left(self, file: Path):
        file.write_text(DENSE)
        with pytest.raises(InputError, match=r"all 3 features of .* are objectives; leave one as input"):
            loaded(file, {"a": 1, "b": 2, "c": 3})

    @pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n"])
    def test_an_empty_file(self, file: Path, text: str):
        file.write_text(text)
        with pytest.raises(InputError, match=r"train\.txt has no documents; write lines as LABEL qid:QUERY"):
            loaded(file, {})

    def test_a_file_without_features(self, file: Path):
        file.write_text("1 qid:1\n")
        with pytest.raises(InputError, match=r"train\.txt has no features"):
            loaded(file, {})

    def test_a_missing_file_and_a_folder(self, file: Path):
        with pytest.raises(InputError, match=r"train\.txt does not exist; mend the path"):
            loaded(file, {})
        with pytest.raises(InputError, match="is a folder; give a file"):
            loaded(file.parent, {})

    def test_a_compressed_file_that_is_cut(self, file: Path):
        file.write_bytes(gzip.compress(DENSE.encode())[:30])
        with pytest.raises(InputError, match=r"cannot read .*train\.txt \(Compressed file ended .*; check the file"):
            loaded(file, {})

    def test_an_archive(self, file: Path):
        file.write_bytes(b"PK\x03\x04\x14\x00")
        with pytest.raises(InputError, match=r"train\.txt:1: is not text; .*plain or compressed by gzip or bzip2"):
            loaded(file, {})

    def test_nothing_is_left_behind(self, file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(letor_text, "BLOCK_BYTES", 1)
        file.write_text(DENSE + "broken\n")
        with pytest.raises(InputError):
            loaded(file, {})
        assert list(cache.iterdir()) == []


class TestCache:
    def test_the_second_load_reads_parquet_alone(
        self, file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ):
        file.write_text(DENSE)
        with caplog.at_level(logging.INFO, "cosdpo.data.letor"):
            first = loaded(file, {"a": 2})
            monkeypatch.setattr(letor_parser, "parse", None)
            equal(loaded(file, {"a": 2}), first)
        (message,) = [record.getMessage() for record in caplog.records]
        assert message.startswith(f"parsed {file}: 3 documents, ")
        assert len(list(cache.iterdir())) == 1

    def test_a_changed_file_is_parsed_again(self, file: Path, cache: Path):
        file.write_text(DENSE)
        loaded(file, {})
        file.write_text(DENSE.replace("0.5", "0.75"))
        assert loaded(file, {}).features[0, 0] == 0.75
        assert len(list(cache.iterdir())) == 2

    def test_columns(self, file: Path, cache: Path):
        file.write_text(DENSE)
        loaded(file, {"a": 2})
        (cached,) = cache.iterdir()
        schema = pq.read_schema(cached)
        assert schema.names == ["qid", "docid", "relevance", "feature_1", "feature_2", "feature_3"]
        assert schema.field("qid").type.value_type == pa.string()
        assert {schema.field(name).type for name in schema.names[2:]} == {pa.float32()}

    def test_row_groups(self, file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(letor_text, "BLOCK_BYTES", 1)
        monkeypatch.setattr(letor, "ROW_GROUP", 5)
        file.write_text("".join(f"0 qid:1 1:{i}\n" for i in range(12)))
        loaded(file, {})
        (cached,) = cache.iterdir()
        metadata = pq.read_metadata(cached)
        assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [5, 5, 2]


class TestParquet:
    def columns(self, **changes: object) -> dict[str, object]:
        return {"qid": ["a", "a", "b"], "relevance": [1, 0, 2], "feature_1": [1.0, 2.0, 3.0]} | changes

    def test_is_read_like_text(self, tmp_path: Path):
        pq.write_table(pa.table(self.columns(feature_2=[4, 5, 6])), tmp_path / "own.parquet")
        lists = loaded(tmp_path / "own.parquet", {"x": 2})
        assert lists.queries == ("a", "b")
        assert lists.offsets.tolist() == [0, 2, 3]
        assert lists.features.tolist() == [[1], [2], [3]]
        assert lists.auxiliary.tolist() == [[4], [5], [6]]
        assert lists.relevance.tolist() == [1, 0, 2]

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"feature_3": [1.0, 2.0, 3.0]}, "has no column feature_2; the columns are qid, relevance, feature_1"),
            ({"feature_1": [1.0, None, 3.0]}, "column feature_1 has a value that is missing, not finite"),
            ({"relevance": [1.0, float("inf"), 3.0]}, "column relevance has a value that is missing, not finite"),
            ({"relevance": [1, -1, 2]}, "has a negative relevance"),
            ({"qid": ["a", "b", "a"]}, "a query's rows are not consecutive; sort them by query"),
            ({"qid": ["a", None, "b"]}, "has rows without a qid"),
            ({"feature_1": ["x", "y", "z"]}, "cannot read"),
        ],
    )
    def test_refusals(self, tmp_path: Path, changes: dict[str, object], message: str):
        pq.write_table(pa.table(self.columns(**changes)), tmp_path / "own.parquet")
        with pytest.raises(InputError, match=message):
            loaded(tmp_path / "own.parquet", {})

    def test_no_rows_and_no_parquet(self, tmp_path: Path):
        pq.write_table(pa.table(self.columns()).slice(0, 0), tmp_path / "own.parquet")
        with pytest.raises(InputError, match="has no documents"):
            loaded(tmp_path / "own.parquet", {})
        (tmp_path / "own.parquet").write_text("text")
        with pytest.raises(InputError, match=r"cannot read .*own\.parquet .*; check the file"):
            loaded(tmp_path / "own.parquet", {})


class TestLocate:
    def files(self, folder: Path, *names: str) -> Path:
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
        return folder

    def test_a_file(self, tmp_path: Path):
        self.files(tmp_path, "any.dat")
        assert letor.locate(tmp_path / "any.dat") == [letor.Fold(tmp_path / "any.dat", None, None)]

    def test_a_folder(self, tmp_path: Path):
        self.files(tmp_path, "train.txt", "test.txt")
        assert letor.locate(tmp_path) == [letor.Fold(tmp_path / "train.txt", None, tmp_path / "test.txt")]

    def test_folds_in_the_order_of_their_numbers(self, tmp_path: Path):
        names = [f"Fold{i}/{name}.txt" for i in range(1, 11) for name in ("train", "vali", "test")]
        folds = letor.locate(self.files(tmp_path, *names))
        assert [fold.train.parent.name for fold in folds] == [f"Fold{i}" for i in range(1, 11)]
        assert folds[9].validation == tmp_path / "Fold10" / "vali.txt"

    @pytest.mark.parametrize(
        ("names", "message"),
        [
            (["vali.txt"], r"has no train\.txt; give a file, or a folder with train\.txt or Fold1, Fold2"),
            (["Fold1/train.txt", "Fold2/test.txt"], r"Fold2 has no train\.txt"),
            (["Fold1/train.txt", "Fold3/train.txt"], "has Fold3 but no Fold2"),
        ],
    )
    def test_refusals(self, tmp_path: Path, names: list[str], message: str):
        with pytest.raises(InputError, match=message):
            letor.locate(self.files(tmp_path, *names))

    def test_nothing_there(self, tmp_path: Path):
        with pytest.raises(InputError, match="nowhere does not exist; mend the path"):
            letor.locate(tmp_path / "nowhere")
