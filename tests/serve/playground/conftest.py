"""The page at `/` in one real browser, over one real HTTP application and backends that are no models."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn

from serve.http import api
from serve.http.limits import Limits
from tests.serve.fake_backend import FakeBackend


class Swapped:
    """The backend of the one service that all tests share: every test puts a new one in."""

    now: FakeBackend

    def __getattr__(self, name: str) -> Any:
        return getattr(self.now, name)


@pytest.fixture(scope="package")
def service() -> Iterator[tuple[Swapped, str]]:
    """A backend to be filled, and the address where it is served."""
    backend = Swapped()
    _, gate = api.build(backend, [], Limits(), 120.0)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(gate, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield backend, f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(5)


@pytest.fixture(scope="package")
def tab() -> Iterator[Any]:
    """One tab of one browser."""
    from playwright.sync_api import sync_playwright

    from tests.serve.playground.reader import CHROMIUM  # which skips the tests where there is none

    with sync_playwright() as runner:
        browser = runner.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        tab = browser.new_context(permissions=["clipboard-read", "clipboard-write"]).new_page()
        tab.set_default_timeout(10_000)
        yield tab
        browser.close()


loads = itertools.count()  # a browser fills an address that it knows with what the last reader typed


@pytest.fixture
def visit(tab: Any, service: tuple[Swapped, str]) -> Iterator[Callable[..., Any]]:
    """Opens the page over a backend with these arguments; fails at the end if the browser complained of anything."""
    backend, address = service
    complaints: list[str] = []
    listeners = {
        "console": lambda message: message.type in ("error", "warning") and complaints.append(message.text),
        "pageerror": lambda error: complaints.append(str(error)),
        "request": lambda sent: sent.url.startswith(address) or complaints.append(f"asked for {sent.url}"),
    }
    for event, listener in listeners.items():
        tab.on(event, listener)

    def visit(*args: Any, **kwargs: Any) -> Any:
        backend.now = FakeBackend(*args, **kwargs)
        tab.goto(f"{address}/?{next(loads)}")
        tab.locator("#main").wait_for()
        return SimpleNamespace(page=tab, backend=backend.now, complaints=complaints)

    tab.set_viewport_size({"width": 1280, "height": 720})
    yield visit
    tab.unroute_all()
    tab.evaluate("sessionStorage.clear()")
    for event, listener in listeners.items():
        tab.remove_listener(event, listener)
    assert complaints == []
