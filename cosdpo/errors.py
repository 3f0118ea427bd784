"""The one error a user's mistake raises: a single line that says what is wrong, where, and the mend.

Jobs print it after `error: ` and leave with exit code 2; nothing else ever ends a job without a stack trace, so a
stack trace always means a defect of cosdpo.
"""

from __future__ import annotations

import re

from pydantic import ValidationError

MASK = "://***@"
_CREDENTIALS = re.compile(
    r"://(?:[^\s/?#]*:[^\s/?#]*"  # user:password, where an @ in the password was not escaped
    r"|[^\s/?#:]*:(?!\d+/)[^\s@]*"  # the same where a slash was not
    r"|(?<=http://|ttps://)[^\s/?#]+)@"  # a token; elsewhere what stands there alone names no secret: abfss://container@
)


def masked(text: str) -> str:
    """`text` with *** in place of the credentials of all addresses in it."""
    return _CREDENTIALS.sub(MASK, text)


class InputError(ValueError):
    """Wrong input: configuration, data or environment. The message is one line, names the mend and no credentials."""

    def __init__(self, message: str) -> None:
        super().__init__(masked(message))


def first_wrong(error: ValidationError) -> str:
    """Place and message of the first of pydantic's complaints, in one line."""
    first = error.errors()[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, InputError):  # raised by a validator, whose message is complete
        return str(cause)
    where = ".".join(str(part) for part in first["loc"]) or "top level"
    return f"{where}: {' '.join(first['msg'].split())}"
