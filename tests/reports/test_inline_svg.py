"""A plot in a page: live colours, hover texts that are escaped, and nothing that it would load."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from cosdpo.reports.drawing import INK, MUTED, PAPER, RULE, mark
from cosdpo.reports.inline_svg import inline_svg
from cosdpo.reports.sheet import Sheet, panels

NAME = '<b> $x$ & "q"'


def plotted() -> Sheet:
    with panels(1, 1, 2.0, key=NAME) as sheet:
        (axes,) = sheet.panels
        axes.set_title(NAME)
        for i, hollow in enumerate((False, True)):
            mark(axes, i, i, "#123456", 6, gid=sheet.hover(f"{NAME} {i}"), hollow=hollow)
        axes.plot([0, 1], [1, 0], color="#654321", gid="line-1")
    return sheet


def test_inks_are_the_pages_own() -> None:
    svg = inline_svg(plotted(), NAME)
    assert not [ink for ink in (INK, MUTED, PAPER, RULE) if ink in svg]
    for name in ("ink", "muted", "rule", "paper"):
        assert f"var(--{name})" in svg
    assert "fill: color-mix(in oklab, #123456, white var(--lift))" in svg
    assert "stroke: color-mix(in oklab, #654321, white var(--lift))" in svg
    assert "var(--sans)" in svg


def test_marks_carry_their_hover_texts_and_all_text_is_escaped() -> None:
    root = ET.fromstring(inline_svg(plotted(), NAME))
    assert root.attrib["aria-label"] == NAME
    groups = [
        (g.attrib["class"], g.attrib["data-point"], g[0].text) for g in root.iter("g") if "data-point" in g.attrib
    ]
    assert sorted(groups) == [("line", "1", f"{NAME} 1"), ("point", "0", f"{NAME} 0"), ("point", "1", f"{NAME} 1")]
    texts = ["".join(text.itertext()).strip() for text in root.iter("text")]
    assert texts.count(NAME) == 2  # title and key, as they are written and not as mathematics


def test_two_plots_of_a_page_share_no_id() -> None:
    one, other = (
        {e.attrib["id"] for e in ET.fromstring(inline_svg(plotted(), name)).iter() if "id" in e.attrib}
        for name in ("one", "other")
    )
    assert one
    assert not one & other
    assert inline_svg(plotted(), "one") == inline_svg(plotted(), "one")
