"""The one error that callers see, in the shape that OpenAI's clients read.

    {"error": {"message", "type", "param", "code"}}

A message is one line for the caller: never a path, a stack trace or a value of somebody else's request.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from cosdpo.errors import InputError

TYPES = {401: "authentication_error", 404: "not_found_error", 408: "timeout_error", 429: "rate_limit_error"}
"""Types of errors by status; others of the caller are invalid_request_error, ours are server_error."""
LONGEST_NAME = 64
"""Characters of a caller's field name that a message repeats."""
UNKNOWN_FIELD = ("extra_forbidden", "none_required")
"""What pydantic calls a field that the body does not have; some bodies take it if it is null."""
LONGEST_MESSAGE = 400
"""Characters of a message, which may repeat names that the caller made up."""


class Problem(BaseModel):
    """What went wrong."""

    message: str
    """One line for a person."""
    type: str
    """Kind of error, by status."""
    param: str | None
    """Field of the request that is at fault."""
    code: str | None
    """What a program can tell apart."""


class Failure(BaseModel):
    """Body of every answer that is not 2xx."""

    error: Problem


class ServiceError(HTTPException):
    """An answer other than 2xx; may be raised anywhere, and crosses processes."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        """Args:
        status: the HTTP status.
        message: one line: what is wrong, and the mend.
        param: field of the request that is at fault.
        code: what a program can tell apart.
        retry_after: seconds after which the same request may succeed.
        """
        headers = None if retry_after is None else {"Retry-After": str(max(1, math.ceil(retry_after)))}
        super().__init__(status, message[:LONGEST_MESSAGE], headers)
        self.param, self.code, self.retry_after = param, code, retry_after

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles by its arguments."""
        return _again, (self.status_code, self.detail, self.param, self.code, self.retry_after)

    def body(self) -> dict[str, Any]:
        """The error as JSON."""
        kind = TYPES.get(self.status_code, "invalid_request_error" if self.status_code < 500 else "server_error")
        problem = Problem(message=self.detail, type=kind, param=self.param, code=self.code)
        return Failure(error=problem).model_dump()

    def response(self) -> JSONResponse:
        """The error as an answer."""
        return JSONResponse(self.body(), self.status_code, self.headers)


def _again(status: int, message: str, param: str | None, code: str | None, retry_after: float | None) -> ServiceError:
    return ServiceError(status, message, param=param, code=code, retry_after=retry_after)


def busy(retry_after: float) -> ServiceError:
    """429: every place is taken."""
    return ServiceError(
        429, "too many requests are waiting; send the request again later", code="queue_full", retry_after=retry_after
    )


def unavailable(message: str, retry_after: float = 1.0) -> ServiceError:
    """503: nobody can answer now."""
    return ServiceError(503, message, code="unavailable", retry_after=retry_after)


def internal() -> ServiceError:
    """500: a defect, of which the caller learns nothing more; the log does."""
    return ServiceError(500, "the service failed to answer this request", code="internal_error")


def timed_out(seconds: float) -> ServiceError:
    """408: the answer took too long."""
    return ServiceError(408, f"no answer within {seconds:g} s; ask for fewer tokens or try again", code="timeout")


def no_such_model(served: str) -> ServiceError:
    """404: the caller names another model than the one `served`."""
    message = f"there is no such model here; /v1/models has {served}"
    return ServiceError(404, message, param="model", code="model_not_found")


@contextmanager
def blaming(param: str, within: str = "") -> Iterator[None]:
    """Turns wrong input within the block into 400 with this field's name.

    Args:
        within: what the field is called there, if not so.
    """
    try:
        yield
    except InputError as error:
        message = " ".join(str(error).split())
        raise ServiceError(400, message.replace(within, param, 1) if within else message, param=param) from error


def invalid(error: RequestValidationError) -> ServiceError:
    """400 for what pydantic refused: the field's name, and what was wrong where.

    Of the alternatives of a union, the one is explained that got furthest, or all that got equally far.
    """
    alternatives: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for problem in error.errors():
        names = tuple(part for part in problem["loc"] if isinstance(part, str))
        alternatives.setdefault(names, []).append(problem)

    def reached(problems: list[Mapping[str, Any]]) -> tuple[int, int]:
        return len(problems[0]["loc"]), -len(problems)

    furthest = max(map(reached, alternatives.values()))
    first, *others = [problems[0] for problems in alternatives.values() if reached(problems) == furthest]
    place = _place(first, error.body)
    if not place:
        return ServiceError(400, "the body must be a JSON object", code="invalid_json")
    param = place[0][:LONGEST_NAME]
    where = "".join(place)[: 2 * LONGEST_NAME]
    if first["type"] in UNKNOWN_FIELD:
        return ServiceError(400, f"{where} is not a field of this request; leave it out", param=param)
    if first["type"] == "missing":
        return ServiceError(400, f"{where} is missing", param=param)
    fitting = dict.fromkeys([_cause(first), *(_cause(other) for other in others if _place(other, error.body) == place)])
    message = " or ".join(fitting).replace(" or Input should be", " or")
    return ServiceError(400, f"{where}: {message}", param=param)


def _place(problem: Mapping[str, Any], body: Any) -> list[str]:
    """Where in the body: the field's name, then `[index]` and `.name` of what is within."""
    place: list[str] = []
    within = body
    for part in problem["loc"][1:]:
        if isinstance(part, int):
            place.append(f"[{part}]")
            within = within[part] if isinstance(within, list) and part < len(within) else None
        elif isinstance(within, dict) and (part in within or problem["type"] == "missing"):
            place.append(f".{part}" if place else part)
            within = within.get(part)
        # Anything else is what pydantic calls an alternative of a union.
    return place


def _cause(problem: Mapping[str, Any]) -> str:
    own = problem.get("ctx", {}).get("error")
    return " ".join((str(own) if isinstance(own, ValueError) else str(problem["msg"])).split())


def answer_errors(app: FastAPI) -> None:
    """Has `app` answer all errors in this shape."""

    async def refused(request: Request, error: Exception) -> JSONResponse:
        if isinstance(error, RequestValidationError):
            return invalid(error).response()
        if isinstance(error, ServiceError):
            return error.response()
        if isinstance(error, HTTPException):  # the router's own: 404 and 405
            messages = {404: "there is no such route; see /docs", 405: "this route takes another method; see /docs"}
            message = messages.get(error.status_code, "the request could not be read")
            refusal = ServiceError(error.status_code, message)
            return JSONResponse(refusal.body(), error.status_code, error.headers)
        return internal().response()  # starlette raises it again behind us, and the gate logs it

    for kind in (RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, refused)
