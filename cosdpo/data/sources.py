"""Sources: from the name of a file or hub dataset to Preferences.

A location is one source, or several that carry one objective each: "helpful=a.json,harmless=b.json".
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from cosdpo.config import DataConfig
from cosdpo.data.containers import LOCAL, read
from cosdpo.data.preferences import Preferences
from cosdpo.data.records import Records
from cosdpo.data.schemas import COLUMNS, PAIRS, REQUIRED, TURN, Format, Source
from cosdpo.data.turns import ChatTemplate
from cosdpo.errors import InputError

log = logging.getLogger(__name__)


def load(location: str, objectives: Sequence[str], data: DataConfig, template: ChatTemplate | None) -> Preferences:
    """Reads, checks and gathers preferences; rows dropped are logged by reason.

    Args:
        location: hub name (with ":SPLIT" for another split than train), local file, pattern or folder, or
            comma-separated OBJECTIVE=SOURCE pairs.
        objectives: names to keep, in order; an objective that a source does not have is null in its rows.
        template: writes chats as text; None where the tokenizer has none.

    Raises:
        InputError: whatever is wrong with the source, in one line.
    """
    if not location:
        raise InputError("no preferences given; set data.train to a hub dataset or " + LOCAL)
    named = by_objective(location)
    if named:
        unknown = [name for name in objectives if name not in named]
        if unknown:
            raise InputError(f"{location} has no objective {unknown[0]!r}; it has {', '.join(named)}: mend objectives")
        parts = [_load(named[name], [name], data, template, name) for name in objectives]
        return parts[0] if len(parts) == 1 else Preferences.concat(parts)
    return _load(location, objectives, data, template, None)


def by_objective(location: str) -> dict[str, str]:
    """Sources by objective, empty if the location is one plain source."""
    pairs = [part.strip().partition("=") for part in location.split(",")]
    if Path(location).exists() or not (pairs[0][1] and re.fullmatch(r"[\w-]+", pairs[0][0])):
        return {}
    named = {name: source for name, _, source in pairs}
    if len(named) < len(pairs) or not all(name and source for name, source in named.items()):
        raise InputError(f"cannot read {location!r}; give OBJECTIVE=FILE pairs, such as helpful=a.json,harmless=b.json")
    return named


def _load(
    location: str, objectives: Sequence[str], data: DataConfig, template: ChatTemplate | None, objective: str | None
) -> Preferences:
    """One source; `objective` is the name that the user gave it."""
    records = read(location, COLUMNS)
    if not records.rows:
        raise InputError(f"{location} has no rows; give a file with preferences")
    form = recognise(records, data.format)
    if form in PAIRS and objective is None:
        if len(objectives) != 1:
            raise InputError(
                f"{location} holds pairs for one objective but objectives are {list(objectives)}; give one source per "
                "objective, such as helpful=a.json,harmless=b.json"
            )
        objective = objectives[0]
    source = Source(records, form, objective or "", template)
    rows = list(source)
    preferences = Preferences.from_rows(
        rows, objectives, location, records.where, dropped=source.dropped, silent=form == "hh"
    )
    lost = sum(preferences.dropped.values())
    if lost:
        reasons = ", ".join(f"{count} {reason}" for reason, count in preferences.dropped.items())
        log.warning("%s: dropped %d of %d rows: %s", location, lost, len(records.rows), reasons)
    if data.max_rows:
        preferences = preferences.head(data.max_rows)
    return apply_templates(preferences, data.prompt_template, data.response_template)


def recognise(records: Records, wanted: str) -> Format:
    """The format of the records by their columns, or the wanted one if they have its columns.

    Raises:
        InputError: they have those of none.
    """
    formats: list[Format] = [form for form in REQUIRED if wanted in ("auto", form)]
    for form in formats:
        if any(set(columns) <= set(records.columns) for columns in REQUIRED[form]):
            return "trl" if form == "hh" and wanted == "auto" and not _in_hh_turns(records) else form
    expected = " or ".join(f"{', '.join(columns)} ({form})" for form in formats for columns in REQUIRED[form])
    raise InputError(
        f"{records.source} has the columns {', '.join(records.columns)}; expected {expected}: rename the columns"
    )


def _in_hh_turns(records: Records) -> bool:
    """Whether the texts are conversations as Anthropic writes them, which `trl` would part at another place."""
    if "chosen" not in records.columns:
        return True
    chosen = (row.get("chosen") for row in records.rows)
    return "prompt" not in records.columns and any(isinstance(text, str) and TURN in text for text in chosen)


def apply_templates(preferences: Preferences, prompt: str, response: str) -> Preferences:
    """The same preferences with `prompt` around each context and `response` around each candidate, but in chats, which
    have the tokenizer's template.

    Raises:
        InputError: a template without its placeholder {prompt} or {response}.
    """
    for key, template in (("prompt", prompt), ("response", response)):
        if f"{{{key}}}" not in template:
            raise InputError(f"data.{key}_template {template!r} has no {{{key}}}; put it where the {key} goes")
    table = preferences.table
    chat = table.column("chat").to_pylist()
    if prompt != "{prompt}":
        texts = zip(table.column("context").to_pylist(), chat, strict=True)
        contexts = [text if of_chat else prompt.replace("{prompt}", text) for text, of_chat in texts]
        table = table.set_column(0, table.schema.field("context"), pa.array(contexts, pa.string()))
    if response != "{response}":
        lists = zip(table.column("candidates").to_pylist(), chat, strict=True)
        candidates = [ys if of_chat else [response.replace("{response}", y) for y in ys] for ys, of_chat in lists]
        table = table.set_column(1, table.schema.field("candidates"), pa.array(candidates, pa.list_(pa.string())))
    return Preferences(table, preferences.objectives, preferences.dropped)
