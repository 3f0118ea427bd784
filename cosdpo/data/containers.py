"""Containers: files, folders and hub datasets that hold rows, and how each becomes Records."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cosdpo import hub_check as hub
from cosdpo.data.records import Records
from cosdpo.errors import InputError

TEXTS = (".jsonl", ".json", ".csv")
"""Containers of text, which may be compressed by gzip."""
SUFFIXES = (*TEXTS, *(f"{suffix}.gz" for suffix in TEXTS), ".parquet", ".arrow")
LOCAL = "a .jsonl, .json, .csv, .parquet or .arrow file"
"""What a local file may be, for messages."""
CHATS = ("prompt", "chosen", "rejected", "tools")
"""Columns that may hold chats and tools, whose objects have different keys."""
NESTED = ("responses", "scores", "text", "score", "tools")
"""Columns that hold lists and objects and no plain text; a CSV has them as JSON."""


def read(location: str, columns: frozenset[str]) -> Records:
    """Reads a local file, all files of a pattern, a folder of datasets' save_to_disk, or a dataset of the hub.

    Args:
        location: path of one of SUFFIXES (.json: a list of objects, one under "data", or JSON lines), pattern with * or
            ?, or hub name with an optional folder of the repository and an optional split (train by default):
            OWNER/NAME, OWNER/NAME/FOLDER, OWNER/NAME:SPLIT.
        columns: those worth reading; the others only show up in `Records.columns`.

    Raises:
        InputError: missing or broken file, unknown or unreachable dataset, rows that are not objects.
    """
    path = Path(location).expanduser()
    if not path.exists() and any(sign in location for sign in "*?"):
        root = Path(path.anchor)
        shards = sorted(map(str, root.glob(str(path.relative_to(root)))))
        if not shards:
            raise InputError(f"{location} matches no file; mend the pattern in data.train or data.validation")
        return Records.joined(location, [_local(Path(shard), shard, columns) for shard in shards])
    return _hub(location, columns) if on_hub(location) else _local(path, location, columns)


def on_hub(location: str) -> bool:
    """Whether a location of `read` is a dataset of the hub."""
    path = Path(location).expanduser()
    here = path.exists() or path.name.endswith(SUFFIXES) or location.startswith(("/", ".", "~"))
    return not here and not any(sign in location for sign in "*?")


def _local(path: Path, location: str, columns: frozenset[str]) -> Records:
    if not path.exists():
        raise InputError(f"{location} does not exist; mend the path in data.train or data.validation")
    if not path.is_dir() and not path.name.endswith(SUFFIXES):
        raise InputError(f"{location} is not {LOCAL}; give data.train or data.validation one")
    try:
        if path.is_dir():
            return _saved(path, location, columns)
        if path.suffix == ".parquet":
            return _from_arrow(location, pq.read_table(path), columns)
        if path.suffix == ".arrow":
            return _from_arrow(location, _arrow_table(path), columns)
        compressed = path.suffix == ".gz"
        data = gzip.decompress(path.read_bytes()) if compressed else path.read_bytes()
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{location} is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        raise InputError(f"cannot read {location} ({_first_line(error)}); check the file") from None
    kind = Path(path.stem).suffix if compressed else path.suffix
    readers: dict[str, Callable[[str, str], Records]] = {".csv": _from_csv, ".json": _from_json}
    return readers.get(kind, _from_json_lines)(location, text)


def _from_json(location: str, text: str) -> Records:
    """A list of objects, one under "data", or JSON lines."""
    begin = text.lstrip()[:1]
    if begin != "[" and not (begin == "{" and _is_one_value(text)):
        return _from_json_lines(location, text)
    rows = _parsed(text, location, 1, "mend the file")
    if isinstance(rows, dict) and isinstance(rows.get("data"), list):
        rows = rows["data"]
    if isinstance(rows, dict):
        rows = [rows]
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            raise InputError(f"{location} row {index + 1}: is not an object; give a list of objects with named columns")
    return Records(location, _keys(rows), rows)


def _is_one_value(text: str) -> bool:
    """Whether a text that begins with a brace is one JSON object, and not one per line."""
    first, _, rest = text.strip().partition("\n")
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return bool(rest)
    return not rest


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


def _from_csv(location: str, text: str) -> Records:
    """Rows under a line of column names; lists and objects stand in their cells as JSON."""
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    names, line = next(reader, []), reader.line_num + 1
    try:
        for cells in reader:
            if cells and len(cells) != len(names):
                wrong = f"has {len(cells)} cells under {len(names)} names; put texts with commas in quotes"
                raise InputError(f"{location}:{line}: {wrong}")
            if cells:
                rows.append({name: _cell(name, cell) for name, cell in zip(names, cells, strict=True)})
                lines.append(line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{location}:{line}: broken CSV ({error}); mend its quotes") from None
    return Records(location, tuple(names), rows, lines)


def _cell(name: str, cell: str) -> Any:
    """What a cell says: nothing, a list or object, or its text."""
    if not cell:
        return None
    if name in NESTED or (name in CHATS and cell.lstrip()[:2] == "[{"):
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            return cell
    return cell


def _arrow_table(path: Path) -> pa.Table:
    """A file in either of Arrow's two IPC formats; that of datasets' cache is the stream."""
    with pa.memory_map(str(path)) as file:
        if file.read(6) == b"ARROW1":
            return pa.ipc.open_file(file).read_all()
        file.seek(0)
        return pa.ipc.open_stream(file).read_all()


def _saved(path: Path, location: str, columns: frozenset[str]) -> Records:
    """What datasets has saved to disk; of several splits, train."""
    import datasets

    if (path / "dataset_dict.json").exists():
        if not (path / "train").exists():
            splits = sorted(child.name for child in path.iterdir() if child.is_dir())
            raise InputError(f"{location} has no split train; give the folder of one of {', '.join(splits)} in it")
        path /= "train"
    if not (path / "state.json").exists():
        raise InputError(
            f"{location} is a folder that datasets has not saved to disk; give {LOCAL}, or a pattern such as "
            f"{location.rstrip('/')}/*.parquet"
        )
    try:
        data = datasets.load_from_disk(str(path))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"cannot read {location} ({_first_line(error)}); save the dataset again") from None
    return _from_arrow(location, data.with_format("arrow")[:], columns)


def _from_arrow(source: str, table: pa.Table, columns: frozenset[str]) -> Records:
    worth_reading = [name for name in table.column_names if name in columns]
    rows = table.select(worth_reading).to_pylist()
    for name in set(CHATS) & set(worth_reading):
        for row in rows:
            row[name] = _without_nulls(row[name])
    return Records(source, tuple(table.column_names), rows)


def _without_nulls(value: Any) -> Any:
    """Arrow gives all objects of a column the same keys, null where one has none."""
    if isinstance(value, dict):
        return {key: _without_nulls(part) for key, part in value.items() if part is not None}
    return list(map(_without_nulls, value)) if isinstance(value, list) else value


def _hub(location: str, columns: frozenset[str]) -> Records:
    import datasets

    name, _, split = location.partition(":")
    repository, folder = "/".join(name.split("/")[:2]), "/".join(name.split("/")[2:])
    mend = f"set data.train to {LOCAL}"
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
