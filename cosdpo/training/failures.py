"""Failures of a training that are no defects, in one line: dead workers, a full disk, lost storage."""

from __future__ import annotations

from collections.abc import Sequence

from ray.exceptions import NodeDiedError, RayActorError, WorkerCrashedError
from safetensors import SafetensorError

from cosdpo.config import Config
from cosdpo.training import storage


def explained(causes: Sequence[BaseException], config: Config) -> str | None:
    """What a person is told of `causes`, which ended a training; None where they are none of these failures."""
    place = storage.location(config)
    for cause in causes:
        # Ray's own words where its marker is gone from the storage.
        lost = isinstance(cause, RuntimeError) and "cluster storage" in str(cause)
        broken = isinstance(cause, OSError) and not isinstance(cause, ConnectionError | TimeoutError)
        if lost or broken or isinstance(cause, SafetensorError):
            reason = f"{place} is gone" if lost else str(cause).splitlines()[0]
            return (
                f"a worker cannot read or write what it has to ({reason}): mend that, then run again with --resume; "
                "the checkpoints before it are good"
            )
    # One dead worker is enough: the others then fail because their connections to it broke.
    if any(isinstance(cause, RayActorError | WorkerCrashedError | NodeDiedError) for cause in causes):
        return (
            f"workers died more than scaling.max_failures = {config.scaling.max_failures} times; the checkpoints in "
            f"{place} are good: run again with --resume"
        )
    return None
