"""The trade-off that a request asks for, and the policy that answers it: what all routes have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from cosdpo.errors import InputError
from cosdpo.simplex import named_point
from serve.http.service_errors import ServiceError

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Weights = (
    Annotated[list[Weight], Field(min_length=1, max_length=1024)] | Annotated[dict[str, Weight], Field(min_length=1)]
)
Beta = Rate | Annotated[list[Rate], Field(min_length=1, max_length=1024)]


class Body(BaseModel):
    """A body that a caller sends. Unknown fields are refused, and so is another type than the right one: "1" is no
    number.
    """

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


class Sent(BaseModel):
    """A body that the service sends."""

    model_config = ConfigDict(use_attribute_docstrings=True, ser_json_inf_nan="null")


Bound = Annotated[float, Field(allow_inf_nan=False)]


class Choose(Body):
    """The point of the measured front at which something must hold."""

    model_config = ConfigDict(frozen=True)

    at_least: dict[str, Bound] = {}
    """Least values, by objective, or by the name of the main objective (such as KL to base)."""
    at_most: dict[str, Bound] = {}
    """Largest values, likewise."""
    best: str = "knee"
    """What shall be best there: an objective, the main objective, or knee, where the objectives together have most."""
    metric: str = ""
    """Metric of the objectives' values; the front's leading one by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeOff:
    """Which policy a caller wants."""

    weights: Weights | None = None
    """Importance of the objectives; None weighs all the same."""
    choose: Choose | None = None
    """What must hold, instead of weights."""
    temperature: Beta | None = None
    """DPO temperature; None is the trained one."""
    model: str | None = None
    """Checkpoint that the caller names; None takes whichever is served."""
    beta: str = "temperature"
    """What the caller's route calls the DPO temperature."""
    weighed_in: str = "weights"
    """The field in which the caller gave the weights."""

    @classmethod
    def of_model(cls, model: str | None, weights: Weights | None, beta: Beta | None) -> TradeOff:
        """What an OpenAI route is asked for, whose `model` may be NAME@OBJECTIVE=WEIGHT,OBJECTIVE=WEIGHT.

        Raises:
            ServiceError: what follows the @ is no such list, or there are weights beside it.
        """
        try:
            name, weighed = named_point(model or "")
        except InputError as error:
            raise ServiceError(400, str(error), param="model") from None
        if weighed is None:
            return cls(weights=weights, temperature=beta, model=name or None, beta="beta")
        if weights is not None:
            raise ServiceError(400, f"weights: model {model!r} has them too; leave one out", param="weights")
        return cls(weights=weighed, temperature=beta, model=name or None, beta="beta", weighed_in="model")


class TradeOffBody(Body):
    """What all bodies of our own routes take."""

    weights: Weights | None = None
    """Importance of the objectives: a list in their order, or {name: number}, where absent ones weigh 0. Scaled to sum
    1; all the same by default."""
    temperature: Beta | None = None
    """DPO temperature, one or one per objective: larger stays closer to the base, smaller goes further; the trained one
    by default. Not the randomness of sampling."""

    choose: Choose | None = None
    """Instead of weights: what must hold on the measured front. The answer names the weights that this comes to; where
    nothing holds all of it, they are the nearest."""

    def trade_off(self) -> TradeOff:
        """Which policy is wanted.

        Raises:
            ServiceError: weights are given as well as what must hold.
        """
        if self.weights is not None and self.choose is not None:
            raise ServiceError(400, "choose: there are weights too; leave one out", param="choose")
        return TradeOff(weights=self.weights, choose=self.choose, temperature=self.temperature)


class ChosenSent(Sent):
    """What the measured front says of the point that was chosen."""

    values: dict[str, float]
    """By name: of each objective, and of the main objective where there is one."""
    deviations: dict[str, float]
    """How sure these are: their deviations over other held-out contexts; of an old front there are none."""
    misses: dict[str, float]
    """By how much it misses what must hold; empty where all of it holds."""
    measured: bool
    """Whether these weights were measured, and nothing is interpolated."""


class EffectivePolicy(Sent):
    """The policy that answers: weights and temperatures as they take effect."""

    checkpoint: str
    """The checkpoint that answered."""
    objectives: list[str]
    """Names of the objectives."""
    weights: list[float]
    """Effective weights in the objectives' order; they sum to 1."""
    temperature: list[float]
    """DPO temperature of each objective."""
    chosen: ChosenSent | None = None
    """Of what was asked for by `choose`, which alone has it."""
