"""Lines of LETOR or SVMlight ranking files, `LABEL qid:QUERY 1:VALUE 2:VALUE ... # comment`, as arrays.

A block of lines is parsed at once by `fast`, which gives up on anything it is not sure of; `careful` then goes through
that block line by line, and either understands it or says which line is wrong. What only a guess could tell, a Notation
says: the number of the first feature, and what a missing value counts as.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

from cosdpo.arrays import Singles
from cosdpo.data.letor_text import MOST_FEATURES, blocks, width_of
from cosdpo.errors import InputError

LARGEST = 1e30
"""Values beyond it are no measurements but stand for missing ones, as the largest float does in several data sets."""
FORM = "write lines as LABEL qid:QUERY 1:VALUE 2:VALUE"

_NUMBER = re.compile(rb"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_ABSENT = re.compile(rb":(?i:nan|na|null|none|[-+]?inf(?:inity)?|\?)?(?=\s|$)")
_DOCID = re.compile(rb"(?:^|\s)docid\s*=\s*(\S+)|^\s*(\S{1,64})\s*$")
_WHITE_TO_NEWLINE = bytes.maketrans(b" \t\r\v\f", b"\n\n\n\n\n")
_PLAIN = b"0123456789+-.eE:\n"


@dataclass(frozen=True)
class Notation:
    """What a file's lines leave open."""

    first_feature: int = 1
    """Number of the first feature, 0 or 1."""
    missing: float | None = None
    """What a value counts as that is nan, infinite or beyond LARGEST; None refuses it."""


AS_USUAL = Notation()
"""Features are numbered from 1, and none is missing."""


@dataclass(frozen=True)
class Documents:
    """Consecutive documents of one file or source."""

    queries: list[str]
    """[n] query id of each document."""
    relevance: Singles
    """[n]"""
    features: Singles
    """[n, F]; column j holds the j-th feature from 0."""
    docids: list[str]
    """[n] names of the documents, from the comments; empty where there is none."""


def parse(path: Path, notation: Notation = AS_USUAL, groups: Sequence[int] = ()) -> Iterator[Documents]:
    """The documents of a file, block by block, all with as many features as the highest feature number tells.

    Args:
        path: the file, as it is or compressed by gzip or bzip2.
        groups: documents of each query, in order, for a file whose lines name no queries.

    Raises:
        InputError: the file is empty, is not text or has no features; or a line is wrong, then with its number.
    """
    width = width_of(path, notation.first_feature)
    seen: set[str] = set()
    last = None
    owners = (query for query, size in enumerate(groups, start=1) for _ in range(size))
    grouped = sum(groups)
    for first, lines in blocks(path):
        if groups:
            lines = [_owned(line, owners, path, grouped) for line in lines]
        documents = fast(lines, width, notation)
        if documents is None:
            documents = careful(lines, width, path, first, notation)
        for index, query in enumerate(documents.queries):
            if query != last:
                if query in seen:
                    raise InputError(
                        f"{path}:{first + _row_lines(lines)[index]}: query {query} appears again after another query; "
                        "the documents of a query must be consecutive, sort the file by query"
                    )
                seen.add(query)
                last = query
        if documents.queries:
            yield documents
    if not seen:
        raise InputError(f"{path} has no documents; {FORM}")
    if not width:
        raise InputError(f"{path} has no features; {FORM}")
    if groups and (left := sum(1 for _ in owners)):
        raise InputError(f"{path} has {grouped - left} documents, its query sizes add up to {grouped}")


def _owned(line: bytes, owners: Iterator[int], path: Path, documents: int) -> bytes:
    """A line with the query that its place in the file says."""
    words = line.partition(b"#")[0].split(None, 1)
    if not words:
        return line
    query = next(owners, None)
    if query is None:
        raise InputError(f"{path} has more than the {documents} documents that its query sizes add up to")
    return line.replace(words[0], b"%s qid:%d" % (words[0], query), 1)


def fast(lines: Sequence[bytes], width: int, notation: Notation = AS_USUAL) -> Documents | None:
    """Parses a block at once, or returns None where `careful` should look.

    Args:
        lines: whole lines; comments and blank ones are skipped.
        width: F, the features of a row; those that a line leaves out are 0.
    """
    parts = [line.partition(b"#") for line in lines]
    kept = [(row, comment) for body, _, comment in parts if (row := body.split(None, 2))]
    if not kept:
        return Documents([], np.zeros(0, np.float32), np.zeros((0, width), np.float32), [])
    rows = [row for row, _ in kept]
    if any(len(row) < 2 or not row[1].startswith(b"qid:") or row[1] == b"qid:" for row in rows):
        return None
    if any(len(row) == 2 and comment for row, comment in kept):  # the # may be part of the query's name
        return None
    texts = [row[2] if len(row) == 3 else b"" for row in rows]
    counts = np.array([text.count(b":") for text in texts])
    text = b"\n".join(texts).translate(_WHITE_TO_NEWLINE)
    labels = b"\n".join([row[0] for row in rows])
    if notation.missing is not None:
        text = _ABSENT.sub(b":%e" % (10 * LARGEST), text)
    # Arrow also reads nan, 0x1F and the like.
    if text.translate(None, _PLAIN) or labels.translate(None, _PLAIN):
        return None
    try:
        queries = [row[1][4:].decode() for row in rows]
        docids = [_docid(comment) for _, comment in kept]
        (relevance,) = _columns(labels, {"label": pa.float32()})
        if text.strip():
            numbers, values = _columns(text, {"number": pa.int32(), "value": pa.float32()})
        else:
            numbers, values = np.zeros(0, np.int32), np.zeros(0, np.float32)
    except (UnicodeDecodeError, pa.ArrowException):
        return None
    if len(relevance) != len(rows) or len(values) != counts.sum():
        return None
    if notation.missing is not None:
        values = np.where(np.abs(values) <= LARGEST, values, np.float32(notation.missing))
    if not np.isfinite(relevance).all() or (np.abs(values) > LARGEST).any() or (relevance < 0).any():
        return None
    columns = numbers - notation.first_feature
    if ((columns < 0) | (columns >= width)).any():
        return None
    cells = np.repeat(np.arange(len(rows)) * width, counts) + columns
    # Cells ascend through the whole block if and only if the numbers of every line do.
    if (np.diff(cells) <= 0).any() and len(np.unique(cells)) < len(cells):
        return None
    features = np.zeros(len(rows) * width, np.float32)
    features[cells] = values
    return Documents(queries, relevance, features.reshape(len(rows), width), docids)


def careful(lines: Sequence[bytes], width: int, path: Path, first: int = 1, notation: Notation = AS_USUAL) -> Documents:
    """What `fast` does, line by line; `first` is the number of the first line in the file.

    Raises:
        InputError: a line is wrong.
    """
    queries: list[str] = []
    relevance: list[float] = []
    docids: list[str] = []
    features = np.zeros((len(lines), width), np.float32)
    for number, line in enumerate(lines, start=first):
        body, _, comment = line.partition(b"#")
        tokens = body.split()
        if not tokens:
            continue
        try:
            if comment and len(tokens) == 2 and not body[-1:].isspace():
                raise InputError("a # begins a comment, and stands within the qid here; put a space before it")
            query, label, cells = _line(tokens, notation)
            docids.append(_docid(comment))
        except UnicodeDecodeError:
            raise InputError(f"{path}:{number}: is not UTF-8 text; give a LETOR text file") from None
        except InputError as error:
            raise InputError(f"{path}:{number}: {error}") from None
        features[len(queries), [feature - notation.first_feature for feature in cells]] = list(cells.values())
        queries.append(query)
        relevance.append(label)
    return Documents(queries, np.array(relevance, np.float32), features[: len(queries)], docids)


def _line(tokens: list[bytes], notation: Notation) -> tuple[str, float, dict[int, float]]:
    """Query, label and values by feature number; the InputError lacks the place."""
    if any(b"\0" in token for token in tokens):
        raise InputError("is not text; give a LETOR text file, plain or compressed by gzip or bzip2")
    words = [token.decode() for token in tokens]
    label = _finite(tokens[0])
    if len(words) < 2 or not words[1].startswith("qid:") or words[1] == "qid:":
        raise InputError(
            f"has no qid:QUERY after the label; {FORM}, or put the queries' sizes beside the file as FILE.query"
        )
    if label is None or not 0 <= label <= LARGEST:
        raise InputError(f"the label {words[0]!r} is not a finite number >= 0; {FORM}")
    cells: dict[int, float] = {}
    least = notation.first_feature
    for word, token in zip(words[2:], tokens[2:], strict=True):
        name, colon, text = token.partition(b":")
        if not colon or not re.fullmatch(rb"-?\d{1,9}", name):
            raise InputError(f"{word!r} is not NUMBER:VALUE; {FORM}")
        number, value = int(name), _finite(text)
        if number == 0 < least:
            raise InputError("feature number 0: set data.first_feature 0 where a file numbers its features from 0")
        if number < least:
            raise InputError(f"feature number {number} is below {least}; number the features from {least}")
        if number > MOST_FEATURES:
            raise InputError(f"feature number {number} is above {MOST_FEATURES:,}; renumber the features from {least}")
        if number in cells:
            raise InputError(f"feature {number} stands twice; keep one of them")
        absent = _ABSENT.fullmatch(b":" + text) if value is None else abs(value) > LARGEST
        if absent:
            value = notation.missing
            if value is None:
                raise InputError(
                    f"feature {number} is {text.decode()!r}, a missing value: say what it counts as, such as "
                    "--data.missing 0"
                )
        if value is None:
            raise InputError(f"feature {number} is {text.decode()!r}, not a finite number; mend or leave out the value")
        cells[number] = value
    return words[1].removeprefix("qid:"), label, cells


def _finite(text: bytes) -> float | None:
    """The number, infinite where no double holds it, or None where the text is none."""
    return float(text) if _NUMBER.fullmatch(text) else None


def _columns(text: bytes, types: dict[str, pa.DataType]) -> list[npt.NDArray[Any]]:
    """Columns of a table with ':' between its cells; empty lines do not count."""
    table = pa.csv.read_csv(
        pa.BufferReader(text),
        pa.csv.ReadOptions(column_names=list(types)),
        pa.csv.ParseOptions(delimiter=":", quote_char=False),
        pa.csv.ConvertOptions(column_types=types, null_values=[]),
    )
    return [column.to_numpy() for column in table.columns]


def _docid(comment: bytes) -> str:
    """The name that a comment gives its document: docid = NAME, or the only word."""
    named = _DOCID.search(comment) if comment else None
    return (named[1] or named[2]).decode() if named else ""


def _row_lines(lines: Sequence[bytes]) -> list[int]:
    """Which line each document of a block stands on, from 0."""
    return [index for index, line in enumerate(lines) if line.partition(b"#")[0].strip()]
