"""The search space in words: `loguniform(1e-4, 1e-2)`, `int(4, 32)`, `choice(gated_lora, both)` and so on, by key."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast, get_args

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from cosdpo.config import Config
from cosdpo.config.named_keys import keys_of
from cosdpo.errors import InputError
from cosdpo.experiment.sweep.trial_settings import Value, accepted, check_searchable

_CALL = re.compile(r"(\w+)\s*\((.*)\)", re.DOTALL)
RangeKind = Literal["uniform", "loguniform", "int"]
_FORMS = "uniform(0.1, 2), loguniform(1e-4, 1e-2), int(4, 32), choice(a, b) or grid(0.1, 0.2)"


@dataclass(frozen=True)
class Range:
    """Numbers between two bounds, both included."""

    kind: RangeKind
    low: float
    high: float

    @property
    def ends(self) -> tuple[Value, ...]:
        """The two bounds."""
        return (int(self.low), int(self.high)) if self.kind == "int" else (self.low, self.high)

    def distribution(self) -> BaseDistribution:
        """What Optuna draws from."""
        if self.kind == "int":
            return IntDistribution(int(self.low), int(self.high))
        return FloatDistribution(self.low, self.high, log=self.kind == "loguniform")


@dataclass(frozen=True)
class Choice:
    """One of several values."""

    values: tuple[Value, ...]

    @property
    def ends(self) -> tuple[Value, ...]:
        """All values."""
        return self.values

    def distribution(self) -> BaseDistribution:
        """What Optuna draws from."""
        return CategoricalDistribution(self.values)


Space = Mapping[str, Range | Choice]


def parse_space(config: Config) -> Space:
    """The search space of sweep.space, every end and value of which its key accepts.

    Raises:
        InputError: no space, an unknown key or one that trials cannot differ in, a distribution that does not parse,
            reversed bounds, or a value that its key does not accept.
    """
    written = config.sweep.space
    if not written:
        raise InputError(
            'sweep.space is empty: say what to search, such as --sweep.space.training.alpha "loguniform(0.2, 2)"'
        )
    space: dict[str, Range | Choice] = {}
    for key, text in written.items():
        place = f"sweep.space.{key}"
        if key not in keys_of(Config):
            raise keys_of(Config).unknown(key, place)
        check_searchable(key, config)
        space[key] = _parse(key, text, config, place)
    if config.sweep.search == "grid":
        for key, values in space.items():
            if isinstance(values, Range):
                raise InputError(
                    f"sweep.space.{key}: {written[key]} has no end of values for sweep.search grid; list them as "
                    "grid(...), or set sweep.search optuna"
                )
    return space


def combinations(space: Space) -> int:
    """Number of trials of a grid search."""
    return math.prod(len(values.ends) for values in space.values())


def _parse(key: str, text: str, config: Config, place: str) -> Range | Choice:
    match = _CALL.fullmatch(text.strip())
    arguments = [word.strip() for word in match[2].split(",")] if match else []
    kind = match[1] if match else ""
    if kind in ("choice", "grid"):
        if not all(arguments):
            raise InputError(f"{place}: {text!r} has an empty value; write such as {kind}(0.1, 0.2)")
        values = tuple(accepted(config, key, word, place) for word in arguments)
        if len(set(values)) < len(values):
            raise InputError(f"{place}: {text!r} has a value twice; write each once")
        return Choice(values)
    if kind in get_args(RangeKind):
        return _range(cast("RangeKind", kind), key, text, arguments, config, place)
    raise InputError(f"{place}: {text!r} is no distribution; write {_FORMS}")


def _range(
    kind: RangeKind,
    key: str,
    text: str,
    arguments: list[str],
    config: Config,
    place: str,
) -> Range:
    try:
        low, high = (int(word) if kind == "int" else float(word) for word in arguments)
    except ValueError:
        numbers = "whole numbers" if kind == "int" else "numbers"
        raise InputError(f"{place}: {text!r} needs two {numbers}, such as {kind}(1, 8)") from None
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError(f"{place}: {text!r} needs finite bounds")
    if low > high:
        raise InputError(f"{place}: the bounds of {text!r} are reversed; write {kind}({arguments[1]}, {arguments[0]})")
    if low == high:
        raise InputError(f"{place}: {text!r} holds one value; set {key} itself, or widen the bounds")
    if kind == "loguniform" and low <= 0:
        raise InputError(f"{place}: {text!r} needs bounds above 0; raise the lower one, or write uniform")
    whole = keys_of(Config)[key].takes("integer") and not keys_of(Config)[key].takes("number")
    if not (whole or keys_of(Config)[key].takes("number")):
        raise InputError(f"{place}: {key} takes {keys_of(Config)[key].accepts}; list values as choice(...)")
    if whole and kind != "int":
        raise InputError(f"{place}: {key} takes whole numbers; write int({math.ceil(low)}, {math.floor(high)})")
    for word in arguments:
        accepted(config, key, word, place)
    return Range(kind, low, high)
