"""What a reader of the playground does and sees."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="the playground is tested with playwright")
CHROMIUM = Path("/usr/bin/chromium")
if not CHROMIUM.exists():
    pytest.skip(f"no browser at {CHROMIUM}", allow_module_level=True)
expect = playwright.expect
expect.set_options(timeout=10_000)  # a busy machine is no failure

Open = Callable[..., Any]
"""Opens the page over a FakeBackend of these arguments: page, backend, complaints of the browser."""
LAPTOPS = ((1366, 657), (1440, 790), (1920, 1000))
PHONE = (400, 800)
KINDS = ((2,), (3,), (5,), (2, "ranking"), (3, "ranking"))


def generate(page: Any) -> str:
    page.locator("#generate").click()
    return answer(page)


def answer(page: Any, column: str = "A") -> str:
    """The answer once it is finished."""
    expect(page.get_by_role("region", name=f"Trade-off {column}").locator(".facts")).to_contain_text("tokens/s")
    return str(page.get_by_role("group", name=f"Answer {column}").inner_text())


def slider(page: Any) -> Any:
    return page.get_by_role("slider", name="Trade-off between positivity and brevity")


def weight(page: Any, name: str) -> Any:
    return page.get_by_label(f"Weight of {name}").first


def shown(page: Any) -> list[str]:
    """What the fields of the weights show."""
    return [str(field.input_value()) for field in page.locator(".weight").all()]


def copied(page: Any, what: str) -> str:
    page.get_by_role("button", name=f"Copy as {what}").click()
    return str(page.evaluate("navigator.clipboard.readText()"))


def pause(page: Any) -> None:
    """Until what the page would do after the hand's rest of 300 ms has begun."""
    page.evaluate("new Promise((done) => setTimeout(done, 301))")


def place(page: Any) -> tuple[int, int]:
    """How far the page is scrolled, and how wide it is."""
    return tuple(page.evaluate("[scrollY, document.documentElement.scrollWidth]"))


def eventually(holds: Callable[[], bool]) -> None:
    """Waits up to five seconds for what happens in the server's thread."""
    end = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def forget(complaints: list[str], status: str) -> None:
    """Drops what the browser logs of a refusal that the test provoked."""
    complaints[:] = [text for text in complaints if f"responded with a status of {status}" not in text]
