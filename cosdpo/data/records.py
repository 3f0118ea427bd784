"""Records: rows of a file or hub dataset as they stand there, before their schema is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Records:
    """Rows with their column names; `where` names a row for messages."""

    source: str
    """The file or dataset as the user wrote it."""
    columns: tuple[str, ...]
    rows: list[dict[str, Any]]
    lines: list[int] | None = None
    """Line number of each row, where the source has lines."""
    shards: tuple[Records, ...] = ()
    """The files that the rows come from, in order, where the source is a pattern."""

    @staticmethod
    def joined(source: str, shards: Sequence[Records]) -> Records:
        """The rows of all shards."""
        columns = tuple(dict.fromkeys(name for shard in shards for name in shard.columns))
        return Records(source, columns, [row for shard in shards for row in shard.rows], shards=tuple(shards))

    def where(self, index: int) -> str:
        """FILE:LINE, or SOURCE row N with N from 1."""
        for shard in self.shards:
            if index < len(shard.rows):
                return shard.where(index)
            index -= len(shard.rows)
        return f"{self.source} row {index + 1}" if self.lines is None else f"{self.source}:{self.lines[index]}"
