"""The playground over a ranker."""

from __future__ import annotations

from typing import Any

from tests.serve.playground.reader import Open, expect, forget


def ranks(page: Any) -> list[int]:
    """Documents from 0 in the order shown."""
    return [int(name.split()[1]) - 1 for name in page.locator(".ranked tbody th").all_inner_texts()]


def test_ranker_reorders_and_says_how_far_from_the_base(visit: Open) -> None:
    opened = visit(2, "ranking")
    page, documents = opened.page, opened.backend.documents
    expect(page.locator(".ranked tbody tr")).to_have_count(12)
    expect(page.locator(".facts")).to_contain_text("of 12 documents")
    base = (-documents[:, 0]).argsort().tolist()
    for key, weights in (("Home", (1, 0)), ("End", (0, 1))):
        page.get_by_role("slider", name="Trade-off between quality and clicks").press(key)
        order = (-(documents[:, 0] + 2 * documents[:, 1:3] @ weights)).argsort().tolist()
        expect(page.locator(".ranked tbody th").first).to_have_text(f"document {order[0] + 1}")
        assert ranks(page) == order
        up = base.index(order[0])
        expect(page.locator(".ranked tbody td.up, .ranked tbody td.same, .ranked tbody td.down").first).to_have_text(
            f"\u25b2 {up}" if up else "\u2013"
        )


def test_own_list_is_ranked_or_refused_in_words(visit: Open) -> None:
    page = visit(2, "ranking").page
    page.get_by_text("Use your own list").click()
    area = page.get_by_label("Documents as CSV")
    area.fill("1,0,0,0,0,0,0,0\n2;0;0;0;0;0;0;0\n0,9,0,0,0,0,0,0")
    page.get_by_role("button", name="Rank").click()
    expect(page.locator(".ranked tbody tr")).to_have_count(3)
    assert ranks(page) == [2, 1, 0]
    area.fill("1,2\n3,x")
    page.get_by_role("button", name="Rank").click()
    expect(page.locator(".column .notice")).to_have_text("Document 1 has 2 numbers; this ranker reads 8 features.")
    area.fill("1,2,3,4,5,6,7,x")
    page.get_by_role("button", name="Rank").click()
    expect(page.locator(".column .notice")).to_contain_text("Document 1 has \u201cx\u201d where a number should be")


def test_ranker_without_an_example_waits_for_the_readers_list(visit: Open) -> None:
    opened = visit(2, "ranking", measured=False)
    opened.page.get_by_label("Documents as CSV").fill("size,age,links\n1,0,0\n0,5,0")
    opened.page.get_by_role("button", name="Rank").click()
    expect(opened.page.locator(".ranked tbody tr")).to_have_count(2)
    assert ranks(opened.page) == [1, 0]
    assert opened.page.locator(".ranked thead .feature").all_inner_texts() == ["size", "age"]  # links do not differ
    forget(opened.complaints, "404")
