"""Weights typed in the playground: what becomes of them, and what is sent."""

from __future__ import annotations

import json
import re
import shlex

import pytest

from tests.serve.playground.reader import Open, answer, copied, expect, generate, pause, shown, slider, weight


@pytest.mark.parametrize(
    ("typed", "weights"),
    [
        (["0.7", None], [0.7, 0.3]),
        ([None, "0,25"], [0.75, 0.25]),
        (["1", None], [1, 0]),
        (["70", "30"], [0.7, 0.3]),
        (["3", None], [1, 0]),
        ([".7", None, None], [0.7, 0.15, 0.15]),
        (["0.7", "0.2", None], [0.7, 0.2, 0.1]),
        (["0.7", "0.2", "0.1"], [0.7, 0.2, 0.1]),
        (["0.5", "0.2", "0.1"], [0.7, 0.2, 0.1]),  # the oldest takes the rest that nobody else can
        (["0.7", "0.6", None], [0.2, 0.6, 0.2]),  # 1.3 is too much: the oldest yields
        (["3", "1", "0"], [0.75, 0.25, 0]),
        ([*4 * [None], "0.123456"], [*4 * [0.219136], 0.123456]),
    ],
)
def test_typed_weights_are_sent_as_typed(visit: Open, typed: list[str | None], weights: list[float]) -> None:
    """From equal weights. Expected: by hand."""
    opened = visit(len(weights))
    page = opened.page
    page.get_by_label("Follow the controls").uncheck()
    for field, text in zip(page.locator(".weight").all(), typed, strict=True):
        if text is not None:
            field.fill(text)
    assert f"({' '.join(f'{w:.2f}' for w in weights)} at 0.1)" in generate(page)
    assert [wanted.trade_off.weights for wanted in opened.backend.wanted] == [weights]
    assert shown(page) == [f"{round(w, 4):g}" for w in weights]
    assert json.loads(shlex.split(copied(page, "curl"))[-1])["weights"] == weights


def test_typed_weight_leaves_the_others_their_proportion(visit: Open) -> None:
    """At (0.2, 0.2, 0.6), 0.6 for the first leaves 0.4 in shares of 1 to 3. Enter asks, and once."""
    opened = visit(3)
    page = opened.page
    page.get_by_role("button", name=re.compile("^Weights positivity 0.20, brevity 0.20, dialogue 0.60")).click()
    answer(page)
    weight(page, "positivity").fill("0.6")
    weight(page, "positivity").press("Enter")
    expect(page.locator(".answer")).to_contain_text("(0.60 0.10 0.30 at 0.1)")
    pause(page)
    assert [wanted.trade_off.weights for wanted in opened.backend.wanted[1:]] == [[0.6, 0.1, 0.3]]
    assert page.locator(".handle").get_attribute("aria-valuetext") == "positivity 0.60, brevity 0.10, dialogue 0.30"


def test_parts_are_explained_and_end_with_the_next_move(visit: Open) -> None:
    page = visit().page
    weight(page, "positivity").fill("3")
    weight(page, "brevity").fill("1")
    weight(page, "brevity").press("Enter")
    expect(page.locator(".note")).to_have_text("Parts 3 : 1 make weights 0.75, 0.25.")
    assert shown(page) == ["3", "1"]
    expect(slider(page)).to_have_value("25")
    slider(page).press("ArrowRight")
    expect(page.locator(".note")).to_be_empty()
    assert shown(page) == ["0.74", "0.26"]


@pytest.mark.parametrize("text", ["abc", "-1", "", "1e999"])
def test_what_is_no_weight_is_said_beside_it_and_not_sent(visit: Open, text: str) -> None:
    opened = visit()
    page, field = opened.page, weight(opened.page, "brevity")
    field.fill(text)
    page.locator("#generate").click()
    expect(page.locator(".column .notice")).to_have_text("A weight cannot be read: it is marked above.")
    expect(page.locator(".note")).to_have_text(
        f"brevity cannot be \u201c{text}\u201d: type a weight such as 0.7, or parts such as 3 and 1."
    )
    assert field.get_attribute("aria-invalid") == "true"
    assert field.get_attribute("aria-describedby") == page.locator(".note").get_attribute("id")
    field.fill("0.1")
    assert "(0.90 0.10 at 0.1)" in generate(page)
    expect(page.locator(".note")).to_be_empty()
    assert field.get_attribute("aria-invalid") == "false"
    assert len(opened.backend.wanted) == 1
