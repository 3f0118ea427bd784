"""What checkpoints say of themselves in cosdpo.json: enough to build the model again before its weights are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cosdpo.config import Config
from cosdpo.config.checks import check_heads, check_objectives
from cosdpo.config.section import NonNegative, Positive, Rate, Share
from cosdpo.errors import InputError, first_wrong

CARD = "cosdpo.json"

Objectives = Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]


class Card(BaseModel):
    """What all of them share: how they are read and written."""

    model_config = ConfigDict(extra="forbid", strict=True)

    kind: ClassVar[str]
    """What messages call a model with such a card."""
    files: ClassVar[tuple[str, ...]] = ()
    """What a checkpoint holds besides the card; earlier versions had other names for adapters."""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The card of the checkpoint in `folder`.

        Raises:
            InputError: there is none, another model's, or one with values that no run writes.
        """
        try:
            return cls.model_validate_json((folder / CARD).read_bytes())
        except OSError:
            raise InputError(f"{folder} has no {CARD}; give the checkpoint folder of a {cls.kind}") from None
        except ValidationError as error:
            raise InputError(
                f"{folder / CARD} is not that of a {cls.kind}, {first_wrong(error)}; give the checkpoint folder of one"
            ) from None

    def write(self, folder: Path) -> None:
        """Writes what `read` reads."""
        (folder / CARD).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")


class ConditionedCard(Card):
    """What cards of conditioned models of all tasks share."""

    format: Literal[1] = 1
    task: str
    objectives: Objectives
    trained_temperature: list[Rate]

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        check_objectives(self.objectives, self.trained_temperature)
        return self


class LanguageCard(ConditionedCard):
    """The card of a conditioned language model."""

    kind = "conditioned language model"
    files = ("adapters.json", "adapters.safetensors", "conditioning.safetensors")
    task: Literal["language"] = "language"
    base: str
    conditioning: Literal["hyper_prompt", "gated_lora", "both", "none"]
    scope: Literal["sequence", "response"]
    temperature_conditioned: bool
    gates: Literal["affine", "quadratic"]
    adapt_ends: bool
    soft_tokens: NonNegative
    prompt_template: str
    response_template: str
    append_eos: bool
    chat: bool = False
    """Whether it was trained on chats alone: what people write is then a user's message in its template."""

    @classmethod
    def of(cls, config: Config) -> LanguageCard:
        """The card of a run with this configuration."""
        return cls(
            base=config.model.base,
            objectives=config.objectives,
            trained_temperature=config.temperatures,
            conditioning=config.conditioning,
            scope=config.scope,
            temperature_conditioned=config.model.temperature_conditioned,
            gates=config.model.gates,
            adapt_ends=config.model.adapt_ends,
            soft_tokens=config.model.soft_tokens if config.conditioning in ("hyper_prompt", "both") else 0,
            prompt_template=config.data.prompt_template,
            response_template=config.data.response_template,
            append_eos=config.data.append_eos,
        )


class NetworkCard(BaseModel):
    """The shape of one network."""

    model_config = ConfigDict(extra="forbid", strict=True)

    architecture: Literal["transformer", "mlp"]
    width: Positive
    layers: Positive
    heads: Positive
    dropout: Share

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        check_heads(self.architecture, self.width, self.heads)
        return self

    @classmethod
    def of(cls, config: Config) -> NetworkCard:
        """The shape that `config` asks for."""
        return cls(**config.ranker.model_dump(include=set(cls.model_fields)))


class BaseCard(Card):
    """The card of a base ranker."""

    kind = "base ranker"
    format: Literal[1] = 1
    task: Literal["base ranking"] = "base ranking"
    numbers: Annotated[list[Positive], Field(min_length=1)]
    """Feature numbers of the inputs, from 1."""
    log1p: bool
    list_features: bool
    network: NetworkCard


class RankingCard(ConditionedCard):
    """The card of a conditioned ranker."""

    kind = "conditioned ranker"
    files = ("model.safetensors",)
    task: Literal["ranking"] = "ranking"
    base: BaseCard
    auxiliary: dict[str, Positive]
    """Feature numbers of the auxiliary objectives, from 1; they are no inputs."""
    temperature_conditioned: bool
    parametrisation: Literal["augmentation", "scratch"]
    conditioning: Literal["concatenation", "gates", "both", "none"]
    network: NetworkCard


_BY_TASK: dict[str, type[LanguageCard] | type[RankingCard]] = {"language": LanguageCard, "ranking": RankingCard}


def checkpoint_folder(place: Path) -> Path:
    """The checkpoint folder that `place` is, or that it has as a run folder."""
    return place if (place / CARD).exists() else place / "checkpoint"


def read_card(folder: Path) -> LanguageCard | RankingCard:
    """The card of the conditioned model in `folder`, of whichever task.

    Raises:
        InputError: there is no such model.
    """
    try:
        task = json.loads((folder / CARD).read_bytes())["task"]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            f"{folder} holds no checkpoint (no readable {CARD}); give the checkpoint folder of a run"
        ) from None
    if not isinstance(task, str) or task not in _BY_TASK:
        raise InputError(f"{folder} is the checkpoint of a {task} model; give one with trade-offs")
    return _BY_TASK[task].read(folder)
