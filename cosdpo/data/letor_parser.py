"""Lines of LETOR or SVMlight ranking files, `LABEL qid:QUERY 1:VALUE 2:VALUE ... # comment`, as arrays.

A block of lines is parsed at once by `fast`, which gives up on anything it is not sure of; `careful` then goes through
that block line by line, and either understands it or says which line is wrong.
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
from cosdpo.errors import InputError

BLOCK_BYTES = 8 << 20
"""About as much of a file is parsed at once."""
MOST_FEATURES = 10_000
"""Higher feature numbers are refused: rows are stored dense, and one stray number would fill the memory with zeros."""
FORM = "write lines as LABEL qid:QUERY 1:VALUE 2:VALUE"

_NUMBER = re.compile(rb"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_WHITE_TO_NEWLINE = bytes.maketrans(b" \t\r\v\f", b"\n\n\n\n\n")
_PLAIN = b"0123456789+-.eE:\n"


@dataclass(frozen=True)
class Documents:
    """Consecutive documents of one file or source."""

    queries: list[str]
    """[n] query id of each document."""
    relevance: Singles
    """[n]"""
    features: Singles
    """[n, F]; column j holds feature j + 1."""


def parse(path: Path) -> Iterator[Documents]:
    """The documents of a file, block by block, all with as many features as the highest feature number in the file.

    Raises:
        InputError: the file is empty, is not text or has no features; or a line is wrong, then with its number.
    """
    width = _width(path)
    seen: set[str] = set()
    last = None
    for first, lines in _blocks(path):
        documents = fast(lines, width)
        if documents is None:
            documents = careful(lines, width, path, first)
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


def fast(lines: Sequence[bytes], width: int) -> Documents | None:
    """Parses a block at once, or returns None where `careful` should look.

    Args:
        lines: whole lines; comments and blank ones are skipped.
        width: F, the features of a row; those that a line leaves out are 0.
    """
    rows = [row for line in lines if (row := line.partition(b"#")[0].split(None, 2))]
    if not rows:
        return Documents([], np.zeros(0, np.float32), np.zeros((0, width), np.float32))
    if any(len(row) < 2 or not row[1].startswith(b"qid:") or row[1] == b"qid:" for row in rows):
        return None
    texts = [row[2] if len(row) == 3 else b"" for row in rows]
    counts = np.array([text.count(b":") for text in texts])
    text = b"\n".join(texts).translate(_WHITE_TO_NEWLINE)
    labels = b"\n".join([row[0] for row in rows])
    # Arrow also reads nan, 0x1F and the like.
    if text.translate(None, _PLAIN) or labels.translate(None, _PLAIN):
        return None
    try:
        queries = [row[1][4:].decode() for row in rows]
        (relevance,) = _columns(labels, {"label": pa.float32()})
        if text.strip():
            numbers, values = _columns(text, {"number": pa.int32(), "value": pa.float32()})
        else:
            numbers, values = np.zeros(0, np.int32), np.zeros(0, np.float32)
    except (UnicodeDecodeError, pa.ArrowException):
        return None
    sound = len(relevance) == len(rows) and len(values) == counts.sum()
    if not sound or not np.isfinite(relevance).all() or not np.isfinite(values).all() or (relevance < 0).any():
        return None
    if ((numbers < 1) | (numbers > width)).any():
        return None
    cells = np.repeat(np.arange(len(rows)) * width, counts) + (numbers - 1)
    # Cells ascend through the whole block if and only if the numbers of every line do.
    if (np.diff(cells) <= 0).any():
        return None
    features = np.zeros(len(rows) * width, np.float32)
    features[cells] = values
    return Documents(queries, relevance, features.reshape(len(rows), width))


def careful(lines: Sequence[bytes], width: int, path: Path, first: int = 1) -> Documents:
    """What `fast` does, line by line; `first` is the number of the first line in the file.

    Raises:
        InputError: a line is wrong.
    """
    queries: list[str] = []
    relevance: list[float] = []
    features = np.zeros((len(lines), width), np.float32)
    for number, line in enumerate(lines, start=first):
        tokens = line.partition(b"#")[0].split()
        if not tokens:
            continue
        try:
            query, label, cells = _line(tokens)
        except UnicodeDecodeError:
            raise InputError(f"{path}:{number}: is not UTF-8 text; give a LETOR text file, uncompressed") from None
        except InputError as error:
            raise InputError(f"{path}:{number}: {error}") from None
        features[len(queries), [feature - 1 for feature in cells]] = list(cells.values())
        queries.append(query)
        relevance.append(label)
    return Documents(queries, np.array(relevance, np.float32), features[: len(queries)])


def _line(tokens: list[bytes]) -> tuple[str, float, dict[int, float]]:
    """Query, label and values by feature number; the InputError lacks the place."""
    if any(b"\0" in token for token in tokens):
        raise InputError("is not text; give a LETOR text file, uncompressed")
    words = [token.decode() for token in tokens]
    label = _finite(tokens[0])
    if len(words) < 2 or not words[1].startswith("qid:") or words[1] == "qid:":
        raise InputError(f"has no qid:QUERY after the label; {FORM}")
    if label is None or label < 0:
        raise InputError(f"the label {words[0]!r} is not a finite number >= 0; {FORM}")
    cells: dict[int, float] = {}
    last = 0
    for word, token in zip(words[2:], tokens[2:], strict=True):
        name, colon, text = token.partition(b":")
        if not colon or not re.fullmatch(rb"-?\d{1,9}", name):
            raise InputError(f"{word!r} is not NUMBER:VALUE; {FORM}")
        number, value = int(name), _finite(text)
        if number < 1:
            raise InputError(f"feature number {number} is below 1; number the features from 1")
        if number > MOST_FEATURES:
            raise InputError(f"feature number {number} is above {MOST_FEATURES:,}; renumber the features from 1")
        if number in cells:
            raise InputError(f"feature {number} stands twice; keep one of them")
        if number < last:
            raise InputError(f"feature {number} stands after feature {last}; write the features in ascending order")
        if value is None:
            raise InputError(f"feature {number} is {text.decode()!r}, not a finite number; mend or leave out the value")
        cells[number], last = value, number
    return words[1].removeprefix("qid:"), label, cells


def _finite(text: bytes) -> float | None:
    """The number, or None where the text is none or does not fit a float32."""
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if abs(value) <= float(np.finfo(np.float32).max) else None


def _columns(text: bytes, types: dict[str, pa.DataType]) -> list[npt.NDArray[Any]]:
    """Columns of a table with ':' between its cells; empty lines do not count."""
    table = pa.csv.read_csv(
        pa.BufferReader(text),
        pa.csv.ReadOptions(column_names=list(types)),
        pa.csv.ParseOptions(delimiter=":", quote_char=False),
        pa.csv.ConvertOptions(column_types=types, null_values=[]),
    )
    return [column.to_numpy() for column in table.columns]


def _width(path: Path) -> int:
    """The highest feature number: as they ascend, each line's is before its last colon."""
    highest = 0
    for _, lines in _blocks(path):
        for line in lines:
            tokens = line.partition(b"#")[0].rpartition(b":")[0].rsplit(None, 1)
            if tokens and re.fullmatch(rb"\d{1,9}", tokens[-1]):
                highest = max(highest, int(tokens[-1]))
    return min(highest, MOST_FEATURES)


def _blocks(path: Path) -> Iterator[tuple[int, list[bytes]]]:
    """Lines by the block, each with the number of its first."""
    first = 1
    with path.open("rb") as file:
        if file.read(3) != b"\xef\xbb\xbf":
            file.seek(0)
        while lines := file.readlines(BLOCK_BYTES):
            yield first, lines
            first += len(lines)


def _row_lines(lines: Sequence[bytes]) -> list[int]:
    """Which line each document of a block stands on, from 0."""
    return [index for index, line in enumerate(lines) if line.partition(b"#")[0].strip()]
