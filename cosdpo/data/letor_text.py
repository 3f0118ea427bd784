"""The text of ranking files: lines by the block, their number of features, and the sizes of queries beside them."""

from __future__ import annotations

import bz2
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from cosdpo.errors import InputError

BLOCK_BYTES = 8 << 20
"""About as much of a file is read at once."""
MOST_FEATURES = 10_000
"""Higher feature numbers are refused: rows are stored dense, and one stray number would fill the memory with zeros."""
COMPRESSED = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open}
"""How a file is opened that begins so."""


def sizes_beside(path: Path) -> Path | None:
    """The file with the documents of each query, as LightGBM (FILE.query) and XGBoost (FILE.group) keep them."""
    plain = path.with_suffix("") if path.suffix in (".gz", ".bz2") else path
    places = [place.with_name(place.name + end) for place in (path, plain) for end in (".query", ".group")]
    return next((place for place in places if place.is_file()), None)


def names_queries(path: Path) -> bool:
    """Whether the first document of a file says which query it belongs to."""
    for _, lines in blocks(path):
        for line in lines:
            if words := line.partition(b"#")[0].split(None, 2):
                return len(words) > 1 and words[1].startswith(b"qid:")
    return False


def sizes_in(path: Path) -> list[int]:
    """The sizes of queries in a file, a line each.

    Raises:
        InputError: a line is no whole number above 0.
    """
    sizes = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if words := line.split():
            if len(words) > 1 or not words[0].isdigit() or not int(words[0]):
                shown = line.decode(errors="replace")[:40]
                raise InputError(f"{path}:{number}: {shown!r} is not the number of documents of a query")
            sizes.append(int(words[0]))
    return sizes


def width_of(path: Path, first_feature: int) -> int:
    """How many features the highest number tells."""
    highest = -1
    for _, lines in blocks(path):
        numbers = _numbers(b"\n".join([line.partition(b"#")[0] for line in lines]))
        highest = max(highest, int(numbers.max(initial=-1)))
    return min(highest, MOST_FEATURES) + 1 - first_feature if highest >= first_feature else 0


def _numbers(text: bytes) -> npt.NDArray[np.int64]:
    """The whole numbers that stand before colons; those of more than six digits are cut, and refused later."""
    characters = np.frombuffer(text, np.uint8)
    colons = np.flatnonzero(characters == ord(":"))
    numbers = np.zeros(len(colons), np.int64)
    digits = np.ones(len(colons), bool)
    for place in range(1, 7):
        digit = characters[np.maximum(colons - place, 0)].astype(np.int64) - ord("0")
        digits &= (colons >= place) & (digit >= 0) & (digit <= 9)
        if place == 1:
            numbers[~digits] = -1
        numbers += np.where(digits, digit * 10 ** (place - 1), 0)
    return numbers


def blocks(path: Path) -> Iterator[tuple[int, list[bytes]]]:
    """Lines by the block, each with the number of its first."""
    first = 1
    with _opened(path) as file:
        if file.read(3) != b"\xef\xbb\xbf":
            file.seek(0)
        while lines := file.readlines(BLOCK_BYTES):
            yield first, lines
            first += len(lines)


def _opened(path: Path) -> IO[bytes]:
    """The bytes of a file, decompressed where it is compressed."""
    with path.open("rb") as file:
        start = file.read(3)
    opener: Any = next((opener for magic, opener in COMPRESSED.items() if start.startswith(magic)), open)
    opened: IO[bytes] = opener(path, "rb")
    return opened
