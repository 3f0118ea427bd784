"""The playground over a language model."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

import httpx
import numpy as np
import pytest

from serve.engine.requests import SamplingParams
from tests.serve.playground.reader import (
    KINDS,
    Open,
    answer,
    copied,
    eventually,
    expect,
    forget,
    generate,
    pause,
    place,
    shown,
    slider,
)


def test_page_says_what_is_served_and_answers(visit: Open) -> None:
    page = visit().page
    assert "stories-1f3a9c04d2e1" in page.locator("header").inner_text()
    assert page.get_by_label("Prompt").input_value() == "Once upon a time, there was a boy named Tom."
    assert "(0.50 0.50 at 0.1)" in generate(page)
    facts = page.locator(".facts").inner_text()
    assert re.search(r"^20\stokens · [\d.]+\stokens/s · .* · prompt\s9\s\(8\scached\)$", facts)


def test_slider_moved_by_key_changes_the_answer_with_the_same_seed(visit: Open) -> None:
    opened = visit()
    generate(opened.page)
    slider(opened.page).press("ArrowRight")
    expect(opened.page.locator(".answer")).to_contain_text("(0.49 0.51 at 0.1)")
    assert slider(opened.page).get_attribute("aria-valuetext") == "positivity 0.49, brevity 0.51"
    first, second = opened.backend.wanted
    assert first.sampling.seed == second.sampling.seed == 0
    assert second.trade_off.weights == [0.49, 0.51]


def test_controls_do_not_ask_when_they_are_not_followed(visit: Open) -> None:
    opened = visit()
    opened.page.get_by_label("Follow the controls").uncheck()
    slider(opened.page).press("End")
    pause(opened.page)
    assert "(0.00 1.00 at 0.1)" in generate(opened.page)
    assert len(opened.backend.wanted) == 1


def test_fast_moves_end_in_one_answer(visit: Open) -> None:
    """Ten moves within the pause, as of a hand that drags."""
    opened = visit()
    slider(opened.page).evaluate(
        """(node) => {
          for (let value = 49; value >= 40; value -= 1) {
            node.value = value;
            node.dispatchEvent(new Event("input"));
          }
        }"""
    )
    expect(opened.page.locator(".answer")).to_contain_text("(0.60 0.40 at 0.1)")
    assert len(opened.backend.wanted) == 1


def test_temperature_goes_from_the_smallest_to_ten_times_the_trained(visit: Open) -> None:
    """Left is closer to the base, so a larger temperature; the far right is the smallest that the service answers."""
    page = visit().page
    control = page.get_by_role("slider", name="DPO temperature")
    assert control.get_attribute("aria-valuetext") == "0.1, as trained"
    control.press("Home")
    expect(page.locator(".answer")).to_contain_text("at 1)")
    assert "closer to the base" in control.get_attribute("aria-valuetext")
    control.press("End")
    expect(page.locator(".answer")).to_contain_text("at 0.01)")
    assert "beyond the training" in control.get_attribute("aria-valuetext")
    expect(page.locator(".readout caption")).to_have_text(
        "Here: a measured trade-off, measured at the trained temperature, not at the one set."
    )


def test_settings_are_sent_and_checked(visit: Open) -> None:
    opened = visit()
    page = opened.page
    page.get_by_text("More settings").click()
    for name, value in {"Sampling temperature": "0.5", "Top-p": "0.9", "Max tokens": "7", "Seed": "42"}.items():
        page.get_by_label(name, exact=True).fill(value)
    generate(page)
    (wanted,) = opened.backend.wanted
    assert wanted.sampling == SamplingParams(temperature=0.5, top_p=0.9, seed=42)
    assert wanted.max_new_tokens == 7
    page.get_by_label("Top-p").fill("2")
    page.locator("#generate").click()
    expect(page.locator(".column .notice")).to_contain_text("out of its range")
    assert len(opened.backend.wanted) == 1


def test_a_floor_moves_the_trade_off_to_where_it_holds(visit: Open) -> None:
    """Accuracy is 0.5 and a quarter of the root of the weight: 0.625 from 0.25 on, of which 0.3 is a point."""
    page = visit().page
    page.get_by_text("Choose by what must hold").click()
    page.get_by_label("The best of").select_option("brevity")
    page.get_by_label("Bound of positivity").fill("100")
    expect(page.locator(".answer")).to_contain_text("(0.30 0.70 at 0.1)")
    expect(page.locator(".wishes [role=status]")).to_contain_text("There: positivity 0.637, brevity 0.709")
    page.get_by_label("Bound of brevity").fill("200")
    expect(page.locator(".wishes .missed")).to_contain_text("No weights hold all of it: the nearest, which miss")


def test_point_of_the_front_sets_the_weights_and_generates(visit: Open) -> None:
    page = visit().page
    page.get_by_role("button", name=re.compile("^Weights positivity 0.20, brevity 0.80; accuracy")).click()
    assert "(0.20 0.80 at 0.1)" in answer(page)
    expect(slider(page)).to_have_value("80")
    expect(page.locator(".tip")).to_contain_text("weight 0.80")


def test_front_is_walked_by_keys(visit: Open) -> None:
    """One stop of the tab key; arrows go from point to point, Enter chooses."""
    page = visit().page
    points = page.locator(".point")
    expect(points).to_have_count(11)
    expect(page.locator('.point[tabindex="0"]')).to_have_count(1)
    points.first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(points.nth(2)).to_be_focused()
    page.keyboard.press("Enter")
    assert "(0.20 0.80 at 0.1)" in answer(page)


def test_values_between_measured_points_are_interpolated(visit: Open) -> None:
    """At (0.45, 0.55), half way between two points of accuracy 0.5 + 0.25 sqrt(w)."""
    page = visit().page
    for _ in range(5):
        slider(page).press("ArrowRight")
    between = 0.5 + 0.25 * (0.4**0.5 + 0.5**0.5) / 2
    expect(page.locator(".readout tbody tr").first).to_contain_text(f"{between:.3f}")
    expect(page.locator(".readout caption")).to_have_text("Here: interpolated between measured trade-offs.")


def test_axes_of_losses_are_reversed(visit: Open) -> None:
    """More weight on positivity must be further right whatever the metric."""
    page = visit().page

    def places() -> list[float]:
        return [point.bounding_box()["x"] for point in page.locator(".point").all()]

    assert places() == sorted(places())
    page.get_by_label("Metric").select_option("loss")
    expect(page.locator(".axes")).to_contain_text("less is better, reversed")
    assert places() == sorted(places())


def test_points_of_other_temperatures_stand_back_and_set_theirs(visit: Open) -> None:
    """At twice the trained temperature the fake front's gains are half as large: 0.5 + 0.125 sqrt(w)."""
    page = visit(ratios=[1.0, 2.0]).page
    expect(page.locator(".point")).to_have_count(22)
    expect(page.locator(".point.off")).to_have_count(11)
    page.get_by_role(
        "button", name=re.compile("^Weights positivity 0.20, .* at 2\u00d7 the trained temperature")
    ).click()
    expect(page.locator(".answer")).to_contain_text("(0.20 0.80 at 0.2)")
    expect(page.locator(".readout tbody tr").first).to_contain_text(f"{0.5 + 0.125 * 0.2**0.5:.3f}")
    assert page.get_by_role("slider", name="DPO temperature").get_attribute("aria-valuetext").startswith("0.2, 2\u00d7")
    assert set(page.locator(".point.off").evaluate_all("nodes => nodes.map((node) => node.dataset.ratio)")) == {"1"}


def test_stop_keeps_what_came_and_frees_the_service(visit: Open) -> None:
    opened = visit()
    page, stop = opened.page, opened.page.get_by_role("button", name="Stop")
    expect(stop).to_be_disabled()
    page.get_by_label("Prompt").fill("slow")
    page.get_by_label("Prompt").press("Control+Enter")
    expect(page.locator(".answer")).to_contain_text("Tom ran to")
    stop.click()
    expect(page.locator(".facts")).to_have_text("Stopped")
    text = page.locator(".answer").inner_text()
    eventually(lambda: opened.backend.closed == 1)
    assert page.locator(".answer").inner_text() == text


def test_new_answer_takes_over_from_a_running_one(visit: Open) -> None:
    """The old one is broken off at the service, and no word of it comes any more."""
    opened = visit()
    page, prompt = opened.page, opened.page.get_by_label("Prompt")
    prompt.fill("slow")
    prompt.press("Control+Enter")
    expect(page.locator(".answer")).to_contain_text("Tom")
    prompt.fill("quick")
    slider(page).press("End")
    text = answer(page)
    assert text.endswith("(0.00 1.00 at 0.1) ")
    eventually(lambda: opened.backend.closed == 1)
    assert page.locator(".answer").inner_text() == text


def test_refusal_and_break_are_said_in_the_page(visit: Open) -> None:
    opened = visit()
    page, notice = opened.page, opened.page.get_by_role("alert").locator("visible=true")
    page.get_by_label("Prompt").fill("fail")
    page.locator("#generate").click()
    expect(notice).to_have_text(
        "The service refused the request: prompt is too long: it has 600 tokens of at most 512."
    )
    page.get_by_label("Prompt").fill("break")
    page.locator("#generate").click()
    expect(notice).to_have_text("The answer broke off: the engine stopped")
    expect(page.locator(".answer")).to_have_text("Tom ran to ")
    page.get_by_label("Prompt").fill("well")
    generate(page)
    expect(notice).to_have_count(0)
    forget(opened.complaints, "400")


def test_busy_service_says_when_to_come_back(visit: Open) -> None:
    opened = visit()
    body = json.dumps({"error": {"message": "16 requests are waiting"}})
    opened.page.route(
        "**/v1/generate", lambda route: route.fulfill(status=429, headers={"Retry-After": "3"}, body=body)
    )
    opened.page.locator("#generate").click()
    expect(opened.page.locator(".column .notice")).to_have_text(
        "The service is busy: 16 requests are waiting. Try again in 3 s."
    )
    forget(opened.complaints, "429")


def test_key_is_asked_for_once_refused_and_never_copied(visit: Open) -> None:
    refused = json.dumps({"error": {"message": "give an API key"}})

    def check(route: Any) -> None:
        if route.request.headers.get("authorization") == "Bearer open sesame":
            route.continue_()
        else:
            route.fulfill(status=401, body=refused)

    opened = visit()
    page = opened.page
    page.route("**/v1/generate", check)
    expect(page.get_by_label("API key")).to_be_hidden()
    page.locator("#generate").click()
    expect(page.get_by_label("API key")).to_be_focused()
    page.keyboard.type("open sesame")
    page.keyboard.press("Enter")
    answer(page)
    expect(page.get_by_label("API key")).to_be_hidden()
    command = copied(page, "curl")
    assert "sesame" not in command
    assert "Authorization: Bearer $COSDPO_API_KEY" in shlex.split(command)
    assert page.evaluate("localStorage.length") == 0
    forget(opened.complaints, "401")


def test_side_by_side_streams_both_and_shows_where_they_part(visit: Open) -> None:
    opened = visit()
    page = opened.page
    page.get_by_label("Side by side").check()
    one, other = answer(page, "A"), answer(page, "B")
    assert "(0.50 0.50 at 0.1)" in one
    assert "(0.00 1.00 at 0.1)" in other
    assert opened.backend.wanted[0].sampling.seed == opened.backend.wanted[1].sampling.seed
    shared = page.locator(".shared").all_inner_texts()
    assert shared == ["Tom ran to the park. Then he ", "Tom ran to the park. Then he "]
    assert one.split()[7] != other.split()[7]
    expect(page.get_by_text("Grey: what both answers begin with.")).to_be_visible()
    page.get_by_role("radio", name="B").check()
    page.get_by_role("button", name=re.compile("^Weights positivity 0.70")).click()
    expect(page.get_by_role("group", name="Answer B")).to_contain_text("(0.70 0.30 at 0.1)")
    expect(page.get_by_role("group", name="Answer A")).to_contain_text("(0.50 0.50 at 0.1)")
    page.get_by_label("Side by side").uncheck()
    expect(page.get_by_role("region", name="Trade-off B")).to_have_count(0)
    expect(page.locator(".shared")).to_have_text("")


def test_nothing_comes_from_elsewhere_and_nothing_old(service: tuple[Any, str]) -> None:
    _, address = service
    for path in ("/", "/playground/app.js", "/playground/style.css"):
        headers = httpx.get(address + path).raise_for_status().headers
        assert headers.get_list("content-security-policy", True) == ["default-src 'self'", "frame-ancestors 'none'"]
        assert headers["cache-control"] == "no-cache"
        again = httpx.get(address + path, headers={"If-None-Match": headers["etag"]})
        assert again.status_code == 304 or path == "/"
    assert "default-src" not in httpx.get(f"{address}/docs").headers["content-security-policy"]  # it has scripts inline


def test_curl_and_python_ask_for_the_same_answer(visit: Open) -> None:
    """Both are run as copied: what they print must be what the page shows. The prompt tries the quoting."""
    page = visit().page
    page.get_by_label("Prompt").fill("It's \"quoted\" $HOME `date` \\ \n and Zoë's.")
    slider(page).press("ArrowRight")
    text = answer(page)
    curl = shlex.split(copied(page, "curl"))
    assert curl[0] == "curl"
    headers = dict(curl[k + 1].split(": ") for k, word in enumerate(curl) if word == "-H")
    body = curl[curl.index("-d") + 1]
    assert json.loads(body)["prompt"] == "It's \"quoted\" $HOME `date` \\ \n and Zoë's."
    assert httpx.post(curl[1], content=body, headers=headers).raise_for_status().json()["text"].strip() == text.strip()
    printed: list[str] = []
    exec(copied(page, "Python"), {"print": printed.append})
    assert printed[0].strip() == text.strip()


def test_code_is_shown_where_the_clipboard_is_closed(visit: Open) -> None:
    page = visit().page
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('not allowed')); }")
    page.get_by_role("button", name="Copy as curl").click()
    assert shlex.split(page.get_by_label("The request as code").input_value())[0] == "curl"
    page.get_by_role("button", name="Close").click()
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_triangle_moves_by_key_and_by_hand(visit: Open) -> None:
    """The handle stands at the middle; a step of 0.05 up gives dialogue 0.38 at the cost of the others alike."""
    page = visit(3).page
    handle = page.get_by_role("slider", name="Trade-off between positivity, brevity, dialogue")
    handle.press("ArrowUp")
    expect(page.locator(".answer")).to_contain_text("(0.31 0.31 0.38 at 0.1)")
    assert handle.get_attribute("aria-valuetext") == "positivity 0.31, brevity 0.31, dialogue 0.38"
    boxes = [corner.bounding_box() for corner in page.locator(".triangle .corner").all()]
    corners = np.array([[box["x"] + box["width"] / 2, box["y"] + box["height"] / 2] for box in boxes])
    page.mouse.move(*corners.mean(axis=0))
    page.mouse.down()
    page.mouse.move(*(np.array([0.2, 0.3, 0.5]) @ corners))
    expect(page.locator(".answer")).to_contain_text("(0.20 0.30 0.50 at 0.1)")
    page.mouse.move(*(corners[0] + [-80, 60]))  # outside: the nearest corner
    page.mouse.up()
    expect(page.locator(".answer")).to_contain_text("(1.00 0.00 0.00 at 0.1)")
    handle.press("ArrowLeft")
    assert handle.get_attribute("aria-valuetext") == "positivity 1, brevity 0, dialogue 0"
    handle.press("ArrowRight")
    handle.press("Shift+ArrowRight")
    expect(page.locator(".answer")).to_contain_text("(0.94 0.06 0.00 at 0.1)")


def test_three_objectives_have_pairs_and_triangles(visit: Open) -> None:
    page = visit(3).page
    views = page.get_by_label("View")
    assert len(views.locator("option").all()) == 6
    for view in views.locator("option").all_inner_texts():
        views.select_option(view)
        expect(page.locator(".point")).to_have_count(21)
    page.get_by_role("button", name=re.compile("^Weights positivity 0.20, brevity 0.20, dialogue 0.60")).click()
    expect(page.locator(".answer")).to_contain_text("(0.20 0.20 0.60 at 0.1)")


def test_five_objectives_have_a_slider_each_and_shares_that_sum_to_one(visit: Open) -> None:
    """Others stand at 20 of 100; 80 and four times 20 make shares of one half and one eighth."""
    opened = visit(5)
    page = opened.page
    page.get_by_role("slider", name="Importance of positivity").fill("80")
    answer(page)
    assert opened.backend.wanted[-1].trade_off.weights == [0.5, 0.125, 0.125, 0.125, 0.125]
    assert shown(page) == ["0.5", *4 * ["0.125"]]
    expect(page.locator(".point .line")).to_have_count(35)


def test_without_a_front_the_rest_works(visit: Open) -> None:
    opened = visit(measured=False)
    expect(opened.page.get_by_text("This run has no measured front")).to_be_visible()
    opened.page.get_by_label("Prompt").fill("Hello")
    assert "(0.50 0.50 at 0.1)" in generate(opened.page)
    slider(opened.page).press("Home")
    expect(opened.page.locator(".answer")).to_contain_text("(1.00 0.00 at 0.1)")
    forget(opened.complaints, "404")


@pytest.mark.parametrize("kind", KINDS[:4])
def test_controls_have_names(visit: Open, kind: tuple[Any, ...]) -> None:
    """By the browser's own accessibility tree, with everything opened, which leaves a narrow page its width."""
    page = visit(*kind).page
    page.get_by_label("Side by side").check()
    page.set_viewport_size({"width": 360, "height": 800})
    page.evaluate("document.querySelectorAll('details').forEach((node) => (node.open = true))")
    page.wait_for_function("document.documentElement.scrollWidth === 360")  # a busy machine lays out when it can
    assert place(page) == (0, 360)
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    controls = {"button", "link", "checkbox", "radio", "slider", "spinbutton", "textbox", "combobox", "region", "group"}
    named = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in tree if not node["ignored"]]
    found = [(role, name) for role, name in named if role in controls]
    assert len(found) > 20
    # <details> is a group without a name; its summary has one.
    assert [role for role, name in found if not name and role != "group"] == []
    sliders = page.get_by_role("slider").all()
    assert all(control.get_attribute("aria-valuetext") for control in sliders)


def test_screen_reader_hears_sentences_and_not_every_word(visit: Open) -> None:
    """The stream is outside the live region, which gets less than one utterance for each of 20 words."""
    page = visit(pause=0.02).page
    generate(page)
    assert page.locator("[aria-live] .answer, [aria-live].answer").count() == 0
    spoken = page.locator(".spoken p").all_inner_texts()
    assert spoken[0] == "Generating"
    assert spoken[-1] == "Finished, 20 tokens."
    assert len(spoken) < 6
