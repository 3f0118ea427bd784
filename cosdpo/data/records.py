"""Records: rows of a file or hub dataset as they stand there, before their schema is known."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cosdpo import hub_check as hub
from cosdpo.errors import InputError

SUFFIXES = (".jsonl", ".json", ".parquet")


@dataclass(frozen=True)
class Records:
    """Rows with their column names; `where` names a row for messages."""

    source: str
    """The file or dataset as the user wrote it."""
    columns: tuple[str, ...]
    rows: list[dict[str, Any]]
    lines: list[int] | None = None
    """Line number of each row, where the source has lines."""

    def where(self, index: int) -> str:
        """FILE:LINE, or SOURCE row N with N from 1."""
        return f"{self.source} row {index + 1}" if self.lines is None else f"{self.source}:{self.lines[index]}"


def read(location: str, columns: frozenset[str]) -> Records:
    """Reads a local .jsonl, .json (a list of objects, or JSON lines) or .parquet file, or a dataset of the hub.

    Args:
        location: path, or hub name with an optional folder of the repository and an optional split (train by default):
            OWNER/NAME, OWNER/NAME/FOLDER, OWNER/NAME:SPLIT.
        columns: those worth reading; the others only show up in `Records.columns`.

    Raises:
        InputError: missing or broken file, unknown or unreachable dataset, rows that are not objects.
    """
    path = Path(location).expanduser()
    if path.suffix in SUFFIXES or location.startswith(("/", ".", "~")) or path.exists():
        return _local(path, location, columns)
    return _hub(location, columns)


def _local(path: Path, location: str, columns: frozenset[str]) -> Records:
    if not path.exists():
        raise InputError(f"{location} does not exist; mend the path in data.train or data.validation")
    if path.is_dir() or path.suffix not in SUFFIXES:
        raise InputError(f"{location} is not a {', '.join(SUFFIXES)} file; give data.train or data.validation one")
    try:
        if path.suffix == ".parquet":
            return _from_arrow(location, pq.read_table(path), columns)
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{location} is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"cannot read {location} ({_first_line(error)}); check the file") from None
    if text.lstrip().startswith("["):
        return _from_json(location, text)
    return _from_json_lines(location, text)


def _from_json(location: str, text: str) -> Records:
    rows = _parsed(text, location, 1, "mend the file")
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            raise InputError(f"{location} row {index + 1}: is not an object; give a list of objects with named columns")
    return Records(location, _keys(rows), rows)


def _from_json_lines(location: str, text: str) -> Records:
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        row = _parsed(line, location, number, "give one object per line")
        if not isinstance(row, dict):
            raise InputError(f"{location}:{number}: is not an object; give one object with named columns per line")
        rows.append(row)
        lines.append(number)
    return Records(location, _keys(rows), rows, lines)


def _parsed(text: str, location: str, first: int, mend: str) -> Any:
    """The JSON value of a text that begins on line `first`."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line, reason = first + error.lineno - 1, error.msg
    except RecursionError:
        line, reason = first, "nested too deeply"
    except ValueError:  # Python reads no number of more than 4,300 digits
        line, reason = first, "a number of thousands of digits"
    raise InputError(f"{location}:{line}: broken JSON ({reason}); {mend}")


def _keys(rows: list[dict[str, Any]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(key for row in rows for key in row))


def _from_arrow(source: str, table: pa.Table, columns: frozenset[str]) -> Records:
    worth_reading = [name for name in table.column_names if name in columns]
    return Records(source, tuple(table.column_names), table.select(worth_reading).to_pylist())


def _hub(location: str, columns: frozenset[str]) -> Records:
    import datasets

    name, _, split = location.partition(":")
    repository, folder = "/".join(name.split("/")[:2]), "/".join(name.split("/")[2:])
    mend = "set data.train to a local .jsonl, .json or .parquet file"
    hub.require(repository, "dataset", mend)
    try:
        data = datasets.load_dataset(repository, data_dir=folder or None, split=split or "train")
    except ConnectionError:
        raise InputError(
            f"the dataset {repository!r} is not in the local cache and HF_HUB_OFFLINE is set; unset it, or {mend}"
        ) from None
    except (datasets.exceptions.DatasetsError, OSError, ValueError) as error:
        raise InputError(f"cannot load {location!r} from the hub ({_first_line(error)}); {mend}") from None
    return _from_arrow(location, data.with_format("arrow")[:], columns)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
