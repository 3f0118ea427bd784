"""Which strategies go with what: refused before Ray starts, each with its mend."""

from __future__ import annotations

from importlib.util import find_spec

from cosdpo.config import Config
from cosdpo.errors import InputError


def shards_the_base(config: Config) -> bool:
    """Whether no worker holds the whole frozen base."""
    scaling = config.scaling
    return scaling.workers > 1 and (
        scaling.strategy == "fsdp" or (scaling.strategy == "deepspeed" and scaling.zero_stage == 3)
    )


def check_single(config: Config, what: str) -> None:
    """Raises InputError for keys that trainings in one process each, such as those of a sweep, cannot follow."""
    for key, plain in (("strategy", "ddp"), ("min_workers", 0), ("storage", "")):
        if (value := getattr(config.scaling, key)) != plain:
            mend = f"set it to {plain}" if plain else "leave it out"
            raise InputError(
                f"scaling.{key} {value} is for the conditioned run: {what} train in one process each, {mend}"
            )


def check(config: Config) -> None:
    """Raises InputError for a strategy or quantization that the run cannot have."""
    scaling = config.scaling
    plain = scaling.strategy == "ddp"
    if config.task == "ranking" and not plain:
        raise InputError(f"scaling.strategy {scaling.strategy} is for language models: set it to ddp for rankers")
    if scaling.strategy == "fsdp" and scaling.workers == 1:
        raise InputError("scaling.strategy fsdp has nothing to shard over: set scaling.workers to 2 or more, or ddp")
    if scaling.min_workers == 1 and shards_the_base(config):
        raise InputError("scaling.min_workers 1 leaves nothing to shard over: set it to 2 or more, or strategy ddp")
    if scaling.offload != "none" and scaling.strategy != "deepspeed":
        raise InputError(f"scaling.offload {scaling.offload} needs scaling.strategy deepspeed: set it, or offload none")
    if scaling.offload == "parameters" and not shards_the_base(config):
        raise InputError(
            "scaling.offload parameters moves the parts of a sharded base: set scaling.zero_stage 3 and "
            "scaling.workers to 2 or more, or scaling.offload optimizer"
        )
    if scaling.strategy == "deepspeed" and not find_spec("deepspeed"):
        raise InputError("scaling.strategy deepspeed needs its package: pip install 'cosdpo[deepspeed]', or set fsdp")
    if config.model.quantization != "none":
        _check_quantization(config)


def _check_quantization(config: Config) -> None:
    if config.task == "ranking":
        raise InputError("model.quantization is for language models: set it to none")
    if config.scaling.strategy != "ddp":
        raise InputError(
            f"model.quantization nf4 does not go with scaling.strategy {config.scaling.strategy}: set ddp, or "
            "model.quantization none"
        )
    if not config.scaling.use_gpu:
        raise InputError("model.quantization nf4 needs GPUs: set scaling.use_gpu true, or model.quantization none")
    if not find_spec("bitsandbytes"):
        raise InputError("model.quantization nf4 needs bitsandbytes: pip install bitsandbytes, or set it to none")
