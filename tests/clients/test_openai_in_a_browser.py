"""OpenAI's JavaScript client on a page of another origin, in Chromium: it is let in, and sees what it reads."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from serve.http.api import with_cors
from tests.clients.conftest import serving

pytestmark = pytest.mark.slow

Visit = Callable[[str], Any]
PROGRAM = """async (url) => {
    const client = new OpenAI({baseURL: url + "/v1", apiKey: "none", dangerouslyAllowBrowser: true, maxRetries: 0});
    const model = (await client.models.list()).data[0].id;
    const messages = [{role: "user", content: "hi"}];
    const asked = {model, messages, max_tokens: 8, temperature: 0, weights: [1, 0]};
    const {data, response} = await client.chat.completions.create(asked).withResponse();
    const pieces = [];
    for await (const chunk of await client.chat.completions.create({...asked, stream: true})) {
        pieces.push(chunk.choices[0]?.delta?.content ?? "");
    }
    messages.push(data.choices[0].message, {role: "user", content: "and"});
    const again = await client.chat.completions.create(asked);
    const refused = await client.chat.completions.create({...asked, weights: [-1, 0]}).catch((error) => error);
    return {
        model,
        text: data.choices[0].message.content,
        pieces,
        again: again.choices[0].message.content,
        ids: [response.headers.get("x-request-id"), data._request_id, refused.requestID],
        refused: [refused.constructor.name, refused.status, refused.message],
    };
}"""


@pytest.fixture(scope="module")
def page_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with the client, which comes from the registry at hand."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("page")
    (folder / "client.js").write_text('import OpenAI from "openai";\nwindow.OpenAI = OpenAI;\n')
    for command in (
        ["npm", "install", "--prefix", ".", "--no-audit", "--no-fund", "openai", "esbuild"],
        ["node_modules/.bin/esbuild", "client.js", "--bundle", "--format=iife", "--outfile=bundle.js"],
    ):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            pytest.skip(f"{command[0]} cannot: {(done.stderr.splitlines() or [''])[-1]}")
    (folder / "index.html").write_text('<!doctype html><title>page</title><script src="bundle.js"></script>')
    return folder


@contextmanager
def page_server(folder: Path) -> Iterator[str]:
    """The origin of the page."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def visit() -> Iterator[Visit]:
    """Opens an address in a browser's tab."""
    from tests.serve.playground.reader import CHROMIUM, playwright  # which skips where there is no browser

    with playwright.sync_playwright() as runner:
        browser = runner.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])

        def opened(address: str) -> Any:
            tab = browser.new_page()
            tab.goto(address)
            return tab

        yield opened
        browser.close()


def behind_a_proxy(origin: str, gate: Any) -> Any:
    """The service for pages of `origin`, behind a proxy that names every request as Ray Serve's does."""
    app = with_cors(gate, [origin])

    async def call(scope: Any, receive: Any, send: Any) -> None:
        async def named(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"x-request-id", uuid4().hex.encode())]}
            await send(message)

        await app(scope, receive, named)

    return call


def test_it_chats_streams_and_reads_errors(page_folder: Path, visit: Visit, base: Path) -> None:
    with page_server(page_folder) as origin, serving(base, partial(behind_a_proxy, origin)) as url:
        tab, sent = visit(origin), []
        tab.on("request", lambda request: sent.append(request))
        seen = tab.evaluate(PROGRAM, url)
    assert seen["model"].startswith("tiny-")
    assert seen["text"]
    assert "".join(seen["pieces"]) == seen["text"]  # greedy twice
    assert len(seen["pieces"]) > 2
    assert seen["again"]
    assert all(seen["ids"])
    assert seen["ids"][0] == seen["ids"][1]
    assert len(set(seen["ids"])) == 2
    assert seen["refused"][:2] == ["BadRequestError", 400]
    assert "weights[0]: Input should be greater than or equal to 0" in seen["refused"][2]
    # Headers that browsers ask about beforehand, so that all of it was let in.
    assert all("x-stainless-lang" in request.headers for request in sent if "/v1/" in request.url)
    assert len([request for request in sent if "/v1/" in request.url]) == 5


def test_pages_that_are_not_named_are_kept_out(page_folder: Path, visit: Visit, base: Path) -> None:
    with page_server(page_folder) as origin, serving(base, partial(behind_a_proxy, "https://page.example")) as url:
        tab = visit(origin)
        with pytest.raises(Exception, match="Connection error"):
            tab.evaluate(PROGRAM, url)
