"""The frame of every HTML page: templates with escaping on, and numbers as people write them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cosdpo.evaluation.numbers import listed, number, seconds, short


def page_environment(folder: Path, filters: Mapping[str, Callable[..., Any]]) -> Environment:
    """Templates of `folder`, and of this package where that has none of a name, such as the shared style.

    Args:
        filters: further filters by name, next to number, short, seconds and listed.
    """
    environment = Environment(
        loader=FileSystemLoader([folder, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Scripts list metrics in the front's order.
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}
    environment.filters |= {"number": number, "short": short, "seconds": seconds, "listed": listed, **filters}
    return environment
