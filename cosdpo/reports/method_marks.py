"""How a method looks: one colour and one marker wherever it is drawn, none of them an objective's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.lines import Line2D

from cosdpo.reports.drawing import PAPER


@dataclass(frozen=True)
class Mark:
    """Colour as #rrggbb and marker in matplotlib's letters."""

    ink: str
    marker: str

    def line(self, label: str = "") -> Line2D:
        """An entry of a legend."""
        return Line2D([], [], color=self.ink, marker=self.marker, markersize=7, markeredgecolor=PAPER, label=label)


_KNOWN = {
    "cos": Mark("#b5123e", "o"),
    "linear_scalarization": Mark("#4a3fb0", "s"),
    "soup": Mark("#8a8b12", "^"),
    "modpo": Mark("#17a3a3", "v"),
}
_FURTHER = (
    Mark("#7b2d8e", "P"),
    Mark("#9c5a1d", "X"),
    Mark("#5f7387", "p"),
    Mark("#e0609a", "h"),
    Mark("#3d6b35", "<"),
    Mark("#c9a227", ">"),
)
"""For other methods, in their order; after these, marks repeat."""


def marks(methods: Sequence[str]) -> dict[str, Mark]:
    """The mark of each method; the four known ones look the same in every comparison."""
    others = [name for name in methods if name not in _KNOWN]
    return {name: _KNOWN[name] if name in _KNOWN else _FURTHER[others.index(name) % len(_FURTHER)] for name in methods}
