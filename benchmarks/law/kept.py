"""Results kept in a folder, so that a benchmark that was stopped goes on with what is missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cosdpo.files import whole_file


def kept(folder: Path, name: str, make: Callable[[], Any]) -> Any:
    """What `make` gave, from folder/NAME.json where that is there already."""
    path = folder / f"{name}.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        made = json.dumps(make(), indent=1)
        with whole_file(path) as temporary:
            temporary.write_text(made)
    return json.loads(path.read_text())
