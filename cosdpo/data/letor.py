"""Ranking files in the LETOR format (MSLR-WEB10K and 30K, MQ2007, MQ2008 and others) as query lists.

A text file is parsed once and kept as Parquet under the hash of its bytes, with the columns qid (string), relevance and
feature_1 ... feature_F (float32). Such a Parquet file can be given in place of a text file.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cosdpo.arrays import Singles
from cosdpo.data import letor_parser
from cosdpo.data.letor_parser import Documents
from cosdpo.data.query_lists import QueryLists
from cosdpo.errors import InputError
from cosdpo.files import cache_folder, whole_file

ROW_GROUP = 50_000
"""About as many documents are a row group of the Parquet file."""
BATCH = 8_192
"""As many documents are read at once."""

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
        location: a file, which is all training data; a folder with train.txt and perhaps vali.txt and test.txt; or a
            folder with sub-folders Fold1, Fold2, ... of that kind.

    Raises:
        InputError: there is nothing at `location`, or not what is needed.
    """
    location = location.expanduser()
    if not location.exists():
        raise InputError(f"{location} does not exist; mend the path")
    if location.is_file():
        return [Fold(location)]
    numbers = sorted(int(path.name[4:]) for path in location.iterdir() if re.fullmatch(r"Fold[1-9]\d*", path.name))
    if (location / "train.txt").exists() or not numbers:
        return [_fold(location)]
    missing = set(range(1, numbers[-1])) - set(numbers)
    if missing:
        raise InputError(f"{location} has Fold{numbers[-1]} but no Fold{min(missing)}; add it or number the folds anew")
    return [_fold(location / f"Fold{number}") for number in numbers]


def load(path: Path, auxiliary: Mapping[str, int]) -> QueryLists:
    """Reads a LETOR text file or its Parquet form; lists of one document are kept.

    Args:
        path: text file, or .parquet with the columns of this module.
        auxiliary: objective name -> feature number from 1; these features become the columns of
            `QueryLists.auxiliary`, in this order, and are no inputs.

    Raises:
        InputError: the file is missing, empty or wrong, or does not have the features that `auxiliary` names.
    """
    path = path.expanduser()
    if not path.exists():
        raise InputError(f"{path} does not exist; mend the path")
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a file")
    start = time.perf_counter()
    try:
        table = path if path.suffix == ".parquet" else _cache_place(path)
        fresh = not table.exists()
        if fresh:
            store(table, letor_parser.parse(path))
        lists = _read(table, auxiliary, path)
    except (OSError, pa.ArrowException) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"cannot read {path} ({reason}); check the file and the folder {cache_folder()}") from None
    if fresh:
        seconds = time.perf_counter() - start
        _LOG.info("parsed %s: %d documents, %d queries, %.1f s", path, len(lists.relevance), len(lists), seconds)
    return lists


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


def _fold(folder: Path) -> Fold:
    train, validation, test = (folder / f"{name}.txt" for name in ("train", "vali", "test"))
    if not train.exists():
        raise InputError(f"{folder} has no train.txt; give a file, or a folder with train.txt or Fold1, Fold2, ...")
    return Fold(train, validation if validation.exists() else None, test if test.exists() else None)


def _cache_place(path: Path) -> Path:
    """Where the Parquet form of a text file is kept."""
    with path.open("rb") as file:
        return cache_folder() / "letor" / f"{hashlib.file_digest(file, 'sha256').hexdigest()}.parquet"


def _table(documents: Documents) -> pa.Table:
    columns = np.ascontiguousarray(documents.features.T)
    arrays = {
        "qid": pa.array(documents.queries, pa.string()).dictionary_encode(),
        "relevance": pa.array(documents.relevance, pa.float32()),
    }
    return pa.table(arrays | {f"feature_{j}": pa.array(column) for j, column in enumerate(columns, start=1)})


def _read(path: Path, auxiliary: Mapping[str, int], source: Path) -> QueryLists:
    """Reads Parquet; messages name `source`.

    Batches go one by one into arrays made beforehand, so that no second copy of all features ever exists.
    """
    with pq.ParquetFile(path) as file:
        rows, width = file.metadata.num_rows, _width(file.schema_arrow.names, source)
        if not rows:
            raise InputError(f"{source} has no documents; give a file with some")
        _check(auxiliary, width, source)
        numbers = tuple(number for number in range(1, width + 1) if number not in auxiliary.values())
        features = np.empty((rows, len(numbers)), np.float32)
        objectives = np.empty((rows, len(auxiliary)), np.float32)
        relevance = np.empty(rows, np.float32)
        queries: list[str] = []
        starts: list[int] = []
        begin = 0
        # By the row group: across them, Arrow would keep all it has read until the end.
        groups = (file.iter_batches(BATCH, row_groups=[group]) for group in range(file.num_row_groups))
        for batch in itertools.chain.from_iterable(groups):
            here = slice(begin, begin + len(batch))
            relevance[here] = _floats(batch["relevance"], "relevance", source)
            for column, number in enumerate(numbers):
                features[here, column] = _floats(batch[f"feature_{number}"], f"feature_{number}", source)
            for column, number in enumerate(auxiliary.values()):
                objectives[here, column] = _floats(batch[f"feature_{number}"], f"feature_{number}", source)
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
    return QueryLists(features, objectives, relevance, np.array([*starts, rows], np.int64), tuple(queries), numbers)


def _floats(column: pa.Array, name: str, source: Path) -> Singles:
    values: Singles = column.cast(pa.float32()).to_numpy(zero_copy_only=False)
    if not np.isfinite(values).all():
        raise InputError(f"{source}: column {name} has a value that is missing or not finite; mend or drop the row")
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


def _check(auxiliary: Mapping[str, int], width: int, source: Path) -> None:
    """Objectives must be different features of the file, and leave one as input."""
    owners: dict[int, str] = {}
    for name, number in auxiliary.items():
        if not 1 <= number <= width:
            raise InputError(
                f"objective {name} is feature {number}, but {source} has {width} features; "
                f"give a feature number from 1 to {width}"
            )
        if number in owners:
            raise InputError(f"objectives {owners[number]} and {name} are both feature {number}; give each its own")
        owners[number] = name
    if len(owners) == width:
        raise InputError(f"all {width} features of {source} are objectives; leave one as input")
