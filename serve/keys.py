"""API keys: made here, kept as hashes; http/access.py compares them.

python -m serve.keys [NAME] >> keys.txt      shows a new key once, and adds its line to the file of hashes
"""

from __future__ import annotations

import re
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from cosdpo.errors import InputError
from serve.http.access import hashed

PREFIX = "cosdpo-"
HASH = re.compile(r"[0-9a-f]{64}")


def made() -> str:
    """A new key."""
    return PREFIX + secrets.token_urlsafe(32)


def read(path: Path) -> list[str]:
    """The hashes in a file: one in each line, and perhaps a name behind it; # opens a comment.

    Raises:
        InputError: no such file, a line that is no hash, or none at all.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise InputError(
            f"keys file {path} cannot be read; write one line per key from `python -m serve.keys`"
        ) from None
    hashes = []
    for number, line in enumerate(lines, start=1):
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        if not HASH.fullmatch(words[0]):
            raise InputError(f"{path}:{number}: not a SHA-256 hash; write the line that `python -m serve.keys` prints")
        hashes.append(words[0])
    if not hashes:
        raise InputError(f"keys file {path} has no keys; add the line that `python -m serve.keys` prints")
    return hashes


def main(argv: Sequence[str]) -> None:
    """Prints a new key on stderr, and its line for the file on stdout."""
    key = made()
    print(f"{hashed(key)} {' '.join(argv)}".rstrip())
    print(f"key, shown this once: {key}", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
