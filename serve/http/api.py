"""The HTTP service over a backend: routes, gate, errors, playground. A plain ASGI application that knows no Ray."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.security import HTTPBearer
from fastapi.staticfiles import StaticFiles
from fastapi_offline import FastAPIOffline
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import cosdpo
from serve.http import openai_routes, routes
from serve.http.answering import Service, service_of
from serve.http.backend import Backend
from serve.http.gate import Gate
from serve.http.limits import Limits
from serve.http.metrics import Metrics
from serve.http.schema import HealthSent
from serve.http.service_errors import Failure, answer_errors, unavailable

PLAYGROUND = Path(__file__).parents[1] / "playground"
CHOOSING = Path(cosdpo.__file__).parent / "reports" / "choosing.js"
"""Of the report, which chooses points by the same rule."""
OWN_ONLY = {"Content-Security-Policy": "default-src 'self'", "Cache-Control": "no-cache"}
"""The page loads nothing from elsewhere and runs nothing inline; after an update of the service it is the new one."""
DOCS_FILES = "static-offline-docs"
"""Where the page at /docs finds its script."""
PROBE_SECONDS = 3.0
"""How long the model may take to say that it is well."""

DESCRIPTION = """
One model, every trade-off between its objectives: each request picks its own `weights`.

**Two temperatures.** In our own routes `temperature` is the *DPO temperature* (how far the policy may go from the base)
and the randomness of sampling is `sampling_temperature`. In the OpenAI-compatible routes `temperature` is the
randomness of sampling, and the DPO temperature is `beta`.

Errors are `{"error": {"message", "type", "param", "code"}}` on every route. Unknown fields are refused; in the
OpenAI-compatible routes they are taken if they are null.
"""


def build(backend: Backend, hashes: Sequence[str], limits: Limits, timeout_s: float) -> tuple[FastAPI, Gate]:
    """The application over `backend`, and its gate.

    Args:
        hashes: hashed API keys; none leaves the service open to this machine.
        timeout_s: seconds until an answer is given up.
    """
    app = FastAPIOffline(
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # they would repeat the caller's Host
        static_url=f"/{DOCS_FILES}",
        title="cosdpo",
        version=cosdpo.__version__,
        description=DESCRIPTION,
        servers=[{"url": "."}],
    )
    app.add_middleware(HeadAsGet)
    metrics = Metrics()
    app.state.service = Service(backend, limits, metrics, timeout_s)
    answer_errors(app)
    # For the documentation's Authorize button alone; the gate is what asks for the key.
    described = [Depends(HTTPBearer(auto_error=False))] if hashes else []
    app.include_router(routes.router, dependencies=described)
    app.include_router(openai_routes.router, dependencies=described)
    _add_health(app)
    _add_pages(app)
    return app, Gate(app, hashes=hashes, metrics=metrics, limits=limits, timeout_s=timeout_s)


def with_cors(app: Any, origins: Sequence[str]) -> Any:
    """`app` for pages of other `origins` too. It stands before the gate: browsers ask first, and without a key."""
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=["GET", "POST"],
        allow_headers=["*"],  # OpenAI's client sends a dozen of its own
        expose_headers=["X-Request-ID", "Retry-After"],
    )


def _add_health(app: FastAPI) -> None:
    responses: dict[int | str, dict[str, Any]] = {503: {"model": Failure}}

    @app.get("/health", include_in_schema=False)
    @app.get("/healthz", response_model=HealthSent, tags=["service"], responses=responses)
    async def healthz(request: Request) -> HealthSent:
        """Whether answers come; no key needed."""
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                healthy = await service_of(request).backend.healthy()
        except TimeoutError:
            healthy = False
        if not healthy:
            raise unavailable("the model does not answer")
        return HealthSent()

    @app.get("/readyz", response_model=HealthSent, tags=["service"], responses=responses)
    async def readyz(request: Request) -> HealthSent:
        """Whether requests are welcome: the model is loaded and answers; no key needed."""
        if request.state.closed:
            raise unavailable("the service is stopping")
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await service_of(request).backend.describe()
        except TimeoutError:
            raise unavailable("the model is loading") from None
        return await healthz(request)


class _Files(StaticFiles):
    """The playground's files, which browsers ask for anew after an update of the service."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """A file, or 304 where the browser has it."""
        response = super().file_response(*args, **kwargs)
        response.headers.update(OWN_ONLY)
        return response


class HeadAsGet:
    """Answers HEAD as it would GET, without the body."""

    def __init__(self, app: ASGIApp) -> None:
        """`app`: what answers GET."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def bodiless(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        asked = {**scope, "method": "GET"}
        try:
            await self.app(asked, receive, bodiless)
        finally:
            scope["route"] = asked.get("route")  # the metrics ask for it


def _add_pages(app: FastAPI) -> None:
    """The playground and the documentation. Their addresses are relative: a proxy may put a prefix before them."""

    @app.get("/", include_in_schema=False)
    async def playground() -> FileResponse:
        return FileResponse(PLAYGROUND / "index.html", headers=OWN_ONLY)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title=app.title,
            swagger_js_url=f"{DOCS_FILES}/swagger-ui-bundle.js",
            swagger_css_url=f"{DOCS_FILES}/swagger-ui.css",
            swagger_favicon_url=f"{DOCS_FILES}/favicon.png",
        )

    @app.get("/playground/choosing.js", include_in_schema=False)
    async def choosing() -> FileResponse:
        return FileResponse(CHOOSING, headers=OWN_ONLY)

    app.mount("/playground", _Files(directory=PLAYGROUND, check_dir=False))
