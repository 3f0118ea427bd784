"""Fields of OpenAI's protocol that the service does not have.

Clients send all fields of a protocol, most of them null, empty or neutral. Such a field changes nothing and is taken;
one that would change the answer is refused by name. A field that nobody knows may be null.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field
from pydantic_core import core_schema

from serve.http.trade_off import Body


class Only:
    """Type of a field that is not supported: null and these values change nothing, whatever else is refused."""

    def __init__(self, *values: object) -> None:
        self.values = values

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        """Refuses by name, with the mend."""

        def neutral(value: object) -> object:
            # True is 1 to Python, and to no protocol.
            if value is None or any(value == v and isinstance(value, bool) == isinstance(v, bool) for v in self.values):
                return None
            raise ValueError("not supported; leave it out" + "".join(f" or give {v!r}" for v in self.values[:1]))

        return core_schema.no_info_plain_validator_function(neutral)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        """All that is taken."""
        return {"enum": [None, *self.values], "description": "Not supported; these values change nothing."}


Ignored = Annotated[Any, Field(description="Taken and left alone.")]
Absent = Annotated[Any, Only()]
Off = Annotated[Any, Only(False)]
Zero = Annotated[Any, Only(0)]
One = Annotated[Any, Only(1)]
NoText = Annotated[Any, Only("")]
NoItems = Annotated[Any, Only([])]
NoKeys = Annotated[Any, Only({})]


class ProtocolBody(Body):
    """A body as OpenAI's clients send it: a field that nobody knows must be null."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, None] = Field(init=False)
