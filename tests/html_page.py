"""A report as a browser reads it."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "input", "br"}


class HtmlPage(HTMLParser):
    """The elements of a page, its scripts, and its text outside of style and script."""

    def __init__(self, path: Path, between: str = "") -> None:
        """`between` parts the texts of neighbouring elements."""
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self.open: list[str] = []
        self.between = between
        self.feed(self.source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag == "script":
            self.scripts.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag  # well nested: a hole in the escaping shows here first

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        elif "style" not in self.open:
            self.text += data + self.between


class FlowingPage(HtmlPage):
    """The same with every run of white space as one space."""

    def __init__(self, path: Path, between: str = "") -> None:
        super().__init__(path, between)
        self.text = " ".join(self.text.split())
