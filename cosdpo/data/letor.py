"""Ranking files in the LETOR format (MSLR-WEB10K and 30K, MQ2007, MQ2008 and others) as query lists.

A text file is parsed once and kept as Parquet under the hash of its bytes, with the columns qid and docid (string),
relevance and feature_1 ... feature_F (float32). Such a Parquet file can be given in place of a text file; docid may be
missing.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import re
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cosdpo.arrays import Singles
from cosdpo.data import letor_parser
from cosdpo.data.letor_parser import AS_USUAL, LARGEST, Documents, Notation
from cosdpo.data.letor_text import names_queries, sizes_beside, sizes_in
from cosdpo.data.query_lists import QueryLists
from cosdpo.errors import InputError
from cosdpo.files import cache_folder, whole_file

ROW_GROUP = 50_000
"""About as many documents are a row group of the Parquet file."""
BATCH = 8_192
"""As many documents are read at once."""

FORM_VERSION = 2
"""Of the Parquet form; 1 had no docid."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fold:
    """The files of one train, validation and test split."""

    train: Path
    validation: Path | None = None
    test: Path | None = None


def locate(location: Path) -> list[Fold]:
    """The files at `location`, one element per fold.

    Args:
        location: a file, which is all training data; a folder with train.txt and perhaps vali.txt and test.txt, each
            perhaps compressed (.gz, .bz2); or a folder with sub-folders Fold1, Fold2, ... of that kind.

    Raises:
        InputError: there is nothing at `location`, or not what is needed.
    """
    location = location.expanduser()
    if not location.exists():
        raise InputError(f"{location} does not exist; mend the path")
    if location.is_file():
        return [Fold(location)]
    numbers = sorted(int(path.name[4:]) for path in location.iterdir() if re.fullmatch(r"Fold[1-9]\d*", path.name))
    if _named(location, "train") or not numbers:
        return [_fold(location)]
    missing = set(range(1, numbers[-1])) - set(numbers)
    if missing:
        raise InputError(f"{location} has Fold{numbers[-1]} but no Fold{min(missing)}; add it or number the folds anew")
    return [_fold(location / f"Fold{number}") for number in numbers]


def load(
    paths: Sequence[Path], auxiliary: Mapping[str, int], notation: Notation = AS_USUAL, least_width: int = 0
) -> list[QueryLists]:
    """Reads the files of one data set, LETOR text files or their Parquet form; lists of one document are kept.

    All have as many features as the widest: sparse files leave out what is 0, and so perhaps their last features.

    Args:
        paths: text files, or .parquet with the columns of this module.
        auxiliary: objective name -> feature number as the files count; these features become the columns of
            `QueryLists.auxiliary`, in this order, and are no inputs.
        notation: what the lines leave open.
        least_width: features that there are at least.

    Raises:
        InputError: a file is missing, empty or wrong, or does not have the features that `auxiliary` names.
    """
    tables = []
    for path in paths:
        with _readable(path):
            tables.append(_parsed(path, notation))
    width = max(least_width, *(table.width for table in tables))
    shift = 1 - notation.first_feature
    _check(auxiliary, width, paths[0], notation.first_feature)
    columns = {name: number + shift for name, number in auxiliary.items()}
    lists = []
    for path, table in zip(paths, tables, strict=True):
        with _readable(path):
            lists.append(_read(table, columns, width, notation.missing))
    return lists


@dataclass(frozen=True)
class _Table:
    """A data file as Parquet."""

    source: Path
    place: Path
    width: int
    """Features."""


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"cannot read {path} ({reason}); check the file and the folder {cache_folder()}") from None


def _parsed(path: Path, notation: Notation) -> _Table:
    """The file as Parquet, parsed unless that was done before."""
    path = path.expanduser()
    if not path.exists():
        raise InputError(f"{path} does not exist; mend the path")
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a file")
    if path.suffix == ".parquet":
        if notation.first_feature != 1:
            raise InputError(
                f"data.first_feature is for text files; the columns of {path} are feature_1, feature_2, ..."
            )
        return _Table(path, path, _width(pq.read_schema(path).names, path))
    sizes = sizes_beside(path)
    start, table = time.perf_counter(), _cache_place(path, sizes, notation)
    if not table.exists():
        groups = sizes_in(sizes) if sizes and not names_queries(path) else ()
        store(table, letor_parser.parse(path, notation, groups))
        with pq.ParquetFile(table) as file:
            rows = file.metadata.num_rows
        _LOG.info("parsed %s: %d documents, %.1f s", path, rows, time.perf_counter() - start)
    return _Table(path, table, _width(pq.read_schema(table).names, path))


def store(path: Path, blocks: Iterable[Documents]) -> None:
    """Writes documents as Parquet, whole or not at all.

    Args:
        path: the file; its folder is made.
        blocks: documents in order, at least one, all with the same features. They are drawn one after the other and
            no more of them are held than make a row group.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    tables = map(_table, blocks)
    first = next(tables, None)
    if first is None:
        raise ValueError("no documents to store")
    held: list[pa.Table] = []
    with whole_file(path) as temporary, pq.ParquetWriter(temporary, first.schema, compression="zstd") as writer:
        for table in itertools.chain([first], tables):
            held.append(table)
            if sum(map(len, held)) >= ROW_GROUP:
                writer.write_table(pa.concat_tables(held), row_group_size=2 * ROW_GROUP)
                held.clear()
        if held:
            writer.write_table(pa.concat_tables(held), row_group_size=2 * ROW_GROUP)


def _named(folder: Path, name: str) -> Path | None:
    """The text file of that name, as it is or compressed."""
    places = (folder / f"{name}.txt{end}" for end in ("", ".gz", ".bz2"))
    return next((place for place in places if place.exists()), None)


def _fold(folder: Path) -> Fold:
    train, validation, test = (_named(folder, name) for name in ("train", "vali", "test"))
    if train is None:
        raise InputError(f"{folder} has no train.txt; give a file, or a folder with train.txt or Fold1, Fold2, ...")
    return Fold(train, validation, test)


def _cache_place(path: Path, sizes: Path | None, notation: Notation) -> Path:
    """Where the Parquet form of a text file is kept: under the hash of all that it is made of."""
    digest = hashlib.sha256(repr((FORM_VERSION, notation)).encode())
    for part in filter(None, (path, sizes)):
        with part.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return cache_folder() / "letor" / f"{digest.hexdigest()}.parquet"


def _table(documents: Documents) -> pa.Table:
    columns = np.ascontiguousarray(documents.features.T)
    arrays = {
        "qid": pa.array(documents.queries, pa.string()).dictionary_encode(),
        "docid": pa.array(documents.docids, pa.string()),
        "relevance": pa.array(documents.relevance, pa.float32()),
    }
    return pa.table(arrays | {f"feature_{j}": pa.array(column) for j, column in enumerate(columns, start=1)})


def _read(table: _Table, auxiliary: Mapping[str, int], width: int, missing: float | None) -> QueryLists:
    """Reads Parquet; features from the table's own width up to `width` are 0.

    Batches go one by one into arrays made beforehand, so that no second copy of all features ever exists.
    """
    source = table.source
    with pq.ParquetFile(table.place) as file:
        rows = file.metadata.num_rows
        if not rows:
            raise InputError(f"{source} has no documents; give a file with some")
        numbers = tuple(number for number in range(1, width + 1) if number not in auxiliary.values())
        features = np.zeros((rows, len(numbers)), np.float32)
        objectives = np.zeros((rows, len(auxiliary)), np.float32)
        relevance = np.empty(rows, np.float32)
        targets = [(number, features[:, column]) for column, number in enumerate(numbers)]
        targets += [(number, objectives[:, column]) for column, number in enumerate(auxiliary.values())]
        own = [(f"feature_{number}", target) for number, target in targets if number <= table.width]
        named = "docid" in file.schema_arrow.names
        docids: list[Any] = []
        queries: list[str] = []
        starts: list[int] = []
        begin = 0
        # By the row group: across them, Arrow would keep all it has read until the end.
        groups = (file.iter_batches(BATCH, row_groups=[group]) for group in range(file.num_row_groups))
        for batch in itertools.chain.from_iterable(groups):
            here = slice(begin, begin + len(batch))
            relevance[here] = _floats(batch["relevance"], "relevance", source)
            for name, target in own:
                target[here] = _floats(batch[name], name, source, missing)
            if named:
                docids.append(np.array(batch["docid"].cast(pa.binary()).fill_null(b"").to_pylist(), np.bytes_))
            runs = pc.run_end_encode(batch["qid"].cast(pa.string()))
            for query, start in zip(runs.values.to_pylist(), [0, *runs.run_ends.to_pylist()], strict=False):
                # A query may go on from the batch before.
                if not queries or query != queries[-1]:
                    queries.append(query)
                    starts.append(begin + start)
            begin += len(batch)
    if (relevance < 0).any():
        raise InputError(f"{source} has a negative relevance; labels are finite numbers >= 0")
    if None in queries or len(set(queries)) < len(queries):
        raise InputError(f"{source} has rows without a qid, or a query's rows are not consecutive; sort them by query")
    names = np.concatenate(docids) if docids else np.zeros(0, np.bytes_)
    offsets = np.array([*starts, rows], np.int64)
    return QueryLists(features, objectives, relevance, offsets, tuple(queries), numbers, names)


def _floats(column: pa.Array, name: str, source: Path, missing: float | None = None) -> Singles:
    values: Singles = column.cast(pa.float32()).to_numpy(zero_copy_only=False)
    absent = ~(np.abs(values) <= LARGEST)
    if absent.any():
        if missing is None:
            mend = "mend or drop the row" if name == "relevance" else "say what it counts as, such as --data.missing 0"
            raise InputError(f"{source}: column {name} has a value that is missing, not finite or huge; {mend}")
        values = np.where(absent, np.float32(missing), values)
    return values


def _width(names: Sequence[str], source: Path) -> int:
    """How many features a Parquet file has."""
    width = max(1, sum(name.startswith("feature_") for name in names))
    for name in ("qid", "relevance", *(f"feature_{number}" for number in range(1, width + 1))):
        if name not in names:
            raise InputError(
                f"{source} has no column {name}; the columns are qid, relevance, feature_1, feature_2, ..."
            )
    return width


def _check(auxiliary: Mapping[str, int], width: int, source: Path, first: int) -> None:
    """Objectives must be different features of the files, and leave one as input."""
    owners: dict[int, str] = {}
    for name, number in auxiliary.items():
        if not first <= number < first + width:
            raise InputError(
                f"objective {name} is feature {number}, but {source} has {width} features; "
                f"give a feature number from {first} to {first + width - 1}"
            )
        if number in owners:
            raise InputError(f"objectives {owners[number]} and {name} are both feature {number}; give each its own")
        owners[number] = name
    if len(owners) == width:
        raise InputError(f"all {width} features of {source} are objectives; leave one as input")
