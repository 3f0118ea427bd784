"""The settings of the service as flags: `--checkpoint DIR --limits.new_tokens 256`, with their docstrings as help."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NoReturn

from pydantic import BaseModel, ValidationError

from cosdpo.errors import InputError
from serve.service_settings import ServiceSettings


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message.removeprefix('argument ')}; see python -m serve --help")


def read(argv: Sequence[str], description: str) -> ServiceSettings:
    """The settings that flags give.

    Raises:
        InputError: an unknown flag or a wrong value.
        SystemExit: after --help.
    """
    parser = _Parser(
        prog="python -m serve",
        usage="%(prog)s --checkpoint DIR [--port N] [--host ADDRESS --keys FILE] [--flag VALUE ...]",
        description=description,
        formatter_class=partial(argparse.RawDescriptionHelpFormatter, max_help_position=6),
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    for name, kind, default, text in _leaves(ServiceSettings):
        shown = "required" if default is ... else f"default: {default if default not in ('', None, []) else 'none'}"
        parser.add_argument(
            f"--{name}",
            help=f"{text} ({shown})".replace("%", "%%"),
            metavar=name.rpartition(".")[2].upper(),
            nargs="+" if kind is list else None,
        )
    tree: dict[str, Any] = {}
    for name, value in vars(parser.parse_args(argv)).items():
        section, _, leaf = name.rpartition(".")
        (tree.setdefault(section, {}) if section else tree)[leaf] = value
    return validated(tree)


def validated(tree: dict[str, Any]) -> ServiceSettings:
    """The settings of a nested dictionary; raises InputError with the first thing that is wrong."""
    try:
        return ServiceSettings.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "missing":
            raise InputError(f"{name} is not set; give --{name} {name.upper()}") from None
        message = str(first.get("ctx", {}).get("error", first["msg"]))
        raise InputError(f"--{name}: {message}" if name else message) from None


def _leaves(section: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any, Any, str]]:
    """Dotted name, type, default (... where there is none) and help of every setting."""
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _leaves(kind, f"{prefix}{name}.")
            continue
        default = ... if field.is_required() else field.default
        origin = list if isinstance(default, list) else kind
        yield f"{prefix}{name}", origin, default, " ".join((field.description or "").split())
