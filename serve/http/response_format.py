"""The form that an answer takes, as OpenAI's clients ask for it; our own routes take the same field."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from serve.http.trade_off import Body

ANY_OBJECT = '{"type": "object"}'


class NamedSchema(Body):
    """A JSON schema."""

    name: Annotated[str, Field(max_length=512)]
    """Taken and left alone."""
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    """The schema. What of it cannot be followed is refused."""
    description: str | None = None
    """Taken and left alone."""
    strict: bool | None = None
    """Taken and left alone: schemas are always followed."""


class ResponseFormat(Body):
    """Form of the answer."""

    type: Literal["text", "json_object", "json_schema"]
    """Any text, any JSON object, or JSON that follows a schema."""
    json_schema: NamedSchema | None = None
    """The schema, if the type is json_schema."""

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("json_schema goes with the type json_schema, and only with it")
        return self


def schema_of(wanted: ResponseFormat | None) -> str | None:
    """The JSON schema that an answer follows, as text; None where any text will do."""
    if wanted is None or wanted.type == "text":
        return None
    if wanted.json_schema is None:
        return ANY_OBJECT
    return json.dumps(wanted.json_schema.schema_, ensure_ascii=False, separators=(",", ":"))
