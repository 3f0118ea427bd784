"""JSON as the standard has it, and no more: what Python's parser lets through is refused here.

NaN and Infinity are no JSON; a number beyond the range of a double would silently become infinite; of a field given
twice only one would count; half a surrogate pair is no text that a tokenizer could read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from serve.http.service_errors import ServiceError

LONGEST_INTEGER = 20
"""Characters of an integer: enough for 64 bits and a sign."""


def parse(body: bytes) -> Any:
    """The value of a JSON text in UTF-8.

    Raises:
        ServiceError: 400, not standard JSON.
    """
    numbers = _Numbers()
    try:
        text = body.decode("utf-8")
        value = json.loads(
            text,
            parse_constant=numbers.constant,
            parse_float=numbers.decimal,
            parse_int=numbers.integer,
            object_pairs_hook=_object,
        )
        if numbers.wrong:
            raise _broken(numbers.wrong, _field_of_wrong_number(value))
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


def _broken(why: str, field: str | None = None) -> ServiceError:
    where = f" in {field}" if field else ""
    return ServiceError(400, f"the body is not valid JSON{where}: {why}", param=field, code="invalid_json")


_WRONG = object()
"""Stands for a wrong number until its field is known."""


class _Numbers:
    """Reads the numbers of one text, and remembers the first that is none."""

    def __init__(self) -> None:
        self.wrong = ""

    def constant(self, name: str) -> object:
        return self._refuse(f"{name} is not a JSON number")

    def decimal(self, text: str) -> object:
        value = float(text)
        if not math.isfinite(value):
            return self._refuse("a number is too large")
        # JSON has one kind of number: 2.0 is as whole as 2. Beyond 2**53 a double no longer tells.
        return int(value) if value.is_integer() and abs(value) <= 2**53 else value

    def integer(self, text: str) -> object:
        return int(text) if len(text) <= LONGEST_INTEGER else self._refuse("an integer is too large")

    def _refuse(self, why: str) -> object:
        self.wrong = self.wrong or why
        return _WRONG


def _field_of_wrong_number(value: Any) -> str | None:
    """Name of the first field of an object that holds a wrong number, at any depth."""
    fields = value.items() if isinstance(value, dict) else ()
    return next((name for name, held in fields if _holds_wrong_number(held)), None)


def _holds_wrong_number(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(map(_holds_wrong_number, value.values() if isinstance(value, dict) else value))
    return value is _WRONG


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise _broken("a field is given twice")
    return fields
