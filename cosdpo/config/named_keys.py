"""The keys of a pydantic model in words: for error messages, for `--help` and for docs/configuration.md.

Everything is derived from the model's JSON schema, so that a key is written once, in its section.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any

from pydantic import BaseModel, ValidationError

from cosdpo.errors import InputError

_NAMES = {"integer": "integer", "number": "number", "boolean": "true or false", "string": "text", "null": "null"}
_BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}


@dataclass(frozen=True)
class Key:
    """One setting, a leaf of the configuration.

    Attributes:
        name: dotted name, as in the YAML file and on the command line.
        schema: its JSON schema, with references resolved.
    """

    name: str
    schema: dict[str, Any]

    @property
    def accepts(self) -> str:
        """What values it takes, in words: `integer >= 1`, `auto, float32 or bfloat16`, `list of text`."""
        return _words(self.schema)

    @property
    def default(self) -> object:
        """Its default as JSON, None where it has to be given."""
        return self.schema.get("default")

    @property
    def required(self) -> bool:
        """Whether it has to be given."""
        return "default" not in self.schema

    @property
    def help(self) -> str:
        """Its docstring, on one line."""
        return " ".join(self.schema.get("description", "").split())

    @property
    def metavar(self) -> str:
        """A short placeholder for its value."""
        return _metavar(self.schema)

    def takes(self, kind: str) -> bool:
        """Whether a value may be of this JSON type: boolean, integer, number, string, array, object or null."""
        return kind in {entry.get("type") for entry in self.schema.get("anyOf", [self.schema])}

    @property
    def takes_one(self) -> bool:
        """Whether a single text, number or truth value will do."""
        return any(map(self.takes, ("string", "number", "integer", "boolean")))


@dataclass(frozen=True)
class Group:
    """The keys of one section, in field order. The name of the top level is empty."""

    name: str
    help: str
    keys: list[Key]


class Keys(dict[str, Key]):
    """All keys of a model by dotted name.

    Attributes:
        groups: its sections, the top level first.
    """

    def __init__(self, model: type[BaseModel]) -> None:
        schema = model.model_json_schema()
        self.groups = list(_groups(_resolved(schema, schema.get("$defs", {})), ""))
        super().__init__({key.name: key for group in self.groups for key in group.keys})

    def is_group(self, name: str) -> bool:
        """Whether this is the dotted name of a section."""
        return name in {group.name for group in self.groups}

    def map_of(self, name: str) -> Key | None:
        """The map that `name` is an entry of: evaluation.scorers for evaluation.scorers.helpful."""
        return next((key for key in self.values() if key.takes("object") and name.startswith(f"{key.name}.")), None)

    def unknown(self, name: str, place: str) -> InputError:
        """The error for a key that does not exist, with the nearest one that does.

        Args:
            name: what was given, without dashes.
            place: where it was given; an option of the command line or a line of a file.
        """
        dashes = "--" if place.startswith("-") else ""
        if self.is_group(name):
            first = next(key for key in self if key.startswith(f"{name}."))
            return InputError(f"{place}: this is a group of keys; give one of them, such as {dashes}{first}")
        last = name.rsplit(".", 1)[-1]
        leaves = {key.rsplit(".", 1)[-1]: key for key in reversed(self)}
        near = [leaves[last]] if last in leaves else get_close_matches(name, self, 1)
        near = near or [leaves[leaf] for leaf in get_close_matches(last, leaves, 1)]
        mend = f"did you mean {dashes}{near[0]}?" if near else "--help lists all keys"
        return InputError(f"{place}: unknown key; {mend}")

    def wrong(self, error: ValidationError, places: Mapping[str, str] | None = None) -> InputError:
        """The first of pydantic's complaints as one line.

        Args:
            places: where keys were given, by name; the name itself where there is none.
        """
        first = error.errors()[0]
        paths = [".".join(map(str, first["loc"][:length])) for length in range(len(first["loc"]), 0, -1)]
        key = next((self[path] for path in paths if path in self), None)
        place = (places or {}).get(key.name, key.name) if key else ""
        cause = first.get("ctx", {}).get("error")
        if cause is not None:  # raised by a validator, whose message is complete
            return InputError(f"{place}: {cause}" if key else str(cause))
        if first["type"] == "extra_forbidden":
            return self.unknown(paths[0], paths[0])
        if key is None:
            return InputError(f"{paths[0]}: {first['msg']}")
        if first["type"] == "missing":
            return InputError(f"{key.name} is not set; give --{key.name} {key.metavar}")
        quotes = "; put it in quotes" if first["type"] == "string_type" and first["input"] is not None else ""
        got = "nothing" if first["input"] is None else repr(first["input"])
        return InputError(f"{place}: expected {key.accepts}, got {got}{quotes}")


@cache
def keys_of(model: type[BaseModel]) -> Keys:
    """The keys of a model."""
    return Keys(model)


def shown(value: object) -> str:
    """A value as the help and the reference page print it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ", ".join(map(shown, value)) or "empty"
    if isinstance(value, dict):
        return ", ".join(f"{name}: {shown(entry)}" for name, entry in value.items()) or "empty"
    if isinstance(value, float):
        return str(value).removesuffix(".0")
    return "empty" if value == "" else "none" if value is None else str(value)


def _groups(schema: dict[str, Any], name: str) -> Iterator[Group]:
    prefix = f"{name}." if name else ""
    entries = {f"{prefix}{field}": entry for field, entry in schema["properties"].items()}
    leaves = [Key(field, entry) for field, entry in entries.items() if "properties" not in entry]
    yield Group(name, " ".join(schema.get("description", "").split()), leaves)
    for field, entry in entries.items():
        if "properties" in entry:
            yield from _groups(entry, field)


def _resolved(node: Any, definitions: dict[str, Any]) -> Any:
    """The schema with every `$ref` replaced by what it refers to; a field's own entries win over the definition's."""
    if isinstance(node, list):
        return [_resolved(entry, definitions) for entry in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        node = {**definitions[node["$ref"].rsplit("/", 1)[-1]], **node}
    return {name: _resolved(entry, definitions) for name, entry in node.items() if name not in ("$ref", "$defs")}


def _words(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_words(entry) for entry in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        *others, last = map(str, schema.get("enum", [schema.get("const")]))
        return f"{', '.join(others)} or {last}" if others else last
    kind = schema.get("type")
    if kind == "array":
        return f"list of {_words(schema.get('items', {}))}"
    if kind == "object":
        entries = schema.get("additionalProperties")
        return f"map of names to {_words(entries if isinstance(entries, dict) else {})}"
    if kind == "string" and "path" in schema.get("format", ""):
        return "path"
    bounds = [f"{sign} {schema[bound]:g}" for bound, sign in _BOUNDS.items() if bound in schema]
    return " ".join([_NAMES.get(str(kind), "value"), " and ".join(bounds)]).strip()


def _metavar(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return _metavar(schema["anyOf"][0])
    if "enum" in schema or "const" in schema:
        return "|".join(map(str, schema.get("enum", [schema.get("const")])))
    if schema.get("type") == "array":
        return _metavar(schema.get("items", {}))
    if schema.get("type") == "object":
        return "{NAME: VALUE, ...}"
    return "true|false" if schema.get("type") == "boolean" else _words(schema).split()[0].upper()
