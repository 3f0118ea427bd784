"""Ink and paper: colours as they are mixed, and marks that no other thing has."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from cosdpo.reports.drawing import INK, MUTED, OBJECTIVE_COLOURS, PAPER, blend, mix, save_png
from cosdpo.reports.method_marks import looks


def test_colours_mix_by_weight() -> None:
    # Okabe and Ito's blue (0, 114, 178) and vermilion (213, 94, 0): the middle is (106.5, 104, 89), rounded to even.
    assert mix([1, 0]) == "#0072b2"
    assert mix([0, 1]) == "#d55e00"
    assert mix([0.5, 0.5]) == "#6a6859"
    assert blend(["#000000", "#ffffff"], [0.75, 0.25]) == "#404040"


def test_methods_and_objectives_differ_in_colour() -> None:
    methods = looks(["cos", "linear_scalarization", "soup", "modpo", "cos, hyper_prompt", "another"])
    inks = {look.ink for look in methods.values()}
    assert len(inks) == len({look.marker for look in methods.values()}) == len(methods)
    assert not inks & {*OBJECTIVE_COLOURS, INK, MUTED, PAPER}
    assert looks(["another", "cos"])["cos"] == methods["cos"]


def test_no_cut_image_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(figure: Figure, path: Path, **options: object) -> None:
        Path(path).write_bytes(b"\x89PNG")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(OSError, match="No space"):
        save_png(Figure(), tmp_path / "front.png")
    assert list(tmp_path.iterdir()) == []
