"""Where computed things are kept between runs: $COSDPO_CACHE, or ~/.cache/cosdpo."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """The folder, which may not exist yet."""
    return Path(os.environ.get("COSDPO_CACHE", Path.home() / ".cache" / "cosdpo"))
