"""A stand-in of the Hugging Face hub on 127.0.0.1 that keeps models in memory: what pushing and loading ask for."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

TOKEN = "hf_secret"
SHA = "0123456789abcdef0123456789abcdef01234567"


class HubServer(ThreadingHTTPServer):
    """Models by OWNER/NAME; only TOKEN may write, and only to `owner`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.owner = "alice"
        self.models: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.large: dict[str, bytes] = {}
        """Contents of files that came by Git LFS, by SHA-256."""
        self.cards: dict[str, dict[str, Any]] = {}
        """Metadata of the cards of models that are there from the beginning."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Request(BaseHTTPRequestHandler):
    server: HubServer

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        path = self.path.split("?")[0].strip("/").split("/")
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.answer(401, {"error": "Invalid credentials"})
        elif path == ["api", "validate-yaml"]:
            self.answer(200, {"errors": [], "warnings": []})
        elif path == ["api", "repos", "create"]:
            self.create(json.loads(body))
        elif path[-1] == "batch":
            objects = [
                {**wanted, "actions": {"upload": {"href": f"{self.server.address}/large/{wanted['oid']}"}}}
                for wanted in json.loads(body)["objects"]
            ]
            self.answer(200, {"transfer": "basic", "objects": objects})
        elif path[-2] == "preupload":
            files = [
                {
                    "path": name,
                    "uploadMode": "lfs" if name.endswith("safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for name in (file["path"] for file in json.loads(body)["files"])
            ]
            self.answer(200, {"files": files})
        elif path[-2] == "commit":
            self.commit("/".join(path[2:4]), body)

    def create(self, wanted: dict[str, Any]) -> None:
        name = f"{wanted['organization']}/{wanted['name']}"
        if wanted["organization"] != self.server.owner:
            self.answer(403, {"error": "You don't have the rights to create a model under this namespace"})
        elif name in self.server.models:
            self.answer(409, {"error": "You already created this model repo", "url": f"{self.server.address}/{name}"})
        else:
            self.server.models[name] = {}
            self.server.private[name] = wanted.get("visibility") == "private" or wanted.get("private", False)
            self.answer(200, {"url": f"{self.server.address}/{name}"})

    def commit(self, name: str, body: bytes) -> None:
        files = self.server.models[name]
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "lfsFile":
                files[line["value"]["path"]] = self.server.large[line["value"]["oid"]]
        self.answer(200, {"success": True, "commitOid": SHA, "commitUrl": f"{self.server.address}/{name}/commit/{SHA}"})

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.large[hashlib.sha256(content).hexdigest()] = content
        self.answer(200, {})

    def do_GET(self) -> None:
        path = self.path.split("?")[0].strip("/").split("/")
        api = path[:2] == ["api", "models"]
        name = "/".join(path[2:4] if api else path[:2])
        if name not in self.server.models:
            self.answer(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
            return
        files = self.server.models[name]
        if not api:  # OWNER/NAME/resolve/REVISION/FILE
            content = files[path[4]]
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", SHA)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)
        elif "tree" in path:
            tree = [
                {"type": "file", "path": file, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for file, content in files.items()
            ]
            self.answer(200, tree)
        else:
            siblings = [{"rfilename": file} for file in files]
            card = self.server.cards.get(name, {})
            private = self.server.private.get(name, False)
            self.answer(200, {"id": name, "sha": SHA, "private": private, "siblings": siblings, "cardData": card})

    def do_HEAD(self) -> None:
        self.do_GET()

    def answer(self, status: int, content: object, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        for key, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def running_hub() -> Iterator[HubServer]:
    """A hub that answers until the context ends."""
    with HubServer() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
