"""A folder of one process alone: whoever else wants to write it is refused for as long as that process lives.

The claim is a lock on a file in the folder, which the operating system takes back however the process ends.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cosdpo.errors import InputError

CLAIM = ".claim"
"""Name of the file; it tells host and process, and is gone when the folder is free."""


@dataclass
class _Held:
    file: IO[str]
    made: list[Path]
    """Folders that were made for the claim, the innermost first."""


_held: dict[Path, _Held] = {}


def claim(folder: Path) -> None:
    """Makes the folder where there is none, and keeps it for this process until `release`.

    Raises:
        InputError: another process has it, or it cannot be made or written.
    """
    folder = folder.resolve()
    if folder in _held:
        return
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / CLAIM).open("a+", encoding="utf-8")
    except OSError as error:
        _remove(made)
        reason = (error.strerror or type(error).__name__).lower()
        raise InputError(f"output {folder} cannot be written ({reason}): name another folder with --output") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            file.seek(0)
            owner = file.read().strip() or "another process"
            file.close()
            raise InputError(
                f"output {folder} is being written by {owner}: wait for its end, or name another folder with --output"
            ) from None
        # A file system without locks: two jobs in one folder cannot be told apart there.
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    _held[folder] = _Held(file, made)


def release() -> None:
    """Gives all claimed folders back; those that were made for the claim and hold nothing are taken away."""
    for folder, held in list(_held.items()):
        with suppress(OSError):  # the folder may have been taken away meanwhile
            (folder / CLAIM).unlink()
        held.file.close()
        _remove(held.made)
        del _held[folder]


def _remove(made: list[Path]) -> None:
    with suppress(OSError):  # not empty, or never made
        for path in made:
            path.rmdir()
