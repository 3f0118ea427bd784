"""The same rows from every container are the same table; what is wrong with a file is one line with the mend."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cosdpo.config import DataConfig
from cosdpo.data.preferences import Preferences
from cosdpo.data.sources import load
from cosdpo.data.turns import ChatTemplate
from cosdpo.errors import InputError
from tests.data.test_turns import tokenizer_of

TOOLS = [
    {"type": "function", "function": {"name": "count", "parameters": {"type": "object"}}},
    {"type": "function", "function": {"name": "sum", "description": "adds"}},
]
USER = {"role": "user", "content": "how many?"}
CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"function": {"name": "count", "arguments": {"of": "cats"}}}],
}
ROWS: dict[str, list[dict[str, Any]]] = {
    "scored": [
        {"prompt": 'p, "x"', "responses": ["a\nb", "b", "c"], "scores": {"good": [1.0, 2.0, 0.5], "short": None}},
        {"prompt": "[q", "responses": ["d", "é"], "scores": {"good": None, "short": [1.0, 2.0]}},
    ],
    "chats": [
        {"prompt": [USER], "responses": ["two", "one"], "scores": {"good": [1.0, 2.0]}, "tools": TOOLS},
        {
            "prompt": [USER, CALL, {"role": "tool", "content": "2"}],
            "responses": ["two", "one"],
            "scores": {"good": [1.0, 2.0]},
            "tools": None,
        },
    ],
    "pku": [
        {"prompt": "p", "response_0": "a", "response_1": "b", "better_response_id": 0, "safer_response_id": 1},
        {"prompt": "q", "response_0": "c", "response_1": "d", "better_response_id": 1, "safer_response_id": 1},
    ],
    "trl": [{"prompt": "p", "chosen": "a", "rejected": "b, c"}, {"prompt": "q", "chosen": "d", "rejected": "e"}],
    "trl chats": [
        {"prompt": [USER], "chosen": [{"role": "assistant", "content": "two"}], "rejected": [CALL | {"content": "x"}]},
        {"prompt": [USER], "chosen": [{"role": "assistant", "content": "1"}], "rejected": [CALL | {"content": "y"}]},
    ],
}
OBJECTIVES = {"scored": ["good", "short"], "chats": ["good"], "pku": ["better", "safer"]}


def lines(rows: list[Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def as_csv(rows: list[dict[str, Any]], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            cells = {k: json.dumps(v) if isinstance(v, (list, dict)) else v for k, v in row.items()}
            writer.writerow(cells)


def as_arrow(rows: list[Any], path: Path, new: Callable[..., Any]) -> None:
    table = pa.Table.from_pylist(rows)
    with pa.OSFile(str(path), "wb") as file, new(file, table.schema) as writer:
        writer.write_table(table)


def shards(rows: list[Any], folder: Path) -> str:
    folder.mkdir()
    for number, row in enumerate(rows):
        pq.write_table(pa.Table.from_pylist([row]), folder / f"{number}.parquet")
    return str(folder / "*.parquet")


CONTAINERS: dict[str, Callable[[list[Any], Path], Any]] = {
    "a.jsonl": lambda rows, path: path.write_text(lines(rows)),
    "a.json": lambda rows, path: path.write_text(json.dumps(rows)),
    "data.json": lambda rows, path: path.write_text(json.dumps({"version": 1, "data": rows}, indent=1)),
    "lines.json": lambda rows, path: path.write_text(lines(rows)),
    "a.jsonl.gz": lambda rows, path: path.write_bytes(gzip.compress(lines(rows).encode())),
    "a.json.gz": lambda rows, path: path.write_bytes(gzip.compress(json.dumps({"data": rows}).encode())),
    "a.csv": as_csv,
    "a.parquet": lambda rows, path: pq.write_table(pa.Table.from_pylist(rows), path),
    "file.arrow": lambda rows, path: as_arrow(rows, path, pa.ipc.new_file),
    "stream.arrow": lambda rows, path: as_arrow(rows, path, pa.ipc.new_stream),
    "saved": lambda rows, path: datasets.Dataset.from_list(rows).save_to_disk(str(path)),
    "splits": lambda rows, path: datasets.DatasetDict(
        {"train": datasets.Dataset.from_list(rows), "test": datasets.Dataset.from_list(rows[:1])}
    ).save_to_disk(str(path)),
    "shards": shards,
}


def read(location: str, kind: str, **data: Any) -> Preferences:
    template = ChatTemplate(tokenizer_of("qwen 2.5"))
    return load(location, OBJECTIVES.get(kind, ["good"]), DataConfig(**data), template)


def refusal(location: str | Path, kind: str = "trl") -> str:
    with pytest.raises(InputError) as error:
        read(str(location), kind)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("container", CONTAINERS)
def test_the_same_rows_are_the_same_table(container: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / "known.jsonl").write_text(lines(ROWS[kind]))
    path = tmp_path / container
    made = CONTAINERS[container](ROWS[kind], path)
    assert len(ROWS[kind]) == len(read(str(tmp_path / "known.jsonl"), kind))
    table = read(made if container == "shards" else str(path), kind).table
    assert table.to_pylist() == read(str(tmp_path / "known.jsonl"), kind).table.to_pylist()


def test_a_row_of_a_shard_is_named_by_its_own_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(lines(ROWS["trl"]))
    (tmp_path / "b.jsonl").write_text(lines([*ROWS["trl"], {"prompt": 3, "chosen": "a", "rejected": "b"}]))
    assert f"{tmp_path}/b.jsonl:3: prompt is 3; give a text, or" in refusal(tmp_path / "*.jsonl")
    assert "matches no file; mend the pattern" in refusal(tmp_path / "*.parquet")
    (tmp_path / "c.jsonl").write_text("{")
    assert f"{tmp_path}/c.jsonl:1: broken JSON" in refusal(tmp_path / "?.jsonl")
    assert f"{tmp_path}/c.jsonl:1: broken JSON" in refusal(tmp_path / "**" / "c.jsonl")


def test_one_split_of_a_saved_dict_is_a_folder(tmp_path: Path) -> None:
    CONTAINERS["splits"](ROWS["trl"], tmp_path / "splits")
    assert len(read(str(tmp_path / "splits" / "test"), "trl")) == 1
    datasets.DatasetDict({"dev": datasets.Dataset.from_list(ROWS["trl"])}).save_to_disk(str(tmp_path / "no train"))
    assert "has no split train; give the folder of one of dev in it" in refusal(tmp_path / "no train")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"prompt,chosen,rejected\np,a,b\np,a,b,c\n", "a.csv:3: has 4 cells under 3 names; put texts with"),
        ("a.csv", b'prompt,chosen,rejected\np,"a\nb",c\np,"a"b,c\n', "a.csv:4: broken CSV"),
        ("a.csv", b"prompt,chosen\np,a\n", "has the columns prompt, chosen; expected"),
        ("a.csv", b"prompt,chosen,rejected\np,,b\n", "a.csv:2: chosen is missing; give a text"),
        ("a.csv", b"prompt,responses,scores\np,\"['a']\",{}\n", "a.csv:2: responses is \"['a']\"; give a list"),
        ("a.csv", b"", "has no rows"),
        ("a.csv", "prompt,chosen,rejected\np,é,b".encode("latin-1"), "is not UTF-8"),
        ("a.jsonl.gz", b"{}", "cannot read"),
        ("a.jsonl.gz", gzip.compress(b"{}" * 99, mtime=0)[:-9], "cannot read"),
        ("a.jsonl.gz", gzip.compress(b"{}\n{", mtime=0), "a.jsonl.gz:2: broken JSON"),
        ("a.arrow", b"ARROW1 and no more", "cannot read"),
        ("a.arrow", b"", "cannot read"),
        ("a.json", b'{"rows": []}', "has the columns rows; expected"),
        ("a.json", b'{\n"data": [1]}', "row 1: is not an object"),
        ("a.json", b'{\n"data": [1}', "a.json:2: broken JSON"),
        ("folder/x.parquet", b"", "is a folder that datasets has not saved to disk"),
        ("folder/state.json", b"{}", "cannot read"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_mend(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    location = path.parent if path.parent != tmp_path else path
    refused = refusal(location)
    assert message in refused
    assert str(location) in refused
