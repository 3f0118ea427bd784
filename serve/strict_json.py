"""JSON as the standard has it, and no more: what Python's parser lets through is refused here.

NaN and Infinity are no JSON; a number beyond the range of a double would silently become infinite; of a field given
twice only one would count; half a surrogate pair is no text that a tokenizer could read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from fastapi import Request, Response
from fastapi.routing import APIRoute

from serve.errors import ServiceError

LONGEST_INTEGER = 20
"""Characters of an integer: enough for 64 bits and a sign."""


def parse(body: bytes) -> Any:
    """The value of a JSON text in UTF-8.

    Raises:
        ServiceError: 400, not standard JSON.
    """
    try:
        text = body.decode("utf-8")
        value = json.loads(
            text, parse_constant=_constant, parse_float=_float, parse_int=_integer, object_pairs_hook=_object
        )
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise _broken("a text holds half of a surrogate pair") from None
    except UnicodeDecodeError:
        raise _broken("it is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise _broken(f"{error.msg} at character {error.pos}") from None
    except RecursionError:
        raise _broken("it is nested too deeply") from None
    return value


class StrictRequest(Request):
    """A request whose JSON is parsed strictly."""

    async def json(self) -> Any:
        """The value of the body."""
        return parse(await self.body())


class JsonRoute(APIRoute):
    """A route that reads its body strictly."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Hands the route a StrictRequest."""
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handle(StrictRequest(request.scope, request.receive))

        return strict


def _broken(why: str) -> ServiceError:
    return ServiceError(400, f"the body is not valid JSON: {why}", code="invalid_json")


def _constant(name: str) -> NoReturn:
    raise _broken(f"{name} is not a JSON number")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _broken("a number is too large")
    return value


def _integer(text: str) -> int:
    if len(text) > LONGEST_INTEGER:
        raise _broken("an integer is too large")
    return int(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise _broken("a field is given twice")
    return made
