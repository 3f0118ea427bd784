"""The YAML form of a configuration: read with the line of every key, written so that it can be read again."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import NamedTuple

import yaml
from pydantic import BaseModel

from cosdpo.config.named_keys import Keys
from cosdpo.errors import InputError, masked


class Setting(NamedTuple):
    """A value that somebody gave, and the words by which an error message names the place."""

    value: object
    place: str


def read_yaml(file: str, keys: Keys) -> dict[str, Setting]:
    """The values of `keys` in a YAML file, each with its file and line."""
    try:
        document = yaml.compose(Path(file).read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        reason = (error.strerror or "unreadable").lower()
        raise InputError(
            f"--config {file}: {reason}; give the path of a YAML file, such as one of jobs/configs"
        ) from None
    except UnicodeDecodeError:
        raise InputError(f"--config {file}: not a text file; give a YAML file in UTF-8") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InputError(
            f"{file}:{line}: broken YAML: {error.problem or error.context}; check indentation, colons and quotes"
        ) from None
    except yaml.YAMLError as error:
        raise InputError(f"{file}: broken YAML: {error}") from None
    settings: dict[str, Setting] = {}
    _read_node(document, file, "", keys, settings)
    return settings


def _read_node(node: yaml.Node | None, file: str, prefix: str, keys: Keys, settings: dict[str, Setting]) -> None:
    if node is None or node.tag == "tag:yaml.org,2002:null":
        return
    if not isinstance(node, yaml.MappingNode):
        name = f"{prefix[:-1]} is a group of keys" if prefix else "a configuration is made of keys"
        raise InputError(f"{file}:{node.start_mark.line + 1}: {name}; write `KEY: VALUE` lines")
    for key_node, value_node in node.value:
        name, line = f"{prefix}{key_node.value}", f"{file}:{key_node.start_mark.line + 1}:"
        if name in settings:
            raise InputError(f"{line} {name} is given twice; delete one of the two")
        if name in keys:
            settings[name] = Setting(_construct(value_node, f"{line} {name}"), f"{line} {name}")
        elif keys.is_group(name):
            _read_node(value_node, file, f"{name}.", keys, settings)
        else:
            raise keys.unknown(name, f"{line} {name}")


def _construct(node: yaml.Node, place: str) -> object:
    try:
        return yaml.SafeLoader("").construct_document(node)
    except (yaml.YAMLError, ValueError):
        raise InputError(f"{place}: unreadable value; write it as plain text, a number, a list or a map") from None


def to_yaml(config: BaseModel) -> str:
    """Every key with its value, in field order, as YAML that `--config` reads again; credentials are masked."""
    return masked(yaml.dump(config.model_dump(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120))


class _Dumper(yaml.SafeDumper):
    """Lists on one line, paths as text, text with line breaks of any kind in double quotes."""


def _text(dumper: yaml.SafeDumper, value: object) -> yaml.ScalarNode:
    text = str(value)
    # In other styles the next-line character (0x85) would be written bare and read as a space.
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if text.splitlines() != [text] else None)


_Dumper.add_representer(list, lambda dumper, value: dumper.represent_sequence("tag:yaml.org,2002:seq", value, True))
_Dumper.add_representer(str, _text)
_Dumper.add_multi_representer(PurePath, _text)
