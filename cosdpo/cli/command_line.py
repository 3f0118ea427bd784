"""Reads the configuration of a job from its command line and its YAML file, and frames the job.

    python jobs/NAME.py [--config FILE.yaml] [--section.key VALUE ...]

In rising order of precedence: the defaults in cosdpo/config, the job's own defaults, the YAML file, the command
line. Neither torch nor ray is imported here, so that `--help` and a wrong key answer at once.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

import yaml
from pydantic import ValidationError

from cosdpo.cli.yaml_file import Setting, read_yaml, to_yaml
from cosdpo.config import Config
from cosdpo.config.keys import Key, keys_of, shown
from cosdpo.errors import InputError

__all__ = ["main", "read_config", "to_yaml"]

_OPTION = re.compile(r"--?[A-Za-z][^\s=]*")


def main(
    run: Callable[[Config], None],
    description: str | None = None,
    defaults: Mapping[str, Any] | None = None,
    argv: Sequence[str] | None = None,
) -> None:
    """The frame of every job: reads the configuration and calls `run` with it.

    Wrong input (InputError, from here or from `run`) becomes one line on stderr and exit code 2, Ctrl-C one line and
    exit code 130. Nothing else is caught: a stack trace means a defect.

    Args:
        description: what the job does, shown by `--help`; usually the script's `__doc__`.
        defaults: the job's own defaults, as for read_config.
        argv: arguments without the program's name; None takes sys.argv.
    """
    try:
        run(read_config(argv, description, defaults))
    except InputError as error:
        print("error:", " ".join(str(error).splitlines()), file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; the same command with --resume goes on from the newest checkpoint", file=sys.stderr)
        sys.exit(130)


def read_config(
    argv: Sequence[str] | None = None, description: str | None = None, defaults: Mapping[str, Any] | None = None
) -> Config:
    """The validated configuration of a job.

    Args:
        argv: arguments without the program's name; None takes sys.argv.
        description: what the job does, shown by `--help`.
        defaults: the job's own defaults by key, nested or dotted: {"model": {"base": "gpt2"}, "training.steps": 100}.

    Raises:
        InputError: a wrong key, value or file, in one line.
        SystemExit: after `--help`.
    """
    settings = {name: Setting(value, name) for name, value in _flat(defaults or {}).items()}
    given = _parse(list(sys.argv[1:] if argv is None else argv), description, settings)
    if "config" in given:
        settings |= read_yaml(given.pop("config"))
    for name, text in given.items():
        if name in keys_of(Config):
            settings[name] = Setting(_value(text, keys_of(Config)[name]), f"--{name}")
        elif key := keys_of(Config).map_of(name):
            entries = settings[key.name].value if key.name in settings else key.default
            entries = entries if isinstance(entries, Mapping) else {}
            settings[key.name] = Setting({**entries, name.removeprefix(f"{key.name}."): text}, f"--{name}")
    return _validated(settings)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message.removeprefix('argument ')}; see --help")


def _parse(tokens: list[str], description: str | None, defaults: Mapping[str, Setting]) -> dict[str, Any]:
    """What the command line gives, as text: {key name, entry of a map, or "config": value}."""
    parser = _Parser(
        prog=f"python {sys.argv[0]}",
        usage="%(prog)s [--config FILE.yaml] [--section.key VALUE ...]",
        description=(description or "").strip(),
        formatter_class=partial(argparse.RawDescriptionHelpFormatter, max_help_position=6),
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("--config", metavar="FILE.yaml", help="YAML file with any of the keys below")
    for group in keys_of(Config).groups:
        section = parser.add_argument_group(": ".join(filter(None, [group.name, group.help.rstrip(".")])))
        for key in group.keys:
            default = shown(defaults[key.name].value if key.name in defaults else key.default)
            entry = f"; one entry: --{key.name}.NAME VALUE" if key.takes("object") else ""
            text = f"{key.help} ({key.accepts}; default: {default}{entry})".replace("%", "%%")
            if key.takes("boolean"):
                section.add_argument(f"--{key.name}", metavar=key.metavar, help=text, nargs="?", const="true")
            else:
                nargs = ("+" if key.takes_one else "*") if key.takes("array") else None
                section.add_argument(f"--{key.name}", metavar=key.metavar, help=text, nargs=nargs)
    known = {"-h", "--help", "--config", *(f"--{name}" for name in keys_of(Config))}
    for option in dict.fromkeys(token.split("=", 1)[0] for token in tokens):
        if option in known or not _OPTION.fullmatch(option):
            continue
        name = option.lstrip("-")
        if keys_of(Config).map_of(name) is None:
            raise keys_of(Config).unknown(name, option)
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    given, rest = parser.parse_known_args(tokens)
    if rest:
        raise InputError(f"unexpected {rest[0]!r}; values are given as --section.key VALUE, see --help")
    return vars(given)


def _value(text: str | list[str], key: Key) -> object:
    """The value that the command line's words stand for; numbers stay text, which pydantic converts."""
    words = [text] if isinstance(text, str) else text
    if len(words) == 1 and words[0].startswith(("[", "{")) and (key.takes("array") or key.takes("object")):
        try:
            return yaml.safe_load(words[0])
        except yaml.YAMLError:
            raise InputError(f"--{key.name}: {words[0]!r} is not closed or not separated by commas") from None
    if isinstance(text, list):
        words = [part.strip() for word in words for part in word.split(",") if part.strip()]
    if key.takes("null") and words in (["null"], ["none"]):
        return None
    return words if isinstance(text, list) and not (key.takes_one and len(words) == 1) else words[0]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested or dotted keys as dotted ones. Raises KeyError for one that does not exist: the job's author's mistake."""
    flat: dict[str, Any] = {}
    for field, value in tree.items():
        name = f"{prefix}{field}"
        if name in keys_of(Config):
            flat[name] = value
        elif keys_of(Config).is_group(name) and isinstance(value, Mapping):
            flat |= _flat(value, f"{name}.")
        else:
            raise KeyError(name)
    return flat


def _validated(settings: Mapping[str, Setting]) -> Config:
    tree: dict[str, Any] = {}
    for name, (value, place) in settings.items():
        if isinstance(value, bool) and not keys_of(Config)[name].takes("boolean"):  # pydantic would read true as 1
            raise InputError(f"{place}: expected {keys_of(Config)[name].accepts}, got {shown(value)}")
        *sections, leaf = name.split(".")
        branch = tree
        for section in sections:
            branch = branch.setdefault(section, {})
        branch[leaf] = value
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise keys_of(Config).wrong(error, {name: place for name, (_, place) in settings.items()}) from None
