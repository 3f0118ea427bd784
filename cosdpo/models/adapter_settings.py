"""The adapters of a checkpoint, in peft's form but under names of their own: without their gates they would answer
wrongly, so plain peft shall not find them. The conditioning runs plain LoRA alone: another kind of it, which peft would
take, is refused for the same reason.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from peft import LoraConfig
from peft.utils import CONFIG_NAME, SAFETENSORS_WEIGHTS_NAME
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cosdpo.config import Config
from cosdpo.config.section import Positive, Rate, Share
from cosdpo.errors import InputError, first_wrong
from cosdpo.models.cards import LanguageCard

ADAPTERS, SETTINGS = "adapters.safetensors", "adapters.json"
_BEFORE = {ADAPTERS: SAFETENSORS_WEIGHTS_NAME, SETTINGS: CONFIG_NAME}
"""What earlier versions called them: as peft does."""
WITHOUT_EFFECT = ("auto_mapping", "base_model_name_or_path", "inference_mode", "peft_version", "revision")


class AdapterSettings(BaseModel):
    """What a run chooses."""

    model_config = ConfigDict(strict=True)

    peft_type: Literal["LORA"]
    task_type: Literal["CAUSAL_LM"]
    r: Positive
    lora_alpha: Rate
    lora_dropout: Share
    target_modules: Annotated[list[str], Field(min_length=1)]
    fan_in_fan_out: bool

    @model_validator(mode="before")
    @classmethod
    def _else_default(cls, tree: Any) -> Any:
        if isinstance(tree, dict):
            usual = LoraConfig().to_dict()
            free = {*cls.model_fields, *WITHOUT_EFFECT}
            for key in tree.keys() - free:
                if tree[key] and tree[key] != usual.get(key):
                    raise InputError(f"{key} is {tree[key]!r}, which no run sets")
        return tree


def adapter_file(folder: Path, name: str) -> Path:
    """A file of the checkpoint in `folder`, by whichever name it has."""
    before = folder / _BEFORE.get(name, name)
    return folder / name if (folder / name).exists() or not before.exists() else before


def rename_adapters(folder: Path) -> None:
    """Gives what peft has saved in `folder` the names of a checkpoint."""
    for name, before in _BEFORE.items():
        (folder / before).rename(folder / name)


def read_adapter_settings(folder: Path) -> LoraConfig:
    """The settings of the adapters in `folder`, to be put on whichever base.

    Raises:
        InputError: there are none, or none that a run writes.
    """
    file = adapter_file(folder, SETTINGS)
    try:
        settings = AdapterSettings.model_validate_json(file.read_bytes())
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}); give a whole checkpoint") from None
    except ValidationError as error:
        raise InputError(f"{file} is not that of a run, {first_wrong(error)}; give a whole checkpoint") from None
    return LoraConfig(**settings.model_dump(), inference_mode=True)


def check_start(config: Config) -> None:
    """Raises InputError when the run of `config` cannot start from the checkpoint training.start."""
    folder = Path(config.training.start)
    card, wanted, lora = LanguageCard.read(folder), LanguageCard.of(config), read_adapter_settings(folder)
    there = {**card.model_dump(), "lora_rank": lora.r, "lora_alpha": lora.lora_alpha}
    asked = {**wanted.model_dump(), "lora_rank": config.model.lora_rank, "lora_alpha": config.model.lora_alpha}
    free = {"chat", "prompt_template", "response_template", "append_eos", "trained_temperature"}
    for key in (key for key in asked if key not in free and there[key] != asked[key]):
        raise InputError(
            f"training.start {folder} was trained with {key} {there[key]!r}, this run has {asked[key]!r}; take the same"
        )
