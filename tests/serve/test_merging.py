"""Streams of one request as one: how parts are joined, and how often they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from itertools import pairwise
from typing import Any

import pytest

from serve.engine.requests import Chunk, Usage
from serve.merging import LONGEST, SHORTEST, Pace, joined, merged

pytestmark = pytest.mark.anyio
USAGE = Usage(1, 0, 4, 0)


class Typed:
    """A letter every `pause` seconds; what came since the last chunk is joined, as the engine's streams do it."""

    def __init__(self, text: str, pause: float = 0.0, fails: bool = False) -> None:
        self.text, self.pause, self.fails, self.given, self.cancelled = text, pause, fails, 0, False

    async def __aiter__(self) -> AsyncIterator[Chunk]:
        loop = asyncio.get_running_loop()
        start = loop.time()
        while self.given < len(self.text):
            await asyncio.sleep(self.pause)
            typed = min(len(self.text), int((loop.time() - start) / self.pause) if self.pause else len(self.text))
            if typed == self.given:
                continue
            piece, self.given = self.text[self.given : typed], typed
            last = typed == len(self.text)
            if last and self.fails:
                raise ValueError("broke")
            yield Chunk(piece, (), "stop" if last else None, USAGE)

    def cancel(self) -> None:
        self.cancelled = True


def test_the_more_texts_the_fewer_parts_within_bounds() -> None:
    seconds = [Pace(texts).seconds for texts in range(100)]
    assert seconds == sorted(seconds)
    assert (seconds[1], seconds[8], seconds[-1]) == (SHORTEST, 0.01, LONGEST)
    assert seconds[20] == pytest.approx(0.025)


async def test_all_texts_come_whole_under_their_own_number() -> None:
    texts: dict[int, str] = {0: "", 1: "", 2: ""}
    async for part in merged([Typed("abcdef", 0.004), Typed("xy"), Typed("1234", 0.01)], Pace()):
        texts[part.index] += part.chunk.text
    assert texts == {0: "abcdef", 1: "xy", 2: "1234"}


async def test_parts_keep_their_distance_after_the_first_and_join_what_came_meanwhile() -> None:
    pace = Pace(31)  # with this text 32, so that 40 ms lie between two parts
    loop = asyncio.get_running_loop()
    times = [loop.time() async for _ in merged([Typed("a" * 40, 0.005)], pace)]
    assert 2 <= len(times) <= 0.2 / 0.04 + 2
    assert all(later - earlier >= 0.039 for earlier, later in pairwise(times))
    assert pace.texts == 31


async def test_a_text_that_breaks_off_ends_all_and_counts_no_more() -> None:
    pace = Pace()
    parts: Any = merged([Typed("ab", fails=True), Typed("x" * 100, 0.01)], pace)
    assert pace.texts == 0
    with pytest.raises(ValueError, match="broke"):
        await anext(parts)
    assert pace.texts == 0


async def test_a_reader_who_leaves_counts_no_more() -> None:
    pace = Pace()
    source: Any = merged([Typed("a" * 100, 0.005)], pace)
    async with aclosing(source) as parts:
        await anext(parts)
        assert pace.texts == 1
    assert pace.texts == 0


async def test_texts_that_do_not_stream_come_in_one_piece_each() -> None:
    parts = [part async for part in joined([Typed("abc", 0.002), Typed("xyz", 0.001)])]
    assert [(part.index, part.chunk.text, part.chunk.finish_reason) for part in parts] == [
        (0, "abc", "stop"),
        (1, "xyz", "stop"),
    ]
