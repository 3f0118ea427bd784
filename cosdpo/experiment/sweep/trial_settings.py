"""The settings of one trial: which keys trials may differ in, and whether those that a space allows go together."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

from pydantic import ValidationError

from cosdpo.config import Config
from cosdpo.config.named_keys import keys_of
from cosdpo.errors import InputError
from cosdpo.experiment import job_checks
from cosdpo.tasks import task_of

Value = str | bool | int | float
TrialSettings = Mapping[str, Value]

_SEARCHED = ("temperature", "conditioning", "scope", "model.", "ranker.", "training.")
_SHARED = {
    "model.base": "all trials share the base and its reference scores",
    "model.dtype": "all trials share the base and its reference scores",
    "training.weights": "it is for the runs of baselines",
    "training.checkpoint_every": "it does not change what is trained",
    "training.keep_checkpoints": "it does not change what is trained",
    "training.log_every": "it does not change what is trained",
}
MOST_CORNERS = 256


def check_searchable(key: str, config: Config) -> None:
    """Raises InputError for a key that trials cannot differ in: they share data, base and reference scores."""
    task = task_of(config)
    reason = _SHARED.get(key) or task.why_not_searched(key, config)
    if not key.startswith(_SEARCHED):
        reason = "all trials share the data and are measured alike"
    if reason:
        raise InputError(
            f"sweep.space.{key}: it cannot be searched, for {reason}; search keys such as temperature, training.alpha "
            f"or {task.example_key}"
        )


def value_of(config: Config, key: str) -> Value:
    """The value that `config` has for a key."""
    value: object = config
    for field in key.split("."):
        value = getattr(value, field)
    assert isinstance(value, Value)
    return value


def accepted(config: Config, key: str, word: str, place: str) -> Value:
    """The value that `word` stands for, as the key's own type.

    Raises:
        InputError: the key does not accept it.
    """
    section, _, leaf = key.rpartition(".")
    kind = type(getattr(config, section)) if section else Config
    try:
        value: Value = getattr(kind.model_validate({leaf: word}), leaf)
        return value
    except ValidationError:
        raise InputError(f"{place}: expected {keys_of(Config)[key].accepts}, got {word!r}") from None


def corners(ends: Mapping[str, Sequence[Value]]) -> Iterator[TrialSettings]:
    """The settings at the ends of the space: all combinations while they are few, else one key at a time."""
    size = 1
    for values in ends.values():
        size *= len(values)
    if size <= MOST_CORNERS:
        for combination in itertools.product(*ends.values()):
            yield dict(zip(ends, combination, strict=True))
        return
    for key, values in ends.items():
        for value in values:
            yield {key: value}


def check_corners(config: Config, ends: Mapping[str, Sequence[Value]]) -> None:
    """Raises InputError when settings that the space allows do not go together."""
    fits = task_of(config).fitting(config)
    fresh = config.changed({"output": config.output / "trials" / "new", "resume": False})
    for settings in corners(ends):
        try:
            corner = fresh.changed(settings)
            job_checks.check(corner)
            fits(corner)
        except InputError as error:
            written = ", ".join(f"{key} {settings.get(key, value_of(config, key))}" for key in ends)
            raise InputError(f"sweep.space allows {written}, but {error}") from None
