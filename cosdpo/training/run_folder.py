"""The folder a run writes: created once, refused when it exists, gone on with when `resume` is set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cosdpo.claim import CLAIM
from cosdpo.cli.yaml_file import to_yaml
from cosdpo.config import Config
from cosdpo.errors import InputError, masked
from cosdpo.files import write_whole

CONFIG = "config.yaml"
DATA = "data.json"
"""Fingerprint of the data by its side."""
FREE_TO_CHANGE = ("resume", "output", "scaling", "tracking", "hub", "evaluation", "grid", "comparison", "sweep")
"""Keys that may differ when a run is resumed: they do not enter what is trained."""


def check(config: Config) -> None:
    """Raises InputError when config.output exists without `resume`, or holds another run with it."""
    folder = config.output
    if not folder.exists():
        return
    if folder.is_file():
        raise InputError(f"output {folder} is a file; name another folder with --output")
    if not config.resume:
        if any(path.name != CLAIM for path in folder.iterdir()):
            raise InputError(f"output {folder} exists: go on with it by --resume, or name another folder with --output")
        return
    if not (folder / CONFIG).exists():
        raise InputError(f"output {folder} is not a run folder (no {CONFIG}): name another folder with --output")
    before, now = stored(folder), yaml.safe_load(to_yaml(config))
    if config.training.epochs and not before["training"]["epochs"]:
        # What they come to is known with the data: see check_data.
        now["training"] |= {key: before["training"][key] for key in ("steps", "epochs")}
    changed = sorted(key for key in now if key not in FREE_TO_CHANGE and before[key] != now[key])
    if changed:
        raise InputError(
            f"output {folder} was started with other settings of {', '.join(changed)}: resume with its own "
            f"(--config {folder / CONFIG}), or name another folder with --output"
        )


def check_data(config: Config, steps: int, sides: Mapping[str, str]) -> None:
    """Raises InputError when a run that is gone on with has other data than it began with, or other steps.

    Args:
        steps: those of the run, known now that its data is read.
        sides: fingerprints of the data.
    """
    folder = config.output
    before = _data(folder)
    if changed := [side for side, fingerprint in sides.items() if before.get(side, fingerprint) != fingerprint]:
        raise InputError(
            f"the {' and '.join(changed)} data is not what output {folder} was started with: bring that back, or name "
            "another folder with --output"
        )
    if config.training.epochs and (folder / CONFIG).exists():
        kept = stored(folder)["training"]
        if not kept["epochs"] and kept["steps"] != steps:
            raise InputError(
                f"output {folder} was started with training.steps {kept['steps']}, training.epochs "
                f"{config.training.epochs:g} are {steps}: resume with the former, or name another folder with --output"
            )


def keep_data(folder: Path, sides: Mapping[str, str]) -> None:
    """Writes down what `check_data` compares."""
    if (known := _data(folder)) != (all_sides := {**known, **sides}):
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / DATA, json.dumps(all_sides))


def _data(folder: Path) -> dict[str, str]:
    path = folder / DATA
    return json.loads(path.read_text()) if path.exists() else {}


def create(config: Config) -> Path:
    """Creates the folder with the resolved configuration in it."""
    config.output.mkdir(parents=True, exist_ok=True)
    write_whole(config.output / CONFIG, to_yaml(config))
    return config.output


def stored(folder: Path) -> dict[str, Any]:
    """The configuration in a run folder, as a tree with all keys: an earlier version did not know some of them."""
    tree = yaml.safe_load(masked((folder / CONFIG).read_text(encoding="utf-8")))
    defaults: dict[str, Any] = yaml.safe_load(to_yaml(Config()))
    return {
        key: {**value, **tree.get(key, {})} if isinstance(value, dict) else tree.get(key, value)
        for key, value in defaults.items()
    }
