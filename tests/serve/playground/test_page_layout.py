"""An answer or an error of the playground is seen where it is asked for, on laptops and on a phone."""

from __future__ import annotations

from typing import Any

import pytest

from tests.serve.playground.reader import KINDS, LAPTOPS, PHONE, Open, expect, forget, generate, place


@pytest.mark.parametrize("kind", KINDS)
def test_answers_and_errors_are_seen_without_scrolling(visit: Open, kind: tuple[Any, ...]) -> None:
    """Whole answers of three lines or the top of a list, one column and two, on laptops and a phone."""
    opened = visit(*kind)
    page = opened.page
    page.get_by_label("Follow the controls").uncheck()
    for two in (False, True):
        page.get_by_label("Side by side").set_checked(two)
        for width, height in (*LAPTOPS, PHONE):
            page.set_viewport_size({"width": width, "height": height})
            page.locator("#generate").click()
            first = page.locator(".ranked tbody tr:nth-child(3)" if kind[1:] else ".answer .own").first
            expect(first).to_be_in_viewport(ratio=1)
            assert place(page) == (0, width)
            page.route("**/v1/*", lambda route: route.fulfill(status=500, body="{}"))
            page.locator("#generate").click()
            expect(page.get_by_role("alert").locator("visible=true").first).to_be_in_viewport(ratio=1)
            assert place(page) == (0, width)
            page.unroute_all()
    forget(opened.complaints, "500")


@pytest.mark.parametrize("kind", KINDS)
def test_two_trade_offs_on_a_phone_are_a_row_of_two_screens_height(visit: Open, kind: tuple[Any, ...]) -> None:
    """One screen for asking, controls and answer, and one for the front: B lies beside A, at the same height."""
    page = visit(*kind).page
    page.set_viewport_size(dict(zip(("width", "height"), PHONE, strict=True)))
    page.get_by_label("Side by side").check()
    page.locator("#generate").click()
    expect(page.locator(".facts").last).to_contain_text("documents" if kind[1:] else "tokens/s")
    assert page.evaluate("document.documentElement.scrollHeight") <= 2 * PHONE[1]
    a, b = (page.get_by_role("region", name=f"Trade-off {letter}").bounding_box() for letter in "AB")
    assert a["y"] == b["y"]
    assert a["x"] + a["width"] < b["x"] < PHONE[0] - 10  # its edge shows
    page.get_by_role("radio", name="B").check()
    page.locator(".point").first.press("Enter")
    expect(page.locator(".output").last).to_be_in_viewport(ratio=0.95)


def test_answers_and_errors_come_into_view_in_a_low_window(visit: Open) -> None:
    opened = visit(3)
    page = opened.page
    page.set_viewport_size({"width": 400, "height": 420})
    generate(page)
    expect(page.locator(".answer .own")).to_be_in_viewport(ratio=0.5)  # it grows on: the first lines count
    page.get_by_label("Prompt").fill("fail")
    page.get_by_label("Prompt").press("Control+Enter")
    expect(page.get_by_role("alert").locator("visible=true")).to_be_in_viewport(ratio=1)
    forget(opened.complaints, "400")
