"""Whatever a client sends, the mistake is its own: never a 5xx, always an error that can be read."""

from __future__ import annotations

import json
from collections import Counter

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from serve.http.access import hashed
from serve.language_service import LanguageService
from serve.ranking_service import RankingService
from tests.serve.conftest import Serve, Served
from tests.serve.http import malformed


async def check(client: httpx.AsyncClient, path: str, body: bytes) -> int:
    """Status of the answer to a body, after a look at its form."""
    answer = await client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code < 500, (path, body[:300], answer.text)
    if answer.status_code != 200:
        assert answer.status_code in (400, 404, 413)
        error = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert len(error["message"]) < 500
        assert "\n" not in error["message"]
        assert "Traceback" not in error["message"]
        assert "/" not in error["message"].replace("/v1/", "").replace("/docs", "")
    elif "data: " not in answer.text:
        json.loads(answer.text, parse_constant=lambda name: pytest.fail(name))
    return answer.status_code


@pytest.mark.anyio
@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
async def test_no_malformed_body_is_a_server_error(serve: Serve, ranker: RankingService, count: int) -> None:
    """Language routes go to the language model, rankings to the ranker. Most must be refused, and some not."""
    statuses: Counter[int] = Counter()
    async with serve() as language, serve(backend=ranker) as ranking:
        for path, body in malformed.requests(count, seed=count):
            client = (ranking if path == "/v1/rank" else language).client
            statuses[await check(client, path, body)] += 1
        for served in (language, ranking):
            assert served.gate.running == 0
            assert (await served.client.get("/healthz")).status_code == 200
        assert language.engine.running() == 0
    assert statuses[400] > 0.6 * count
    assert statuses[200] > 0.02 * count


KEY = {"Authorization": "Bearer key"}
OPERATIONS = (
    *(("POST", path) for path in malformed.VALID),
    *(("GET", path) for path in ("/v1/front", "/v1/models", "/metrics", "/healthz", "/readyz")),
)


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_what_the_documentation_describes_is_what_happens(loaded: LanguageService, method: str, path: str) -> None:
    """Requests made from /openapi.json are answered with a status and a body that it describes."""
    app = Served(loaded, [hashed("key")], 0.0).asgi
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers=KEY)

    @settings(max_examples=20, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    @given(case=schema[path][method].as_strategy())
    def answered(case: schemathesis.Case) -> None:
        answer = case.call(headers=KEY)
        case.validate_response(
            answer, checks=[not_a_server_error, status_code_conformance, response_schema_conformance]
        )

    answered()
