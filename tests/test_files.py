"""Files and folders come whole or not at all, and may be read by those whom the umask lets read."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from cosdpo.errors import InputError
from cosdpo.files import ensure_home, whole_file, whole_folder


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def private(path: Path, text: str) -> None:
    """Writes as safetensors does, for the owner alone."""
    path.unlink(missing_ok=True)
    path.touch(0o600)
    path.write_text(text)


def test_a_file_takes_the_place_of_the_old_one(tmp_path):
    path = tmp_path / "front.json"
    for text in ("old", "new"):
        with whole_file(path) as temporary:
            private(temporary, text)
            assert path.exists() == (text == "new")
    assert path.read_text() == "new"
    assert mode(path) == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_takes_the_place_of_the_old_one(tmp_path):
    path = tmp_path / "checkpoint"
    for name in ("old", "new"):
        with whole_folder(path) as temporary:
            (temporary / "deep").mkdir()
            private(temporary / "deep" / name, "x")
    assert [file.relative_to(path).name for file in path.rglob("*")] == ["deep", "new"]
    assert mode(path) == mode(path / "deep") == 0o750
    assert mode(path / "deep" / "new") == 0o640
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("whole", [whole_file, whole_folder])
def test_after_an_error_nothing_has_changed(tmp_path, whole):
    path = tmp_path / "x"
    path.mkdir()
    (path / "kept").touch()
    with pytest.raises(KeyboardInterrupt), whole(path):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == [path]
    assert (path / "kept").exists()


def homeless() -> NoReturn:
    raise RuntimeError("Could not determine home directory.")


def test_without_a_home_folder_the_cache_is_one(tmp_path, monkeypatch):
    """As in a container that runs under a user id of its own; Ray Train asks for the home folder when imported."""
    monkeypatch.setenv("HOME", "/somewhere")
    monkeypatch.setenv("COSDPO_CACHE", str(tmp_path))
    ensure_home()
    assert os.environ["HOME"] == "/somewhere"
    monkeypatch.setattr(Path, "home", homeless)
    ensure_home()
    assert os.environ["HOME"] == str(tmp_path)
    monkeypatch.delenv("COSDPO_CACHE")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(Path, "expanduser", lambda path: homeless())
    with pytest.raises(InputError, match="set HOME, or COSDPO_CACHE"):
        ensure_home()
