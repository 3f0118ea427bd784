"""Chats as text, by the template that comes with a tokenizer: somebody else's program, in bounds of time and output.

Jinja's sandbox keeps it from files and attributes, not from loops. They are watched by a trace of the template's own
frames, so that one ends in the middle of a line that prints nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import jinja2
from transformers import PreTrainedTokenizerBase

from cosdpo.data.turns import chat_template
from serve.http.service_errors import ServiceError

SECONDS = 1.0
"""How long a template may take; real ones take milliseconds."""
SOURCE = "<template>"
"""File name of Jinja's compiled templates."""


def rendered(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]], largest: int) -> str:
    """The chat as text up to where its answer begins: by the tokenizer's template, or one paragraph per message where
    it has none. A last message of the assistant is continued, as in training.

    Args:
        largest: most characters.

    Raises:
        ServiceError: 400, the template refuses the messages, does not end, or makes too much of them.
    """
    template = chat_template(tokenizer)
    if template is None:
        return "\n\n".join(message["content"] for message in messages)
    try:
        with _at_most(SECONDS):
            text = template.prompt([dict(message) for message in messages])
    except (jinja2.TemplateError, ValueError, TypeError) as error:
        raise _refused(f"refuses them: {(str(error).splitlines() or [type(error).__name__])[0]}") from None
    except TimeoutError:
        raise _refused(f"does not end within {SECONDS:g} s") from None
    if len(text) > largest:
        raise _refused(f"makes {len(text)} characters of them, more than {largest}")
    return text


def _refused(why: str) -> ServiceError:
    return ServiceError(400, f"messages: the model's chat template {why}", param="messages")


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Raises TimeoutError within a template that runs longer."""
    end = time.monotonic() + seconds

    def watch(frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename != SOURCE:
            return None
        if time.monotonic() > end:
            raise TimeoutError
        return watch

    before = sys.gettrace()
    sys.settrace(watch)
    try:
        yield
    finally:
        sys.settrace(before)
