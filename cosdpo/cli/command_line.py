"""Reads a model's values from a command line and a YAML file, and frames the program that takes them.

    python jobs/NAME.py [--config FILE.yaml] [--section.key VALUE ...]

In rising order of precedence: the model's defaults, the program's own defaults, the YAML file, the command line.
Neither torch nor ray is imported here, so that `--help` and a wrong key answer at once.
"""

from __future__ import annotations

import argparse
import errno
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from cosdpo.claim import claim, release
from cosdpo.cli import interruption
from cosdpo.cli.yaml_file import Setting, read_yaml, to_yaml
from cosdpo.config import Config
from cosdpo.config.named_keys import Key, Keys, keys_of, shown
from cosdpo.errors import InputError
from cosdpo.files import ensure_home

__all__ = ["framed", "main", "read", "read_config", "to_yaml"]

M = TypeVar("M", bound=BaseModel)
_OPTION = re.compile(r"--?[A-Za-z][^\s=]*")


def main(
    run: Callable[[Config], object],
    description: str | None = None,
    defaults: Mapping[str, Any] | None = None,
    argv: Sequence[str] | None = None,
) -> None:
    """The frame of every job: reads the configuration and calls `run` with it.

    Args:
        description: what the job does, shown by `--help`; usually the script's `__doc__`.
        defaults: the job's own defaults, as for read.
        argv: arguments without the program's name; None takes sys.argv.
    """

    def job() -> None:
        config = read(Config, argv, description, defaults)
        ensure_home()
        if not config.plan:
            claim(config.output)
        run(config)

    interruption.take_signals()
    try:
        framed(job)
    except KeyboardInterrupt:
        print("interrupted; go on with the same command and --resume", file=sys.stderr)
        sys.exit(interruption.status())
    finally:
        release()


def framed(program: Callable[[], object]) -> None:
    """Calls `program`; wrong input (InputError) becomes one line on stderr and exit code 2, and so does a full disk.

    Nothing else is caught: a stack trace means a defect.
    """
    try:
        program()
    except InputError as error:
        _end(str(error))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _end(f"no space is left for {error.filename or 'what is written'}: free some, and go on with --resume")


def _end(message: str) -> NoReturn:
    print("error:", " ".join(message.splitlines()), file=sys.stderr)
    sys.exit(2)


def read(
    model: type[M],
    argv: Sequence[str] | None = None,
    description: str | None = None,
    defaults: Mapping[str, Any] | None = None,
    usage: str | None = None,
) -> M:
    """The validated model, such as Config, of a command line.

    Args:
        argv: arguments without the program's name; None takes sys.argv.
        description: what the program does, shown by `--help`.
        defaults: the program's own defaults by key, nested or dotted: {"model": {"base": "gpt2"}, "training.steps": 1}.
        usage: the command in short, shown by `--help`.

    Raises:
        InputError: a wrong key, value or file, in one line.
        SystemExit: after `--help`.
    """
    keys = keys_of(model)
    settings = {name: Setting(value, name) for name, value in _flat(defaults or {}, keys).items()}
    parser = _parser(keys, settings, description, usage)
    given = _parsed(parser, list(sys.argv[1:] if argv is None else argv), keys)
    if "config" in given:
        settings |= read_yaml(given.pop("config"), keys)
    for name, text in given.items():
        if name in keys:
            settings[name] = Setting(_value(text, keys[name]), f"--{name}")
        elif key := keys.map_of(name):
            entries = settings[key.name].value if key.name in settings else key.default
            entries = entries if isinstance(entries, Mapping) else {}
            settings[key.name] = Setting({**entries, name.removeprefix(f"{key.name}."): text}, f"--{name}")
    try:
        return model.model_validate(_tree(settings, keys))
    except ValidationError as error:
        raise keys.wrong(error, {name: place for name, (_, place) in settings.items()}) from None


def read_config(
    argv: Sequence[str] | None = None, description: str | None = None, defaults: Mapping[str, Any] | None = None
) -> Config:
    """`read` of a job's configuration."""
    return read(Config, argv, description, defaults)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message.removeprefix('argument ')}; see --help")


def _parser(
    keys: Keys, defaults: Mapping[str, Setting], description: str | None, usage: str | None
) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=f"python {sys.argv[0]}",
        usage=usage or "%(prog)s [--config FILE.yaml] [--section.key VALUE ...]",
        description=(description or "").strip(),
        formatter_class=partial(argparse.RawDescriptionHelpFormatter, max_help_position=6),
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("--config", metavar="FILE.yaml", help="YAML file with any of the keys below")
    for group in keys.groups:
        section = parser.add_argument_group(": ".join(filter(None, [group.name, group.help.rstrip(".")])))
        for key in group.keys:
            value = defaults[key.name].value if key.name in defaults else key.default
            default = "required" if key.required and key.name not in defaults else f"default: {shown(value)}"
            entry = f"; one entry: --{key.name}.NAME VALUE" if key.takes("object") else ""
            text = f"{key.help} ({key.accepts}; {default}{entry})".replace("%", "%%")
            if key.takes("boolean"):
                section.add_argument(f"--{key.name}", metavar=key.metavar, help=text, nargs="?", const="true")
            else:
                nargs = ("+" if key.takes_one else "*") if key.takes("array") else None
                section.add_argument(f"--{key.name}", metavar=key.metavar, help=text, nargs=nargs)
    return parser


def _parsed(parser: argparse.ArgumentParser, tokens: list[str], keys: Keys) -> dict[str, Any]:
    """What the command line gives, as text: {key name, entry of a map, or "config": value}."""
    known = {"-h", "--help", "--config", *(f"--{name}" for name in keys)}
    for option in dict.fromkeys(token.split("=", 1)[0] for token in tokens):
        if option in known or not _OPTION.fullmatch(option):
            continue
        name = option.lstrip("-")
        if keys.map_of(name) is None:
            raise keys.unknown(name, option)
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


def _flat(tree: Mapping[str, Any], keys: Keys, prefix: str = "") -> dict[str, Any]:
    """Nested or dotted keys as dotted ones. Raises KeyError for one that does not exist: the author's mistake."""
    flat: dict[str, Any] = {}
    for field, value in tree.items():
        name = f"{prefix}{field}"
        if name in keys:
            flat[name] = value
        elif keys.is_group(name) and isinstance(value, Mapping):
            flat |= _flat(value, keys, f"{name}.")
        else:
            raise KeyError(name)
    return flat


def _tree(settings: Mapping[str, Setting], keys: Keys) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, (value, place) in settings.items():
        if isinstance(value, bool) and not keys[name].takes("boolean"):  # pydantic would read true as 1
            raise InputError(f"{place}: expected {keys[name].accepts}, got {shown(value)}")
        *sections, leaf = name.split(".")
        branch = tree
        for section in sections:
            branch = branch.setdefault(section, {})
        branch[leaf] = value
    return tree
