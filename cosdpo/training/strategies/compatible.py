"""What a strategy needs of the machine and the job, besides what cosdpo/config/checks.py compares."""

from __future__ import annotations

from importlib.util import find_spec

from cosdpo.config import Config
from cosdpo.errors import InputError


def check_single(config: Config, what: str) -> None:
    """Raises InputError for keys that trainings in one process each, such as those of a sweep, cannot follow."""
    for key, plain in (("strategy", "ddp"), ("min_workers", 0), ("storage", "")):
        if (value := getattr(config.scaling, key)) != plain:
            mend = f"set it to {plain}" if plain else "leave it out"
            raise InputError(
                f"scaling.{key} {value} is for the conditioned run: {what} train in one process each, {mend}"
            )


def check(config: Config) -> None:
    """Raises InputError for a strategy or quantization that needs what is not there."""
    if config.scaling.strategy == "deepspeed" and not find_spec("deepspeed"):
        raise InputError("scaling.strategy deepspeed needs its package: pip install 'cosdpo[deepspeed]', or set fsdp")
    if config.model.quantization != "none":
        if not config.scaling.use_gpu:  # which sweeps and comparisons set for their shares of a GPU
            raise InputError("model.quantization nf4 needs GPUs: set scaling.use_gpu true, or model.quantization none")
        if not find_spec("bitsandbytes"):
            raise InputError("model.quantization nf4 needs bitsandbytes: pip install bitsandbytes, or set it to none")
