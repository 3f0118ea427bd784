"""All settings of the service: flags of `python -m serve`, and `args` of config.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from cosdpo.config.section import Positive, Section
from cosdpo.errors import InputError
from serve.engine.engine_settings import EngineSettings
from serve.http.access import is_local
from serve.http.limits import Limits, Seconds
from serve.keys import HASH, read


class ServiceSettings(Section):
    """The service. Unknown settings are refused."""

    checkpoint: Path
    """Checkpoint folder of a run, of a language model or a ranker."""
    base: str = ""
    """Where the base model is found, if not where the checkpoint says."""
    name: str = ""
    """What the checkpoint is called in answers; empty takes the name of its run folder."""
    host: str = "127.0.0.1"
    """Address to listen on; another than this machine's own needs keys."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port to listen on; 0 picks a free one."""
    keys: Path | None = None
    """File of hashed API keys, a line each, from `python -m serve.keys`."""
    key_hashes: list[str] = []
    """Hashed API keys themselves, instead of a file."""
    cors_origins: list[str] = []
    """Origins whose pages may call the service, such as https://example.org; none by default."""
    request_timeout_s: Seconds = 120.0
    """Seconds until an answer is given up with 408."""
    replicas: Positive = 1
    """Replicas of the model, or the fewest of them if max_replicas is larger."""
    max_replicas: Annotated[int, Field(ge=0)] = 0
    """Most replicas; Ray Serve adds and removes them with the load."""
    cpus: Annotated[float, Field(gt=0)] = 1.0
    """Cores that Ray reserves for each replica."""
    gpus: Annotated[float, Field(ge=0)] = 0.0
    """GPUs that Ray reserves for each replica; above 0 the model runs on one."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of the base's weights; auto is bfloat16 on a GPU and float32 on a CPU."""
    limits: Limits = Limits()
    engine: EngineSettings = EngineSettings()

    @field_validator("key_hashes")
    @classmethod
    def _hashes(cls, hashes: list[str]) -> list[str]:
        if wrong := [line for line in hashes if not HASH.fullmatch(line)]:
            raise ValueError(f"{wrong[0][:80]!r} is not a SHA-256 hash; `python -m serve.keys` makes one")
        return hashes

    @model_validator(mode="after")
    def _replicas(self) -> Self:
        if 0 < self.max_replicas < self.replicas:
            raise ValueError(f"max_replicas {self.max_replicas} is below replicas {self.replicas}")
        return self

    def hashes(self) -> list[str]:
        """The hashes of all keys; none leaves the service open.

        Raises:
            InputError: the file of keys is missing or broken.
        """
        return [*self.key_hashes, *(read(self.keys) if self.keys else [])]


def check_address(host: str, keys: int) -> None:
    """Raises InputError where a service without keys would be open to others."""
    if not keys and not is_local(host):
        raise InputError(
            f"host {host} is open to other machines and there are no API keys: make one with `python -m serve.keys` "
            "and name its file by --keys FILE, or listen on 127.0.0.1"
        )
