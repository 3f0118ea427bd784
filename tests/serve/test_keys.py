"""Keys and their file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from cosdpo.errors import InputError
from serve import keys
from serve.http.access import admits


def test_a_made_key_opens_the_door(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the command prints: the line for the file on stdout, the key on stderr alone."""
    keys.main(["alice"])
    file_line, told = capsys.readouterr()
    key_line = told.split()[-1]
    assert key_line not in file_line
    (tmp_path / "keys").write_text(f"# ours\n\n{file_line}\n{'0' * 64}  # bob's\n")
    hashes = keys.read(tmp_path / "keys")
    assert hashes == [hashlib.sha256(key_line.encode()).hexdigest(), "0" * 64]
    assert admits(hashes, key_line)
    assert not admits(hashes, key_line + "a")
    assert not admits([], key_line)
    assert len(key_line) > 43
    assert keys.made() != keys.made()


@pytest.mark.parametrize("content", ["", "# nothing\n", "secret\n", "A" * 64, "0" * 63])
def test_broken_files(tmp_path: Path, content: str) -> None:
    (tmp_path / "keys").write_text(content)
    with pytest.raises(InputError, match=r"serve.keys"):
        keys.read(tmp_path / "keys")
    with pytest.raises(InputError, match="cannot be read"):
        keys.read(tmp_path / "absent")
