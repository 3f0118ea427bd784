"""Ink and paper: colours as they are mixed, and marks that no other thing has."""

from __future__ import annotations

from cosdpo.reports.drawing import INK, MUTED, OBJECTIVE_COLOURS, PAPER, blend, mix
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
