"""Files and folders that are written whole or not at all, and where computed things are kept between runs."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cosdpo.errors import InputError


def cache_folder() -> Path:
    """$COSDPO_CACHE, or ~/.cache/cosdpo; it may not exist yet.

    Raises:
        InputError: neither is known.
    """
    return local_path(Path(os.environ.get("COSDPO_CACHE", "").strip() or "~/.cache/cosdpo"))


def local_path(path: Path) -> Path:
    """The path with ~ as the home folder.

    Raises:
        InputError: there is no home folder.
    """
    try:
        return path.expanduser()
    except RuntimeError:
        raise InputError(f"{path}: the home folder is not known; set HOME, or COSDPO_CACHE for the cache") from None


def ensure_home() -> None:
    """Sets HOME to the cache folder where there is no home folder, as in containers that run under any user id.

    Libraries ask for one when they are imported, Ray Train among them.

    Raises:
        InputError: no cache folder is named either.
    """
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = str(cache_folder().absolute())


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder that takes the place of `path` at the end; after an error nothing is left.

    Whoever writes it, the file may be read by all whom the umask lets read.
    """
    temporary = _beside(path)
    temporary.touch()
    mode = temporary.stat().st_mode
    try:
        yield temporary
        temporary.chmod(mode)  # safetensors makes files that their owner alone may read
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_whole(path: Path, text: str) -> None:
    """Writes a text file in UTF-8 whole or not at all: a reader never meets half of it."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """An empty temporary folder beside `path` that takes its place at the end; after an error nothing is left.

    Several processes may write the same folder: the last one's stays. Its files may be read as those of `whole_file`.
    """
    temporary = _beside(path)
    temporary.mkdir(parents=True)
    mode = temporary.stat().st_mode & 0o666
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                file.chmod(mode)
        shutil.rmtree(path, ignore_errors=True)
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _beside(path: Path) -> Path:
    """A hidden name of its own in the same folder."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}")
