"""The folder a run writes: created once, refused when it exists, gone on with when `resume` is set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from cosdpo.claim import CLAIM
from cosdpo.cli.yaml_file import to_yaml
from cosdpo.config import Config
from cosdpo.errors import InputError, masked
from cosdpo.files import write_whole

CONFIG = "config.yaml"
FREE_TO_CHANGE = ("resume", "output", "scaling", "tracking", "evaluation", "grid", "comparison", "sweep")
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
    changed = sorted(key for key in now if key not in FREE_TO_CHANGE and before[key] != now[key])
    if changed:
        raise InputError(
            f"output {folder} was started with other settings of {', '.join(changed)}: resume with its own "
            f"(--config {folder / CONFIG}), or name another folder with --output"
        )


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
