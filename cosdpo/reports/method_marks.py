"""How a method looks: one colour and one marker wherever it is drawn, none of them an objective's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cosdpo.reports.drawing import MUTED, PAPER, clipped


@dataclass(frozen=True)
class Look:
    """Colour as #rrggbb and marker in matplotlib's letters."""

    ink: str
    marker: str


_KNOWN = {
    "cos": Look("#b5123e", "o"),
    "linear_scalarization": Look("#4a3fb0", "s"),
    "soup": Look("#8a8b12", "^"),
    "modpo": Look("#17a3a3", "v"),
}
_FURTHER = (
    Look("#7b2d8e", "P"),
    Look("#9c5a1d", "X"),
    Look("#5f7387", "p"),
    Look("#e0609a", "h"),
    Look("#3d6b35", "<"),
    Look("#c9a227", ">"),
)
"""For other methods, in their order; after these, looks repeat."""

FIRST = tuple(look.ink for look in _KNOWN.values())
"""Colours of a few things of one kind, the first of them crimson."""


def looks(methods: Sequence[str]) -> dict[str, Look]:
    """The look of each method; that of the four known ones is the same in every comparison."""
    others = [name for name in methods if name not in _KNOWN]
    return {name: _KNOWN[name] if name in _KNOWN else _FURTHER[others.index(name) % len(_FURTHER)] for name in methods}


def legend(figure: Figure, methods: Mapping[str, Look], joined: bool = True, hollow: str = "") -> None:
    """The methods above the plot, as marks on a line where they are `joined`; `hollow` says what hollow marks are."""
    handles = [
        Line2D(
            *([], []),
            color=look.ink,
            marker=look.marker,
            markersize=7,
            markeredgecolor=PAPER,
            linestyle="-" if joined else "",
            label=clipped(name, 40),
        )
        for name, look in methods.items()
    ]
    if hollow:
        handles.append(Line2D([], [], linestyle="", marker="o", color=PAPER, markeredgecolor=MUTED, label=hollow))
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 5), frameon=False)
