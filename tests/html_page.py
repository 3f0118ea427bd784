"""A report as a browser reads it."""

from __future__ import annotations

import re
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


def assert_loads_nothing(page: HtmlPage, scripts: int = 0) -> None:
    """The page asks for nothing from outside, runs no more than its own scripts, and has every id once."""
    for tag, attributes in page.elements:
        assert tag not in {"link", "iframe", "object", "embed", "base", "img"}
        assert not {"src", "srcset", "data", "poster", "action", "xlink:href"} & attributes.keys(), (tag, attributes)
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        if "href" in attributes and tag != "a":
            assert attributes["href"].startswith("#"), (tag, attributes)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page.source))
    assert "@import" not in page.source
    assert len(page.scripts) == scripts
    (policy,) = (a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    own = "script-src 'unsafe-inline'; " if scripts else ""
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; {own}img-src data:"
    outside = [a["href"] for tag, a in page.elements if tag == "a" and not a["href"].startswith("trials/")]
    assert outside == ["https://arxiv.org/abs/2410.08316"]
    assert page.source.count("http") - page.source.count("http-equiv") == 1
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
