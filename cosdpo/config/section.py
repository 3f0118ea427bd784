"""A group of keys, and how a value of one of them is changed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from cosdpo.config.named_keys import keys_of
from cosdpo.errors import InputError
from cosdpo.files import local_path

Positive = Annotated[int, Field(ge=1)]
NonNegative = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_HUB_NAME = re.compile(r"(?!.*(?:--|\.\.|\.git$))\b[\w.-]+\b/\b[\w.-]{1,96}\b", re.ASCII)


def _hub_name(name: str) -> str:
    if name and not _HUB_NAME.fullmatch(name):
        raise InputError(f"{name!r} is no name on the hub; give OWNER/NAME, of letters, digits, -, _ and .")
    return name


HubName = Annotated[str, AfterValidator(_hub_name)]
"""Of a model on the Hugging Face hub, such as alice/front; empty for none."""
LocalPath = Annotated[Path, AfterValidator(local_path)]
"""~ is the home folder."""
Location = Annotated[str, AfterValidator(lambda text: str(local_path(Path(text))) if text.startswith("~") else text)]
"""A path, in which ~ is the home folder, or an address or name."""
Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    """A group of keys. Unknown keys are refused, and nothing is assigned: `changed` gives another one."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, frozen=True)

    def changed(self, changes: Mapping[str, object]) -> Self:
        """The same with other values, such as config.changed({"training.steps": 3, "output": folder}).

        Only what changes is validated, and all of it together. The keys that were given before still count as given
        (model_fields_set), and so do the changed ones.

        Args:
            changes: values by dotted key; a whole section or map replaces what was there.

        Raises:
            InputError: an unknown key, a wrong value, or values that do not go together, in one line.
        """
        tree = _tree(self, changes)
        before = {name: getattr(self, name) for name in type(self).model_fields}
        try:
            whole = self.model_validate(before | tree)
        except ValidationError as error:
            raise keys_of(type(self)).wrong(error) from None
        return self.model_copy(update={name: getattr(whole, name) for name in tree})


def _tree(section: BaseModel, changes: Mapping[str, object]) -> dict[str, Any]:
    """What changes, with a section that changes in part as all that was or is now given for it."""
    tree: dict[str, Any] = {}
    below: dict[str, dict[str, object]] = {}
    for name, value in changes.items():
        first, _, rest = name.partition(".")
        if rest and isinstance(getattr(section, first, None), BaseModel):
            below.setdefault(first, {})[rest] = value
        else:
            tree[name] = value
    for first, inner in below.items():
        part = tree.get(first, getattr(section, first))
        tree[first] = {name: getattr(part, name) for name in part.model_fields_set} | _tree(part, inner)
    return tree
