"""The settings of one trial: which keys trials may differ in, and the configuration that settings make."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from pydantic import ValidationError

from cosdpo import run
from cosdpo.config import Config
from cosdpo.config.keys import keys_of
from cosdpo.errors import InputError

Value = str | bool | int | float
Settings = Mapping[str, Value]

_SEARCHED = ("temperature", "conditioning", "scope", "model.", "ranker.", "training.")
_SHARED = {
    "model.base": "all trials share the base and its reference scores",
    "model.dtype": "all trials share the base and its reference scores",
    "ranker.log1p": "it belongs to the base, which all trials share",
    "ranker.list_features": "it belongs to the base, which all trials share",
    "training.weights": "it is for the runs of baselines",
    "training.checkpoint_every": "it does not change what is trained",
    "training.keep_checkpoints": "it does not change what is trained",
    "training.log_every": "it does not change what is trained",
}
_NETWORK = ("ranker.architecture", "ranker.width", "ranker.layers", "ranker.heads")
MOST_CORNERS = 256


def check_searchable(key: str, config: Config, place: str) -> None:
    """Raises InputError for a key that trials cannot differ in: they share data, base and reference scores."""
    reason = _SHARED.get(key, "")
    if not key.startswith(_SEARCHED):
        reason = "all trials share the data and are measured alike"
    elif key.startswith("ranker.base_"):
        reason = "all trials share one base ranker"
    elif key in _NETWORK and not config.model.base:
        raise InputError(
            f"{place}: it would change the base ranker, which all trials share; train a base first and name its "
            "checkpoint by model.base"
        )
    elif key.startswith("ranker.") != (config.task == "ranking") and key.startswith(("ranker.", "model.", "scope")):
        reason = "" if key == "model.temperature_conditioned" else f"a {config.task} model does not use it"
    elif key == "conditioning" and config.task == "ranking":
        reason = "a ranker has ranker.conditioning"
    if reason:
        raise InputError(
            f"{place}: it cannot be searched, for {reason}; search keys such as temperature, training.alpha or "
            f"{'ranker.conditioning' if config.task == 'ranking' else 'model.lora_rank'}"
        )


def apply(config: Config, settings: Settings) -> Config:
    """`config` with these values.

    Raises:
        InputError: a value that its key does not accept, or values that do not go together.
    """
    return config.changed(settings)


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


def corners(ends: Mapping[str, Sequence[Value]]) -> Iterator[Settings]:
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
    fits = _fits(config)
    fresh = config.changed({"output": config.output / "trials" / "new", "resume": False})
    for settings in corners(ends):
        try:
            corner = apply(fresh, settings)
            run.check(corner)
            fits(corner)
        except InputError as error:
            written = ", ".join(f"{key} {settings.get(key, value_of(config, key))}" for key in ends)
            raise InputError(f"sweep.space allows {written}, but {error}") from None


def _fits(config: Config) -> Callable[[Config], None]:
    """Checks a configuration against the base language model, where there is one."""
    if config.task == "ranking" or not config.model.base:
        return lambda one: None
    from cosdpo.models.base import load_config, skeleton
    from cosdpo.models.language_scorer import check_adapters

    return partial(check_adapters, base=skeleton(load_config(config.model.base)))
